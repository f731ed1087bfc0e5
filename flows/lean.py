"""Lean: what libraries bring along and edgewatch has no use for is left out of a start; imported before any of them.

Why: every process of a run starts anew after a fault, and until it has imported all it reads nothing.
"""

import os
import sys
from typing import Any

# Nothing here multiplies matrices: the threads that numpy would start for that only spin for a tenth of a second.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# The command line of httpx, with the libraries that it is drawn by.
_modules: dict[str, Any] = sys.modules
_modules.setdefault("httpx._main", None)
