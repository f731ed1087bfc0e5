"""Dashboard live: how far the windows are and how reading goes, from the rows that each closed window leaves behind."""

import math
from typing import Any

from flows.dashboard_queries import Remembered
from flows.lag import EVENT as LAG
from flows.report_source import Range

Row = dict[str, Any]
_COUNTS = ("records", "late", "dead_letters")
_AT_WINDOWS = (*_COUNTS, "watermark")
_EVENTS = (*_AT_WINDOWS, LAG)
_LATEST = 200
_PRESENT_S = 86_400  # a partition that closed no window for so long is gone


def until(database: Remembered) -> int:
    """Give the end of the last window with rows (ms); 0 where there is none."""
    (row,) = database.query(
        f"SELECT toFloat64(toUnixTimestamp(max(at))) AS last FROM {database.database}.pipeline_events"  # noqa: S608
        " WHERE run = '' AND event = 'records'"
    )
    if row["last"]:
        return int(row["last"]) * 1000
    (row,) = database.query(
        f"SELECT toFloat64(toUnixTimestamp(max(window_end))) AS last FROM {database.database}.window_metrics WHERE run = ''"  # noqa: S608
    )
    return int(row["last"] or 0) * 1000


def closed(database: Remembered, length: int) -> int:
    """Give up to when (ms) no window gets a row any more, wherever records come from: a window of `length` behind the last."""
    since = max(until(database) // 1000 - _PRESENT_S, 0)
    (row,) = database.query(
        "SELECT toFloat64(min(last)) AS first FROM (SELECT toUnixTimestamp(max(at)) AS last"  # noqa: S608 (no foreign text)
        f" FROM {database.database}.pipeline_events"
        f" WHERE run = '' AND event = 'records' AND at > toDateTime({since}, 'UTC')"
        " GROUP BY dataset, topic, partition)"
    )
    return int(row["first"] or 0) * 1000 - length


def metrics_there(database: Remembered) -> frozenset[str]:
    """Give the metrics that have rows: all rows are looked through once an hour, those of the last day each time."""
    sql = f"SELECT DISTINCT metric FROM {database.database}.window_metrics WHERE run = ''"  # noqa: S608 (no foreign text)
    recent = f"{sql} AND window_start >= toDateTime({max(until(database) // 1000 - _PRESENT_S, 0)}, 'UTC')"
    ever = database.once(sql, lambda: database.query(sql), lasting=True)
    return frozenset(row["metric"] for row in (*ever, *database.query(recent)))


def now(database: Remembered, last: int) -> Row:
    """Give how each partition was when its last window closed, how long after its end rows came (s), and how long ago.

    `lag` is how many records waited at the broker at `lag_at` (ms), both None where nobody looked (archives have no broker).
    """
    rows = database.query(
        f"SELECT dataset, topic, partition, toFloat64(toUnixTimestamp(maxIf(at, event != '{LAG}'))) AS closed,"  # noqa: S608
        " argMaxIf(value, at, event = 'records') AS records, argMaxIf(value, at, event = 'late') AS late,"
        " argMaxIf(value, at, event = 'dead_letters') AS dead_letters, argMaxIf(value, at, event = 'watermark') AS watermark,"
        f" argMaxIf(value, at, event = '{LAG}') AS lag, toFloat64(toUnixTimestamp(maxIf(at, event = '{LAG}'))) AS lag_at,"
        " toFloat64(toUnixTimestamp(now())) AS asked,"
        f" toFloat64(toUnixTimestamp(argMaxIf(inserted_at, at, event != '{LAG}'))) AS came"
        f" FROM {database.database}.pipeline_events FINAL"
        f" WHERE run = '' AND event IN {_EVENTS} AND at > toDateTime({max(last // 1000 - _PRESENT_S, 0)}, 'UTC')"
        " GROUP BY dataset, topic, partition ORDER BY dataset, topic, partition"
    )
    return {
        "until": last,
        "partitions": [
            {name: row[name] for name in ("dataset", "topic", "partition", *_EVENTS)}
            | {"closed": int(row["closed"]) * 1000, "lag_at": int(row["lag_at"]) * 1000 or None}
            | {"delay": row["came"] - row["closed"] if row["closed"] else None}
            for row in rows
        ],
        "written_s": min((max(row["asked"] - row["came"], 0.0) for row in rows if row["closed"]), default=None),
    }


def pipeline(database: Remembered, over: Range, step: int) -> Row:
    """Give by partition how many records, late ones and dead letters each step brought, how far the watermark was, the lag."""
    first, width = over.start // 1000, step // 1000
    sql = (
        "SELECT dataset, topic, partition, event,"  # noqa: S608
        f" {first - width} + intDiv(toInt64(toUnixTimestamp(at)) - {first - width} - 1, {width}) * {width} AS second,"
        " max(value) AS value"
        f" FROM {database.database}.pipeline_events FINAL WHERE run = '' AND event IN {_EVENTS}"
        f" AND at > toDateTime({first - width}, 'UTC') AND at <= toDateTime({over.end // 1000}, 'UTC')"
        " GROUP BY dataset, topic, partition, event, second ORDER BY dataset, topic, partition, event, second"
    )
    found: dict[tuple[str, str], dict[str, list[list[float]]]] = {}
    for row in database.query(sql):
        name = f"{row['topic'] or row['dataset']}/{row['partition']}".replace("//", "/")
        points = found.setdefault((row["dataset"], name), {}).setdefault(row["event"], [])
        points.append([int(row["second"]), float(row["value"])])
    parts = [
        {"dataset": dataset, "partition": name}
        | {each: _grown(events.get(each, []), first) for each in _COUNTS}
        | {each: [point for point in events.get(each, []) if point[0] >= first] for each in ("watermark", LAG)}
        for (dataset, name), events in found.items()
    ]
    return {"partitions": parts, "step": step, "sql": sql}


def dead_letters(database: Remembered) -> Row:
    """Give dead letters by dataset and reason, and the last ones."""
    table = f"{database.database}.dead_letters FINAL WHERE run = ''"
    sql = f"SELECT dataset, reason, toFloat64(count()) AS n FROM {table} GROUP BY dataset, reason ORDER BY n DESC LIMIT 50"  # noqa: S608
    last = (
        "SELECT dataset, topic, partition, toFloat64(offset) AS offset, toFloat64(index) AS index, reason, payload"  # noqa: S608
        f" FROM {table} ORDER BY inserted_at DESC, topic, partition, dead_letters.offset DESC LIMIT {_LATEST}"
    )
    return {"reasons": database.query(sql), "last": database.query(last), "sql": last}


def _grown(points: list[list[float]], first: int) -> list[list[float]]:
    """Give growth from step to step; a counter that fell was begun anew."""
    out = []
    before = math.nan
    for second, value in points:
        if second >= first:
            out.append([second, value if math.isnan(before) or value < before else value - before])
        before = value
    return out
