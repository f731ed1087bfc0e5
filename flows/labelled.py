"""Labelled: what a backtest is asked besides: incidents that it is scored against, and settings to be tried."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.config import Config
from flows.history import History
from flows.incidents import Incident, check_rules, labelled
from flows.missed import explain_missed, explain_unrung
from flows.options import ConfigError
from flows.paging import Pages
from flows.policy import NO_SILENCES
from flows.recommend import parse_budget
from flows.scored import Heard, scores_of
from flows.silence import Silences
from flows.sweep_plan import Plan
from flows.sweep_result import Asked, Question, plan_of, range_of, sweep
from flows.sweep_run import Progress
from sinks.notification import Notification

MOST_EXPLAINED = 50  # incidents that nobody was told of; more have no reason in the report
RECOMMENDED = "recommended.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the command line was given."""

    labels: Path | None = None
    axes: tuple[str, ...] = ()
    budget: str | None = None
    holdout: float = 0.3
    grace_ms: int = 600_000
    warm_up_ms: int = 86_400_000
    found_by: str | None = None

    @property
    def nothing(self) -> bool:
        """Tell whether neither labels nor settings are asked for."""
        return self.labels is None and not self.axes


@dataclass(slots=True)
class Labelled:
    """Scores and sweeps beside a backtest; `plan` is None without a sweep."""

    config: Config
    given: Given
    asked: Asked
    plan: Plan | None
    heard: Heard
    incidents: list[Incident] = field(default_factory=list)
    outside: list[Incident] = field(default_factory=list)
    span: tuple[int, int] = (0, 0)
    text: str = ""  # the configuration with the recommendation in place, "" without one

    def within(self, start: int, end: int) -> None:
        """Read the labels of a range; raises IncidentError."""
        self.span = start, end
        if self.given.labels is not None:
            self.incidents, self.outside = labelled(self.given.labels, start, end)
            check_rules(self.given.labels, self.incidents, [rule.name for rule in self.config.rules])

    def hear(self, said: Sequence[Notification]) -> None:
        """Take what the backtest says, in order."""
        for each in said:
            self.heard.add(each)

    def report(self, history: History, silences: Silences = NO_SILENCES, progress: Progress = lambda _: None) -> dict[str, Any]:
        """Give `labels` and `sweep` as JSON has them, those that were asked for; raises ConfigError."""
        out: dict[str, Any] = {}
        if self.given.labels is not None:
            scores = scores_of(self.incidents, self.heard, outside=self.outside, grace_ms=self.given.grace_ms)
            missed, unrung = scores.told.missed[:MOST_EXPLAINED], scores.told_alone()[:MOST_EXPLAINED]
            reasons = explain_missed(history, self.config, missed, self.given.grace_ms, silences)
            alone = explain_unrung(history, self.config, unrung, self.given.grace_ms, silences)
            out["labels"] = scores.with_reasons(reasons, alone).as_dict()
        if self.plan is not None:
            warm_up_ms = self.given.warm_up_ms
            span = range_of(*self.span, history.length_ms, self.asked, incidents=self.incidents, warm_up_ms=warm_up_ms)
            source = self.config.source.read_text()
            found = sweep(
                Question(self.config, source, self.plan, self.asked, span, self.incidents), history, silences, progress
            )
            self.text = found.text
            out["sweep"] = found.report
        return out


def prepared(config: Config, given: Given) -> Labelled:
    """Check what was given before anything is read; raises ConfigError."""
    if given.budget is not None and not given.axes:
        raise ConfigError("--budget", "is for --sweep: give the fields to try, as in --sweep RULE.FIELD=A:B:STEP")
    budget = None if given.budget is None else parse_budget(given.budget)
    asked = Asked(axes=given.axes, budget=budget, holdout=given.holdout, grace_ms=given.grace_ms, found_by=given.found_by)
    plan = plan_of(config, asked) if given.axes else None
    return Labelled(config, given, asked, plan, Heard(Pages(config.policy.pagers)))
