"""Dashboard groups: the metrics of some datasets by key, each with its course and what it was before: health, business.

And performance budgets: what each endpoint took against what it may take.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import orjson

from flows.budget import ANY_OTHER
from flows.config import Config
from flows.dashboard_alerts import open_alerts
from flows.dashboard_live import closed, until
from flows.dashboard_overview import CELL_SQL, DAY_MS, POINTS, Cell, added, cell_of, combined, headline_of, parts_of
from flows.dashboard_queries import Remembered
from flows.dashboard_series import step_of, unit_of, within
from flows.dashboard_steps import Grid
from flows.decision_log import quoted
from flows.metric import MetricOptions
from flows.output import canonical
from flows.report_source import Floats, Range
from flows.rule import RuleOptions
from flows.status_page import status_of
from sinks.chart import short

Row = dict[str, Any]
HEALTH, BUSINESS = ("health", "runtime_stats"), ("business",)
_MOST_KEYS = 50
_STATUS_DAYS = 14


def groups(config: Config, database: Remembered, over: Range, datasets: Sequence[str], there: frozenset[str]) -> Row:
    """Give for each metric of some datasets its total and its keys: value, that of the day before, course; and what fires."""
    metrics = [each for each in config.metrics if each.dataset in datasets and each.name in there]
    step = step_of(over, config.window.length_ms, POINTS)
    back = -(-over.length // DAY_MS) * DAY_MS
    before = Range(over.start - back, over.end - back)
    names = {each.name for each in metrics}
    now, was = (_cells(config, database, metrics, part, Grid(step)) if metrics else {} for part in (over, before))
    opened = open_alerts(config, database, until(database))
    return {
        "metrics": [_metric(each, now.get(each.name, {}), was.get(each.name, {}), over, Grid(step)) for each in metrics],
        "open": [each for each in opened if each["metric"] in names],
        "compared": "yesterday" if back == DAY_MS else f"{back // DAY_MS} days before",
        "step": step,
        "from": over.start,
    }


def health(config: Config, database: Remembered, over: Range, there: frozenset[str]) -> Row:
    """Give the components of the status page and their last days, and the metrics of health checks and the runtime."""
    last = until(database)
    status = status_of(config, database, now_ms=last, days=_STATUS_DAYS, zone=ZoneInfo("UTC")) if last else None
    parts = [
        {
            "name": each.name,
            "status": each.status,
            "uptime": each.uptime,
            "days": [[day.start, day.status] for day in each.days],
        }
        for each in (status.components if status else ())
    ]
    return groups(config, database, over, HEALTH, there) | {"components": parts}


def budgets(config: Config, database: Remembered, over: Range) -> Row:
    """Give by rule of kind `budget` its endpoints: the budget, the last and the worst window, how many were over it."""
    metrics = {metric.name: metric for metric in config.metrics}
    rules = [each for each in config.rules if each.kind == "budget"]
    made = [_budget(config, database, rule, metrics[rule.metric], over) for rule in rules]
    names = {rule.name for rule in rules}
    opened = [each for each in open_alerts(config, database, until(database)) if each["rule"] in names]
    return {"rules": made, "open": opened, "from": over.start, "step": step_of(over, config.window.length_ms, POINTS)}


def _cells(
    config: Config, database: Remembered, metrics: Sequence[MetricOptions], over: Range, grid: Grid
) -> dict[str, dict[str, dict[str, dict[int, Cell]]]]:
    """Give the cells by metric, key (canonical JSON), statistic and place."""
    seconds = config.window.length_ms // 1000
    wanted = sorted({(each.name, part) for each in metrics for part in parts_of(each, headline_of(each))})

    def sql(parts: Sequence[Range]) -> str:
        pairs = ", ".join(f"({quoted(name)}, {quoted(statistic)})" for name, statistic in wanted)
        return (
            f"SELECT metric, key, statistic, {grid.sql()} AS second, {CELL_SQL} FROM {database.database}.window_metrics FINAL"  # noqa: S608
            f" WHERE run = '' AND (metric, statistic) IN ({pairs}) AND {within(*parts)}"
            f" AND toUnixTimestamp(window_start) % {seconds} = 0 AND window_end - window_start = {seconds}"
            " GROUP BY metric, key, statistic, second ORDER BY second"
        )

    found: dict[str, dict[str, dict[str, dict[int, Cell]]]] = {}
    first = grid.floor(over.start)
    for row in database.steps.rows(sql, over, grid, closed(database, config.window.length_ms)):
        keys = found.setdefault(row["metric"], {}).setdefault(canonical(row["key"]).decode(), {})
        place = (int(row["second"]) * 1000 - first) // grid.step
        keys.setdefault(row["statistic"], {})[place] = cell_of(row)
    return found


def _metric(
    metric: MetricOptions,
    now: Mapping[str, Mapping[str, Mapping[int, Cell]]],
    was: Mapping[str, Mapping[str, Mapping[int, Cell]]],
    over: Range,
    grid: Grid,
) -> Row:
    statistic = headline_of(metric)
    parts, scale = parts_of(metric, statistic), 100.0 if statistic == "ratio" else 1.0
    rows = []
    for key, cells in now.items():
        columns = [cells.get(part, {}) for part in parts]
        course: Floats = np.full(grid.places(over), np.nan)
        for place in {place for column in columns for place in column}:
            value = combined(statistic, [column.get(place) for column in columns])
            course[place] = np.nan if value is None else value * scale
        value, before = (
            combined(statistic, [added(each.get(part, {})) for part in parts]) for each in (cells, was.get(key, {}))
        )
        records = sum(cell.records for cell in columns[-1].values())
        row = {"key": orjson.loads(key), "value": value and value * scale, "before": before and before * scale}
        rows.append(row | {"course": short(course), "records": records})
    rows.sort(key=lambda row: (bool(row["key"]), -row["records"], orjson.dumps(row["key"])))
    return {
        "metric": metric.name,
        "statistic": statistic,
        "unit": unit_of(metric, statistic),
        "dataset": metric.dataset,
        "rows": rows[: _MOST_KEYS + 1],
        "left_out": max(len(rows) - _MOST_KEYS - 1, 0),
    }


def _budget(config: Config, database: Remembered, rule: RuleOptions, metric: MetricOptions, over: Range) -> Row:
    """Give the endpoints of one rule, those that were over their budget most often first."""
    grid = Grid(step_of(over, config.window.length_ms, POINTS))
    limits = {endpoint: limit for endpoint, limit in rule.budgets.items() if endpoint != ANY_OTHER}
    named = ", ".join(map(quoted, limits))
    values = ", ".join(f"toFloat64({limit!r})" for limit in limits.values())
    other = rule.budgets.get(ANY_OTHER)
    rest = "toFloat64('inf')" if other is None else f"toFloat64({other!r})"
    limit = f"transform(key[{quoted(rule.by)}], [{named}], [{values}], {rest})" if limits else rest
    sql = (
        f"SELECT key, {grid.sql()} AS second, argMax(value, window_start) AS last, max(value) AS worst,"  # noqa: S608 (quoted)
        f" toFloat64(countIf(value > {limit})) AS beyond, toFloat64(count()) AS windows, toFloat64(sum(count)) AS records"
        f" FROM {database.database}.window_metrics FINAL WHERE run = '' AND metric = {quoted(metric.name)}"
        f" AND statistic = {quoted(rule.statistic)} AND notEmpty(key) AND {within(over)} GROUP BY key, second ORDER BY second"
    )
    found: dict[str, Row] = {}
    scale = 100.0 if rule.statistic == "ratio" else 1.0
    for row in database.query(sql):
        budget = rule.budgets.get(row["key"].get(rule.by, ""), other)
        if budget is None:
            continue
        fresh: Row = {"key": row["key"], "budget": budget * scale, "windows": 0.0, "beyond": 0.0, "records": 0.0, "worst": 0.0}
        one = found.setdefault(canonical(row["key"]).decode(), fresh | {"course": np.full(grid.places(over), np.nan)})
        one["course"][(int(row["second"]) * 1000 - grid.floor(over.start)) // grid.step] = row["worst"] * scale
        one["last"], one["worst"] = row["last"] * scale, max(one["worst"], row["worst"] * scale)
        for name in ("windows", "beyond", "records"):
            one[name] += row[name]
    rows = sorted(found.values(), key=lambda row: (-row["beyond"] / row["windows"], -row["worst"] / row["budget"]))
    return {
        "rule": rule.name,
        "metric": metric.name,
        "statistic": rule.statistic,
        "unit": unit_of(metric, rule.statistic),
        "rows": [row | {"course": short(row["course"])} for row in rows[:_MOST_KEYS]],
        "left_out": max(len(rows) - _MOST_KEYS, 0),
        "sql": sql,
    }
