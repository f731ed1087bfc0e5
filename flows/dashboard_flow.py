"""Dashboard flow: how reading goes as charts: records, late ones, dead letters and watermark of each partition over time."""

from typing import Any

import numpy as np

from flows.dashboard_chart import csv_of
from flows.dashboard_live import pipeline
from flows.dashboard_queries import Remembered
from flows.report_source import Floats, Ints, Range
from sinks.chart import Line, TimeChart

Row = dict[str, Any]
EVENTS = ("records", "late", "dead_letters", "watermark", "lag")
_MOST_LINES = 8
_WORDS = {
    "records": "records of each step",
    "late": "records of each step that came after their window had closed",
    "dead_letters": "records of each step that could not be read",
    "lag": "the most records that waited at the broker in each step",
    "watermark": "how far event time was past the end of a window when it closed",
}


def flow(database: Remembered, over: Range, step: int, event: str) -> Row:
    """Give a chart with a line a partition, those with the most first."""
    names, times, columns, sql = _columns(database, over, step, event)
    lines = [Line(name=name, values=values) for name, values in zip(names, columns, strict=True)]
    chart = TimeChart(
        unit="s" if event == "watermark" else "", times=times, lines=lines, shown=(over.start, over.end), step=step
    )
    return {"chart": chart.as_dict(), "how": _WORDS[event], "rows": len(names), "sql": sql, "from": over.start, "to": over.end}


def flow_csv(database: Remembered, over: Range, step: int, event: str) -> str:
    """Give the same as CSV."""
    names, times, columns, _ = _columns(database, over, step, event)
    return csv_of(["time", *names], times, columns)


def _columns(database: Remembered, over: Range, step: int, event: str) -> tuple[list[str], Ints, list[Floats], str]:
    found = pipeline(database, over, step)
    times = np.arange(over.start, over.end, step, dtype=np.int64)
    parts = []
    for part in found["partitions"]:
        values = np.full(len(times), np.nan)
        for second, value in part[event]:
            values[(second * 1000 - over.start) // step] = value
        if not np.isnan(values).all():
            parts.append((part["partition"], values))
    parts.sort(key=lambda each: (-float(np.nansum(each[1])), each[0]))
    return [name for name, _ in parts[:_MOST_LINES]], times, [values for _, values in parts[:_MOST_LINES]], found["sql"]
