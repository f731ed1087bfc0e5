"""Explain: what is known of one rule, key and window from its decision records, put together so that words can be made of it.

Everything comes from the records; the configuration adds the limits and holds that were to be met, as far as it is the one
that the records were made with.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import orjson

from flows.alert_state import SEVERITIES
from flows.config import Config
from flows.decision_log import EVALUATIONS, NOTIFICATIONS, TRANSITIONS, DecisionLog, Row, Wanted
from flows.kinds import SLO
from flows.labels import Labels
from flows.matcher import Matchers
from flows.rule import CRITICAL, LEVELS, WARNING, Rule, compile_rule
from flows.slo import SloOptions
from flows.suppressor import Surroundings, suppressors
from sinks.notification import Notification

JUDGED = ("ok", "warning", "critical")
LOOKED_BACK_MS = 86_400_000
_FOLLOWING_MS = 86_400_000
_EPISODES_MS = 30 * 86_400_000  # so long ago an alert may have begun to fire
_BY_LIMITS = ("threshold", "change", "absence", "budget", "capacity", "event")  # kinds whose level follows from value and count


class Counters(NamedTuple):
    """Evaluations in a row, up to the record: as bad as warning, as critical, clear; `all_known` unless they began earlier."""

    warning: int
    critical: int
    cleared: int
    all_known: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One decision with what led to it and what came of it; rows are sorted by time, `record` is the last of `earlier`.

    `rule` has the limits of the key, by `override` where one applies; it is None where the configuration has no such rule.
    `quiet` says what kept the alert quiet, `deliveries` what became of a notification, by its id, `ahead` is
    what was said of the alert before the window closed, `slo` the objective that its rule is of.
    """

    name: str
    key: dict[str, str]
    start: int
    end: int
    record: Row
    rule: Rule | None
    override: Matchers | None
    earlier: Sequence[Row]
    others: Sequence[Row]
    transitions: Sequence[Row]
    said: Sequence[Row]
    following: Sequence[Row]
    quiet: Sequence[str]
    version: str
    deliveries: Mapping[str, Sequence[str]]
    ahead: Notification | None = None
    slo: SloOptions | None = None

    @property
    def move(self) -> Row | None:
        """Give the transition of this window."""
        return next((row for row in self.transitions if row["at"] == self.end), None)

    @property
    def said_now(self) -> list[Row]:
        """Give what was said at this window's end."""
        return [row for row in self.said if row["at"] == self.end]

    @property
    def episode(self) -> str:
        """Give the episode that the alert was in, or "" where it was in none."""
        return str(self.transitions[-1]["episode"]) if self.transitions else ""

    @property
    def heard(self) -> list[Row]:
        """Give what was said of the episode before this window's end."""
        return [row for row in self.said if row["episode"] == self.episode and row["at"] < self.end]

    @property
    def expected_level(self) -> str | None:
        """Give the level that the loaded rule gives the row; None where it cannot tell."""
        rule, record = self.rule, self.record
        if rule is None or rule.options.kind not in _BY_LIMITS or record["value"] is None or record["level"] not in JUDGED:
            return None
        values, counts = np.array([record["value"]], np.float64), np.array([record["count"]], np.int64)
        return LEVELS[rule.levels(values, counts)[0]]

    def clears(self, row: Row) -> bool:
        """Tell whether an evaluation counts as clear."""
        if self.rule is None or row["level"] != "ok":
            return False
        values, counts = np.array([row["value"]], np.float64), np.array([row["count"]], np.int64)
        return bool(self.rule.clears(values, counts)[0])

    def counted(self, severity: str) -> int:
        """Count the evaluations at a severity or worse that count for its "n of m": since the alert was inactive last."""
        bad, found = JUDGED[JUDGED.index(severity) :], 0
        judged = [row for row in reversed(self.earlier) if row["level"] in JUDGED]
        for row in judged[: self.rule.options.hold.needed()[severity].among if self.rule else 0]:
            if row["state_after"] == "inactive":
                break
            found += row["level"] in bad
        return found

    def counters(self) -> Counters:
        """Count evaluations in a row; what said nothing (`no_data`, `insufficient`) is passed over, as the rule does."""
        judged = [row for row in reversed(self.earlier) if row["level"] in JUDGED]
        warning = _leading([row["level"] != "ok" for row in judged])
        critical = _leading([row["level"] == "critical" for row in judged])
        cleared = _leading([self.clears(row) for row in judged])
        began_before = bool(judged) and self.earlier[0]["at"] <= self.end - LOOKED_BACK_MS + (self.end - self.start)
        return Counters(warning, critical, cleared, not began_before or max(warning, cleared) < len(judged))


