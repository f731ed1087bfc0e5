"""Kinds: what each kind of rule is made of: from what people write to limits, holds and the signal that is judged.

Every kind becomes a rule with limits, so that states, policy and words need to know of one kind only.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from flows.absence import Absence
from flows.budget import ANY_OTHER, Budget
from flows.capacity import Capacity
from flows.change import BACK_MS, Change
from flows.composite import Composite
from flows.event_counts import EventCounts
from flows.hold import Hold
from flows.metric import MetricOptions
from flows.rule import CRITICAL, Override, Rule, RuleOptions, Thresholds
from flows.signal import Plain, Signal
from flows.slo import Slo, SloOptions, pairs_of

SLO, NO_DATA = "slo:", "no_data:"  # what their alerts are called begins with this
_AT_ONCE = Hold(warning=1, critical=1)
_SIGNALS: Mapping[str, Callable[[Rule], Signal]] = {
    "threshold": Plain,
    "change": Change,
    "absence": Absence,
    "budget": Budget,
    "capacity": Capacity,
    "event": EventCounts,
}
_HEAR_SILENCE = ("absence", "event")


def signal_of(rule: Rule, slos: Mapping[str, SloOptions], kinds: Mapping[str, str]) -> Signal:
    """Make the signal of a rule that `expanded` gave; `kinds` are those of all rules, by name."""
    if rule.options.kind == "slo":
        return Slo(rule, slos[rule.options.name.removeprefix(SLO)])
    if rule.options.kind == "composite":
        return Composite(rule, hears_silence=any(kinds.get(name) in _HEAR_SILENCE for name in rule.options.members))
    return _SIGNALS[rule.options.kind](rule)


def remembers_ms(rule: Rule, slos: Mapping[str, SloOptions], length_ms: int) -> int:
    """Give how far back (ms) the windows lie that a rule's signal looks at, of windows of this length; 0: only at the last."""
    if rule.options.kind == "slo":
        return slos[rule.options.name.removeprefix(SLO)].period_ms
    baseline = rule.options.baseline if rule.options.kind == "change" else None
    return 0 if baseline is None else baseline.looks_at * BACK_MS.get(baseline.against, length_ms)


def expanded(
    rules: Iterable[RuleOptions], slos: Iterable[SloOptions], metrics: Mapping[str, MetricOptions]
) -> list[RuleOptions]:
    """Give all rules with their limits, and those that come of `no_data` and of SLOs; the names must be valid."""
    given, of_slos = list(rules), [_slo(options) for options in slos]
    made = {each.name: _no_data(each) for each in given if each.no_data is not None and each.no_data.alert}
    known = {each.name: each for each in (*given, *made.values(), *of_slos)}
    out = []
    for options in given:
        out.append(_EXPAND.get(options.kind, _as_is)(options, metrics, known))
        if options.name in made:
            out.append(made[options.name])
    return [*out, *of_slos]


def metrics_of(slos: Iterable[SloOptions], metrics: Mapping[str, MetricOptions]) -> list[MetricOptions]:
    """Give the metrics that latency objectives need: the share of records under their threshold."""
    out = []
    for slo in slos:
        source = metrics.get(slo.metric)
        if source is not None and source.kind == "distribution" and slo.threshold_ms is not None:
            good, slow = (f"{source.value} {test} {slo.threshold_ms!r}" for test in ("<=", ">"))
            # A record without a value is not part of a distribution, so it is not part of its objective either.
            where = f"({source.where}) and ({good} or {slow})" if source.where else f"{good} or {slow}"
            out.append(replace(source, name=f"{SLO}{slo.name}", kind="ratio", value="", unit="", where=where, good=good))
    return out


def _as_is(options: RuleOptions, _: Mapping[str, MetricOptions], __: Mapping[str, RuleOptions]) -> RuleOptions:
    return options


def _absence(options: RuleOptions, _: Mapping[str, MetricOptions], __: Mapping[str, RuleOptions]) -> RuleOptions:
    return _silent_for(options, options.after, options.severity)


def _silent_for(options: RuleOptions, after: int, severity: str) -> RuleOptions:
    """Give an absence its limits: beyond `after` - 1 evaluations, and over with the first record."""
    limits: dict[str, Any] = {severity: float(after - 1)}
    changes: dict[str, Any] = {"for_": _AT_ONCE, "clear": 1, "recover": 0.0, "statistic": "silence"}
    return replace(options, above=Thresholds(**limits), **changes)


