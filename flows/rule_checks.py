"""Rule checks: what rules and objectives ask of metrics and of each other that is not there, as (key, problem)."""

from collections.abc import Iterable, Mapping, Sequence

from flows.kinds import NO_DATA, SLO, endpoint_columns
from flows.matcher import parse_match
from flows.metric import MetricOptions
from flows.options import no_such
from flows.rule import RuleOptions
from flows.slo import SloOptions
from flows.window import WindowOptions

_BUCKET_MS = 300_000

Problems = Iterable[tuple[str, str]]


def rule_problems(rule: RuleOptions, metrics: Mapping[str, MetricOptions], labels: Mapping[str, str]) -> Problems:
    """Yield what a rule asks for that is not there; `labels` are those of the configuration."""
    for begins in (NO_DATA, SLO):
        if rule.name.startswith(begins):
            yield "name", f"{begins} begins the names of alerts that edgewatch makes; choose another"
    if rule.kind == "composite":
        return
    metric = metrics.get(rule.metric)
    if metric is None:
        yield "metric", no_such("metric", rule.metric, metrics)
    elif rule.kind == "event" and metric.kind != "count":
        yield "metric", f"{rule.metric} is a {metric.kind}; an event counts records, so it needs a count"
    elif rule.kind not in ("absence", "event") and rule.statistic not in metric.statistics():
        yield "statistic", f"{rule.metric} has no {rule.statistic!r}; it has: {', '.join(metric.statistics())}"
    elif rule.keys == "groups" and not metric.group_by:
        yield "keys", f"{rule.metric} has no group_by, so there are no groups to judge"
    elif rule.kind == "budget":
        yield from _budget_problems(rule, metric)
    else:
        yield from _override_problems(rule, metric, labels)


def slo_problems(slo: SloOptions, metrics: Mapping[str, MetricOptions], window: WindowOptions | None) -> Problems:
    """Yield what an objective asks of its metric and of the windows."""
    metric = metrics.get(slo.metric)
    if metric is None:
        yield "metric", no_such("metric", slo.metric, metrics)
        return
    if metric.kind == "distribution" and slo.threshold_ms is None:
        yield "threshold_ms", "is missing; a distribution needs the value up to which a record is good"
    elif metric.kind != "distribution" and slo.threshold_ms is not None:
        yield "threshold_ms", f"is for a distribution; {slo.metric} is a {metric.kind}"
    elif metric.kind not in ("ratio", "distribution"):
        yield "metric", f"{slo.metric} is a {metric.kind}; an objective needs a ratio, or a distribution with threshold_ms"
    if slo.keys == "groups" and not metric.group_by:
        yield "keys", f"{slo.metric} has no group_by, so there are no groups to judge"
    if window is not None and (window.pane_ms != window.length_ms or _BUCKET_MS % window.length_ms):
        yield "metric", "an objective adds up windows: they must not overlap (hop), and 5 minutes must be whole windows"


def composite_problems(rule: RuleOptions, rules: Sequence[RuleOptions], slos: Sequence[SloOptions]) -> Problems:
    """Yield what a composite is made of that is not there; the alerts that objectives and `no_data` make may be named too."""
    kinds = {each.name: each.kind for each in rules}
    made = [f"{NO_DATA}{each.name}" for each in rules if each.no_data is not None and each.no_data.alert]
    known = dict.fromkeys([name for name, kind in kinds.items() if kind != "composite"] + made + [SLO + s.name for s in slos])
    key = "all" if rule.all_ else "any"
    if len(set(rule.members)) < len(rule.members):
        yield key, "a rule is named twice"
    for name in dict.fromkeys(rule.members):
        if name in known:
            continue
        if name in kinds:
            yield key, f"{name!r} is a composite itself"
        elif kinds.get(name.removeprefix(NO_DATA), "composite") != "composite":
            yield key, f"{name!r} is made by `no_data = {{ alert = true }}` of {name.removeprefix(NO_DATA)}, which is not there"
        else:
            yield key, no_such("rule", name, known)


def _budget_problems(rule: RuleOptions, metric: MetricOptions) -> Problems:
    if metric.kind != "distribution":
        yield "metric", f"{rule.metric} is a {metric.kind}; a budget is for a distribution"
    elif not metric.group_by:
        yield "metric", f"{rule.metric} has no group_by, so it has no endpoints"
    elif rule.by and rule.by not in metric.group_by:
        yield "by", no_such("group", rule.by, dict.fromkeys(metric.group_by))
    elif not rule.by and len(endpoint_columns(metric)) > 1:
        yield "by", f"is missing; one of {', '.join(metric.group_by)} names the endpoint"


def _override_problems(rule: RuleOptions, metric: MetricOptions, labels: Mapping[str, str]) -> Problems:
    """Yield overrides by a label that no alert of the rule has: they would never apply, or always."""
    known = {*metric.group_by, *rule.labels, *labels, "rule", "environment"}
    for number, override in enumerate(rule.overrides):
        for name in sorted(parse_match(override.match).names() - known):
            yield f"overrides[{number}].match", f"its alerts have no label {name!r}; they have: {', '.join(sorted(known))}"
