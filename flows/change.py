"""Change: a value against earlier values of the same key: previous windows, or the same time of earlier days or weeks.

Compared is with the median of the earlier values, so a single odd window, or an incident shorter than half of what is looked
at, does not move it. A deviation is counted in robust standard deviations (1.4826 times the median absolute deviation), taken
as at least a twentieth of the median: where nothing ever varied, any change would be beyond all measure.
"""

from collections.abc import Mapping
from itertools import takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.judged import Window
from flows.kind_options import Baseline
from flows.known_keys import KnownKeys, spread_out
from flows.rule import INSUFFICIENT, Rule
from flows.signal import BY_LIMITS, Reading

BACK_MS = {"day": 86_400_000, "week": 7 * 86_400_000}
_MAD = 1.4826  # median absolute deviation to standard deviation, of a normal distribution
_LEAST_SPREAD = 0.05
_MOST = 1000.0  # against nothing, everything is beyond measure


class Change:
    """The signal of a rule of kind `change`: float64 a key and window that is looked back at."""

    hears_silence = False

    def __init__(self, rule: Rule) -> None:
        """Take the rule; it has a baseline."""
        self._rule = rule
        self._baseline = rule.options.baseline or Baseline()
        self.identity = f"{self._baseline.against} {self._baseline.measure}"
        self._known = KnownKeys()
        self._length = 0  # of the windows that are remembered (ms)
        self._ends: dict[int, int] = {}  # window end (ms) -> row, earliest first, as windows are judged in order
        self._history: NDArray[np.float64] = np.zeros((0, 0))

    def read(self, window: Window) -> Reading:
        """Give how far each key is from its baseline; INSUFFICIENT where too little is known of it."""
        keys, values, counts = window.rows(self._rule)
        self._fit(window.result.end - window.result.start)
        self._forget(window.result.end)
        self._learn(keys)
        places = self._known.places(keys)
        earlier = self._earlier(window)[:, places]
        middle, spread, enough = _middle(earlier, self._baseline.needs)
        self._remember(window, places, np.where(counts >= self._rule.options.min_count, values, np.nan))
        ratio = self._baseline.measure == "ratio"
        changed = _ratio(values, middle) if ratio else _deviation(values, middle, spread)
        level = np.where(enough, BY_LIMITS, INSUFFICIENT).astype(np.int8)
        place = {key: number for number, key in enumerate(keys)}

        def facts(key: str) -> Mapping[str, Any]:
            at = place.get(key)
            if at is None or not enough[at]:
                return {}
            found = {"against": self._words(), "value": float(middle[at]), "measured": float(values[at])}
            return {"baseline": found if ratio else found | {"spread": float(spread[at])}}

        return Reading(list(keys), np.where(enough, changed, np.nan), counts, level=level, facts=facts)

    def _words(self) -> str:
        count, against = self._baseline.looks_at, self._baseline.against
        if against == "previous":
            return f"the median of the {count} windows before"
        if count == 1:
            return "the same time yesterday" if against == "day" else "the same time last week"
        return f"the median of the same time on {count} {against}s before"

    def _earlier(self, window: Window) -> NDArray[np.float64]:
        """Give what is remembered of the windows that are looked back at: (n, k), n of those that are there."""
        end, length = window.result.end, window.result.end - window.result.start
        step = BACK_MS.get(self._baseline.against, length)
        rows = [self._ends.get(end - back * step) for back in range(1, self._baseline.looks_at + 1)]
        return self._history[[row for row in rows if row is not None]]

    def _remember(self, window: Window, places: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        end, length = window.result.end, window.result.end - window.result.start
        span = BACK_MS.get(self._baseline.against, length) * self._baseline.looks_at
        free = [self._ends.pop(old) for old in list(takewhile(lambda each: each <= end - span, self._ends))]
        if not free and len(self._ends) == len(self._history):
            more = max(8, len(self._history))
            self._history = np.concatenate([self._history, np.full((more, len(self._known)), np.nan)])
        row = free[0] if free else min(set(range(len(self._history))) - set(self._ends.values()))
        self._history[row] = np.nan
        self._history[row, places] = values
        self._ends[end] = row

    def _fit(self, length: int) -> None:
        """Forget what windows of another length showed, before a restart: a count of 5 minutes is no baseline for one of 1."""
        if length != self._length:
            self._length, self._known, self._ends, self._history = length, KnownKeys(), {}, np.zeros((0, 0))

    def _learn(self, keys: list[str]) -> None:
        before = self._known.learn(keys)
        if before is not None:
            self._history = spread_out(self._history, before, np.nan)

    def _forget(self, end: int) -> None:
        """Forget keys of which no value is left; once a day, because it looks at the whole history."""
        if self._ends and end // BACK_MS["day"] > next(reversed(self._ends)) // BACK_MS["day"]:
            kept = ~np.asarray(np.isnan(self._history[sorted(self._ends.values())]).all(axis=0), np.bool_)
            self._known.keep(kept)
            self._history = self._history[:, kept]

    def to_state(self) -> dict[str, Any]:
        """Give the history, earliest window first, and what was measured."""
        ends = sorted(self._ends)
        history = self._history[[self._ends[end] for end in ends]]
        of = {"metric": self._rule.metric.identity, "length": self._length}
        return {"keys": self._known.keys, "ends": ends, "history": history, **of}

    def load(self, state: Mapping[str, Any]) -> None:
        """Undo `to_state`; values of a metric that measured something else are no baseline of this one."""
        if state["metric"] != self._rule.metric.identity:
            return
        self._length = state["length"]
        self._known.keys = list(state["keys"])
        self._ends = {end: row for row, end in enumerate(state["ends"])}
        self._history = np.array(state["history"], np.float64).reshape(len(self._ends), len(self._known))


def _middle(earlier: NDArray[np.float64], needs: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Give median and robust spread of each column of (n, k), and which have values enough."""
    enough = np.count_nonzero(~np.isnan(earlier), axis=0) >= needs
    middle, spread = np.full(earlier.shape[1], np.nan), np.full(earlier.shape[1], np.nan)
    if enough.any():
        chosen = earlier[:, enough]
        middle[enough] = _median(chosen)
        spread[enough] = _MAD * _median(np.abs(chosen - middle[enough]))
    return middle, spread, enough


def _median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give numpy's nanmedian of each column of (n, k), which has values; for few rows it is ten times faster."""
    ordered = np.sort(values, axis=0)  # absent ones go last
    count = np.count_nonzero(~np.isnan(ordered), axis=0)
    columns = np.arange(values.shape[1])
    low, high = ordered[(count - 1) // 2, columns], ordered[count // 2, columns]
    return np.asarray(np.where(count % 2, low, (low + high) / 2), np.float64)


def _ratio(values: NDArray[np.float64], middle: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(middle == 0, np.where(values == 0, 1.0, _MOST * np.sign(values)), values / middle)
    return np.clip(ratio, -_MOST, _MOST)


def _deviation(values: NDArray[np.float64], middle: NDArray[np.float64], spread: NDArray[np.float64]) -> NDArray[np.float64]:
    least = np.maximum(spread, _LEAST_SPREAD * np.abs(middle))
    away = values - middle
    with np.errstate(divide="ignore", invalid="ignore"):
        deviation = np.where(away == 0, 0.0, away / least)
    return np.clip(deviation, -_MOST, _MOST)
