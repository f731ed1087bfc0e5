"""Sweep result: a sweep from what was asked to what is shown: the front, what is configured now, the recommendation."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from flows.config import Config, built_in_text
from flows.history import History
from flows.incidents import Incident
from flows.options import ConfigError
from flows.output import rfc3339
from flows.policy import NO_SILENCES
from flows.recommend import Budget, Recommendation, recommend
from flows.silence import Silences
from flows.sweep_axis import Axis, parse_axes
from flows.sweep_outcome import Outcome, Outcomes, Point, can_page, points_of, values_of
from flows.sweep_plan import Plan
from flows.sweep_run import Judged, Pass, Progress, Range
from flows.sweep_tally import BY_NOTIFICATION, BY_PAGE, FIT, FOUND_BY, HELD_OUT
from flows.toml_edit import Change, edited, snippet

MOST_POINTS = 2_000  # of what settings come to, as a chart shows them
SHOWN = 15  # settings in a table


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a person asks of a sweep; `holdout` is the share of the range that is held out, `found_by` one of FOUND_BY."""

    axes: tuple[str, ...]
    budget: Budget | None = None
    holdout: float = 0.3
    grace_ms: int = 600_000
    found_by: str | None = None

    def check(self) -> None:
        """Raise ConfigError where something makes no sense."""
        if not 0 <= self.holdout < 1:
            raise ConfigError(f"--holdout {self.holdout:g}", "must be a share from 0 to below 1; 0.3 holds out the newest 30 %")
        if self.found_by not in (None, *FOUND_BY):
            raise ConfigError(f"--found-by {self.found_by}", f"must be one of {', '.join(FOUND_BY)}")


@dataclass(frozen=True, slots=True)
class Swept:
    """What came of a sweep; `text` is the whole configuration with the recommendation in place, "" without one."""

    report: dict[str, Any]
    recommendation: Recommendation
    rules: Mapping[str, Any]
    text: str


def plan_of(config: Config, asked: Asked) -> Plan:
    """Make out what is to be tried; raises ConfigError."""
    asked.check()
    rules = {rule.name: rule for rule in config.rules}
    return Plan(parse_axes(asked.axes, rules), rules, {metric.name: metric for metric in config.metrics})


def range_of(  # noqa: PLR0913 (what a range is made of)
    start: int, end: int, length_ms: int, asked: Asked, *, incidents: Sequence[Incident] = (), warm_up_ms: int = 0
) -> Range:
    """Cut a range in two at a window's end, ahead of an incident that it would cut."""
    cut = start + int((end - start) * (1 - asked.holdout)) // length_ms * length_ms if asked.holdout else end
    for each in sorted(incidents, key=lambda each: -each.start):
        before = start + (each.start - start) // length_ms * length_ms
        if cut < end and each.start < cut < each.end + asked.grace_ms and before > start:
            cut = before
    cut = max(cut, start + length_ms)
    return Range(warm=start - warm_up_ms, start=start, end=end, cut=cut, grace_ms=asked.grace_ms)


@dataclass(frozen=True, slots=True)
class Question:
    """A sweep made ready: what is tried, on which range, and what is known to have happened in it; `text` is the file's."""

    config: Config
    text: str
    plan: Plan
    asked: Asked
    span: Range
    incidents: Sequence[Incident]


def sweep(question: Question, history: History, silences: Silences = NO_SILENCES, progress: Progress = lambda _: None) -> Swept:
    """Try every setting; raises ConfigError where a rule has too many keys for so many."""
    config, plan, asked, span = question.config, question.plan, question.asked, question.span
    judged = Pass(history, plan, config, question.incidents, span).run(silences, progress)
    found_by = asked.found_by or (BY_PAGE if can_page(judged) else BY_NOTIFICATION)
    outcome = Outcome(plan, judged, question.incidents, span, found_by)
    columns = outcome.columns()
    advice = recommend(outcome, columns, span, asked.budget)
    changes = changes_of(plan, advice.number)
    text = ""
    if advice.number is not None:
        names = [metric.name for metric in config.metrics] + [rule.name for rule in config.rules]
        text = edited(question.text, changes, built_in_text(), names)
    report = _report(question, judged, (outcome, columns), advice) | {
        "recommendation": _advice(plan, advice, snippet(text, changes) if text else "")
    }
    return Swept(report, advice, plan.changed(advice.number) if advice.number is not None else {}, text)


def changes_of(plan: Plan, number: int | None) -> list[Change]:
    """Give what a setting changes of the configuration."""
    if number is None:
        return []
    pairs = zip(plan.axes, plan.values(number), strict=True)
    return [(axis, value) for axis, value in pairs if axis.of(plan.grids[axis.rule].rule) != value]


