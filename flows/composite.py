"""Composite: how many of several rules fire at one barrier for the same key.

A rule on the total alone counts for every key, so "this host is slow and the whole platform's database is" can be said. A rule
fires for no key that it does not know. Of a rule whose dataset was given up at this barrier (`barrier_wait`) nothing is known:
where it would decide, the composite is held (`insufficient`), because missing data resolves nothing. A key that its rules
have forgotten (`forget_after`) is over for the composite at the same window's end.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.alert_state import FIRING, SEVERITIES
from flows.judged import Judged, Window
from flows.metric import TOTAL
from flows.rule import CRITICAL, INSUFFICIENT, OK, Rule
from flows.signal import Reading


class Composite:
    """The signal of a rule of kind `composite`; remembers keys alone, because its rules do the rest."""

    identity = ""

    def __init__(self, rule: Rule, *, hears_silence: bool = False) -> None:
        """Take the rule; its members are judged before it, and `hears_silence` says whether one of them hears silence."""
        self.hears_silence = hears_silence
        self._names = rule.options.members
        self._every = bool(rule.options.all_)
        self._seen: list[str] = []  # the keys that its rules knew last

    def read(self, window: Window) -> Reading:
        """Give how many members fire; the level is the mildest of all, or the worst of any."""
        judged = [window.judged.get(name) for name in self._names]
        grouped = sorted({key for each in judged if each is not None for key in each.keys if key != TOTAL})
        known = grouped or sorted({key for each in judged if each is not None for key in each.keys})
        unknown = np.array([each is None for each in judged])
        here, every = set(known), not unknown.any()
        keys = sorted(here.union(self._seen))
        gone = np.array([every and key not in here for key in keys], np.bool_)
        self._seen = known if every else keys
        severity = np.array([_severities(each, keys) for each in judged], np.int8).reshape(len(judged), len(keys))
        fires = np.count_nonzero(severity, axis=0)
        level = np.where(gone, OK, self._level(severity, unknown)).astype(np.int8)
        counts = np.full(len(keys), len(judged), np.int64)
        place = {key: number for number, key in enumerate(keys)}

        def facts(key: str) -> Mapping[str, Any]:
            column = severity[:, place[key]].tolist() if key in place else [0] * len(judged)
            states = {
                name: "not known" if each is None else SEVERITIES[code] or "not firing"
                for name, each, code in zip(self._names, judged, column, strict=True)
            }
            return {"composite": {"needs": "all" if self._every else "any", "rules": states}}

        return Reading(keys, fires.astype(np.float64), counts, level=level, facts=facts)

    def _level(self, severity: NDArray[np.int8], unknown: NDArray[np.bool_]) -> NDArray[np.int8]:
        """Give the mildest or the worst severity (k,) of (rules, k); INSUFFICIENT where an unknown rule would decide."""
        if not unknown.any():
            return np.asarray(severity.min(axis=0) if self._every else severity.max(axis=0), np.int8)
        known = severity[~unknown]
        if self._every:
            return np.where((known == OK).any(axis=0), OK, INSUFFICIENT).astype(np.int8)
        worst = known.max(axis=0, initial=OK)
        return np.where(worst > OK, worst, INSUFFICIENT).astype(np.int8)

    def to_state(self) -> dict[str, Any]:
        """Give the keys that its rules knew last."""
        return {"keys": self._seen}

    def load(self, state: Mapping[str, Any]) -> None:
        """Undo `to_state`."""
        self._seen = list(state["keys"])


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
