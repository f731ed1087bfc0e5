"""Report quality: how whole the data of a report is: windows without a record, late records, dead letters."""

from collections.abc import Mapping

import numpy as np

from flows.metric import MetricOptions
from flows.report_measures import Content
from flows.report_source import Ints, Range, Source

_MOST_GAPS = 20


def quality(source: Source, metrics: Mapping[str, MetricOptions], over: Range, length_ms: int) -> Content:
    """Give the section."""
    parts, words = source.partitions(over)
    sums = {name: sum(getattr(each, name) for each in parts) for name in ("records", "late", "dead")}
    return {
        "datasets": [
            _dataset(source, name, metrics, over, length_ms) for name in sorted({m.dataset for m in metrics.values()})
        ],
        "records": sums["records"],
        "late": sums["late"],
        "dead_letters": sums["dead"],
        "covers": words,
        "partitions": [
            {"partition": each.name, "records": each.records, "late": each.late, "dead_letters": each.dead} for each in parts
        ],
    }


def _dataset(source: Source, name: str, metrics: Mapping[str, MetricOptions], over: Range, length_ms: int) -> Content:
    names = [metric for metric, options in metrics.items() if options.dataset == name and metric in source.metrics]
    starts = source.starts(names, over) if names else np.zeros(0, np.int64)
    gaps = gaps_of(starts, over, length_ms)
    expected = over.length // length_ms
    return {
        "dataset": name,
        "windows": len(starts),
        "expected": expected,
        "gaps": [{"from": start, "to": end} for start, end in gaps[:_MOST_GAPS]],
        "more_gaps": max(len(gaps) - _MOST_GAPS, 0),
    }


def gaps_of(starts: Ints, over: Range, length_ms: int) -> list[tuple[int, int]]:
    """Give the stretches [from, to) ms without a window, the longest first."""
    edges = np.concatenate([[over.start - length_ms], starts, [over.end]])
    wide = np.flatnonzero(np.diff(edges) > length_ms)
    found = [(int(edges[n]) + length_ms, int(edges[n + 1])) for n in wide.tolist()]
    return sorted(found, key=lambda gap: (gap[0] - gap[1], gap[0]))
