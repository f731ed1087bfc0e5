"""Rule test options: the tables of a file for `edgewatch test`, checked against the configuration that it tests."""

import datetime
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.acknowledge import REASON as ACKNOWLEDGED
from flows.alert_state import SEVERITIES, STATES
from flows.config import Config, ConfigErrors
from flows.evaluation import SUPPRESSORS
from flows.matcher import Match, match_problems
from flows.metric import MetricOptions
from flows.options import ConfigError, Reader, no_such, unknown
from flows.rule import LEVELS
from flows.series import SeriesError, Values, parse_series
from flows.withhold import REASONS

ADD_UP = frozenset({"count", "ratio", "sum"})  # kinds of metrics whose total follows from their groups
NONE = "none"  # as which a file writes that there is no severity, and nothing that keeps an alert quiet
_SEVERITIES = tuple(each or NONE for each in SEVERITIES)
_SUPPRESSORS = tuple(each or NONE for each in SUPPRESSORS)
_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000))
_START = "2025-12-01T00:00:00Z"

Problems = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesOptions:
    """One `[[test.series]]` table: the rows of one metric and key, a value a window."""

    metric: str = field(metadata={"help": "the metric"})
    key: dict[str, str] = field(default_factory=dict, metadata={"help": "the group; left out: the total"})
    statistic: str = field(default="", metadata={"help": "what the values are; left out: what the metric is about"})
    values: str = field(metadata={"help": "a value a window: 0.01x5 0.2x3 _x2; _ is no row"})
    counts: str = field(default="", metadata={"help": "records of each window, the last goes on; left out: many"})

    def problems(self) -> Problems:
        """Yield (key, problem) for what the types cannot say."""
        for name in ("values", "counts"):
            try:
                found = parse_series(getattr(self, name) or "1")
            except SeriesError as error:
                yield name, str(error)
                continue
            if name == "counts" and any(each is None or each < 0 or each % 1 for each in found):
                yield name, "must be whole numbers, 0 or more"
        if not self.values:
            yield "values", "is empty"

    def parsed(self) -> Values:
        """Give the values."""
        return parse_series(self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class SilencedOptions:
    """One `[[test.silence]]` table; times since the start of the test."""

    match: Match = field(metadata={"help": "labels of the alerts that are silenced"})
    start_ms: int = field(default=0, metadata={"duration": True, "help": "from the first window that ends then or later"})
    end_ms: int = field(metadata={"duration": True, "help": "up to the last window that ends before"})
    reason: str = field(default="", metadata={"help": "why; for those who read the test"})

    def problems(self) -> Problems:
        """Yield (key, problem) for what the types cannot say."""
        yield from (("match", problem) for problem in match_problems(self.match))
        if self.end_ms <= self.start_ms:
            yield "end", "must be after the start"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectOptions:
    """One `[[test.expect]]` table: what the decision record of a window is to say; what is left out is not compared."""

    at_ms: int = field(metadata={"duration": True, "help": "when the window ends, since the start of the test"})
    rule: str = field(metadata={"help": "the rule"})
    key: dict[str, str] | None = field(default=None, metadata={"help": "the group; left out: the only one there is"})
    state: str = field(default="", metadata={"help": "the state after the window"})
    severity: str = field(default="", metadata={"help": "warning, critical or none"})
    level: str = field(default="", metadata={"help": "the level of the window alone"})
    suppressed_by: str = field(default="", metadata={"help": "what keeps it quiet, or none"})
    value: float | None = field(default=None, metadata={"unit": "of the statistic", "help": "the value judged"})
    count: int | None = field(default=None, metadata={"unit": "records", "help": "the records behind it"})

    def problems(self) -> Problems:
        """Yield (key, problem) for what the types cannot say."""
        allowed = {"state": STATES, "severity": _SEVERITIES, "level": LEVELS, "suppressed_by": _SUPPRESSORS}
        yield from _not_among(self, allowed)
        if not any(getattr(self, name) for name in allowed) and self.value is None and self.count is None:
            yield "state", f"is missing, as are {', '.join((*allowed, 'value', 'count'))}: nothing is expected"


@dataclass(frozen=True, slots=True, kw_only=True)
class SaidOptions:
    """One `[[test.notification]]` or `[[test.message]]` table; what is left out is not compared."""

    at_ms: int = field(metadata={"duration": True, "help": "when the window ends, since the start of the test"})
    rule: str = field(default="", metadata={"help": "the rule"})
    key: dict[str, str] | None = field(default=None, metadata={"help": "the group"})
    reason: str = field(default="", metadata={"help": "why it is said: first, escalated, repeat, resolved ..."})
    status: str = field(default="", metadata={"help": "firing or resolved"})
    severity: str = field(default="", metadata={"help": "warning or critical"})
    channels: tuple[str, ...] | None = field(default=None, metadata={"help": "who hears, in any order"})
    grouped: bool | None = field(default=None, metadata={"help": "whether it makes one message with others"})
    title: str = field(default="", metadata={"help": "the title, word for word"})

    def problems(self) -> Problems:
        """Yield (key, problem) for what the types cannot say."""
        reasons = (*REASONS[1:], "update", ACKNOWLEDGED)
        yield from _not_among(self, {"reason": reasons, "status": ("firing", "resolved"), "severity": _SEVERITIES[1:]})


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleTestOptions:
    """One `[[test]]` table: windows that are played through the rules, and what is expected of them."""

    name: str = field(metadata={"help": "what is tested"})
    start: str | datetime.datetime = field(default=_START, metadata={"help": "event time at which the first window starts"})
    partial: bool = field(default=False, metadata={"help": "more may be said than is listed"})
    rules: tuple[str, ...] = field(default=(), metadata={"help": "whose notifications are compared; left out: of all rules"})
    series: tuple[SeriesOptions, ...] = field(metadata={"tables": True, "help": "what the windows show"})
    silence: tuple[SilencedOptions, ...] = field(default=(), metadata={"tables": True, "help": "silences"})
    expect: tuple[ExpectOptions, ...] = field(default=(), metadata={"tables": True, "help": "decision records"})
    notification: tuple[SaidOptions, ...] = field(default=(), metadata={"tables": True, "help": "all that is said of alerts"})
    message: tuple[SaidOptions, ...] | None = field(
        default=None, metadata={"tables": True, "help": "all that goes out, where it is given: groups are one message"}
    )

    def problems(self) -> Problems:
        """Yield (key, problem) for what the types cannot say."""
        if not self.series:
            yield "series", "is empty: a test needs values"
        try:
            moment = datetime.datetime.fromisoformat(self.start) if isinstance(self.start, str) else self.start
        except ValueError:
            yield "start", f"{self.start!r} is not a time such as {_START}"
            return
        if moment.tzinfo is None:
            yield "start", f"has no zone; write it as {_START}"

    @property
    def start_ms(self) -> int:
        """Give the start in ms UTC."""
        moment = datetime.datetime.fromisoformat(self.start) if isinstance(self.start, str) else self.start
        return int(moment.timestamp() * 1000)

    @property
    def windows(self) -> int:
        """Give the number of windows: that of the longest series."""
        return max(len(each.parsed()) for each in self.series)


def read_tests(path: Path, config: Config) -> list[RuleTestOptions]:
    """Load a file of tests; raises ConfigErrors with all its problems."""
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigErrors(str(path), [ConfigError("", f"cannot be read: {reason}")]) from error
    problems = [ConfigError(key, unknown(key, ["test"])) for key in given if key != "test"]
    tables = given.get("test", [])
    if not isinstance(tables, list) or not tables:
        problems.append(ConfigError("test", "there is none; a test is written [[test]]"))
        tables = []
    reader = Reader(problems, path.parent, secrets=False)
    tests = []
    for number, table in enumerate(tables, 1):
        name = table.get("name") if isinstance(table, dict) else None
        where = f'test "{name}"' if isinstance(name, str) else f"test #{number}"
        test = reader.table(RuleTestOptions, table, where)
        if test is not None:
            tests.append(test)
            problems += [ConfigError(f"{where}.{key}", problem) for key, problem in asked_in_vain(test, config)]
    if problems:
        raise ConfigErrors(str(path), problems)
    return tests


def offset(ms: int) -> str:
    """Write a time since the start as the file does: 1h15m."""
    parts, rest = [], ms
    for name, size in _UNITS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{name}")
    return "".join(parts) or "0s"


def asked_in_vain(test: RuleTestOptions, config: Config) -> Problems:
    """Yield what a test asks of its configuration that is not there."""
    metrics = {metric.name: metric for metric in config.metrics}
    rules = {rule.name: rule for rule in config.rules}
    window = config.window
    if test.start_ms % window.pane_ms:
        yield "start", f"windows start at whole multiples of {offset(window.pane_ms)}"
    for number, series in enumerate(test.series, 1):
        yield from ((f"series #{number}.{key}", problem) for key, problem in _series_problems(series, metrics))
    yield from _total_problems(test, config)
    yield from (("rules", no_such("rule", name, rules)) for name in test.rules if name not in rules)
    ends = range(window.length_ms, window.length_ms + test.windows * window.pane_ms, window.pane_ms)
    kinds: dict[str, Sequence[ExpectOptions | SaidOptions]] = {"expect": test.expect, "notification": test.notification}
    groups = {name for metric in config.metrics for name in metric.group_by}
    for kind, tables in (kinds | {"message": test.message or ()}).items():
        for number, each in enumerate(tables, 1):
            where = f"{kind} #{number}"
            if each.at_ms not in ends:
                every = f"every {offset(window.pane_ms)} from {offset(ends[0])} to {offset(ends[-1])}"
                yield f"{where}.at", f"no window ends at {offset(each.at_ms)}; they end {every}"
            if each.rule and each.rule not in rules and kind != "message":
                yield f"{where}.rule", no_such("rule", each.rule, rules)
            for name in sorted((each.key or {}).keys() - groups):
                yield f"{where}.key", no_such("group", name, dict.fromkeys(sorted(groups)))
            for name in (each.channels or ()) if isinstance(each, SaidOptions) else ():
                if name not in config.channels:
                    yield f"{where}.channels", no_such("channel", name, config.channels)


def _series_problems(series: SeriesOptions, metrics: dict[str, MetricOptions]) -> Problems:
    metric = metrics.get(series.metric)
    if metric is None:
        yield "metric", no_such("metric", series.metric, metrics)
        return
    if series.statistic and series.statistic not in metric.statistics():
        yield "statistic", f"{metric.name} has no {series.statistic!r}; it has: {', '.join(metric.statistics())}"
    if series.statistic in ("total", "count", "rate") and metric.kind != "count":
        yield "statistic", "say how many records there are with counts"
    if series.counts and metric.kind == "count":
        yield "counts", "the values of a count are its records"
    if series.key and set(series.key) != set(metric.group_by):
        by = f"has the groups {', '.join(metric.group_by)}" if metric.group_by else "has no groups: leave key out"
        yield "key", f"{metric.name} {by}"


def _total_problems(test: RuleTestOptions, config: Config) -> Problems:
    """Yield rules that judge a total which does not follow from the groups that the test gives."""
    unclear = {metric.name for metric in config.metrics if metric.kind not in ADD_UP}
    given = {each.metric for each in test.series} - {each.metric for each in test.series if not each.key}
    for rule in config.rules:
        if rule.metric in unclear & given and rule.keys in ("total", "all") and rule.kind not in ("absence", "composite"):
            yield (
                "series",
                f"{rule.name} judges the total of {rule.metric}, which groups do not add up to: give it, without key",
            )


def _not_among(options: Any, allowed: dict[str, tuple[str, ...]]) -> Problems:
    for name, values in allowed.items():
        given = getattr(options, name)
        if given and given not in values:
            yield name, no_such(name.replace("_", " "), given, dict.fromkeys(values))
