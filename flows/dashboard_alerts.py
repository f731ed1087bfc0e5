"""Dashboard alerts: what fires, the states of each alert over a range, what was said, and why: the records of one window."""

import csv
import io
from collections.abc import Iterable
from typing import Any

import orjson

from flows.config import Config
from flows.dashboard_queries import Remembered
from flows.dashboard_series import within
from flows.decision_log import EVALUATIONS, NOTIFICATIONS, ClickHouseLog, Wanted, quoted
from flows.explain import Place, case_of, rank, window_end
from flows.explain_words import as_dict, delivered
from flows.metric import TOTAL
from flows.output import canonical, rfc3339
from flows.report_alerts import FIRING, began, stays
from flows.report_source import Range
from flows.report_tables import ReportTables
from flows.sql import of_key
from flows.suppressor import Surroundings
from sinks.notification import evidence_lines

Row = dict[str, Any]
_MOST_SAID, _MOST_KEYS, _EPISODES_MS = 400, 200, 30 * 86_400_000
_RANK = {"critical": 0, "warning": 1, None: 2}


def alerts(config: Config, database: Remembered, over: Range, until: int, run: str = "") -> Row:
    """Give what is open at `until` (ms), the states of each alert over the range, and what was said in it."""
    tables = ReportTables(database, run, config.window.length_ms)
    said = tables.notifications(over)
    moved = tables.transitions(over)
    states = stays(tables.held(over.start), moved, over)
    rows: dict[tuple[str, str], Row] = {}
    for stay in states:
        fresh = {"rule": stay.rule, "key": orjson.loads(stay.key), "states": [], "worst": 2}
        row = rows.setdefault((stay.rule, stay.key), fresh)
        row["states"].append([stay.start, stay.end, stay.state, stay.severity])
        row["worst"] = min(row["worst"], _RANK.get(stay.severity, 2) if stay.state in FIRING else 2)
    lined = sorted(rows.values(), key=lambda row: (row["worst"], row["states"][0][0], row["rule"], orjson.dumps(row["key"])))
    return {
        "open": open_alerts(config, database, until, run),
        "rows": lined[:_MOST_KEYS],
        "rows_left_out": max(len(lined) - _MOST_KEYS, 0),
        "sql": states_sql(database.database, over, run),
        "said": [_told(each) for each in reversed(said[-_MOST_SAID:])],
        "said_left_out": max(len(said) - _MOST_SAID, 0),
        "quiet": [{"rule": rule, "by": kept, "evaluations": count} for rule, kept, count in tables.quiet(over)],
    }


def open_alerts(config: Config, database: Remembered, until: int, run: str = "") -> list[Row]:
    """Give the alerts that are not inactive at a time (ms), the worst first, each with what was said of it last."""
    held = ReportTables(database, run, config.window.length_ms).held(until)
    last = {(row["rule"], row["key"]): row for row in _last_said(database, until, run)} if held else {}
    metrics = {rule.name: rule for rule in config.rules}
    found = []
    for row in held:
        rule, told = metrics.get(row["rule"]), last.get((row["rule"], row["key"]))
        found.append(
            {"rule": row["rule"], "key": orjson.loads(row["key"]), "state": row["to"], "severity": row["severity"]}
            | {"since": began(row["episode"], row["at"]), "episode": row["episode"]}
            | {"metric": rule.metric if rule else "", "statistic": rule.statistic if rule else ""}
            | {"said": told and _told(told)}
        )
    found.sort(key=lambda row: (row["state"] not in FIRING, _RANK.get(row["severity"], 2), row["since"], row["rule"]))
    return found


def why(config: Config, database: Remembered, place: tuple[str, str | None, int], known: Surroundings) -> Row:
    """Explain a decision of a rule and key (canonical JSON; None: the worst of the window) in the window that holds a time."""
    rule, key, at = place
    log = ClickHouseLog(database)
    end = window_end(log, config, rule, at - 1)  # links name a window's end, whose window is the one that ends there
    if end is None:
        return {"problem": f"{rule} judged no window that holds {rfc3339(at)}"}
    records = {row["key"]: row for row in log.rows(EVALUATIONS, Wanted(rule=rule, after=end - 1, until=end))}
    chosen = key if key in records else TOTAL if key is None and TOTAL in records else None
    if chosen is None and key is None:
        chosen = min(records.values(), key=rank)["key"]
    if chosen is None:
        return {"problem": f"{rule} has no record of this key in the window that ended at {rfc3339(end)}"}
    start = end - config.window.length_ms
    case = case_of(log, config, Place(rule, chosen, start, end), known, records[chosen])
    said = log.rows(NOTIFICATIONS, Wanted(rule=rule, key=chosen, after=end - _EPISODES_MS, until=end))
    return as_dict(case) | {
        "end": end,
        "deliveries": list(delivered(case)),
        "keys": [
            {"key": orjson.loads(row["key"]), "level": row["level"], "state": row["state_after"]} for row in _worst(records)
        ],
        "evidence": _evidence(said[-1:]),
        "said": [_told(row) for row in said[-5:]],
        "exemplars": [
            row | {"trace": config.observe.trace_link(row["trace_id"])}
            for row in exemplars(database, case.rule.options.metric if case.rule else "", chosen, Range(start, end))
        ],
        "sql": records_sql(database.database, rule, chosen, Range(end - 86_400_000, end)),
    }