@dataclass(frozen=True, slots=True)
class Place:
    """Which decision is meant: of a rule and key (canonical JSON), of the window [start, end) in ms."""

    rule: str
    key: str
    start: int
    end: int


def window_end(log: DecisionLog, config: Config, rule: str, at: int) -> int | None:
    """Give the end of the first window judged that holds a time (ms); None where none was."""
    found = log.rows(EVALUATIONS, Wanted(rule=rule, after=at, until=at + config.window.length_ms))
    return min((row["at"] for row in found), default=None)


def case_of(log: DecisionLog, config: Config, place: Place, surroundings: Surroundings, record: Row) -> Case:
    """Put together what is known of a decision, whose record was found."""
    since, until = place.end - _EPISODES_MS, place.end + _FOLLOWING_MS
    transitions = log.rows(TRANSITIONS, Wanted(rule=place.rule, key=place.key, after=since, until=until))
    said = log.rows(NOTIFICATIONS, Wanted(rule=place.rule, key=place.key, after=since, until=until))
    before = Wanted(rule=place.rule, key=place.key, after=place.end - LOOKED_BACK_MS, until=place.end)
    rules = dict(_rules(config))
    labels = Labels(config.environment, config.labels)
    rule, which, others = rules.get(place.rule), 0, list[Row]()
    if record["suppressed_by"] == "inhibit" or (rule is not None and rule.options.kind == "composite"):
        of_window = log.rows(EVALUATIONS, Wanted(after=place.end - 1, until=place.end))
        others = [row for row in of_window if (row["rule"], row["key"]) != (place.rule, place.key)]
    if rule is not None:
        which = rule.choose(labels.of(rule, place.key))
    return Case(
        name=place.rule,
        key=orjson.loads(place.key),
        start=place.start,
        end=place.end,
        record=record,
        rule=rule and rule.variant(which),
        override=rule.chosen_by[which - 1] if rule is not None and which else None,
        earlier=log.rows(EVALUATIONS, before),
        others=others,
        transitions=[row for row in transitions if row["at"] <= place.end],
        said=[row for row in said if row["at"] <= place.end],
        following=[row for row in said if row["at"] > place.end],
        quiet=suppressors(record, _severity(record, said, place.end), others, (config, rules, labels), surroundings),
        version=config.version,
        deliveries=surroundings.deliveries,
        ahead=surroundings.ahead.get((place.rule, place.key, place.end)),
        slo=next((each for each in config.slos if f"{SLO}{each.name}" == place.rule), None),
    )


def _rules(config: Config) -> Iterator[tuple[str, Rule]]:
    metrics = {metric.name: metric for metric in config.metrics}
    return ((options.name, compile_rule(options, metrics[options.metric])) for options in config.rules)


def _severity(record: Row, said: Sequence[Row], end: int) -> int:
    """Give the severity (code) that an alert is chosen by: its own, or the one last said where it has none any more."""
    last = [row["severity"] for row in said if row["at"] <= end]
    return SEVERITIES.index(record["severity"] or (last[-1] if last else "warning"))


def _leading(flags: Sequence[bool]) -> int:
    return next((place for place, flag in enumerate(flags) if not flag), len(flags))


def rank(row: Row) -> tuple[int, int, int, str]:
    """Sort the worst records first: by severity, state and level."""
    severity = {"critical": CRITICAL, "warning": WARNING}.get(row["severity"] or "", 0)
    states: dict[str, int] = {"firing": 3, "recovering": 2, "pending": 1}
    levels: dict[str, int] = {"critical": 3, "warning": 2, "no_data": 1, "insufficient": 1}
    return -severity, -states.get(row["state_after"], 0), -levels.get(row["level"], 0), row["key"]


def says_something(row: Mapping[str, Any]) -> bool:
    """Tell whether there is more to a record than that all is well."""
    return row["level"] in ("warning", "critical") or row["state_after"] != "inactive" or row["state_before"] != "inactive"
