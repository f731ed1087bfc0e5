"""Dashboard series: the values of one statistic of one key over time, as SQL that people can run too, and as a chart.

Steps longer than a window add up what adds up: counts and sums; a ratio is made of its sums, a mean is weighted by its records,
percentiles come from the merged histograms. What does not add up (distinct counts) is the most in one window, and says so.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flows.amount import amount
from flows.dashboard_live import closed
from flows.dashboard_queries import Remembered
from flows.dashboard_steps import Grid
from flows.decision_log import quoted
from flows.metric import MetricOptions
from flows.report_source import Floats, Ints, Range
from flows.rule import RuleOptions
from flows.samples import QUANTILES
from flows.sql import of_key
from sinks.chart import Limit

_SUMMED = frozenset({"count", "total", "bad", "good", "sum"})
_WORDS = {
    "sum": "added up over each step",
    "ratio": "share over each step, of the sums of its windows",
    "mean": "mean over each step, weighted by records",
    "rate": "mean rate over each step",
    "histogram": "percentile over each step, from the merged histograms of its windows (within 0.4 %)",
    "max": "the most in one window of each step",
    "min": "the least in one window of each step",
    "last": "the last window of each step",
}
_VALUES = {
    "sum": "sum(value)",
    "mean": "if(sum(count) = 0, NULL, sum(value * count) / sum(count))",
    "rate": "avg(value)",
    "min": "min(value)",
    "max": "max(value)",
    "last": "argMax(value, window_start)",
}
# Bucket b > 0 holds the values whose float64, cut to its top 19 bits, is b - 1; the middle stands for them.
MIDDLE = (
    "sign(bucket) * if(bucket = 0, 0., reinterpretAsFloat64("
    "bitShiftLeft(toInt64(abs(bucket)) - 1, 45) + bitShiftLeft(toInt64(1), 44)))"
)
STEPS = (1, 2, 3, 6, 12, 24, 36, 72, 144, 288, 576, 2016, 8640)  # in windows


@dataclass(frozen=True, slots=True, kw_only=True)
class Sought:
    """Which values: of windows of `length` ms that start in `over`, by the steps of `grid`; `key` is canonical JSON."""

    metric: MetricOptions
    statistic: str
    key: str
    over: Range
    step: int
    length: int
    run: str = ""
    phase: int = 0

    def at(self, over: Range, phase: int | None = None) -> "Sought":
        """Give the same of another range."""
        return dataclasses.replace(self, over=over, phase=self.phase if phase is None else phase)

    @property
    def grid(self) -> Grid:
        """Give where its steps lie."""
        return Grid(self.step, self.phase)

    @property
    def how(self) -> str:
        """Name how windows become a step."""
        name = self.statistic
        if name in QUANTILES:
            return "histogram" if self.step > self.length else "max"
        if name in _SUMMED:
            return "sum"
        return {"distinct": "max"}.get(name, name)

    @property
    def words(self) -> str:
        """Say how windows become a step; empty where a step is a window."""
        return _WORDS[self.how] if self.step > self.length else ""

    @property
    def unit(self) -> str:
        """Give the unit that values are shown in; a ratio is shown as per cent."""
        return unit_of(self.metric, self.statistic)

    @property
    def scale(self) -> float:
        """Give what a value is multiplied by when it is shown."""
        return 100.0 if self.statistic == "ratio" else 1.0


def unit_of(metric: MetricOptions, statistic: str) -> str:
    """Give the unit in which a statistic is shown."""
    if statistic == "ratio":
        return "%"
    if statistic == "rate":
        return "/s"
    return "" if statistic in _SUMMED - {"sum"} or statistic == "distinct" else metric.unit


def step_of(over: Range, length: int, most: int) -> int:
    """Give the step (ms) in which a range has at most so many points."""
    for windows in STEPS:
        if over.length <= windows * length * most:
            return windows * length
    return -(-over.length // (most * length)) * length


def sql_of(sought: Sought, database: str, parts: Sequence[Range] = ()) -> str:
    """Give the query of the values: columns time, value, windows; of some parts of the range, or the whole."""
    time = f"toDateTime({sought.grid.sql()}, 'UTC') AS time"
    if sought.how == "histogram":
        return (
            f"SELECT {time}, quantileExactWeighted({_level(sought)})({MIDDLE}, n) AS value,"  # noqa: S608
            f" uniqExact(window_start) AS windows FROM {_buckets(sought, database, parts)} GROUP BY time ORDER BY time"
        )
    names = _needed(sought)
    return (
        f"SELECT {time}, {_value(sought)} AS value, uniqExact(window_start) AS windows"  # noqa: S608
        f" FROM {database}.window_metrics FINAL WHERE {where_of(sought, parts)}"
        f" AND statistic IN ({', '.join(map(quoted, names))}) GROUP BY time ORDER BY time"
    )


def where_of(sought: Sought, parts: Sequence[Range] = ()) -> str:
    """Give the condition on the rows of a metric and key over parts of a range; windows that overlap count once."""
    seconds = sought.length // 1000
    return (
        f"run = {quoted(sought.run)} AND metric = {quoted(sought.metric.name)} AND {of_key(sought.key)}"
        f" AND {within(*(parts or [sought.over]))}"
        f" AND toUnixTimestamp(window_start) % {seconds} = 0 AND window_end - window_start = {seconds}"
    )


def within(*parts: Range) -> str:
    """Give the condition that a window starts in one of some ranges."""
    found = [
        f"window_start >= toDateTime({each.start // 1000}, 'UTC') AND window_start < toDateTime({each.end // 1000}, 'UTC')"
        for each in parts
    ]
    return found[0] if len(found) == 1 else f"({' OR '.join(found)})"


def read(database: Remembered, soughts: Sequence[Sought]) -> list[tuple[Ints, Floats]]:
    """Give for each the starts (n,) in ms of steps with rows, and their values (n,) as stored.

    Percentiles of the same histograms are one question: what takes time is to read them.
    """
    groups: dict[tuple[object, ...], list[int]] = {}
    for place, sought in enumerate(soughts):
        same = "" if sought.how == "histogram" else sought.statistic
        groups.setdefault((sought.metric.name, same, sought.key, sought.over, sought.grid, sought.run), []).append(place)
    found: dict[int, tuple[Ints, Floats]] = {}
    for places in groups.values():
        times, columns = _read(database, [soughts[place] for place in places])
        found |= {place: (times, values) for place, values in zip(places, columns, strict=True)}
    return [found[place] for place in range(len(soughts))]


def _read(database: Remembered, group: Sequence[Sought]) -> tuple[Ints, list[Floats]]:
    """Give the times of one sought, or of several percentiles of the same histograms, and the values of each."""
    sought = group[0]

    def sql(parts: Sequence[Range]) -> str:
        if sought.how != "histogram":
            rows = sql_of(sought, database.database, parts)
            return f"SELECT toUnixTimestamp(time) AS second, [value] AS found FROM ({rows}) ORDER BY second"  # noqa: S608 (quoted)
        levels = ", ".join(map(_level, group))
        return (
            f"SELECT {sought.grid.sql()} AS second, quantilesExactWeighted({levels})({MIDDLE}, n) AS found"  # noqa: S608
            f" FROM {_buckets(sought, database.database, parts)} GROUP BY second ORDER BY second"
        )

    if sought.run:
        rows = database.query(sql([sought.over]))
    else:
        rows = database.steps.rows(sql, sought.over, sought.grid, closed(database, sought.length))
    times = np.array([row["second"] for row in rows], np.int64) * 1000
    values = [[np.nan if row["found"][n] is None else float(row["found"][n]) for row in rows] for n in range(len(group))]
    return times, [np.array(each, np.float64) for each in values]


def _level(sought: Sought) -> str:
    return f"{QUANTILES[sought.statistic] / 100:g}"


def _buckets(sought: Sought, database: str, parts: Sequence[Range]) -> str:
    return f"{database}.window_histograms FINAL ARRAY JOIN buckets AS bucket, counts AS n WHERE {where_of(sought, parts)}"


def aligned(parts: Sequence[tuple[Ints, Floats]]) -> tuple[Ints, list[Floats]]:
    """Put columns side by side over all their times; NaN where one has no value."""
    times: NDArray[np.int64] = np.unique(np.concatenate([times for times, _ in parts])) if parts else np.zeros(0, np.int64)
    out = []
    for own, values in parts:
        column = np.full(len(times), np.nan)
        column[np.searchsorted(times, own)] = values
        out.append(column)
    return times, out


def limits_of(rules: Sequence[RuleOptions], metric: MetricOptions, statistic: str, scale: float = 1.0) -> Iterator[Limit]:
    """Give the thresholds of the rules that judge a statistic as it is."""
    own = [r for r in rules if r.kind == "threshold" and (r.metric, r.statistic) == (metric.name, statistic)]
    for rule in own:
        side = "above" if rule.above else "below"
        for severity in ("critical", "warning"):
            limit = getattr(rule.thresholds, severity)
            if limit is not None:
                shown = amount(limit, statistic, metric.unit)
                name = f"{severity} {side} {shown}" + (f" ({rule.name})" if len(own) > 1 else "")
                yield Limit(name=name, value=limit * scale, tone=severity, low=side == "below")


def _needed(sought: Sought) -> tuple[str, ...]:
    if sought.statistic == "ratio":
        return ("bad" if sought.metric.bad else "good", "total")
    return (sought.statistic,)


def _value(sought: Sought) -> str:
    if sought.how == "ratio":
        total = "sumIf(value, statistic = 'total')"
        return f"if({total} = 0, NULL, sumIf(value, statistic = '{_needed(sought)[0]}') / {total})"
    return _VALUES[sought.how]
