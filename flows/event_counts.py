"""Event counts: what a rule of kind `event` judges when a window closes: the number of matching records.

So it is decided at the barrier as every other, and the same offsets give the same bytes; what goes ahead of the window is the
message alone (`early`).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.judged import Window
from flows.known_keys import KnownKeys, spread_out
from flows.rule import NO_DATA, Rule
from flows.signal import BY_LIMITS, Reading


class EventCounts:
    """The signal of a rule of kind `event`: matching records a key, 0 where there are none.

    A window in which the whole dataset is silent says nothing (no_data): an application that died of what it logged must not
    end the alert by its silence. It is judged all the same, so that keys are forgotten in time.
    """

    hears_silence = True
    identity = ""

    def __init__(self, rule: Rule) -> None:
        """Take the rule."""
        self._rule = rule
        self._known = KnownKeys()
        self._seen: NDArray[np.int64] = np.zeros(0, np.int64)  # end of the last window with one (ms)

    def read(self, window: Window) -> Reading:
        """Give the counts of the keys that had such a record, now or not long ago."""
        rows, end = window.metric(self._rule.options.metric, self._rule.keys), window.result.end
        seen = zip(rows.keys, rows.statistics["count"].tolist(), strict=True) if rows is not None else ()
        found = {key: int(count) for key, count in seen if count}
        before = self._known.learn(sorted({*found, *self._known.keys}))
        if before is not None:
            self._seen = spread_out(self._seen, before, end)
        counts = np.array([found.get(key, 0) for key in self._known.keys], np.int64)
        self._seen = np.where(counts > 0, end, self._seen)
        values = np.full(len(counts), np.nan) if window.is_silent else counts.astype(np.float64)
        level = np.full(len(counts), NO_DATA if window.is_silent else BY_LIMITS, np.int8)
        reading = Reading(list(self._known.keys), values, counts, present=counts > 0, level=level)
        kept = end - self._seen <= self._rule.options.forget_after_ms
        if not kept.all():
            self._known.keep(kept)
            self._seen = self._seen[kept]
        return reading

    def to_state(self) -> dict[str, Any]:
        """Give the keys and when each was last seen."""
        return {"keys": self._known.keys, "seen": self._seen}

    def load(self, state: Mapping[str, Any]) -> None:
        """Undo `to_state`."""
        self._known.keys, self._seen = list(state["keys"]), state["seen"]
