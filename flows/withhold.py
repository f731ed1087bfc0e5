"""Withhold: what becomes of what a rule has to say while something keeps its alerts quiet, and when that is over.

Who heard that an alert fires hears that it is over, silenced or not. What nobody heard of is not resolved. What was
withheld is made good at the first barrier at which nothing keeps the alert quiet and it still fires: as first, where nobody
had heard of the episode; else as escalated, de-escalated or repeat, measured by what they had heard.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flows.alert_state import FIRING, NOTICES, AlertColumns, Step

_NOTICE = {name: number for number, name in enumerate(NOTICES)}
_ENDED = frozenset({_NOTICE["resolved"], _NOTICE["forgotten"]})


class _Alert(NamedTuple):
    """One alert at a barrier: its notice, what keeps it quiet, and severities before and now (codes)."""

    key: str
    notice: int
    why: int
    said: int
    severity: int
    fires: bool


class Hearing:
    """Of one rule's open alerts: who has heard of each, and what was withheld, by key."""

    def __init__(self) -> None:
        """Start with nothing said."""
        self.told: dict[str, list[str]] = {}
        self._withheld: dict[str, tuple[int, int]] = {}  # the severity last heard (0: none), and what withheld it

    def settle(
        self, keys: Sequence[str], before: AlertColumns, after: Step, quiet: NDArray[np.int8] | None, now: int
    ) -> tuple[Step, NDArray[np.int8] | None]:
        """Give the step with what is said after all, and by what each alert (k,) is kept quiet, if any is.

        Where something is said that the step did not know of, the columns count it.
        """
        if quiet is None and not self._withheld:
            return after, None
        quiet = np.zeros(len(keys), np.int8) if quiet is None else quiet
        fires = after.columns.state >= FIRING
        notice, suppressed = after.notice.copy(), np.where(fires, quiet, 0).astype(np.int8)
        touched = set(np.flatnonzero((notice > 0) & (quiet > 0)).tolist()) | {bisect_left(keys, key) for key in self._withheld}
        extra = []
        for place in sorted(touched):
            alert = _Alert(
                keys[place],
                int(notice[place]),
                int(quiet[place]),
                int(before.said[place]),
                int(after.severity[place]),
                bool(fires[place]),
            )
            said, why = self._decide(alert)
            if said and not alert.notice:
                extra.append(place)
            notice[place], suppressed[place] = said, why
        if extra:
            _count(after, np.array(extra), now)
        return replace(after, notice=notice), suppressed

    def forget(self, keys: Sequence[str], after: Step) -> Step:
        """Give the step of keys that are forgotten: only who heard of an alert hears of its end."""
        if not self._withheld:
            return after
        unheard = [self._withheld.pop(key, None) is not None and key not in self.told for key in keys]
        return replace(after, notice=np.where(unheard, 0, after.notice).astype(np.int8))

    def _decide(self, alert: _Alert) -> tuple[int, int]:
        """Give what is said of an alert (a notice), and what it is kept quiet by."""
        key, entry = alert.key, self._withheld.get(alert.key)
        if alert.notice in _ENDED:
            self._withheld.pop(key, None)
            return (alert.notice, 0) if key in self.told else (0, alert.why or (entry[1] if entry else 0))
        if not alert.fires:
            self._withheld.pop(key, None)  # over, without a word
            return 0, 0
        if alert.why:
            if alert.notice:
                self._withheld.setdefault(key, (alert.said if key in self.told else 0, alert.why))
            return 0, alert.why
        if entry is None:
            return alert.notice, 0
        del self._withheld[key]
        return _made_good(entry[0], alert.severity), 0

    def to_state(self) -> dict[str, Any]:
        """Give plain values; `load` undoes it."""
        return {"told": self.told, "withheld": {key: list(entry) for key, entry in self._withheld.items()}}

    def load(self, state: dict[str, Any]) -> None:
        """Take what a snapshot has."""
        self.told = state["told"]
        self._withheld = {key: (said, why) for key, (said, why) in state.get("withheld", {}).items()}


def _made_good(heard: int, severity: int) -> int:
    """Give as what an alert is said whose last word was withheld; `heard` is the severity last heard."""
    if not heard:
        return _NOTICE["first"]
    return _NOTICE["escalated" if severity > heard else "de-escalated" if severity < heard else "repeat"]


def _count(after: Step, places: NDArray[np.int64], now: int) -> None:
    """Count one notification more, and have the next repeat wait from now."""
    columns = after.columns
    columns.count[places] += 1
    columns.said_at[places] = now
    columns.repeats[places] = 0
