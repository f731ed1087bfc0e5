"""Scored: what was said against what is known to have gone wrong: each incident with who was told, when, or why nobody was."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from flows.incidents import Incident
from flows.missed import Reason
from flows.output import canonical, rfc3339
from flows.paging import Pages
from flows.score import Episode, Found, Score, score
from sinks.notification import Notification


@dataclass(slots=True)
class Heard:
    """The episodes that people heard of, in the order they began, and the pages; notifications come in their order."""

    pages: Pages
    told: list[Episode] = field(default_factory=list)
    rung: list[Episode] = field(default_factory=list)
    _open: dict[str, int] = field(default_factory=dict)  # episode -> its place in `told`

    def add(self, said: Notification) -> None:
        """Take the next notification."""
        key, place = canonical(said.key).decode(), self._open.get(said.episode)
        if self.pages.is_page(said):
            self.rung.append(Episode(said.rule, key, said.severity, said.at, None))
        if said.status == "resolved":
            if place is not None:
                self.told[place] = replace(self.told[self._open.pop(said.episode)], end=said.at)
        elif place is None:
            self._open[said.episode] = len(self.told)
            self.told.append(Episode(said.rule, key, said.severity, said.at, None))
        elif said.severity == "critical":
            self.told[place] = replace(self.told[place], severity="critical")


@dataclass(frozen=True, slots=True)
class Scores:
    """Incidents against episodes that anybody was told of, and against pages; `outside` are labels that nothing was read of."""

    told: Score
    rung: Score
    outside: tuple[Incident, ...]
    grace_ms: int
    reasons: Mapping[Incident, Sequence[Reason]] = field(default_factory=dict)
    unrung: Mapping[Incident, Sequence[Reason]] = field(default_factory=dict)

    def with_reasons(
        self, reasons: Mapping[Incident, Sequence[Reason]], unrung: Mapping[Incident, Sequence[Reason]]
    ) -> "Scores":
        """Give it with why nobody was told of some incidents, and nobody paged for others."""
        return replace(self, reasons=reasons, unrung=unrung)

    def told_alone(self) -> list[Incident]:
        """Give the incidents that somebody was told of and nobody was paged for."""
        pairs = zip(self.told.found, self.rung.found, strict=True)
        return [told.incident for told, rung in pairs if told.episodes and not rung.episodes]

    def as_dict(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        return {
            "incidents": len(self.told.found),
            "outside": [each.name for each in self.outside],
            "grace_ms": self.grace_ms,
            "told": self.told.as_dict(),
            "paged": self.rung.as_dict(),
            "episodes": [self._row(told, rung) for told, rung in zip(self.told.found, self.rung.found, strict=True)],
            "false_alarms": self.false_alarms(),
        }

    def false_alarms(self) -> dict[str, int]:
        """Count the episodes of each rule that are about no labelled incident."""
        right = {(each.rule, each.key, each.start) for found in self.told.found for each in found.episodes}
        out: dict[str, int] = {}
        for each in self.told.episodes:
            if (each.rule, each.key, each.start) not in right:
                out[each.rule] = out.get(each.rule, 0) + 1
        return dict(sorted(out.items()))

    def _row(self, told: Found, rung: Found) -> dict[str, Any]:
        incident = told.incident
        by = [
            {"rule": each.rule, "key": each.key, "severity": each.severity, "at": rfc3339(each.start)} for each in told.episodes
        ]
        return {
            "name": incident.name,
            "start": rfc3339(incident.start),
            "end": rfc3339(incident.end),
            "rule": incident.rule,
            "key": incident.key,
            "told_after_ms": told.delay_ms,
            "paged_after_ms": rung.delay_ms,
            "found_by": by,
            "why_not": [each.as_dict() for each in self.reasons.get(incident, ())],
            "why_not_paged": [each.as_dict() for each in self.unrung.get(incident, ())],
        }


def scores_of(incidents: Sequence[Incident], heard: Heard, *, outside: Sequence[Incident], grace_ms: int) -> Scores:
    """Match incidents with what was heard."""
    told, rung = (score(incidents, each, grace_ms=grace_ms) for each in (heard.told, heard.rung))
    return Scores(told, rung, tuple(outside), grace_ms)
