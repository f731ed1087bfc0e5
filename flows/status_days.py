"""Status days: what alerts were in which state becomes what each component was like, day by day; pure.

A component is down while a critical alert of its rules fires: in part while less than half of the keys that the rule hears are
concerned, and that counts by 30 %, as Statuspage counts it. Time without any window is no data, unless an alert fired
through it.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from flows.report_alerts import FIRING, Stay
from flows.report_source import Ints
from flows.status_options import StatusPageOptions
from sinks.component_status import DEGRADED, MAJOR, OPERATIONAL, PARTIAL, STATUSES, Want, worst

NO_DATA = "no_data"
WEIGHTS = {MAJOR: 1.0, PARTIAL: 0.3}
_JOINED_MS = 15 * 60_000  # outages closer than this are told as one


@dataclass(frozen=True, slots=True)
class Calendar:
    """Days between `edges` (n + 1,) in ms, and for how long (ms) there was data on each (n,)."""

    edges: Sequence[int]
    covered: Sequence[int]


@dataclass(frozen=True, slots=True)
class Spell:
    """A component in one status over [start, end) ms."""

    status: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Day:
    """A day of a component: its worst status, how long (ms) it was in each, and how long there was data."""

    start: int
    end: int
    status: str
    lasted: Mapping[str, int]
    seen: int

    @property
    def lost(self) -> float:
        """How long it was down (ms), a partial outage by its weight."""
        return sum(weight * self.lasted.get(status, 0) for status, weight in WEIGHTS.items())


@dataclass(frozen=True, slots=True)
class Component:
    """A component: how it is now, its days, and its outages, the last one first."""

    name: str
    status: str
    days: tuple[Day, ...]
    outages: tuple[Spell, ...]

    @property
    def uptime(self) -> float | None:
        """The share of the time with data that it was up; None where there is none."""
        return uptime(self.days)


def uptime(days: Sequence[Day]) -> float | None:
    """Give the share of the time with data that is not lost."""
    seen = sum(day.seen for day in days)
    return max(1 - sum(day.lost for day in days) / seen, 0.0) if seen else None


Heard = Callable[[str, int], int]  # how many keys a rule heard at a time (ms); 0 where that is not known


def component(name: str, stays: Sequence[Stay], options: StatusPageOptions, heard: Heard, calendar: Calendar) -> Component:
    """Give a component by the stays of its rules' alerts."""
    spells = _spells([each for each in stays if each.state in FIRING and _shows(each, options)], options, heard)
    spans = zip(calendar.edges[:-1], calendar.edges[1:], calendar.covered, strict=True)
    days = tuple(_day(spells, start, end, seen) for start, end, seen in spans)
    now = spells[-1].status if spells and spells[-1].end >= calendar.edges[-1] else OPERATIONAL
    return Component(name, now, days, tuple(_outages(spells))[::-1])


def coverage(starts: Ints, length_ms: int, edges: Sequence[int]) -> list[int]:
    """Give how long (ms) the windows that start at `starts` cover each day."""
    counts, _ = np.histogram(starts, np.array(edges, np.int64)) if len(starts) else (np.zeros(len(edges) - 1, np.int64), None)
    return [min(int(count) * length_ms, end - start) for count, start, end in zip(counts, edges[:-1], edges[1:], strict=True)]


def _shows(stay: Stay, options: StatusPageOptions) -> bool:
    return stay.severity == "critical" or stay.rule in options.warnings


def _spells(stays: Sequence[Stay], options: StatusPageOptions, heard: Heard) -> list[Spell]:
    """Give what the alerts called for over time, neighbours of one status joined."""
    changes = sorted(
        [(each.start, 1, number) for number, each in enumerate(stays)] + [(e.end, 0, n) for n, e in enumerate(stays)]
    )
    wants: dict[int, Want] = {}
    out: list[Spell] = []
    for (start, begins, number), (end, _, _) in itertools.pairwise(changes):
        if begins:
            found = stays[number]
            wants[number] = Want(_status(found, options), "" if found.key == "{}" else found.key, found.rule)
        else:
            del wants[number]
        if start == end:
            continue
        status = worst(wants.values(), {each.rule: heard(each.rule, start) for each in wants.values()})
        if status == OPERATIONAL:
            continue
        if out and out[-1].status == status and out[-1].end == start:
            out[-1] = Spell(status, out[-1].start, end)
        else:
            out.append(Spell(status, start, end))
    return out


def _status(stay: Stay, options: StatusPageOptions) -> str:
    return options.statuses.get(stay.rule, MAJOR) if stay.severity == "critical" else DEGRADED


def _day(spells: Sequence[Spell], start: int, end: int, covered: int) -> Day:
    lasted: dict[str, int] = {}
    for each in spells:
        shared = min(each.end, end) - max(each.start, start)
        if shared > 0:
            lasted[each.status] = lasted.get(each.status, 0) + shared
    seen = max(covered, sum(lasted.values()))
    status = max(lasted, key=STATUSES.index, default=OPERATIONAL if seen else NO_DATA)
    return Day(start, end, status, lasted, seen)


def _outages(spells: Sequence[Spell]) -> list[Spell]:
    """Give spells that are told as one: what lies close together, by its worst status."""
    out: list[Spell] = []
    for each in spells:
        if out and each.start - out[-1].end <= _JOINED_MS:
            out[-1] = Spell(max(out[-1].status, each.status, key=STATUSES.index), out[-1].start, each.end)
        else:
            out.append(each)
    return out
