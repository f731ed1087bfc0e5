"""Missed: why nobody was told of an incident, out of the decision records of the windows it lasted, in words with numbers.

The records are made again by the evaluator, from a day before the incident on, because a backtest keeps only those in which
something happened.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from flows.alert import Alerting
from flows.alert_state import FIRING, INACTIVE, PENDING
from flows.config import Config
from flows.evaluation import SUPPRESSORS, Evaluations
from flows.explain_values import limit_of, shown
from flows.history import History, wanted_of
from flows.hold import MOST_AMONG, Needed
from flows.incidents import Incident
from flows.labels import Labels
from flows.output import rfc3339
from flows.policy import NO_SILENCES
from flows.rule import CRITICAL, INSUFFICIENT, NO_DATA, OK, WARNING, Rule, compile_rule
from flows.silence import Silences
from flows.suppressor import Surroundings, suppressors

WARM_MS = 86_400_000
MOST_RULES = 3  # of those that might have found an incident, the nearest to it are named
_PLAIN = ("ratio", "count", "distinct")

KeptBy = Callable[[Evaluations, int, str], str]  # of the place in them, and why: one of SUPPRESSORS


@dataclass(frozen=True, slots=True)
class Reason:
    """Why one rule said nothing: in words, of the key (canonical JSON; "" of none) that was nearest to it."""

    rule: str
    key: str
    words: str
    near: float = field(default=0.0, compare=False)  # how near it was to saying something: sorts reasons

    def as_dict(self) -> dict[str, str]:
        """Give it as JSON has it."""
        return {"rule": self.rule, "key": self.key, "words": self.words}


@dataclass(slots=True)
class _Trace:
    """What one rule decided of one key while the incident lasted."""

    worst: float = float("nan")
    count: int = 0  # records behind the worst value, or the most there were
    rows: int = 0
    insufficient: int = 0
    runs: dict[int, int] = field(default_factory=lambda: {WARNING: 0, CRITICAL: 0})  # now
    recent: list[int] = field(default_factory=list)  # levels since it was inactive last
    longest: dict[int, int] = field(default_factory=lambda: {WARNING: 0, CRITICAL: 0})
    level: int = OK
    state: int = INACTIVE  # the furthest
    severity: int = 0
    before: int = INACTIVE  # when the incident began
    kept_by: str = ""


class Witness:
    """Watches one incident: all that the rules which it concerns decided while it lasted."""

    def __init__(self, incident: Incident, rules: Mapping[str, Rule], grace_ms: int, kept_by: "KeptBy") -> None:
        """Take all rules by name; `kept_by` names what kept an alert quiet."""
        self.incident = incident
        self._kept_by = kept_by
        self._until = incident.end + grace_ms
        self._rules = {name: rule for name, rule in rules.items() if incident.rule in (None, name)}
        self._traces: dict[str, dict[str, _Trace]] = {name: {} for name in self._rules}

    def see(self, found: Evaluations) -> None:
        """Take the decision records of one rule and window."""
        if found.rule not in self._rules or not self.incident.start < found.window_end <= self._until:
            return
        rule, traces = self._rules[found.rule], self._traces[found.rule]
        for place, key in enumerate(found.keys):
            if not self.incident.concerns(found.rule, key):
                continue
            trace = traces.get(key)
            if trace is None:
                trace = traces[key] = _Trace(before=int(found.before[place]))
            _add(trace, found, place, rule)
            why = 0 if found.suppressed is None else int(found.suppressed[place])
            if why and not trace.kept_by:
                trace.kept_by = self._kept_by(found, place, SUPPRESSORS[why] or "")

    def reasons(self, labels: Labels) -> list[Reason]:
        """Give why each rule that might have found the incident did not, the nearest first."""
        out = []
        for name, rule in self._rules.items():
            traces = {key: trace for key, trace in self._traces[name].items() if trace.rows}
            if not traces:
                out.append(Reason(name, "", self._no_rows(rule)))
                continue
            found = [self._reason(rule.variant(rule.choose(labels.of(rule, key))), key, each) for key, each in traces.items()]
            out.append(max(found, key=lambda reason: reason.near))
        return sorted(out, key=lambda reason: -reason.near)

    def unrung(self, labels: Labels) -> list[Reason]:
        """Give why what was said of the incident rang nobody."""
        out = []
        for name, rule in self._rules.items():
            for key, trace in self._traces[name].items():
                if trace.state == FIRING and trace.severity:
                    variant = rule.variant(rule.choose(labels.of(rule, key)))
                    out.append(Reason(name, key, _unrung(variant, trace), trace.severity))
        return sorted(out, key=lambda reason: -reason.near)

    def _no_rows(self, rule: Rule) -> str:
        of = f" of {self.incident.key}" if self.incident.key else ""
        span = f"{rfc3339(self.incident.start)} to {rfc3339(self._until)}"
        return f"no rows: {rule.options.metric} has none{of} from {span}"

    def _reason(self, rule: Rule, key: str, trace: _Trace) -> Reason:
        words, rank = _words(rule, trace)
        limit = rule.options.thresholds.mild
        near = 0.0
        if limit is not None and not np.isnan(trace.worst):
            near = trace.worst / limit if limit else trace.worst
            near = float(np.clip(near if rule.sign > 0 else 2 - near, 0, 1e6)) / 1e7
        return Reason(rule.options.name, key, words, rank + near)


def explain_missed(
    history: History, config: Config, missed: Sequence[Incident], grace_ms: int, silences: Silences = NO_SILENCES
) -> dict[Incident, list[Reason]]:
    """Judge the windows of each incident anew, and say why nothing was said."""
    labels = Labels(config.environment, config.labels)
    found = _witnessed(history, config, missed, grace_ms, silences)
    return {witness.incident: witness.reasons(labels)[:MOST_RULES] for witness in found}


def explain_unrung(
    history: History, config: Config, told: Sequence[Incident], grace_ms: int, silences: Silences = NO_SILENCES
) -> dict[Incident, list[Reason]]:
    """Judge the windows of each incident anew that somebody was told of, and say why nobody was paged."""
    labels = Labels(config.environment, config.labels)
    found = _witnessed(history, config, told, grace_ms, silences)
    return {witness.incident: witness.unrung(labels)[:MOST_RULES] for witness in found}


def _witnessed(
    history: History, config: Config, incidents: Sequence[Incident], grace_ms: int, silences: Silences
) -> Iterator[Witness]:
    """Give what was seen of each incident; those near each other share a pass."""
    metrics = {metric.name: metric for metric in config.metrics}
    rules = {rule.name: compile_rule(rule, metrics[rule.metric]) for rule in config.rules if rule.notify}
    labels = Labels(config.environment, config.labels)
    surroundings = Surroundings(silences=silences)

    def kept_by(found: Evaluations, place: int, why: str) -> str:
        if why == "inhibit":
            return "an inhibition"  # which one, other records of its window say
        record = {"at": found.window_end, "rule": found.rule, "key": found.keys[place], "suppressed_by": why}
        severity = int(found.severity[place])
        return "; ".join(suppressors(record, severity, (), (config, rules, labels), surroundings))

    for group in _near(incidents, grace_ms):
        witnesses = [Witness(each, rules, grace_ms, kept_by) for each in group]
        alerting = Alerting(config, config.policy, silences)
        start, end = group[0].start - WARM_MS, max(each.end for each in group) + grace_ms
        for window in history.windows(start, end, wanted_of(config.rules, config.metrics)):
            for evaluations in alerting.evaluate(window).evaluations:
                for witness in witnesses:
                    witness.see(evaluations)
        yield from witnesses


def _near(incidents: Iterable[Incident], grace_ms: int) -> list[list[Incident]]:
    """Put incidents together whose passes would overlap; they are sorted by start."""
    groups: list[list[Incident]] = []
    until = 0
    for each in sorted(incidents, key=lambda each: each.start):
        if not groups or each.start - WARM_MS > until:
            groups.append([])
        groups[-1].append(each)
        until = max(until, each.end + grace_ms)
    return groups


def _add(trace: _Trace, found: Evaluations, place: int, rule: Rule) -> None:
    level, value, count = int(found.level[place]), float(found.values[place]), int(found.counts[place])
    if level == NO_DATA:
        return
    trace.rows += 1
    trace.insufficient += level == INSUFFICIENT
    if level == INSUFFICIENT:
        trace.count = max(trace.count, count) if trace.insufficient == trace.rows else trace.count
    elif np.isnan(trace.worst) or (value - trace.worst) * rule.sign > 0:
        trace.worst, trace.count = value, count
    if level < INSUFFICIENT:
        trace.level = max(trace.level, level)
        trace.recent = [] if found.after[place] == INACTIVE else [*trace.recent, level][-MOST_AMONG:]
        for severity, needed in ((WARNING, rule.options.hold.for_warning), (CRITICAL, rule.options.hold.for_critical)):
            trace.runs[severity] = trace.runs[severity] + 1 if level >= severity else 0
            last = trace.recent[-needed.among :] if needed.among else []
            count = sum(each >= severity for each in last) if needed.among else trace.runs[severity]
            trace.longest[severity] = max(trace.longest[severity], count)
    if int(found.after[place]) >= trace.state:
        trace.state = max(trace.state, min(int(found.after[place]), FIRING))
    trace.severity = max(trace.severity, int(found.severity[place]))


def _words(rule: Rule, trace: _Trace) -> tuple[str, float]:
    """Give the reason, and a rank: what came furthest is what people want to know first."""
    value = f"{_what(rule)} was {shown(rule, trace.worst)}" if not np.isnan(trace.worst) else ""
    extreme = f"{value} at {'most' if rule.sign > 0 else 'least'}"
    if trace.kept_by:
        return f"it fired and was kept quiet by {trace.kept_by} ({extreme})", 5.0
    if trace.before >= FIRING:
        return f"it was firing already when this began, and said nothing new ({extreme})", 4.0
    if trace.state == FIRING:
        return f"it fired again within the cooldown of an alert that was over, and was not said anew ({extreme})", 3.5
    if trace.state == PENDING or trace.level > OK:
        severity = CRITICAL if trace.level == CRITICAL else WARNING
        name = "critical" if severity == CRITICAL else "warning"
        hold = rule.options.hold.for_critical if severity == CRITICAL else rule.options.hold.for_warning
        limit = rule.threshold(severity)
        against = f", {name} {_side(rule)} {limit_of(rule, limit)}" if limit is not None else ""
        return f"breached in {_times(trace.longest[severity], hold)}, for.{name} = {hold} ({extreme}{against})", 3.0
    if trace.insufficient == trace.rows:
        least = rule.options.min_count
        words = f"under min_count: {trace.count} of {least} records at most" if trace.count < least else "too little was known"
        return words, 1.0
    return f"{extreme}, {_limits(rule)}{_too_few(rule, trace)}", 2.0


def _unrung(rule: Rule, trace: _Trace) -> str:
    """Say why an alert that was said rang nobody."""
    worst = f"{_what(rule)} was {shown(rule, trace.worst)} at {'most' if rule.sign > 0 else 'least'}"
    if trace.severity == CRITICAL:
        return f"critical, and no route takes it to a pager ({worst})"
    limit = rule.threshold(CRITICAL)
    if limit is None:
        return f"warning, and there is no critical limit ({worst})"
    if trace.longest[CRITICAL]:
        hold = rule.options.hold.for_critical
        return f"warning: critical in {_times(trace.longest[CRITICAL], hold)}, for.critical = {hold} ({worst})"
    return f"warning: {worst}, critical {_side(rule)} {limit_of(rule, limit)}"


def _times(count: int, needed: Needed) -> str:
    how = f"out of {needed.among}" if needed.among else "in a row"
    return f"{count} window{'' if count == 1 else 's'} {how}"


def _what(rule: Rule) -> str:
    statistic, metric = rule.options.statistic, rule.options.metric
    return metric if statistic in _PLAIN or rule.options.kind not in ("threshold", "budget") else f"{metric} {statistic}"


def _side(rule: Rule) -> str:
    return "above" if rule.sign > 0 else "below"


def _limits(rule: Rule) -> str:
    limits = [
        f"{name} {_side(rule)} {limit_of(rule, limit)}"
        for code, name in ((WARNING, "warning"), (CRITICAL, "critical"))
        if (limit := rule.threshold(code)) is not None
    ]
    return f"threshold {' and '.join(limits)}"


def _too_few(rule: Rule, trace: _Trace) -> str:
    """Say so where a value beyond the limit was forgiven."""
    limit, options = rule.options.thresholds.mild, rule.options
    if limit is None or np.isnan(trace.worst) or (trace.worst - limit) * rule.sign <= 0:
        return ""
    if options.min_bad:
        return f", but of so few records that min_bad = {options.min_bad} forgave it"
    return f", but not sure enough of {trace.count} records (guard)" if options.guard != "none" else ""
