"""Inhibit: an alert that fires keeps others quiet which only follow from it.

Source and target are alerts of one window end, of one dataset or of several (`bonds`). A source counts while it is firing or
recovering, also when it is silenced itself. Both must have each label of `equal`, with the same value: what neither has
is nothing that they share. An alert that matches both sides is inhibited only by one that does not, so no two alerts, and
no alert by itself, can keep each other quiet.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from flows.labels import SEVERITY_NAMES, Subject
from flows.matcher import Match, Matchers, match_problems, parse_match

_MOST_KNOWN = 200_000

Alert = tuple[Subject, bool]  # and whether it is firing or recovering
LabelsOf = Callable[[Subject], dict[str, str]]
_Values = tuple[str, ...]
Sides = tuple[_Values | None, _Values | None]  # the values of `equal` where an alert matches as source, and as target


class Sources(NamedTuple):
    """Values of alerts that inhibit: all others, or (they may be inhibited themselves) those that inhibit nobody."""

    all: set[_Values]
    doubles: set[_Values]

    def quiet(self, sides: Sides) -> bool:
        """Tell whether an alert of these sides is inhibited."""
        source, target = sides
        return target is not None and (target in self.all or (source is None and target in self.doubles))


_UNKNOWN: _Values = ("unknown",)  # told from others by identity


@dataclass(frozen=True, slots=True, kw_only=True)
class InhibitOptions:
    """One `[[inhibit]]` table."""

    source: Match = field(metadata={"help": "labels of the alerts that keep others quiet"})
    target: Match = field(metadata={"help": "labels of the alerts that are kept quiet"})
    equal: tuple[str, ...] = field(default=(), metadata={"help": "labels that both must have, with the same value"})

    def problems(self) -> Iterable[tuple[str, str]]:
        """Yield (key, problem) for what the types cannot say."""
        for key in ("source", "target"):
            match = getattr(self, key)
            yield from ((key, problem) for problem in match_problems(match))
            if not match:
                yield key, "is empty, so it means every alert; name the alerts that are meant"


class Chooser:
    """Matchers that remember which alerts they match, and the values of some labels of these."""

    def __init__(self, matchers: Matchers, values: Sequence[str] = ()) -> None:
        """Take what is matched, and the labels whose values are wanted."""
        self._matchers = matchers
        self._values = tuple(values)
        self._wanted = frozenset(values)
        self._known: dict[Subject, _Values | None] = {}
        self._decided = Matchers(tuple(each for each in matchers.all if each.name in ("rule", "severity")))
        self._possible: dict[tuple[str, int], bool] = {}

    def choose(self, subject: Subject, labels_of: LabelsOf) -> _Values | None:
        """Give the values of an alert that matches and has all the labels, else None."""
        decided = subject.rule, subject.severity
        possible = self._possible.get(decided)
        if possible is None:
            possible = self._possible[decided] = self._may_match(*decided)
        if not possible:
            return None
        found = self._known.get(subject, _UNKNOWN)
        if found is not _UNKNOWN:
            return found
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        labels = labels_of(subject)
        chosen = self._matchers.matches(labels) and self._wanted <= labels.keys()
        found = self._known[subject] = tuple([labels[name] for name in self._values]) if chosen else None
        return found

    def _may_match(self, rule: str, severity: int) -> bool:
        """Tell by what decides before any label is made: most alerts are of another rule or severity."""
        return not severity or self._decided.matches({"rule": rule, "severity": SEVERITY_NAMES[severity]})


class Inhibit:
    """One inhibition made ready."""

    def __init__(self, options: InhibitOptions) -> None:
        """Take valid options."""
        self._source = Chooser(parse_match(options.source), options.equal)
        self._target = Chooser(parse_match(options.target), options.equal)

    def sides(self, subject: Subject, labels_of: LabelsOf) -> Sides:
        """Give what an alert has to say as a source and as a target."""
        return self._source.choose(subject, labels_of), self._target.choose(subject, labels_of)

    def inhibited(self, alerts: Sequence[Alert], sides: Sequence[Sides]) -> list[bool]:
        """Tell of each alert of a barrier whether another one inhibits it, from the `sides` of all."""
        sources = sources_of(alerts, sides)
        return [sources.quiet(each) for each in sides]


def sources_of(alerts: Sequence[Alert], sides: Sequence[Sides]) -> Sources:
    """Give by what the alerts of a barrier that fire inhibit others."""
    out = Sources(set(), set())
    for (_, fires), (source, target) in zip(alerts, sides, strict=True):
        if fires and source is not None:
            (out.all if target is None else out.doubles).add(source)
    return out