def states_csv(found: Row) -> str:
    """Give the states of each alert as CSV: a row a stay; times as RFC 3339."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["rule", "key", "from", "to", "state", "severity"])
    for row in found["rows"]:
        for start, end, state, severity in row["states"]:
            writer.writerow(
                [row["rule"], orjson.dumps(row["key"]).decode(), rfc3339(start), rfc3339(end), state, severity or ""]
            )
    return out.getvalue()


def states_sql(database: str, over: Range, run: str) -> str:
    """Give the query of how alerts moved over a range."""
    first, last = (f"toDateTime({at // 1000}, 'UTC')" for at in (over.start, over.end))
    return (
        "SELECT at, rule, key, `from`, `to`, severity, reason"  # noqa: S608 (quoted)
        f" FROM {database}.transitions FINAL WHERE run = {quoted(run)}"
        f" AND transitions.at > {first} AND transitions.at <= {last} ORDER BY at, rule"
    )


def exemplars(database: Remembered, metric: str, key: str, over: Range) -> list[Row]:
    """Give the records kept of a metric and key in some windows."""
    if not metric:
        return []
    return database.query(
        "SELECT reason, value, event_time, ray_id, trace_id, partition, offset, index"  # noqa: S608 (quoted)
        f" FROM {database.database}.exemplars FINAL WHERE run = '' AND metric = {quoted(metric)} AND {within(over)}"
        f" AND {of_key(key)} ORDER BY reason, value DESC LIMIT 20"
    )


def records_sql(database: str, rule: str, key: str, over: Range) -> str:
    """Give the query of the decision records of a rule and key over a range."""
    first, last = (f"toDateTime({at // 1000}, 'UTC')" for at in (over.start, over.end))
    return (
        "SELECT window_end, value, count, level, state_before, state_after, severity, suppressed_by"  # noqa: S608 (quoted)
        f" FROM {database}.evaluations FINAL WHERE run = '' AND rule = {quoted(rule)} AND {of_key(key)}"
        f" AND window_end > {first} AND window_end <= {last} ORDER BY window_end"
    )


def _last_said(database: Remembered, until: int, run: str) -> list[Row]:
    """Give what was said last of each alert."""
    rows = database.query(
        "SELECT toFloat64(toUnixTimestamp(at)) AS seconds, rule, key, episode, status, severity, reason, channels, title,"  # noqa: S608
        f" text, value, threshold FROM {database.database}.notifications FINAL WHERE run = {quoted(run)}"
        f" AND notifications.at > toDateTime({(until - _EPISODES_MS) // 1000}, 'UTC')"
        f" AND notifications.at <= toDateTime({until // 1000}, 'UTC') ORDER BY seconds DESC LIMIT 1 BY rule, key"
    )
    return [row | {"at": int(row["seconds"]) * 1000, "key": canonical(row["key"]).decode()} for row in rows]


def _worst(records: dict[str, Row]) -> list[Row]:
    return sorted(records.values(), key=rank)[:50]


def _evidence(said: Iterable[Row]) -> Row:
    for row in said:
        found = orjson.loads(row["evidence"]) if isinstance(row["evidence"], str) and row["evidence"] else row["evidence"] or {}
        lines = list(evidence_lines({name: value for name, value in found.items() if name != "dashboard"}))
        return {"at": row["at"], "lines": lines, "contribution": found.get("contribution", []), "title": row["title"]}
    return {}


def _told(row: Row) -> Row:
    names = ("at", "rule", "status", "severity", "reason", "channels", "title", "text", "value", "threshold", "episode")
    return {name: row[name] for name in names} | {
        "key": orjson.loads(row["key"]) if isinstance(row["key"], str) else row["key"]
    }
