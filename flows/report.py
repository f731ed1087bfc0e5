"""Report: what a platform was like over a range of time, as plain data: JSON is this, pages and Markdown are made of it.

Everything is added up from stored windows; nothing is read from records again. What a configuration does not measure is left
out with a word.
"""

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import numpy as np

from flows.metric import MetricOptions
from flows.output import rfc3339
from flows.policy import PolicyOptions
from flows.report_alerts import alerts, by_stretch
from flows.report_measures import USERS, Content, Look, measures, stretches
from flows.report_objectives import objectives
from flows.report_quality import quality
from flows.report_source import Range, ReportError, Source
from flows.report_worst import worst
from flows.rule import RuleOptions
from flows.slo import SloOptions

VERSION = 1
STEPS = 8
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
BY_HOUR, BY_DAY = 2 * DAY_MS, 92 * DAY_MS
_POINTS = 2000  # stretches of a course: each has its least and its greatest
_COURSES: Mapping[str, tuple[str, ...]] = {
    "requests": ("rate",),
    "error_rate": ("ratio",),
    "server_error_rate": ("ratio",),
    "response_time": ("p50", "p99"),
    "cache_hit_rate": ("ratio",),
    "db_latency": ("mean", "p99"),
    **dict.fromkeys(USERS, ("distinct",)),
}


Progress = Callable[[int], None]


class ReportConfig(Protocol):
    """What of a configuration a report needs."""

    @property
    def environment(self) -> str:
        """Give the name of the environment."""
        ...

    @property
    def version(self) -> str:
        """Give the version of the configuration."""
        ...

    @property
    def metrics(self) -> Sequence[MetricOptions]:
        """Give the metrics."""
        ...

    @property
    def rules(self) -> Sequence[RuleOptions]:
        """Give the rules."""
        ...

    @property
    def slos(self) -> Sequence[SloOptions]:
        """Give the objectives."""
        ...

    @property
    def policy(self) -> PolicyOptions:
        """Give which channels are pagers."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be reported: the range is of whole windows of `length_ms`, days are those of `zone`."""

    over: Range
    zone: ZoneInfo
    length_ms: int


def report(config: ReportConfig, source: Source, asked: Asked, progress: Progress = lambda _: None) -> Content:
    """Give the report; raises ReportError where no window starts in the range. `progress` hears which of STEPS is done."""
    over, length = asked.over, asked.length_ms
    metrics = {metric.name: metric for metric in config.metrics}
    _check(source, metrics, over)
    look = Look(source, metrics, over, length)
    edges = edges_of(over, asked.zone)
    content: Content = {
        "version": VERSION,
        "environment": config.environment,
        "config_version": config.version,
        "source": source.name,
        "from": over.start,
        "to": over.end,
        "zone": str(asked.zone),
        "window_ms": length,
        "edges": list(edges),
    }
    steps: Sequence[tuple[str, Callable[[], Any]]] = (
        ("", lambda: measures(look)),
        ("stretches", lambda: stretches(look, edges)),
        ("objectives", lambda: objectives(source, config.slos, metrics, over)),
        ("alerts", lambda: alerts(source, over, config.policy.pagers, asked.zone)),
        ("worst", lambda: worst(look)),
        ("quality", lambda: quality(source, metrics, over, length)),
        ("courses", lambda: _courses(source, metrics, config.rules, asked)),
        ("before", lambda: _before(config, source, asked)),
    )
    for number, (name, make) in enumerate(steps, 1):
        found = make()
        content |= {name: found} if name else found
        progress(number)
    said = source.notifications(over)
    content["alerts"]["by_stretch"] = by_stretch(said, edges)
    content["alerts"]["said"] = [{name: row[name] for name in _SHOWN} for row in said]
    return content


_SHOWN = ("at", "rule", "key", "episode", "status", "severity", "title", "channels")


