"""Policy: what keeps alerts quiet at a barrier: silences, mute times and inhibitions, in this order.

A run that is blind inhibits every alert of the dataset that it does not see well.

State is never touched: an alert fires and resolves behind a silence as it would without. Only what is said is withheld, and
each decision record says by what.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from flows.alert_state import FIRING, Step
from flows.evaluation import INHIBITED, MUTED, SILENCED
from flows.inhibit import Alert, Chooser, Inhibit, InhibitOptions, Sides, Sources, sources_of
from flows.labels import Labels, Subject
from flows.mute import Mute, MuteOptions
from flows.rule import CRITICAL, Rule
from flows.silence import NoSilences, Silences


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyOptions:
    """What of a configuration the policy needs.

    `runbooks` are the first steps of each rule's runbook, `modes` how each channel is told of many alerts (MODES of grouping),
    `pagers` the channels that are told when a person silences an alert.
    """

    runbooks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    modes: Mapping[str, str] = field(default_factory=dict)
    pagers: frozenset[str] = frozenset()
    inhibits: tuple[InhibitOptions, ...] = ()
    mutes: tuple[MuteOptions, ...] = ()
    dashboard: str = ""  # its address, for links
    trace_url: str = ""  # the address of a trace, with `{trace_id}` in it


NO_POLICY = PolicyOptions()
NO_SILENCES = NoSilences()

Standing = list[Sources]  # what each inhibition has to keep others quiet by
Quiet = NDArray[np.int8]  # (k,) over the keys of a rule: what keeps each quiet (SUPPRESSORS of evaluation), or 0


class Suppression:
    """Tells what is kept quiet; one call a barrier."""

    def __init__(self, policy: PolicyOptions, labels: Labels, rules: Sequence[Rule], silences: Silences) -> None:
        """Make everything ready."""
        self._labels = labels
        self._rules = {rule.options.name: rule for rule in rules}
        self._silences = silences
        self._choosers: dict[str, Chooser] = {}  # of the silences in force, by id
        self._mutes = [(mute, Chooser(mute.matchers)) for mute in map(Mute, policy.mutes)]
        self._inhibits = [Inhibit(options) for options in policy.inhibits]

    def at(self, dataset: str, end: int, books: Sequence[tuple[str, list[str], Step]]) -> list[Quiet] | None:
        """Give what keeps the alerts of each book (rule, keys, step) quiet at a window's end; None where nothing can."""
        silences = self._silences.at(dataset, end)
        blind = any(each.blind for each in silences)
        self._choosers = {s.id: self._choosers.get(s.id) or Chooser(s.matchers) for s in silences if not s.blind}
        mutes = [(mute, chooser) for mute, chooser in self._mutes if mute.holds(end)]
        if not (silences or mutes or self._inhibits):
            return None
        quiet = [np.zeros(len(keys), np.int8) for _, keys, _ in books]
        places, alerts = _active(books)
        codes = [0] * len(alerts)
        sides: list[list[Sides]] = [[] for _ in self._inhibits]
        for number, (subject, _) in enumerate(alerts):  # all that looks at an alert's labels in one go: they are made once
            for inhibit, chosen in zip(self._inhibits, sides, strict=True):
                chosen.append(inhibit.sides(subject, self._labels_of))
            codes[number] = self._hushed(subject, self._choosers.values(), mutes)
        for inhibit, chosen in zip(self._inhibits, sides, strict=True):
            for number, inhibited in enumerate(inhibit.inhibited(alerts, chosen)):
                codes[number] = codes[number] or (INHIBITED if inhibited else 0)
        if blind:
            codes = [code or INHIBITED for code in codes]
        for (book, place), code in zip(places, codes, strict=True):
            quiet[book][place] = code
        return quiet

    def standing(self, books: Sequence[tuple[str, list[str], Step]]) -> Standing:
        """Give by what the alerts of some books, as they are, inhibit others, for `holds_back`."""
        alerts = _active(books)[1] if self._inhibits else []
        sides = [[inhibit.sides(subject, self._labels_of) for subject, _ in alerts] for inhibit in self._inhibits]
        return [sources_of(alerts, each) for each in sides]

    def holds_back(self, dataset: str, end: int, subject: Subject, standing: Standing) -> bool:
        """Tell whether an alert would be kept quiet at a window's end, as far as is known before it closes."""
        silences = self._silences.known(dataset, end)
        choosers = [Chooser(each.matchers) for each in silences]
        if any(each.blind for each in silences) or self._hushed(subject, choosers, [m for m in self._mutes if m[0].holds(end)]):
            return True
        pairs = zip(self._inhibits, standing, strict=True)
        return any(sources.quiet(inhibit.sides(subject, self._labels_of)) for inhibit, sources in pairs)

    def _hushed(self, subject: Subject, silences: Iterable[Chooser], mutes: Iterable[tuple[Mute, Chooser]]) -> int:
        """Give by which of a silence and a mute time an alert is kept quiet, or 0."""
        for chooser in silences:
            if chooser.choose(subject, self._labels_of) is not None:
                return SILENCED
        for mute, chooser in mutes:
            exempt = mute.except_critical and subject.severity == CRITICAL
            if not exempt and chooser.choose(subject, self._labels_of) is not None:
                return MUTED
        return 0

    def _labels_of(self, subject: Subject) -> dict[str, str]:
        return self._labels.of_subject(self._rules[subject.rule], subject)


def _active(books: Sequence[tuple[str, list[str], Step]]) -> tuple[list[tuple[int, int]], list[Alert]]:
    """Give the alerts that fire, flap, or of which something is said, with their place: number of the book, place in it."""
    places: list[tuple[int, int]] = []
    alerts: list[Alert] = []
    for number, (rule, keys, after) in enumerate(books):
        fires = after.columns.state >= FIRING
        found = np.flatnonzero(fires | (after.notice > 0) | after.columns.flapping)
        severities = np.where(after.severity > 0, after.severity, after.columns.said)[found]
        columns = (found.tolist(), severities.tolist(), fires[found].tolist())
        places += [(number, place) for place in columns[0]]
        alerts += [(Subject(rule, keys[place], severity), firing) for place, severity, firing in zip(*columns, strict=True)]
    return places, alerts
