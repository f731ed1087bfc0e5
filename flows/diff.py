"""Diff: what two configurations would have said of the same windows, side by side: what is new, gone, sooner, later, or other.

Episodes of one rule and key are the same alert where they overlap in time. What counts first is whether a person is rung.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from flows.config_diff import Changes
from flows.incidents import Incident
from flows.output import canonical, rfc3339
from flows.paging import Pages, pages
from flows.score import Episode, Rate, score
from sinks.notification import Notification

NEW, GONE, PAGES_NOW, PAGES_NO_MORE, EARLIER, LATER, SEVERITY = KINDS = (
    "new",
    "gone",
    "pages now",
    "pages no more",
    "earlier",
    "later",
    "severity",
)
_FOREVER = 2**62


@dataclass(frozen=True, slots=True)
class Alert:
    """One episode as people heard it: times in ms; `rung` is when a pager was, None where none was."""

    rule: str
    key: str
    severity: str
    start: int
    end: int | None
    rung: int | None

    def as_dict(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        return {
            "severity": self.severity,
            "start": rfc3339(self.start),
            "end": None if self.end is None else rfc3339(self.end),
            "paged_at": None if self.rung is None else rfc3339(self.rung),
        }


@dataclass(slots=True)
class Side:
    """What one configuration said; notifications come in their order."""

    counted: Pages
    alerts: list[Alert] = field(default_factory=list)
    _open: dict[str, int] = field(default_factory=dict)

    def add(self, said: Notification) -> None:
        """Take the next notification."""
        rung = said.at if self.counted.is_page(said) else None
        place = self._open.get(said.episode)
        if place is None:
            if said.status == "resolved":
                return
            self._open[said.episode] = len(self.alerts)
            self.alerts.append(Alert(said.rule, canonical(said.key).decode(), said.severity, said.at, None, rung))
            return
        known = self.alerts[place]
        if said.status == "resolved":
            self.alerts[self._open.pop(said.episode)] = replace(known, end=said.at)
            return
        severity = "critical" if said.severity == "critical" else known.severity
        self.alerts[place] = replace(known, severity=severity, rung=rung if known.rung is None else known.rung)

    def told(self) -> list[Episode]:
        """Give the episodes that anybody heard of."""
        return [Episode(each.rule, each.key, each.severity, each.start, each.end) for each in self.alerts]

    def pages(self) -> list[Episode]:
        """Give the pages."""
        return [
            Episode(each.rule, each.key, each.severity, each.rung, each.end) for each in self.alerts if each.rung is not None
        ]


@dataclass(frozen=True, slots=True)
class Difference:
    """One alert that is not the same; `why` are the changes that may have done it."""

    kind: str
    old: Alert | None
    new: Alert | None
    why: tuple[str, ...]

    @property
    def alert(self) -> Alert:
        """Give the alert that is there, the new one if there are both."""
        found = self.new or self.old
        assert found is not None  # noqa: S101 (one of them is always there)
        return found

    @property
    def rings(self) -> bool:
        """Tell whether it is about a page."""
        return any(each is not None and each.rung is not None for each in (self.old, self.new))

    def as_dict(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        return {
            "kind": self.kind,
            "rule": self.alert.rule,
            "key": self.alert.key,
            "old": self.old and self.old.as_dict(),
            "new": self.new and self.new.as_dict(),
            "why": list(self.why),
        }


@dataclass(frozen=True, slots=True)
class Lost:
    """A labelled incident that the old configuration paged for (or told of) and the new one does not."""

    incident: Incident
    by: str  # `paged` or `told`


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """Everything that differs; `rates` are pages a week, old and new."""

    changes: Changes
    differences: tuple[Difference, ...]
    rates: tuple[Rate, Rate]
    told: tuple[int, int]
    found: tuple[Mapping[str, int], Mapping[str, int]]
    incidents: int | None
    lost: tuple[Lost, ...]
    start: int
    end: int

    def as_dict(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        sides = zip(("old", "new"), self.rates, self.told, self.found, strict=True)
        return {
            "from": rfc3339(self.start),
            "to": rfc3339(self.end),
            **{
                name: {"pages": rate.count, "pages_a_week": rate.as_dict(), "alerts": told, "incidents_found": dict(found)}
                for name, rate, told, found in sides
            },
            "incidents": self.incidents,
            "lost": [{"incident": each.incident.name, "by": each.by} for each in self.lost],
            "changes": self.changes.as_dict(),
            "differences": [each.as_dict() for each in self.differences],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """What was judged: [start, end) ms, with what is known to have happened in it (None: nothing is)."""

    start: int
    end: int
    incidents: Sequence[Incident] | None
    grace_ms: int


def compare(old: Side, new: Side, changes: Changes, span: Span, metric_of: Mapping[str, str]) -> Diff:
    """Put two sides beside each other; `metric_of` is the metric of each rule."""
    found = [_reasoned(each, changes, metric_of) for each in _differences(old.alerts, new.alerts)]
    found.sort(key=lambda each: (not each.rings, each.alert.start, each.alert.rule, each.alert.key))
    length = span.end - span.start
    incidents = span.incidents or ()
    sides = [
        {
            name: score(incidents, episodes, grace_ms=span.grace_ms)
            for name, episodes in (("paged", s.pages()), ("told", s.told()))
        }
        for s in (old, new)
    ]
    lost = []
    for number, incident in enumerate(incidents):
        for by in ("paged", "told"):
            before, after = (bool(side[by].found[number].episodes) for side in sides)
            if before and not after:
                lost.append(Lost(incident, by))
                break
    rates = [Rate(pages(each.start for each in side.pages()), length) for side in (old, new)]
    counts = [{name: each.recall.k for name, each in side.items()} for side in sides]
    return Diff(
        changes=changes,
        differences=tuple(found),
        rates=(rates[0], rates[1]),
        told=(len(old.alerts), len(new.alerts)),
        found=(counts[0], counts[1]),
        incidents=None if span.incidents is None else len(incidents),
        lost=tuple(lost),
        start=span.start,
        end=span.end,
    )


def _reasoned(found: Difference, changes: Changes, metric_of: Mapping[str, str]) -> Difference:
    rule = found.alert.rule
    return replace(found, why=tuple(changes.why(rule, metric_of.get(rule))))


def _differences(old: Iterable[Alert], new: Iterable[Alert]) -> Iterator[Difference]:
    before, after = _by_alert(old), _by_alert(new)
    for place in sorted(before.keys() | after.keys()):
        yield from _matched(before.get(place, []), after.get(place, []))


def _by_alert(alerts: Iterable[Alert]) -> dict[tuple[str, str], list[Alert]]:
    out: dict[tuple[str, str], list[Alert]] = {}
    for each in sorted(alerts, key=lambda each: each.start):
        out.setdefault((each.rule, each.key), []).append(each)
    return out


def _matched(old: list[Alert], new: list[Alert]) -> Iterator[Difference]:
    """Walk two lists in order of time; what overlaps is one alert."""
    left, right = list(old), list(new)
    while left or right:
        if not right or (left and _end(left[0]) <= right[0].start):
            yield Difference(GONE, left.pop(0), None, ())
        elif not left or _end(right[0]) <= left[0].start:
            yield Difference(NEW, None, right.pop(0), ())
        else:
            yield from _changed(left.pop(0), right.pop(0))


def _changed(old: Alert, new: Alert) -> Iterator[Difference]:
    """Give the one thing that matters most of how an alert differs: the page, then the severity, then the time."""
    if (old.rung is None) != (new.rung is None):
        yield Difference(PAGES_NOW if old.rung is None else PAGES_NO_MORE, old, new, ())
    elif old.severity != new.severity:
        yield Difference(SEVERITY, old, new, ())
    else:
        before, after = (each.start if each.rung is None else each.rung for each in (old, new))
        if before != after:
            yield Difference(EARLIER if after < before else LATER, old, new, ())


def _end(alert: Alert) -> int:
    return _FOREVER if alert.end is None else alert.end
