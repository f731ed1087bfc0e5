"""Sweep outcome: what each setting of all rules together comes to, which of them nothing beats, and which is recommended.

Nothing beats a setting where no other finds as many incidents with as few pages as soon, and is better in one of the three.
Settings are compared on the earlier part of the range alone; the newest part says what that choice is worth on days that it
was not made for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.incidents import Incident
from flows.score import Rate, Share, median, median_interval
from flows.sweep_plan import Plan
from flows.sweep_run import Judged, Range
from flows.sweep_tally import BY_PAGE, FIT, NEVER_FOUND, PARTS, Tally

_BLOCK = 4_000_000  # settings x incidents that are put together at a time
_NO_DELAY = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What a setting comes to in one part of the range; delays in ms."""

    recall: Share
    precision: Share
    pages: Rate
    delay: int | None
    delay_interval: tuple[int, int] | None
    missed: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        return {
            "recall": self.recall.as_dict(),
            "precision": self.precision.as_dict(),
            "pages": self.pages.count,
            "pages_a_week": self.pages.as_dict(),
            "time_to_detect_ms": {"median": self.delay, "interval": self.delay_interval},
            "missed": list(self.missed),
        }


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Columns (settings, parts): pages, incidents found, and the median time to detect (ms; the largest number: none)."""

    pages: NDArray[np.int64]
    found: NDArray[np.int64]
    delay: NDArray[np.int64]


class Outcome:
    """Puts the rules' own settings together."""

    def __init__(self, plan: Plan, judged: Judged, incidents: Sequence[Incident], span: Range, found_by: str) -> None:
        """Take what a pass gave."""
        self.plan = plan
        self.found_by = found_by
        self._numbers = {name: plan.numbers(name) for name in judged.swept}
        self._judged = judged
        self._incidents = incidents
        self._span = span
        self._starts = np.array([each.start for each in incidents], np.int64)
        self.part_of = (self._starts >= span.cut).astype(np.int64)

    def columns(self) -> Outcomes:
        """Work out what is compared, for every setting."""
        size = self.plan.size
        pages = self._sum("pages", np.arange(size))
        found = np.zeros((size, len(PARTS)), np.int64)
        delay = np.full((size, len(PARTS)), _NO_DELAY)
        block = max(_BLOCK // max(len(self._incidents), 1), 1)
        for first in range(0, size, block):
            rows = np.arange(first, min(first + block, size))
            when = self._first(rows)
            for part in PARTS:
                inside = self.part_of == part
                delays = np.sort(np.where(when[:, inside] == NEVER_FOUND, _NO_DELAY, when[:, inside] - self._starts[inside]))
                count = (delays < _NO_DELAY).sum(axis=1)
                found[rows, part] = count
                if delays.shape[1]:
                    delay[rows, part] = delays[np.arange(len(rows)), np.maximum(count - 1, 0) // 2]
        return Outcomes(pages, found, delay)

    def part(self, number: int, part: int) -> Part:
        """Give what one setting comes to in one part."""
        rows = np.array([number])
        inside = np.flatnonzero(self.part_of == part)
        when = self._first(rows)[0, inside]
        delays = sorted((when - self._starts[inside])[when < NEVER_FOUND].tolist())
        names = [self._incidents[place].name for place in inside.tolist()]
        span = self._span
        length = span.cut - span.start if part == FIT else span.end - span.cut
        alerts, right = (int(self._by(name, rows)[0, part]) for name in ("alerts", "right"))
        return Part(
            recall=Share(len(delays), len(inside)),
            precision=Share(right, alerts),
            pages=Rate(int(self._sum("pages", rows)[0, part]), length),
            delay=median(delays),
            delay_interval=median_interval(delays),
            missed=tuple(name for name, at in zip(names, when.tolist(), strict=True) if at == NEVER_FOUND),
        )

    def pages_of_others(self, part: int, length_ms: int) -> Rate:
        """Give the pages of the rules that are not swept."""
        return Rate(sum(int(each.pages[0, part]) for each in self._judged.others.values()), length_ms)

    def _tallies(self, rows: NDArray[np.int64]) -> list[tuple[Tally, NDArray[np.int64]]]:
        out = [(tally, self._numbers[name][rows]) for name, tally in self._judged.swept.items()]
        return out + [(tally, np.zeros(len(rows), np.int64)) for tally in self._judged.others.values()]

    def _sum(self, column: str, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        total: NDArray[np.int64] = np.zeros((len(rows), len(PARTS)), np.int64)
        for tally, numbers in self._tallies(rows):
            total += getattr(tally, column)[numbers]
        return total

    def _by(self, column: str, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        total: NDArray[np.int64] = np.zeros((len(rows), len(PARTS)), np.int64)
        for tally, numbers in self._tallies(rows):
            total += getattr(tally, column)[self.found_by][numbers]
        return total

    def _first(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give when each incident was found first: (rows, incidents)."""
        when = np.full((len(rows), len(self._incidents)), NEVER_FOUND)
        for tally, numbers in self._tallies(rows):
            np.minimum(when, tally.first[self.found_by][numbers], out=when)
        return when


@dataclass(frozen=True, slots=True)
class Point:
    """Settings that come to the same on the earlier part: how many, and the one in their middle."""

    pages: int
    found: int
    delay: int | None
    number: int
    alike: int
    on_front: bool


def points_of(plan: Plan, outcomes: Outcomes) -> list[Point]:
    """Give what settings come to, each once, those that nothing beats marked: most found first, then fewest pages."""
    sound = np.flatnonzero(plan.sound)
    table = np.stack([-outcomes.found[sound, FIT], outcomes.pages[sound, FIT], outcomes.delay[sound, FIT]], axis=1)
    distinct, which = np.unique(table, axis=0, return_inverse=True)
    which = which.reshape(-1)
    front = _front(distinct)
    out = []
    for place, (lost, pages, delay) in enumerate(distinct.tolist()):
        alike = sound[which == place]
        shown = None if delay == _NO_DELAY else delay
        out.append(Point(pages, -lost, shown, middle_of(plan, alike), len(alike), place in front))
    return out


def _front(costs: NDArray[np.int64]) -> set[int]:
    """Give the rows (sorted) that no other row is as good as in every column: lower is better."""
    kept: list[int] = []
    for place in range(len(costs)):
        before = costs[kept]
        if not kept or not (before <= costs[place]).all(axis=1).any():
            kept.append(place)
    return set(kept)


def middle_of(plan: Plan, numbers: NDArray[np.int64]) -> int:
    """Give the setting in the middle of those that come to the same: the one furthest from where that changes.

    It is the one nearest to their centre on the axes; of several the first.
    """
    places = plan.places(numbers)
    away = np.abs(places - places.mean(axis=0)).sum(axis=1)
    return int(numbers[int(np.argmin(np.round(away, 9)))])


def best(points: Sequence[Point], most_pages: float) -> Point | None:
    """Give the recommended point: as many incidents as `most_pages` (of the earlier part) allow, soonest, fewest pages."""
    allowed = [point for point in points if point.pages <= most_pages]
    longest = _NO_DELAY
    return min(allowed, key=lambda p: (-p.found, longest if p.delay is None else p.delay, p.pages), default=None)


def can_page(judged: Judged) -> bool:
    """Tell whether any setting of a swept rule rings anybody."""
    return any(bool(tally.alerts[BY_PAGE].any()) for tally in judged.swept.values())


def values_of(plan: Plan, number: int) -> Mapping[str, str]:
    """Give the values of a setting as people write them."""
    return {axis.name: axis.shown(value) for axis, value in zip(plan.axes, plan.values(number), strict=True)}
