"""Report worst: which hosts and endpoints stand out: by what went wrong, by how slow they were, and by excess over the others.

The excess of a key is what it has beyond the share (or the mean) of the whole: a small key with a high share does not hide a
large one that costs more.
"""

from typing import Any

import numpy as np
import orjson

from flows.metric import TOTAL, MetricOptions
from flows.report_measures import Content, Look
from flows.report_source import Tally
from flows.samples import bucket_percentiles

MOST = 10
_OTHER = ':"(other)"'


def worst(look: Look) -> list[Content]:
    """Give a list a metric with groups: those with the greatest excess first, at most ten."""
    out = []
    for name, options in look.metrics.items():
        if not options.group_by or name not in look.source.metrics:
            continue
        rows = {"ratio": _shares, "distribution": _slow}.get(options.kind, _none)(look, options)
        if rows:
            out.append({"metric": name, "kind": options.kind, "unit": options.unit, "by": list(options.group_by), "rows": rows})
    return out


def _none(_: Look, __: MetricOptions) -> list[Content]:
    return []


def _shares(look: Look, options: MetricOptions) -> list[Content]:
    counted = "bad" if options.bad else "good"
    tallies = look.source.tally(options.name, ["total", counted], look.over)
    if "total" not in tallies or counted not in tallies:
        return []
    total, part = _columns(tallies["total"]), _columns(tallies[counted])
    keys = _keys(tallies["total"])
    whole, bad_of_whole = total.get(TOTAL, 0.0), _bad(options, total.get(TOTAL, 0.0), part.get(TOTAL, 0.0))
    share = bad_of_whole / whole if whole else 0.0
    rows = []
    for key in keys:
        bad = _bad(options, total[key], part.get(key, 0.0))
        if bad:
            excess = max(bad - share * total[key], 0.0)
            rows.append(_row(key, total=int(total[key]), bad=int(bad), share=bad / total[key], excess=excess))
    return _cut(rows, "bad")


def _slow(look: Look, options: MetricOptions) -> list[Content]:
    tallies = look.source.tally(options.name, ["mean", "min", "max", "p99"], look.over)
    if "mean" not in tallies:
        return []
    weighted, low, high = (
        _columns(tallies["mean"], "weighted"),
        _columns(tallies["min"], "low"),
        _columns(tallies["max"], "high"),
    )
    records, p99 = _columns(tallies["mean"], "records"), _columns(tallies["p99"], "high")
    whole = weighted.get(TOTAL, 0.0) / records[TOTAL] if records.get(TOTAL) else 0.0
    buckets = look.source.buckets(options.name, look.over) or {}
    rows = []
    for key in _keys(tallies["mean"]):
        if not records[key]:
            continue
        percentiles = bucket_percentiles(*buckets[key], low[key], high[key]) if key in buckets else {}
        mean = weighted[key] / records[key]
        row = _row(key, count=int(records[key]), mean=mean, max=high[key], worst_window_p99=p99[key])
        row |= {"excess": max(mean - whole, 0.0) * records[key]}
        rows.append(row | {name: percentiles[name] for name in ("p50", "p99") if name in percentiles})
    return _cut(rows, "p99" if buckets else "worst_window_p99")


def _bad(options: MetricOptions, total: float, part: float) -> float:
    return part if options.bad else total - part


def _columns(tally: Tally, column: str = "total") -> dict[str, float]:
    return dict(zip(tally.names, getattr(tally, column).astype(np.float64).tolist(), strict=True))


def _keys(tally: Tally) -> list[str]:
    return [name for name in tally.names if name != TOTAL and _OTHER not in name]


def _row(key: str, **values: Any) -> Content:
    return {"key": orjson.loads(key), **values}


def _cut(rows: list[Content], second: str) -> list[Content]:
    """Give the ten that matter most: by excess, then by the second measure."""
    rows.sort(key=lambda row: (-row["excess"], -row.get(second, 0), orjson.dumps(row["key"])))
    return rows[:MOST]
