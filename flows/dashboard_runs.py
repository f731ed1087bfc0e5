"""Dashboard runs: replays and backtests whose rows are kept under their run's id, each beside the live rows of its range."""

from typing import Any

from flows.config import Config
from flows.dashboard_queries import Remembered
from flows.decision_log import quoted
from flows.report_alerts import FIRING, stays
from flows.report_source import Range
from flows.report_tables import ReportTables

Row = dict[str, Any]
_MOST = 100


def runs(config: Config, database: Remembered, chosen: str) -> Row:
    """Give all runs, and of the chosen one how often each rule fired and spoke, there and live."""
    rows = database.query(
        "SELECT run, toFloat64(toUnixTimestamp(min(window_start))) AS first,"  # noqa: S608 (no foreign text)
        " toFloat64(toUnixTimestamp(max(window_end))) AS last,"
        " uniqExact(metric) AS metrics, any(config_version) AS version, toFloat64(toUnixTimestamp(max(inserted_at))) AS written"
        f" FROM {database.database}.window_metrics WHERE run != '' GROUP BY run ORDER BY written DESC, run LIMIT {_MOST}"
    )
    known = {
        row["run"]: {"run": row["run"], "from": int(row["first"]) * 1000, "to": int(row["last"]) * 1000}
        | {"version": row["version"], "metrics": int(row["metrics"]), "written": int(row["written"]) * 1000}
        for row in rows
    }
    if chosen not in known:
        return {"runs": list(known.values())}
    over = Range(known[chosen]["from"], known[chosen]["to"])
    beside = {name: _by_rule(config, database, run, over) for name, run in (("run", chosen), ("live", ""))}
    none = {"episodes": 0, "firing_ms": 0, "notifications": 0}
    return {
        "runs": list(known.values()),
        "chosen": known[chosen],
        "rules": [
            {"rule": rule, "run": beside["run"].get(rule, none), "live": beside["live"].get(rule, none)}
            for rule in sorted(beside["run"].keys() | beside["live"].keys())
        ],
        "sql": f"SELECT * FROM {database.database}.notifications FINAL WHERE run = {quoted(chosen)} ORDER BY at",  # noqa: S608
    }


def _by_rule(config: Config, database: Remembered, run: str, over: Range) -> dict[str, dict[str, int]]:
    tables = ReportTables(database, run, config.window.length_ms)
    found: dict[str, dict[str, Any]] = {}
    for stay in stays(tables.held(over.start), tables.transitions(over), over):
        if stay.state in FIRING:
            row = found.setdefault(stay.rule, {"episodes": set(), "firing_ms": 0, "notifications": 0})
            row["episodes"].add(stay.episode)
            row["firing_ms"] += stay.end - stay.start
    for told in tables.notifications(over):
        row = found.setdefault(told["rule"], {"episodes": set(), "firing_ms": 0, "notifications": 0})
        row["notifications"] += 1
    return {rule: row | {"episodes": len(row["episodes"])} for rule, row in found.items()}
