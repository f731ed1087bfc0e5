"""Dashboard objectives: each SLO: what it attained, how its budget went down day by day, and how fast it burns now."""

from typing import Any

import numpy as np

from flows.alert_state import SEVERITIES
from flows.config import Config
from flows.dashboard_queries import Remembered
from flows.dashboard_series import Sought, sql_of
from flows.kinds import SLO
from flows.metric import TOTAL, MetricOptions
from flows.report_objectives import objectives
from flows.report_source import Range
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


def _burnt(config: Config, database: Remembered, slo: SloOptions, metric: MetricOptions, until: int) -> Row:
    """Give what was left of the budget over the period, and the burn rates of the pairs of windows."""
    length = config.window.length_ms
    over = Range(max(until - slo.period_ms, 0), until)
    step = -(-slo.period_ms // (_POINTS * length)) * length
    bad, total, sql = _sums(database, metric, over, step, length)
    allowed = (1 - slo.objective) * total.sum()
    left = 100 * (1 - np.cumsum(bad) / allowed) if allowed else np.full(len(bad), np.nan)
    began = np.flatnonzero(total)  # before the first window nothing is known
    left[: began[0] if len(began) else len(left)] = np.nan
    rates = []
    for pair in pairs_of(slo.period_ms):
        spans = {"long": pair.long_ms, "short": pair.short_ms}
        burns = {name: _rate(database, slo, metric, Range(until - span, until), length) for name, span in spans.items()}
        rates.append(
            {"factor": pair.factor, "severity": SEVERITIES[pair.severity]} | burns | {f"{n}_ms": v for n, v in spans.items()}
        )
    at = [over.start + step * (number + 1) for number in range(len(left))]
    return {"left": {"at": at, "values": short(left)}, "rates": rates, "sql": sql}


def _rate(database: Remembered, slo: SloOptions, metric: MetricOptions, over: Range, length: int) -> float | None:
    """Give how many times faster than allowed the budget burnt over a span."""
    bad, total, _ = _sums(database, metric, over, max(over.length, length), length)
    return float(bad.sum() / total.sum() / (1 - slo.objective)) if total.sum() else None


def _sums(database: Remembered, metric: MetricOptions, over: Range, step: int, length: int) -> tuple[Any, Any, str]:
    """Give bad and total by step, and the query of the first."""
    grids, queries = {}, []
    for statistic in ("bad" if metric.bad else "good", "total"):
        sought = Sought(metric=metric, statistic=statistic, key=TOTAL, over=over, step=step, length=length)
        queries.append(sql_of(sought, database.database))
        rows = database.query(queries[-1])
        times = np.array([row["time"] for row in rows], "datetime64[ms]").astype(np.int64)
        grid = np.zeros(-(-over.length // step))
        grid[(times - over.start) // step] = [float(row["value"]) for row in rows]
        grids[statistic] = grid
    total = grids["total"]
    return (grids["bad"] if metric.bad else total - grids["good"]), total, ";\n\n".join(queries)
