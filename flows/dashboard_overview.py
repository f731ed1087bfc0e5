"""Dashboard overview: the numbers that are read first, each with its course, its limits and what it was a day before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from flows.config import Config
from flows.dashboard_queries import Remembered
from flows.dashboard_series import MIDDLE, Sought, limits_of, sql_of, step_of, unit_of, within
from flows.decision_log import quoted
from flows.metric import TOTAL, MetricOptions
from flows.report_source import Floats, Range
from flows.samples import QUANTILES
from sinks.chart import short

DAY_MS = 86_400_000
_POINTS = 60
_BEFORE = -1  # the place of the range that is compared with
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
    step = step_of(over, config.window.length_ms, _POINTS)
    back = -(-over.length // DAY_MS) * DAY_MS
    before = Range(over.start - back, over.end - back)
    cells = _cells_of(database.query(sums_sql(config, database.database, (over, before), step)))
    maker = _Maker(config, database, over, step, before, cells)
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


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes tiles of one range, compared with an earlier one; all tiles come from three queries."""

    config: Config
    database: Remembered
    over: Range
    step: int
    before: Range
    cells: Mapping[tuple[str, str], Mapping[int, Cell]]  # by metric and statistic: the cells by place

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
        parts = [self.cells.get((metric.name, each), {}) for each in parts_of(metric, statistic)]
        now = [_added([cells[place] for place in sorted(cells) if place >= 0]) for cells in parts]
        before = [cells.get(_BEFORE) for cells in parts]
        course = np.full(-(-self.over.length // self.step), np.nan)
        for place in {place for cells in parts for place in cells if place >= 0}:
            found = _combined(statistic, [cells.get(place) for cells in parts])
            course[place] = np.nan if found is None else found
        whole = all(was and now and was.windows >= _WHOLE_FROM * now.windows for was, now in zip(before, now, strict=True))
        return _combined(statistic, now), _combined(statistic, before) if whole else None, course

    def _percentiles(self, metric: str, statistic: str) -> tuple[float | None, float | None, Floats]:
        course = np.full(-(-self.over.length // self.step), np.nan)
        for row in self.database.query(self._histograms(f"toInt64({place_of(self.over, self.step)})", [self.over])):
            if row["metric"] == metric:
                course[int(row["place"])] = row[statistic]
        whole: dict[int, dict[str, Any]] = {}
        here = f"toInt64(window_start >= toDateTime({self.over.start // 1000}, 'UTC'))"
        for row in self.database.query(self._histograms(here, [self.over, self.before])):
            if row["metric"] == metric:
                whole[int(row["place"])] = row
        now, before = whole.get(1), whole.get(0)
        same = before is not None and now is not None and before["windows"] >= _WHOLE_FROM * now["windows"]
        return now[statistic] if now else None, before[statistic] if same and before else None, course

    def _histograms(self, place: str, ranges: Sequence[Range]) -> str:
        quantiles = ", ".join(f"quantileExactWeighted({q / 100:g})({MIDDLE}, n) AS {name}" for name, q in QUANTILES.items())
        names = [each.name for each in self.config.metrics if each.kind == "distribution"]
        return (
            f"SELECT metric, {place} AS place, {quantiles}, toFloat64(uniqExact(window_start)) AS windows"  # noqa: S608
            f" FROM {self.database.database}.window_histograms FINAL"
            f" ARRAY JOIN buckets AS bucket, counts AS n WHERE {_total(self.config, names, ranges)} GROUP BY metric, place"
        )


def parts_of(metric: MetricOptions, statistic: str) -> tuple[str, ...]:
    """Give the stored statistics that a tile is made of."""
    counted = "bad" if metric.bad else "good"
    return {"ratio": (counted, "total"), "misses": ("total", "good")}.get(statistic, (statistic,))


def sums_sql(config: Config, database: str, ranges: Sequence[Range], step: int) -> str:
    """Give the query of all sums of totals: by step of the first range, and of the whole of the second (place -1)."""
    first = f"toDateTime({ranges[0].start // 1000}, 'UTC')"
    place = f"if(window_start >= {first}, toInt64({place_of(ranges[0], step)}), {_BEFORE})"
    return (
        f"SELECT metric, statistic, {place} AS place, sum(value) AS total, sum(value * count) AS weighted,"  # noqa: S608
        " toFloat64(sum(count)) AS records, toFloat64(count()) AS windows, min(value) AS low, max(value) AS high,"
        f" argMax(value, window_start) AS final FROM {database}.window_metrics FINAL"
        f" WHERE {_total(config, [each.name for each in config.metrics], ranges)}"
        " AND statistic NOT IN ('p50', 'p90', 'p95', 'p99', 'p999') GROUP BY metric, statistic, place"
    )


def place_of(over: Range, step: int) -> str:
    """Give the number of a window's step."""
    return f"intDiv(toInt64(toUnixTimestamp(window_start)) - {over.start // 1000}, {step // 1000})"


def _total(config: Config, metrics: Sequence[str], ranges: Sequence[Range]) -> str:
    seconds = config.window.length_ms // 1000
    spans = " OR ".join(f"({within(each)})" for each in ranges)
    return (
        f"run = '' AND metric IN ({', '.join(map(quoted, metrics))}) AND empty(key) AND ({spans})"
        f" AND toUnixTimestamp(window_start) % {seconds} = 0 AND window_end - window_start = {seconds}"
    )


def _cells_of(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], dict[int, Cell]]:
    """Sort the rows of all sums by metric and statistic, once for all tiles."""
    out: dict[tuple[str, str], dict[int, Cell]] = {}
    for row in rows:
        cell = Cell(*(float(row[name]) for name in Cell._fields))
        out.setdefault((row["metric"], row["statistic"]), {})[int(row["place"])] = cell
    return out


def _added(cells: Sequence[Cell]) -> Cell | None:
    if not cells:
        return None
    total, weighted, records, windows = (float(sum(each[number] for each in cells)) for number in range(4))
    low, high = min(each.low for each in cells), max(each.high for each in cells)
    return Cell(total, weighted, records, windows, low, high, cells[-1].final)


def _combined(statistic: str, parts: Sequence[Cell | None]) -> float | None:
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
