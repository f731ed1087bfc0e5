"""Withhold: what becomes of what a rule has to say while something keeps its alerts quiet, and when that is over.

Who heard that an alert fires hears that it is over, silenced or not. What nobody heard of is not resolved. What was
withheld is made good at the first barrier at which nothing keeps the alert quiet and it still fires (while it recovers, that
waits): as first, where nobody had heard of the episode; else as escalated, de-escalated or repeat, measured by what they had
heard.

A flapping alert is said to be so once, and held: what it was said to be stays, until it settles. Then it is resolved, if it
does not fire.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flows.alert_state import FIRING, NOTICES, RECOVERING, Step
from flows.evaluation import FLAPPING, SILENCED
from flows.judged import Judged
from flows.rule import WARNING

REASONS = (*NOTICES, "flapping", "unacknowledged")
_REASON = {name: number for number, name in enumerate(REASONS)}
UNACKNOWLEDGED = _REASON["unacknowledged"]
_RESOLVED, _FORGOTTEN, _FLAPS = (_REASON[name] for name in ("resolved", "forgotten", "flapping"))
_ENDED = frozenset({_RESOLVED, _FORGOTTEN})
_BEGINS = frozenset({_REASON["first"], _REASON["reopened"]})


class _Alert(NamedTuple):
    """One alert at a barrier: its notice, what keeps it quiet, and severities said before and now (codes)."""

    key: str
    notice: int
    why: int
    said: int
    severity: int
    fires: bool
    recovers: bool
    flapping: bool


class Hearing:
    """Of one rule's open alerts: who has heard of each, and what was withheld, by key."""

    def __init__(self) -> None:
        """Start with nothing said."""
        self.told: dict[str, list[str]] = {}
        self._withheld: dict[str, tuple[int, int]] = {}  # the severity last heard (0: none), and what withheld it
        self._flapping: set[str] = set()  # said to be
        self._silenced: set[str] = set()  # told of, and silenced since

    @property
    def owes(self) -> bool:
        """Tell whether something was withheld that may be said yet."""
        return bool(self._withheld)

    def settle(
        self, judged: Judged, quiet: NDArray[np.int8] | None, now: int, *, flaps: bool
    ) -> tuple[Step, NDArray[np.int8] | None]:
        """Give the step with what is said after all, and by what each alert (k,) is kept quiet, if any is.

        Where something is said that the step did not know of, the columns count it. `flaps` says that alerts may flap.
        """
        after, known = judged.after, judged.before.flapping | judged.after.columns.flapping
        flaps = flaps or bool(known.any())
        if quiet is None and not self._withheld and not flaps:
            return after, None
        quiet = np.zeros(len(judged.keys), np.int8) if quiet is None else quiet
        fires = after.columns.state >= FIRING
        notice, severity = after.notice.copy(), after.severity.copy()
        suppressed = np.where(fires, quiet, 0).astype(np.int8)
        touched = set(np.flatnonzero((notice > 0) & ((quiet > 0) | flaps) | known).tolist())
        touched |= _places(judged.keys, [*self._withheld, *(self.told if flaps else ())])
        extra = []
        for place in sorted(touched):
            alert = _Alert(
                judged.keys[place],
                int(notice[place]),
                int(quiet[place]),
                int(judged.before.said[place]),
                int(severity[place]),
                bool(fires[place]),
                bool(after.columns.state[place] == RECOVERING),
                bool(after.columns.flapping[place]),
            )
            said, suppressed[place] = self._decide(alert)
            if said and not alert.notice:
                extra.append(place)
                severity[place] = alert.severity or alert.said or WARNING
            notice[place] = said
        _count(after, np.array(extra, np.int64), now)
        return replace(after, notice=notice, severity=severity), suppressed

    def silenced(self, keys: Sequence[str], quiet: NDArray[np.int8] | None) -> list[str]:
        """Give the keys of the alerts that somebody heard of and that a silence keeps quiet since this barrier.

        `quiet` (k,) over the sorted `keys` is what keeps each alert quiet.
        """
        places = _places(keys, self.told) if quiet is not None else ()
        now = {keys[place] for place in places if quiet is not None and quiet[place] == SILENCED}
        new, self._silenced = sorted(now - self._silenced), now
        return new

    def forget(self, gone: Judged) -> Step:
        """Give the step of keys that are forgotten: who heard of an alert that is not over hears of its end, nobody else."""
        after = gone.after
        notice, severity = after.notice.copy(), after.severity.copy()
        for place, key in enumerate(gone.keys):
            self._flapping.discard(key)
            if self._withheld.pop(key, None) is not None and key not in self.told:
                notice[place] = 0
            elif key in self.told and not notice[place]:
                notice[place], severity[place] = _FORGOTTEN, severity[place] or gone.before.said[place] or WARNING
                after.columns.count[place] += 1
        return replace(after, notice=notice, severity=severity)

    def keep(self, keys: frozenset[str]) -> None:
        """Know of no other keys."""
        self.told = {key: told for key, told in self.told.items() if key in keys}
        self._withheld = {key: entry for key, entry in self._withheld.items() if key in keys}
        self._flapping &= keys
        self._silenced &= keys

    def _decide(self, alert: _Alert) -> tuple[int, int]:
        """Give what is said of an alert (a reason), and what it is kept quiet by."""
        if alert.flapping:
            return self._hold(alert)
        self._flapping.discard(alert.key)
        if not alert.fires:
            return self._end(alert)
        if alert.why:
            return self._withhold(alert, alert.why)
        if alert.recovers and not alert.notice:
            return 0, 0  # what was withheld may be over in a moment
        return self._speak(alert), 0

    def _speak(self, alert: _Alert) -> int:
        """Give as what an alert is said that nothing keeps quiet; 0 where there is nothing to say."""
        entry = self._withheld.pop(alert.key, None)
        if entry is not None:
            return _made_good(entry[0], alert.severity)
        # One that was held goes on for those who heard of it: they heard of no end.
        held = alert.key in self.told and alert.notice in _BEGINS
        return _made_good(alert.said, alert.severity) if held else alert.notice

    def _end(self, alert: _Alert) -> tuple[int, int]:
        """Say that it is over to those who heard that it fires, also where the step has said so before."""
        entry = self._withheld.pop(alert.key, None)
        if alert.key in self.told:
            return alert.notice or _RESOLVED, 0
        return 0, (alert.why or (entry[1] if entry else 0)) if alert.notice else 0

    def _hold(self, alert: _Alert) -> tuple[int, int]:
        """Say once that an alert is flapping; after that it is as it was said."""
        if alert.key in self._flapping or alert.why:
            return self._withhold(alert, alert.why or FLAPPING)
        self._flapping.add(alert.key)
        self._withheld.pop(alert.key, None)
        return _FLAPS, 0

    def _withhold(self, alert: _Alert, why: int) -> tuple[int, int]:
        if alert.notice and alert.notice not in _ENDED:
            self._withheld.setdefault(alert.key, (alert.said if alert.key in self.told else 0, why))
        return 0, why if alert.fires or alert.notice or alert.flapping else 0

    def to_state(self) -> dict[str, Any]:
        """Give plain values; `load` undoes it."""
        withheld = {key: list(entry) for key, entry in self._withheld.items()}
        state = {"told": self.told, "withheld": withheld, "flapping": sorted(self._flapping)}
        return state | ({"silenced": sorted(self._silenced)} if self._silenced else {})

    def load(self, state: dict[str, Any]) -> None:
        """Take what a snapshot has."""
        self.told = state["told"]
        self._withheld = {key: (said, why) for key, (said, why) in state.get("withheld", {}).items()}
        self._flapping = set(state.get("flapping", ()))
        self._silenced = set(state.get("silenced", ()))


def _places(keys: Sequence[str], sought: Iterable[str]) -> set[int]:
    """Give the places of keys among sorted ones."""
    found = {key: bisect_left(keys, key) for key in sought}
    return {place for key, place in found.items() if place < len(keys) and keys[place] == key}


def _made_good(heard: int, severity: int) -> int:
    """Give as what an alert is said whose last word was withheld; `heard` is the severity last heard."""
    if not heard:
        return _REASON["first"]
    return _REASON["escalated" if severity > heard else "de-escalated" if severity < heard else "repeat"]


def _count(after: Step, places: NDArray[np.int64], now: int) -> None:
    """Count one notification more, and have the next repeat wait from now."""
    columns = after.columns
    columns.count[places] += 1
    columns.said_at[places] = now
    columns.repeats[places] = 0
