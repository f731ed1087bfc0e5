"""Absence: how many evaluations in a row a key has been without a record; windows without any record count too.

A silent source is told from a silent key: while the whole dataset is silent only the total is judged, and its keys are held:
for them such windows do not count, so a key that comes back a little after its source is not silent for as long as that was.
Of a rule for groups the total is a key like the others while its dataset goes on: one that was never heard is not missed.
A consumer that lags is neither: its windows do not close, so nothing is judged before the records are read.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.judged import Window
from flows.known_keys import KnownKeys, spread_out
from flows.metric import TOTAL
from flows.rule import INSUFFICIENT, Rule
from flows.signal import BY_LIMITS, Reading

_NEVER = -(2**62)


class Absence:
    """The signal of a rule of kind `absence`; the total is judged in any rule, groups where its `keys` say so."""

    hears_silence = True
    identity = ""

    def __init__(self, rule: Rule) -> None:
        """Take the rule."""
        self._rule = rule
        self._known = KnownKeys()
        self._place: dict[str, int] = {}
        self._silent: NDArray[np.int64] = np.zeros(0, np.int64)
        self._heard: NDArray[np.int64] = np.zeros(0, np.int64)  # window end (ms) of the last record

    def read(self, window: Window) -> Reading:
        """Give for each known key how many evaluations it has been silent for."""
        end, silent_source = window.result.end, window.is_silent
        heard = self._listen(window)
        counts = np.zeros(len(self._known), np.int64)
        for key, count in heard.items():
            counts[self._place[key]] = count
        present = counts > 0
        total = np.array([key == TOTAL for key in self._known.keys], np.bool_)
        self._heard = np.where(present, end, self._heard)
        missed = (self._heard != _NEVER) | (self._rule.keys == "total")
        judged = total if silent_source else missed
        self._silent = np.where(present, 0, self._silent + judged)
        level = np.where(judged, BY_LIMITS, INSUFFICIENT).astype(np.int8)
        keys, silent, last, places = list(self._known.keys), self._silent, self._heard, self._place

        def facts(key: str) -> Mapping[str, Any]:
            place = places[key]
            heard_at = None if last[place] == _NEVER else int(last[place])
            return {
                "absence": {"silent": "source" if silent_source else "key", "windows": int(silent[place]), "until": heard_at}
            }

        # The total is never forgotten, however long its silence lasts.
        reading = Reading(keys, silent.astype(np.float64), counts, present=present | total, level=level, facts=facts)
        self._forget(end, total)
        return reading

    def _listen(self, window: Window) -> dict[str, int]:
        """Make new keys known; gives the keys that have records, with their number."""
        rows = window.metric(self._rule.options.metric, "total" if self._rule.keys == "total" else "all")
        found = zip(rows.keys, rows.counts.tolist(), strict=True) if rows is not None else ()
        heard = {key: count for key, count in found if count}
        before = self._known.learn(sorted({TOTAL, *heard, *self._known.keys}))
        if before is not None:
            self._silent = spread_out(self._silent, before, 0)
            self._heard = spread_out(self._heard, before, _NEVER)
        self._place = {key: place for place, key in enumerate(self._known.keys)}
        return heard

    def _forget(self, now: int, total: NDArray[np.bool_]) -> None:
        """Forget keys that had no record for too long, as the rule's alerts do."""
        kept = (now - self._heard <= self._rule.options.forget_after_ms) | total
        if not kept.all():
            self._known.keep(kept)
            self._silent, self._heard = self._silent[kept], self._heard[kept]

    def to_state(self) -> dict[str, Any]:
        """Give the keys and what is known of them."""
        return {"keys": self._known.keys, "silent": self._silent, "heard": self._heard}

    def load(self, state: Mapping[str, Any]) -> None:
        """Undo `to_state`."""
        self._known.keys = list(state["keys"])
        self._silent, self._heard = state["silent"], state["heard"]
