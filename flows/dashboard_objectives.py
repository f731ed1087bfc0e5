"""Dashboard objectives: each SLO: what it attained, how its budget went down day by day, and how fast it burns now."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from flows.alert_state import SEVERITIES
from flows.config import Config
from flows.dashboard_chart import csv_of
from flows.dashboard_live import closed
from flows.dashboard_queries import Remembered
from flows.dashboard_series import Sought, where_of
from flows.decision_log import quoted
from flows.kinds import SLO
from flows.metric import TOTAL, MetricOptions
from flows.report_objectives import objectives
from flows.report_source import Floats, Range
from flows.report_tables import ReportTables
from flows.slo import DAY_MS, SloOptions, pairs_of
from sinks.chart import short

Row = dict[str, Any]
_POINTS = 120


def objective_rows(config: Config, database: Remembered, until: int) -> Row:
    """Give a row an objective, over its period up to `until` (ms)."""
    metrics = {metric.name: metric for metric in config.metrics}
    tables = ReportTables(database, "", config.window.length_ms)
    found = objectives(tables, config.slos, metrics, Range(until - DAY_MS, until))
    rows = []
    for slo, row in zip(config.slos, found, strict=True):
        metric = metrics.get(f"{SLO}{slo.name}" if slo.threshold_ms is not None else slo.metric)
        if metric is not None and "left_out" not in row:
            row.update(_burnt(config, database, slo, metric, until))
        rows.append(row | {"rule": f"{SLO}{slo.name}", "threshold_ms": slo.threshold_ms})
    return {"slos": rows, "until": until}


def left_csv(row: Row) -> str:
    """Give what was left of an objective's budget as CSV; what has no value is empty."""
    left = row.get("left", {"at": [], "values": []})
    return csv_of(["time", "budget_left_percent"], np.array(left["at"], np.int64), [np.array(left["values"], np.float64)])


def _burnt(config: Config, database: Remembered, slo: SloOptions, metric: MetricOptions, until: int) -> Row:
    """Give what was left of the budget over the period, and the burn rates of the pairs of windows."""
    length = config.window.length_ms
    over = Range(max(until - slo.period_ms, _began(database, metric) // length * length, 0), until)
    step = max(-(-over.length // (_POINTS * length)), 1) * length
    sought = Sought(metric=metric, statistic="total", key=TOTAL, over=over, step=step, length=length)
    bad, total, sql = _sums(database, sought)
    allowed = (1 - slo.objective) * total.sum()
    left = 100 * (1 - np.cumsum(bad) / allowed) if allowed else np.full(len(bad), np.nan)
    began = np.flatnonzero(total)  # before the first window nothing is known
    left[: began[0] if len(began) else len(left)] = np.nan
    pairs = pairs_of(slo.period_ms)
    burns = _burns(database, slo, sought, until, sorted({span for pair in pairs for span in (pair.long_ms, pair.short_ms)}))
    rates = [
        {"factor": pair.factor, "severity": SEVERITIES[pair.severity], "long_ms": pair.long_ms, "short_ms": pair.short_ms}
        | {"long": burns[pair.long_ms], "short": burns[pair.short_ms]}
        for pair in pairs
    ]
    first = sought.grid.floor(over.start)
    at = [min(first + step * (number + 1), over.end) for number in range(len(left))]
    return {"left": {"at": at, "values": short(left)}, "rates": rates, "sql": sql}


def _began(database: Remembered, metric: MetricOptions) -> int:
    """Give the start of the first window (ms)."""
    sql = (
        f"SELECT toFloat64(toUnixTimestamp(min(window_start))) AS first FROM {database.database}.window_metrics"  # noqa: S608
        f" WHERE run = '' AND metric = {quoted(metric.name)} AND statistic = 'total'"
    )
    (row,) = database.once(sql, lambda: database.query(sql), lasting=True)
    return int(row["first"]) * 1000


def _burns(database: Remembered, slo: SloOptions, sought: Sought, until: int, spans: Sequence[int]) -> dict[int, float | None]:
    """Give by span (ms) up to a time how many times faster than allowed the budget burnt: all spans by one query."""
    counted, columns = counted_of(sought.metric), []
    for span in spans:
        inside = f"window_start >= toDateTime({max(until - span, 0) // 1000}, 'UTC')"
        columns += [f"sumIf(value, statistic = '{name}' AND {inside}) AS {name}_{span}" for name in (counted, "total")]
    longest = sought.at(Range(max(until - max(spans), 0), until))
    (row,) = database.query(
        f"SELECT {', '.join(columns)} FROM {database.database}.window_metrics FINAL"  # noqa: S608 (quoted)
        f" WHERE {where_of(longest)} AND statistic IN ('{counted}', 'total')"
    )
    out: dict[int, float | None] = {}
    for span in spans:
        total, part = row[f"total_{span}"], row[f"{counted}_{span}"]
        bad = part if sought.metric.bad else total - part
        out[span] = bad / total / (1 - slo.objective) if total else None
    return out


def _sums(database: Remembered, sought: Sought) -> tuple[Floats, Floats, str]:
    """Give bad and total by step, and the query of them."""

    def sql(parts: Sequence[Range]) -> str:
        names = ", ".join(f"sumIf(value, statistic = '{name}') AS {name}" for name in (counted, "total"))
        return (
            f"SELECT {sought.grid.sql()} AS second, {names} FROM {database.database}.window_metrics FINAL"  # noqa: S608 (quoted)
            f" WHERE {where_of(sought, parts)} AND statistic IN ('{counted}', 'total') GROUP BY second ORDER BY second"
        )

    counted, grid, over = counted_of(sought.metric), sought.grid, sought.over
    sums = {name: np.zeros(grid.places(over)) for name in (counted, "total")}
    for row in database.steps.rows(sql, over, grid, closed(database, sought.length)):
        place = (int(row["second"]) * 1000 - grid.floor(over.start)) // grid.step
        for name, column in sums.items():
            column[place] += float(row[name])
    bad = sums[counted] if sought.metric.bad else sums["total"] - sums[counted]
    return bad, sums["total"], sql([over])


def counted_of(metric: MetricOptions) -> str:
    """Give the stored statistic that a ratio counts."""
    return "bad" if metric.bad else "good"
