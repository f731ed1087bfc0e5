"""Dashboard overview: the numbers that are read first, each with its course, its limits and what it was a day before."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from flows.config import Config
from flows.dashboard_live import closed
from flows.dashboard_objectives import counted_of
from flows.dashboard_queries import Remembered
from flows.dashboard_series import Sought, limits_of, sql_of, step_of, unit_of, within
from flows.dashboard_steps import Grid
from flows.decision_log import quoted
from flows.metric import TOTAL, MetricOptions
from flows.report_source import Floats, Range
from flows.samples import QUANTILES, midpoint_of
from sinks.chart import short

Row = dict[str, Any]
DAY_MS = 86_400_000
POINTS = 60
_WHOLE_FROM = 0.9  # a range with fewer of the windows is not compared with
_UP, _DOWN = "up", "down"  # which way is good


@dataclass(frozen=True, slots=True)
class Shown:
    """One tile: its name, the metrics that may give it (the first that has rows), the statistic, and which way is good."""

    name: str
    metrics: tuple[str, ...]
    statistic: str
    good: str = ""


GROUPS: Mapping[str, tuple[Shown, ...]] = {
    "Traffic": (
        Shown("Requests", ("requests",), "count"),
        Shown("Throughput", ("requests",), "rate"),
        Shown("Errors", ("error_rate",), "bad", _DOWN),
        Shown("Error rate", ("error_rate",), "ratio", _DOWN),
        Shown("Server error rate", ("server_error_rate",), "ratio", _DOWN),
        Shown("Unique users", ("unique_users", "unique_clients"), "distinct"),
    ),
    "Performance": (
        Shown("Average response", ("response_time",), "mean", _DOWN),
        Shown("p99 response", ("response_time",), "p99", _DOWN),
        Shown("Database time", ("db_latency",), "mean", _DOWN),
        Shown("Cache time", ("cache_latency",), "mean", _DOWN),
        Shown("p99 origin", ("origin_response_time",), "p99", _DOWN),
    ),
    "Cache": (
        Shown("Hit rate", ("cache_hit_rate",), "ratio", _UP),
        Shown("Hits", ("cache_hit_rate",), "good"),
        Shown("Misses", ("cache_hit_rate",), "misses", _DOWN),
        Shown("Size", ("runtime_cache_size",), "last"),
        Shown("Evictions", ("runtime_cache_evictions",), "last", _DOWN),
        Shown("Hit ratio of the application's cache", ("runtime_cache_hit_ratio",), "mean", _UP),
    ),
    "Database pool": (
        Shown("Active", ("pool_active", "db_pool_active"), "last"),
        Shown("Idle", ("pool_idle", "db_pool_idle"), "last"),
        Shown("Waiting", ("pool_waiting", "db_pool_waiting"), "last", _DOWN),
        Shown("p99 wait", ("pool_latency",), "p99", _DOWN),
    ),
}
_SUMMED = ("count", "rate", "bad", "good", "total", "distinct", "mean", "last", "sum")  # what tiles are made of
_WHOLE = {"distinct": "the most in one window", "last": "now", "rate": "mean"}
_HEADLINE = {"count": "count", "ratio": "ratio", "distribution": "p99", "distinct": "distinct", "gauge": "mean", "sum": "sum"}
_OTHER = "Other metrics"
_CHARTS = (
    ("Requests and errors", (("requests", "count"), ("error_rate", "bad"))),
    ("Error rate", (("error_rate", "ratio"),)),
    ("Response time", (("response_time", "p50"), ("response_time", "p99"))),
    ("Cache hit rate", (("cache_hit_rate", "ratio"),)),
)


def overview(config: Config, database: Remembered, over: Range, there: frozenset[str]) -> dict[str, Any]:
    """Give the tiles by group, what is left out and why; `there` are the metrics that have rows."""
    metrics = {metric.name: metric for metric in config.metrics}
    step = step_of(over, config.window.length_ms, POINTS)
    back = -(-over.length // DAY_MS) * DAY_MS
    before = Range(over.start - back, over.end - back)
    maker = _Maker(config, database, over, step, _part(config, database, over, step), _part(config, database, before, step))
    groups, left_out, used = [], [], set[str]()
    for group, tiles in GROUPS.items():
        made = []
        for shown in tiles:
            name = next((each for each in shown.metrics if each in metrics and each in there), None)
            if name is None:
                left_out.append({"tile": shown.name, "group": group, "why": f"no rows of {' or '.join(shown.metrics)}"})
                continue
            used.add(name)
            made.append(maker.tile(shown.name, metrics[name], shown.statistic, shown.good))
        groups.append({"name": group, "tiles": made})
    others = [each for each in config.metrics if each.name in there and each.name not in used]
    made = [maker.tile(_headline(each), each, _HEADLINE[each.kind], "") for each in others if each.kind in _HEADLINE]
    groups.append({"name": _OTHER, "tiles": made})
    return {
        "groups": [each for each in groups if each["tiles"]],
        "left_out": left_out,
        "charts": [
            {"title": title, "lines": [list(each) for each in lines]}
            for title, lines in _CHARTS
            if all(name in there and name in metrics for name, _ in lines)
        ],
        "compared": "yesterday" if back == DAY_MS else f"{back // DAY_MS} days before",
        "step": step,
    }


def headline_of(metric: MetricOptions) -> str:
    """Give the statistic of a metric that adds up over windows and says most; a percentile does not add up."""
    return "mean" if metric.kind == "distribution" else _HEADLINE[metric.kind]


def _headline(metric: MetricOptions) -> str:
    return f"{metric.name} {_HEADLINE[metric.kind]}"


class Cell(NamedTuple):
    """Sums of the windows of one step: values, values x records, records, windows, extremes, and the last value."""

    total: float
    weighted: float
    records: float
    windows: float
    low: float
    high: float
    final: float


# The columns of a cell, in a query of windows that is grouped by steps.
CELL_SQL = (
    "sum(value) AS total, sum(value * count) AS weighted, toFloat64(sum(count)) AS records, toFloat64(count()) AS windows,"
    " min(value) AS low, max(value) AS high, argMax(value, window_start) AS final"
)


def cell_of(row: Row) -> Cell:
    """Give the cell of a row that has its columns."""
    return Cell(*(float(row[name]) for name in Cell._fields))


class _Part(NamedTuple):
    """One range: the cells of its steps by metric and statistic, and the histograms of its steps by metric."""

    cells: Mapping[tuple[str, str], Mapping[int, Cell]]
    spread: Mapping[str, Mapping[int, Row]]


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes tiles of one range, compared with an earlier one; all tiles come from two queries of each."""

    config: Config
    database: Remembered
    over: Range
    step: int
    now: _Part
    before: _Part

    def tile(self, name: str, metric: MetricOptions, statistic: str, good: str) -> dict[str, Any]:
        """Give one tile: the value of the whole range, that of the range before, the course and its limits."""
        sought = self._sought(metric, "total" if statistic == "misses" else statistic)
        limits = limits_of(self.config.rules, metric, statistic, sought.scale)
        if statistic in QUANTILES:
            now, before, course = self._percentiles(metric.name, statistic)
        else:
            now, before, course = self._sums(metric, statistic)
        return {
            "name": name,
            "metric": metric.name,
            "statistic": sought.statistic,
            "unit": unit_of(metric, statistic),
            "value": now and now * sought.scale,
            "before": before and before * sought.scale,
            "good": good,
            "course": short(course * sought.scale),
            "limits": [{"value": each.value, "tone": each.tone, "name": each.name} for each in limits],
            "how": _WHOLE.get(statistic, ""),
            "sql": sql_of(sought, self.database.database),
        }

    def _sought(self, metric: MetricOptions, statistic: str) -> Sought:
        length = self.config.window.length_ms
        return Sought(metric=metric, statistic=statistic, key=TOTAL, over=self.over, step=self.step, length=length)

    def _sums(self, metric: MetricOptions, statistic: str) -> tuple[float | None, float | None, Floats]:
        """Give the value of the range, of the range before, and by step."""
        names = [(metric.name, each) for each in parts_of(metric, statistic)]
        parts = [self.now.cells.get(name, {}) for name in names]
        now = [added(cells) for cells in parts]
        before = [added(self.before.cells.get(name, {})) for name in names]
        course = self._course()
        for place in {place for cells in parts for place in cells}:
            found = combined(statistic, [cells.get(place) for cells in parts])
            course[place] = np.nan if found is None else found
        whole = all(was and now and was.windows >= _WHOLE_FROM * now.windows for was, now in zip(before, now, strict=True))
        return combined(statistic, now), combined(statistic, before) if whole else None, course

    def _percentiles(self, metric: str, statistic: str) -> tuple[float | None, float | None, Floats]:
        """Give the percentile of the range, of the range before, and by step, from merged histograms."""
        now, before = (list(part.spread.get(metric, {}).values()) for part in (self.now, self.before))
        course = self._course()
        for place, row in self.now.spread.get(metric, {}).items():
            course[place] = _percentile([row], statistic)
        whole = before and sum(row["windows"] for row in before) >= _WHOLE_FROM * sum(row["windows"] for row in now)
        return _percentile(now, statistic), _percentile(before, statistic) if whole else None, course

    def _course(self) -> Floats:
        return np.full(Grid(self.step).places(self.over), np.nan)


