"""Composite: how many of several rules fire at one barrier for the same key.

A rule on the total alone counts for every key, so "this host is slow and the whole platform's database is" can be said. Of a
rule that was not judged at this barrier, and of a key it does not know, nothing fires.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.alert_state import FIRING, SEVERITIES
from flows.judged import Judged, Window
from flows.metric import TOTAL
from flows.rule import CRITICAL, OK, Rule
from flows.signal import Reading


class Composite:
    """The signal of a rule of kind `composite`; remembers nothing, because its rules do."""

    hears_silence = False

    def __init__(self, rule: Rule) -> None:
        """Take the rule; its members are judged before it."""
        self.identity = f"{'all' if rule.options.all_ else 'any'} {' '.join(rule.options.members)}"
        self._names = rule.options.members
        self._every = bool(rule.options.all_)

    def read(self, window: Window) -> Reading:
        """Give how many members fire; the level is the mildest of all, or the worst of any."""
        judged = [window.judged.get(name) for name in self._names]
        grouped = sorted({key for each in judged if each is not None for key in each.keys if key != TOTAL})
        keys = grouped or sorted({key for each in judged if each is not None for key in each.keys})
        severity = np.array([_severities(each, keys) for each in judged], np.int8).reshape(len(judged), len(keys))
        fires = np.count_nonzero(severity, axis=0)
        level = severity.min(axis=0) if self._every else severity.max(axis=0)
        counts = np.full(len(keys), len(judged), np.int64)

        def facts(key: str) -> Mapping[str, Any]:
            column = severity[:, keys.index(key)].tolist() if key in keys else [0] * len(judged)
            states = {name: SEVERITIES[code] or "not firing" for name, code in zip(self._names, column, strict=True)}
            return {"composite": {"needs": "all" if self._every else "any", "rules": states}}

        return Reading(keys, fires.astype(np.float64), counts, level=level.astype(np.int8), facts=facts)

    def to_state(self) -> dict[str, Any]:
        """Give nothing."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take nothing."""


def _severities(judged: Judged | None, keys: list[str]) -> NDArray[np.int8]:
    """Give with which severity a rule fires for each key (OK: it does not)."""
    out = np.full(len(keys), OK, np.int8)
    if judged is None:
        return out
    columns = judged.after.columns
    firing = np.where(columns.state >= FIRING, np.minimum(columns.severity, CRITICAL), OK)
    place = {key: number for number, key in enumerate(judged.keys)}
    if judged.keys == [TOTAL]:
        out[:] = firing[0]
        return out
    for number, key in enumerate(keys):
        if key in place:
            out[number] = firing[place[key]]
    return out
