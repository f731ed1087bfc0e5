"""Inhibit: an alert that fires keeps others quiet which only follow from it.

Source and target are alerts of one window end, of one dataset or of several (`bonds`). A source counts while it is firing or
recovering, also when it is silenced itself. Both must have each label of `equal`, with the same value: what neither has
is nothing that they share. An alert that matches both sides is inhibited only by one that does not, so no two alerts, and
no alert by itself, can keep each other quiet.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from flows.labels import DECIDED, Fixed, Subject, fixed_labels
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


_Known = dict[str, _Values | None]  # by key

_UNKNOWN: _Values = ("unknown",)  # told from others by identity


@dataclass(frozen=True, slots=True, kw_only=True)
class InhibitOptions:
    """One `[[inhibit]]` table: which alerts keep which others quiet."""

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
    """Matchers that remember which alerts they match, and the values of some labels of these.

    Most rules have no label of their own that is looked at, so what is found for a key is shared by all of them.
    """

    def __init__(self, matchers: Matchers, values: Sequence[str] = ()) -> None:
        """Take what is matched, and the labels whose values are wanted."""
        self._matchers = matchers
        self._values = tuple(values)
        self._wanted = frozenset(values)
        self._decided, self._rest = matchers.parted(DECIDED)
        self._known: dict[tuple[str, int], _Known | None] = {}  # by rule and severity; None where none can match
        self._shared: dict[Fixed, _Known] = {}
        self._size = 0

    def choose(self, subject: Subject, labels_of: LabelsOf) -> _Values | None:
        """Give the values of an alert that matches and has all the labels, else None."""
        try:
            known = self._known[subject.rule, subject.severity]
        except KeyError:
            known = self._known[subject.rule, subject.severity] = self._begin(subject, labels_of)
        if known is None:
            return None
        found = known.get(subject.key, _UNKNOWN)
        return self._find(known, subject, labels_of) if found is _UNKNOWN else found

    def _find(self, known: _Known, subject: Subject, labels_of: LabelsOf) -> _Values | None:
        if self._size >= _MOST_KNOWN:
            self._size = 0
            for each in self._shared.values():
                each.clear()
        self._size += 1
        labels = labels_of(subject)
        chosen = self._matchers.matches(labels) and self._wanted <= labels.keys()
        found = known[subject.key] = tuple([labels[name] for name in self._values]) if chosen else None
        return found

    def _begin(self, subject: Subject, labels_of: LabelsOf) -> _Known | None:
        """Decide by rule and severity what they decide: most alerts are of others; the rest depends on fixed labels and key."""
        fixed = labels_of(subject._replace(key="{}"))
        if not subject.severity:  # a label of that name may then come from anywhere
            return self._shared.setdefault(fixed_labels(fixed, self._matchers.names() | self._wanted), {})
        if not self._decided.matches(fixed):
            return None
        return self._shared.setdefault(fixed_labels(fixed, self._rest.names() | self._wanted), {})


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