def _part(config: Config, database: Remembered, over: Range, step: int) -> _Part:
    """Ask for what the tiles of a range are made of."""
    grid, done = Grid(step), closed(database, config.window.length_ms)
    start = grid.floor(over.start) // 1000

    def place(row: Row) -> int:
        return (int(row["second"]) - start) * 1000 // step

    cells: dict[tuple[str, str], dict[int, Cell]] = {}
    for row in database.steps.rows(lambda parts: sums_sql(config, database.database, parts, grid), over, grid, done):
        cells.setdefault((row["metric"], row["statistic"]), {})[place(row)] = cell_of(row)
    spread: dict[str, dict[int, Row]] = {}
    for row in database.steps.rows(lambda parts: histograms_sql(config, database.database, parts, grid), over, grid, done):
        spread.setdefault(row["metric"], {})[place(row)] = row
    return _Part(cells, spread)


def parts_of(metric: MetricOptions, statistic: str) -> tuple[str, ...]:
    """Give the stored statistics that a tile is made of."""
    return {"ratio": (counted_of(metric), "total"), "misses": ("total", "good")}.get(statistic, (statistic,))


def sums_sql(config: Config, database: str, parts: Sequence[Range], grid: Grid) -> str:
    """Give the query of all sums of totals by step."""
    return (
        f"SELECT metric, statistic, {grid.sql()} AS second, {CELL_SQL} FROM {database}.window_metrics FINAL"  # noqa: S608
        f" WHERE {_total(config, [each.name for each in config.metrics], parts)}"
        f" AND statistic IN ({', '.join(map(quoted, _SUMMED))}) GROUP BY metric, statistic, second ORDER BY second"
    )


