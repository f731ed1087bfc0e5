"""Flap: an alert that fires and resolves again and again, as columns.

Each key remembers in which of its last evaluations it began to fire or resolved, one bit each. It is flapping from when it
turned often enough among them, until it has become rarer than `leave`. Evaluations without a judgement (no data, too little)
are none of them: what stays away has not settled.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from flows.alert_state import MOVES, AlertColumns, Step
from flows.rule import Flap

FOREVER_MS = 2**61
_TURNS = [MOVES.index(name) for name in ("firing", "reopened", "resolved")]


def flapped(after: Step, flap: Flap | None, judged: NDArray[np.bool_]) -> AlertColumns:
    """Give the columns after a step with what is flapping now; without options nothing is any more.

    `judged` (k,) tells whose evaluation has a level.
    """
    columns = after.columns
    if flap is None:
        return replace(columns, flapping=np.zeros_like(columns.flapping))
    turns = ((columns.turns << 1) | np.isin(after.move, _TURNS)) & ((1 << flap.windows) - 1)
    turns = np.where(judged, turns, columns.turns)
    count = np.bitwise_count(turns)
    return replace(columns, turns=turns, flapping=np.where(columns.flapping, count >= flap.leave, count >= flap.transitions))
