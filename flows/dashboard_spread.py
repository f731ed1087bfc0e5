"""Dashboard spread: how the values of a distribution lie over time (a heat map), and which keys a metric has."""

import struct
from collections.abc import Sequence
from typing import Any

from flows.dashboard_live import closed
from flows.dashboard_queries import Remembered
from flows.dashboard_series import Sought, where_of, within
from flows.decision_log import quoted
from flows.metric import MetricOptions
from flows.output import rfc3339
from flows.report_source import Range

Row = dict[str, Any]
_MERGED = 32  # buckets to a row of the map: four rows to a doubling
_MOST_KEYS = 200


def heatmap(database: Remembered, place: tuple[MetricOptions, str, str], over: Range, step: int, length: int) -> Row:
    """Give counts by step and band of values: cells [step number, band, count], and each band's [low, high)."""
    metric, key, run = place
    sought = Sought(metric=metric, statistic="p50", key=key, over=over, step=step, length=length, run=run)

    def sql(parts: Sequence[Range]) -> str:
        return (
            f"SELECT {sought.grid.sql()} AS second,"  # noqa: S608 (quoted)
            f" if(bucket > 0, intDiv(bucket - 1, {_MERGED}), -1) AS band, toFloat64(sum(n)) AS records"
            f" FROM {database.database}.window_histograms FINAL ARRAY JOIN buckets AS bucket, counts AS n"
            f" WHERE {where_of(sought, parts)} GROUP BY second, band ORDER BY second, band"
        )

    start = sought.grid.floor(over.start)
    rows = database.query(sql([over])) if run else database.steps.rows(sql, over, sought.grid, closed(database, length))
    cells = [[(int(row["second"]) * 1000 - start) // step, int(row["band"]), row["records"]] for row in rows]
    bands = sorted({band for _, band, _ in cells})
    return {
        "cells": cells,
        "bands": {str(band): edges_of(band) for band in bands},
        "step": step,
        "from": start,
        "to": over.end,
        "unit": metric.unit,
        "sql": sql([over]),
    }


def heatmap_csv(found: Row) -> str:
    """Give a heat map as CSV: a row a cell."""
    rows = ["time,low,high,records"]
    for step, band, records in found["cells"]:
        low, high = found["bands"][str(band)]
        rows.append(f"{rfc3339(found['from'] + step * found['step'])},{low!r},{high!r},{records!r}")
    return "\n".join([*rows, ""])


def edges_of(band: int) -> tuple[float, float]:
    """Give the values [low, high) of a band; band -1 is what is not above zero."""
    if band < 0:
        return 0.0, 0.0
    low, high = (struct.unpack("<d", struct.pack("<q", edge * _MERGED << 45))[0] for edge in (band, band + 1))
    return float(low), float(high)


def keys(database: Remembered, metric: MetricOptions, over: Range, run: str = "") -> list[Row]:
    """Give the keys of a metric over a range with their records, the most first; the total is left out."""
    statistic = metric.statistics()[0]
    return database.query(
        f"SELECT key, toFloat64(sum(count)) AS records FROM {database.database}.window_metrics FINAL"  # noqa: S608 (quoted)
        f" WHERE run = {quoted(run)} AND metric = {quoted(metric.name)} AND statistic = {quoted(statistic)} AND notEmpty(key)"
        f" AND {within(over)} GROUP BY key ORDER BY records DESC, toJSONString(key) LIMIT {_MOST_KEYS}"
    )
