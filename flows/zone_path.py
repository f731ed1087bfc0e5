"""Zone and path: the inhibitions that `zone_quiets_paths` stands for: an alert on a host quiets the same on its paths.

The same means one measure by coarser and finer keys: two metrics alike but for their groups. Where the wider alert is a warning
it quiets warnings alone. It is off unless asked for, because it changes who hears of rules that are otherwise defined by
themselves.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from flows.inhibit import InhibitOptions
from flows.metric import MetricOptions
from flows.rule import RuleOptions


def zone_path(rules: Iterable[RuleOptions], metrics: Mapping[str, MetricOptions]) -> Iterator[InhibitOptions]:
    """Give the inhibitions between rules on the groups of metrics that differ in their groups alone."""
    grouped = [rule for rule in rules if rule.kind != "composite" and rule.keys != "total" and metrics[rule.metric].group_by]
    for wide in grouped:
        for narrow in grouped:
            if _within(metrics[wide.metric], metrics[narrow.metric]):
                equal = metrics[wide.metric].group_by
                source, target = {"rule": wide.name}, {"rule": narrow.name}
                yield InhibitOptions(source=source | {"severity": "critical"}, target=target, equal=equal)
                yield InhibitOptions(source=source, target=target | {"severity": "warning"}, equal=equal)


def _within(wide: MetricOptions, narrow: MetricOptions) -> bool:
    alike = replace(wide, name="", group_by=(), unit="") == replace(narrow, name="", group_by=(), unit="")
    return alike and set(wide.group_by) < set(narrow.group_by)