def histograms_sql(config: Config, database: str, parts: Sequence[Range], grid: Grid) -> str:
    """Give the query of the merged histograms of totals by step: value and count of each bucket, rising."""
    names = [each.name for each in config.metrics if each.kind == "distribution"]
    rows = (
        f"SELECT metric, {grid.sql()} AS second, sumMap(buckets, counts) AS merged, toFloat64(count()) AS windows"  # noqa: S608
        f" FROM {database}.window_histograms FINAL WHERE {_total(config, names, parts)} GROUP BY metric, second"
    )
    return (
        "SELECT metric, second, windows, merged.1 AS buckets, arrayMap(n -> toFloat64(n), merged.2) AS counts"  # noqa: S608
        f" FROM ({rows}) ORDER BY second"
    )


def _total(config: Config, metrics: Sequence[str], parts: Sequence[Range]) -> str:
    seconds = config.window.length_ms // 1000
    return (
        f"run = '' AND metric IN ({', '.join(map(quoted, metrics))}) AND key.size0 = 0 AND {within(*parts)}"
        f" AND toUnixTimestamp(window_start) % {seconds} = 0 AND window_end - window_start = {seconds}"
    )


def _percentile(rows: Sequence[Row], statistic: str) -> float:
    """Give the percentile of histograms together: the middle of the bucket that holds its rank, as the SQL of a chart does."""
    if not rows:
        return np.nan
    buckets, counts = (np.concatenate([row[name] for row in rows]) for name in ("buckets", "counts"))
    order = np.argsort(buckets, kind="stable")
    reached = np.cumsum(counts[order])
    rank = math.ceil(reached[-1] * QUANTILES[statistic] / 100)
    return float(midpoint_of(buckets[order][[np.searchsorted(reached, rank)]])[0])


def added(cells: Mapping[int, Cell]) -> Cell | None:
    """Add up the cells of some steps."""
    if not cells:
        return None
    total, weighted, records, windows, *_ = map(math.fsum, zip(*cells.values(), strict=True))
    low, high = min(each.low for each in cells.values()), max(each.high for each in cells.values())
    return Cell(total, weighted, records, windows, low, high, cells[max(cells)].final)


def combined(statistic: str, parts: Sequence[Cell | None]) -> float | None:
    """Give one value of the sums of its parts."""
    first, second = parts[0], parts[-1]
    if first is None or second is None:
        return None
    if statistic == "ratio":
        return first.total / second.total if second.total else None
    if statistic == "misses":
        return first.total - second.total
    if statistic == "rate":
        return first.total / first.windows
    if statistic == "mean":
        return first.weighted / first.records if first.records else None
    return {"distinct": first.high, "max": first.high, "min": first.low, "last": first.final}.get(statistic, first.total)