def with_rules(config: Config, rules: Mapping[str, Any]) -> Config:
    """Give a configuration with some of its rules replaced."""
    return replace(config, rules=tuple(rules.get(rule.name, rule) for rule in config.rules))


def _report(question: Question, judged: Judged, found: tuple[Outcome, Outcomes], advice: Recommendation) -> dict[str, Any]:
    config, plan, asked, span = question.config, question.plan, question.asked, question.span
    outcome, columns = found
    points = points_of(plan, columns)
    now = plan.current()
    return {
        "from": rfc3339(span.start),
        "cut": rfc3339(span.cut),
        "to": rfc3339(span.end),
        "axes": [_axis(axis) for axis in plan.axes],
        "settings": plan.size,
        "contradictory": int(plan.size - plan.sound.sum()),
        "contradiction": next((grid.why_not for grid in plan.grids.values() if grid.why_not), None),
        "found_by": outcome.found_by,
        "incidents": {"fit": int((outcome.part_of == FIT).sum()), "held_out": int((outcome.part_of == HELD_OUT).sum())},
        "budget": asked.budget and {"text": asked.budget.text, "pages_a_week": asked.budget.pages_a_week},
        "rules_not_swept": sorted(judged.others),
        "left_out": judged.left_out,
        "not_judged": list(_not_judged(config)),
        "current": None if now is None or not plan.sound[now] else _row(outcome, now, span, 1),
        "front": [
            _row(outcome, each.number, span, each.alike) for each in _compared(points, labelled=bool(question.incidents))
        ],
        "points": [_point(each, span, advice) for each in _shown(points)],
    }


def _not_judged(config: Config) -> Iterator[str]:
    """Say what of a configuration a sweep leaves out besides rules (`left_out`), so that its pages are more."""
    way_out = "a backtest of the recommended configuration has them"
    if config.policy.inhibits:
        count = f"{len(config.policy.inhibits)} inhibition" + "s" * (len(config.policy.inhibits) > 1)
        yield f"{count}: what would be kept quiet counts as said; {way_out}"
    if flapping := [rule.name for rule in config.rules if rule.flap is not None and rule.kind != "composite"]:
        yield f"flap of {', '.join(flapping)}: what would be held counts as said; {way_out}"


def _compared(points: Sequence[Point], *, labelled: bool) -> list[Point]:
    """Give what nothing beats; where no incident says what is better, some of all, from the fewest pages to the most."""
    if labelled:
        return [each for each in points if each.on_front]
    places = np.unique(np.linspace(0, len(points) - 1, min(len(points), SHOWN)).round().astype(int))
    return [points[place] for place in places.tolist()]


def _axis(axis: Axis) -> dict[str, Any]:
    return {"name": axis.name, "rule": axis.rule, "field": axis.field, "values": [axis.shown(value) for value in axis.values]}


def _row(outcome: Outcome, number: int, span: Range, alike: int) -> dict[str, Any]:
    held_out = outcome.part(number, HELD_OUT).as_dict() if span.cut < span.end else None
    return {
        "values": dict(values_of(outcome.plan, number)),
        "alike": alike,
        "fit": outcome.part(number, FIT).as_dict(),
        "held_out": held_out,
    }


def _shown(points: Sequence[Point]) -> list[Point]:
    """Give the front and as many others as a chart can show, evenly."""
    others = [each for each in points if not each.on_front]
    stride = max(-(-len(others) // MOST_POINTS), 1)
    kept = set(map(id, others[::stride]))
    return [each for each in points if each.on_front or id(each) in kept]


def _point(point: Point, span: Range, advice: Recommendation) -> dict[str, Any]:
    week = 7 * 86_400_000
    return {
        "found": point.found,
        "pages_a_week": point.pages * week / (span.cut - span.start),
        "time_to_detect_ms": point.delay,
        "settings": point.alike,
        "on_front": point.on_front,
        "recommended": point.number == advice.number,
    }


def _advice(plan: Plan, advice: Recommendation, toml: str) -> dict[str, Any]:
    if advice.number is None or advice.fit is None:
        return {"values": None, "keeps_budget": None, "words": list(advice.words), "toml": ""}
    return {
        "values": dict(values_of(plan, advice.number)),
        "alike": advice.alike,
        "keeps_budget": advice.keeps_budget,
        "fit": advice.fit.as_dict(),
        "held_out": advice.held_out and advice.held_out.as_dict(),
        "words": list(advice.words),
        "toml": toml,
    }
