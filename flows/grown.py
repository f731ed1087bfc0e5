"""Grown: columns over key numbers, which get room as keys come."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def grown(column: NDArray[Any], size: int, fill: float = 0) -> NDArray[Any]:
    """Give the column (n,) with room for `size` keys; what was not there is `fill`."""
    more = size - len(column)
    return column if more <= 0 else np.concatenate((column, np.full(more, fill, column.dtype)))
