"""Bonds: which datasets are judged together, window end by window end, because an alert of one decides about one of another.

An inhibition bonds the datasets of the rules that its source can match with those that its target can match; a composite
those of its rules. All other datasets are judged apart, each as soon as its windows close.
"""

from collections.abc import Iterable, Mapping, Sequence

from flows.inhibit import InhibitOptions
from flows.matcher import Matchers, parse_match
from flows.metric import MetricOptions
from flows.rule import RuleOptions


def bonds_of(
    rules: Sequence[RuleOptions],
    metrics: Mapping[str, MetricOptions],
    inhibits: Iterable[InhibitOptions],
    labels: Mapping[str, str],
) -> tuple[tuple[str, ...], ...]:
    """Give the groups of two and more datasets; `labels` go on every alert, the environment among them.

    Of one window end, what decides comes before what it decides about; where that goes round in a circle, names decide.
    """
    groups: list[set[str]] = []
    after: dict[str, set[str]] = {}  # dataset -> those that decide about it
    datasets = {rule.name: metrics[rule.metric].dataset for rule in rules}
    for inhibit in inhibits:
        sides = [parse_match(match) for match in (inhibit.source, inhibit.target)]
        source, target = ({datasets[r.name] for r in rules if _may_match(s, r, metrics[r.metric], labels)} for s in sides)
        if source and target:
            _join(groups, source | target)
            for name in target:
                after.setdefault(name, set()).update(source - {name})
    for rule in rules:
        if rule.members:
            members = {datasets[name] for name in rule.members}
            _join(groups, {datasets[rule.name], *members})
            after.setdefault(datasets[rule.name], set()).update(members - {datasets[rule.name]})
    return tuple(sorted(_in_order(group, after) for group in groups))


def _in_order(group: set[str], after: Mapping[str, set[str]]) -> tuple[str, ...]:
    """Give a group with those first that wait for the fewest of the rest."""
    rest, out = set(group), []
    while rest:
        first = min(rest, key=lambda name: (len(after.get(name, set()) & rest), name))
        out.append(first)
        rest.remove(first)
    return tuple(out)


def _may_match(matchers: Matchers, rule: RuleOptions, metric: MetricOptions, labels: Mapping[str, str]) -> bool:
    """Tell whether an alert of a rule could match: what only its key and severity decide is open."""
    known = {**labels, **rule.labels, "rule": rule.name}
    open_ = {*metric.group_by, "severity"}
    return all(matcher.name in open_ or matcher.matches(known) for matcher in matchers.all)


def _join(groups: list[set[str]], datasets: set[str]) -> None:
    """Add a bond; groups that share a dataset become one."""
    if len(datasets) < 2:  # noqa: PLR2004 (one is bonded to nobody)
        return
    touched = [group for group in groups if group & datasets]
    groups[:] = [group for group in groups if not group & datasets]
    groups.append(datasets.union(*touched))