def _before(config: ReportConfig, source: Source, asked: Asked) -> Content | None:
    """Give the main numbers of the range before, where there is most of it."""
    over = asked.over.before()
    metrics = {metric.name: metric for metric in config.metrics}
    known = [name for name in metrics if name in source.metrics]
    windows = len(source.starts(known, over))
    expected = over.length // asked.length_ms
    if not windows:
        return None
    found = measures(Look(source, metrics, over, asked.length_ms))
    told = alerts(source, over, config.policy.pagers, asked.zone)
    return {
        "from": over.start,
        "to": over.end,
        "windows": windows,
        "expected": expected,
        **{name: found[name] for name in ("requests", "performance", "cache", "database", "users")},
        "alerts": {name: told[name] for name in ("notifications", "pages", "episodes")},
    }


def _check(source: Source, metrics: Mapping[str, MetricOptions], over: Range) -> None:
    span = source.span()
    if span is None:
        raise ReportError(f"{source.name} holds no windows yet; `edgewatch run` writes them")
    known = [name for name in metrics if name in source.metrics]
    if not known:
        there = ", ".join(sorted(source.metrics)[:20])
        raise ReportError(f"{source.name} holds no rows of the configured metrics; it has rows of: {there}")
    if not len(source.starts(known, over)):
        asked = f"{rfc3339(over.start)} and {rfc3339(over.end)}"
        raise ReportError(
            f"no window starts between {asked}; {source.name} has windows from {rfc3339(span[0])} to {rfc3339(span[1])}"
        )


def edges_of(over: Range, zone: ZoneInfo) -> list[int]:
    """Cut a range into hours (up to two days), days (up to three months) or weeks, by a zone's clock; gives the edges in ms."""
    if over.length <= BY_HOUR:
        inner = range(over.start // HOUR_MS * HOUR_MS + HOUR_MS, over.end, HOUR_MS)
        return [over.start, *inner, over.end]
    each = 1 if over.length <= BY_DAY else 7
    edges, day = [over.start], datetime.datetime.fromtimestamp(over.start / 1000, zone).date()
    while True:
        day += datetime.timedelta(days=each)
        midnight = int(datetime.datetime.combine(day, datetime.time(), zone).timestamp() * 1000)
        if midnight >= over.end:
            return [*edges, over.end]
        edges.append(midnight)


def _courses(source: Source, metrics: Mapping[str, MetricOptions], rules: Sequence[RuleOptions], asked: Asked) -> list[Content]:
    """Give the totals over time, and the limits of the rules on them."""
    windows = asked.over.length // asked.length_ms
    step = asked.length_ms * -(-windows // _POINTS)
    out = []
    for name, statistics in _COURSES.items():
        if name not in metrics or name not in source.metrics:
            continue
        course = source.course(name, statistics, asked.over, step)
        if not len(course.starts):
            continue
        lines = [{"statistic": each, "low": _plain(course.low[each]), "high": _plain(course.high[each])} for each in statistics]
        judging = [rule for rule in rules if rule.kind == "threshold" and rule.metric == name and rule.statistic in statistics]
        row = {"metric": name, "unit": metrics[name].unit, "step_ms": step, "starts": course.starts.tolist(), "lines": lines}
        out.append(row | {"limits": [limit for rule in judging for limit in _limits(rule, metrics[name])]})
    return out


def _limits(rule: RuleOptions, metric: MetricOptions) -> list[Content]:
    way, limits = ("above", rule.above) if rule.above else ("below", rule.below)
    by = "" if rule.keys == "total" or not metric.group_by else " of each " + ", ".join(metric.group_by)
    pairs: list[tuple[str, float | None]] = (
        [] if limits is None else [("critical", limits.critical), ("warning", limits.warning)]
    )
    return [
        {"rule": rule.name, "severity": severity, "way": way, "value": value, "statistic": rule.statistic, "by": by}
        for severity, value in pairs
        if value is not None
    ]


def _plain(values: Any) -> list[float | None]:
    return [None if np.isnan(value) else value for value in values.tolist()]