def _no_data(options: RuleOptions) -> RuleOptions:
    """Give the rule on a rule's missing rows."""
    given = options.no_data
    assert given is not None  # noqa: S101 (the caller has looked)
    made = RuleOptions(
        name=f"{NO_DATA}{options.name}",
        kind="absence",
        metric=options.metric,
        keys="all" if given.keys else "total",
        repeat_ms=options.repeat_ms,
        repeat_backoff=options.repeat_backoff,
        max_repeats=options.max_repeats,
        cooldown_ms=options.cooldown_ms,
        forget_after_ms=options.forget_after_ms,
        runbook=options.runbook,
        labels=options.labels,
    )
    return _silent_for(made, given.after, given.severity)


def _event(options: RuleOptions, _: Mapping[str, MetricOptions], __: Mapping[str, RuleOptions]) -> RuleOptions:
    """Give an event its limits: one record fires, at the first evaluation."""
    fresh = RuleOptions(name=options.name)
    hold = _AT_ONCE if options.for_ == fresh.for_ else options.for_
    return replace(options, above=options.above or Thresholds(critical=0.0), for_=hold, statistic="count")


def _capacity(options: RuleOptions, _: Mapping[str, MetricOptions], __: Mapping[str, RuleOptions]) -> RuleOptions:
    return options if options.above else replace(options, above=Thresholds(warning=0.7, critical=0.9))


def _budget(options: RuleOptions, metrics: Mapping[str, MetricOptions], _: Mapping[str, RuleOptions]) -> RuleOptions:
    """Give every endpoint its limits; those that are not named have the limits of `*`, or are not judged."""
    by = options.by or (endpoint_columns(metrics[options.metric]) or [""])[0]
    limits = {endpoint: _limits(budget, options.critical_at) for endpoint, budget in options.budgets.items()}
    overrides = tuple(
        Override(match={by: endpoint}, above=each) for endpoint, each in sorted(limits.items()) if endpoint != ANY_OTHER
    )
    above = limits.get(ANY_OTHER, Thresholds())
    return replace(options, by=by, keys="groups", above=above, overrides=overrides)


def _limits(budget: float, critical_at: float) -> Thresholds:
    return Thresholds(warning=budget, critical=budget * critical_at if critical_at else None)


def endpoint_columns(metric: MetricOptions) -> list[str]:
    """Give the columns of a metric's key that may name an endpoint: those that sound like a path, else the only one."""
    paths = [name for name in metric.group_by if name.lower().endswith(("path", "url", "uri"))]
    return paths or list(metric.group_by)


def _composite(options: RuleOptions, _: Mapping[str, MetricOptions], rules: Mapping[str, RuleOptions]) -> RuleOptions:
    """Give a composite the dataset of its last rule, and its level as it is."""
    last = rules[options.members[-1]]
    fresh = RuleOptions(name=options.name)  # its rules have waited already, so by default it does not
    hold = _AT_ONCE if options.for_ == fresh.for_ else options.for_
    clear = 1 if options.clear == fresh.clear else options.clear
    beyond = float(len(options.members) - 1) if options.all_ else 0.0
    changes: dict[str, Any] = {"for_": hold, "clear": clear, "metric": last.metric, "statistic": "rules"}
    return replace(options, above=Thresholds(warning=beyond, critical=beyond), recover=float("inf"), **changes)


def _slo(options: SloOptions) -> RuleOptions:
    """Give the rule on an objective's burn rates."""
    pairs = pairs_of(options.period_ms)
    return RuleOptions(
        name=f"{SLO}{options.name}",
        kind="slo",
        metric=f"{SLO}{options.name}" if options.threshold_ms is not None else options.metric,
        statistic="burn_rate",
        keys=options.keys,
        above=Thresholds(
            warning=min(pair.factor for pair in pairs if pair.severity != CRITICAL),
            critical=min(pair.factor for pair in pairs if pair.severity == CRITICAL),
        ),
        recover=float("inf"),  # clear is where no pair exceeds
        for_=_AT_ONCE,
        notify=options.notify,
        repeat_ms=options.repeat_ms,
        runbook=options.runbook,
        labels=options.labels,
    )


_EXPAND = {"event": _event, "absence": _absence, "capacity": _capacity, "budget": _budget, "composite": _composite}
