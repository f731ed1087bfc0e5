"""Vain: what of a configuration is sound word by word and can never come: the end of an alert, and a route behind another.

Nothing of it is refused, because it may be on its way to something else; `edgewatch check` points it out.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from flows.metric import MetricOptions
from flows.route import Route
from flows.rule import Rule, RuleOptions, compile_rule

_PERCENT = ("%", "percent")
_ALL = 100.0


def endless(rules: Iterable[RuleOptions], metrics: Mapping[str, MetricOptions]) -> Iterator[str]:
    """Say which alerts on too low a percentage are over at more than 100 % alone, so never."""
    for options in rules:
        metric = metrics.get(options.metric)
        if options.kind != "threshold" or not options.below or metric is None or metric.unit not in _PERCENT:
            continue
        rule = compile_rule(options, metric)
        beyond = [each.recover for each in (rule, *rule.variants) if each.recover > _ALL]
        if beyond:
            yield f"{options.name} is over at {beyond[0]:g} %{_default(rule)}: give recover, 100 or less"


def _default(rule: Rule) -> str:
    return " (a quarter above its limit, where recover is not given)" if rule.options.recover is None else ""


def untaken(routes: Sequence[Route], severities: Iterable[str] = ("warning", "critical")) -> Iterator[str]:
    """Say which routes get no alert, because those before them take all that they match."""
    for place, route in enumerate(routes):
        open_ = [each for each in severities if each in route.severity]
        before = [each for each in routes[:place] if not each.goes_on and set(each.matchers.all) <= set(route.matchers.all)]
        left = [severity for severity in open_ if not any(severity in each.severity for each in before)]
        if open_ and not left:
            by = next(each for each in before if open_[0] in each.severity)
            yield f"{route.path}: {by.path} takes all of it and does not continue"
        else:
            yield from untaken(route.inner, left)
