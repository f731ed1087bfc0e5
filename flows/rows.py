"""Rows: the lines of `windows.ndjson` and of the tables beside it, as canonical JSON, a column at a time."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from connectors.batch import DONE, UNHEARD, Mark
from flows.group import Group
from flows.output import Block, canonical, rfc3339
from flows.rule import WHOLE
from flows.window import Layout, WindowResult

_SKETCHED = frozenset({"p50", "p90", "p95", "p99", "p999", "distinct"})
_METHODS = ("exact", "weighted")


def window_lines(result: WindowResult) -> list[Block]:
    """Give one block a metric: a line per key and statistic."""
    times = f'"window_end":"{rfc3339(result.end)}","window_start":"{rfc3339(result.start)}"}}\n'
    blocks = []
    for name in sorted(result.metrics):
        rows = result.metrics[name]
        counts = number_texts(rows.counts)
        rough = rows.sketch.tolist()
        plain = ["exact"] * len(rough) if rows.weighted is None else [_METHODS[each] for each in rows.weighted.tolist()]
        methods = ["sketch" if each else method for each, method in zip(rough, plain, strict=True)]
        parts = []
        for statistic in sorted(rows.statistics):
            values = rows.statistics[statistic]
            texts = number_texts(values.astype(np.int64) if statistic in WHOLE else values)
            middle = f',"metric":{_text(name)},"statistic":"{statistic}","value":'
            named = methods if statistic in _SKETCHED else plain
            parts.append(
                [
                    f'{{"count":{count},"key":{key},"method":"{method}"{middle}{text},{times}'
                    for count, key, text, method in zip(counts, rows.keys, texts, named, strict=True)
                ]
            )
        lines = [line for per_key in zip(*parts, strict=True) for line in per_key]
        blocks.append(Block("windows", result.start, name, "".join(lines).encode()))
    return blocks


def exemplar_lines(result: WindowResult) -> list[Block]:
    """Give one block: a line per exemplar, with its source position."""
    times = {"window_start": rfc3339(result.start), "window_end": rfc3339(result.end)}
    lines = []
    for (metric, key), exemplars in sorted(result.exemplars.items()):
        for chosen in exemplars:
            line: dict[str, Any] = {"metric": metric, "key": orjson.loads(key), **times}
            line |= {"reason": chosen.reason, "value": chosen.value, "event_time": rfc3339(chosen.event_time)}
            line |= {"ray_id": chosen.ray_id or "", "partition": chosen.partition}
            line |= {"trace_id": chosen.trace_id} if chosen.trace_id else {}
            lines.append(canonical(line | {"offset": chosen.offset, "index": chosen.index}) + b"\n")
    return [Block("exemplars", result.start, result.dataset, b"".join(lines))] if lines else []


def histogram_lines(layout: Layout, result: WindowResult, groups: list[Group]) -> list[Block]:
    """Give one block a distribution: a line per key with its buckets, so that longer spans have percentiles too."""
    blocks = []
    for number, metric in enumerate(layout.metrics):
        if metric.options.kind != "distribution":
            continue
        lines = []
        for group in groups:
            if number in group.measures and group.keys:
                lines += _histograms(metric.options.name, group, number, result)
        if lines:
            blocks.append(Block("window_histograms", result.start, metric.options.name, b"".join(sorted(lines))))
    return blocks


def pipeline_lines(layout: Layout, end: int, marks: Iterable[Mark]) -> list[Block]:
    """Give one block: how far each partition was when a window closed.

    `records`, `late` and `dead_letters` count since the partition's first record; `watermark` is in seconds past the
    window's end, and missing where the partition is done or was never heard.
    """
    lines = []
    for mark in marks:
        topic, _, partition = mark.partition.rpartition("/")
        line = {"at": rfc3339(end), "dataset": layout.dataset, "topic": topic, "partition": partition}
        values: dict[str, float] = {"records": mark.records, "late": mark.late, "dead_letters": mark.dead}
        if mark.watermark not in (DONE, UNHEARD):
            values["watermark"] = (mark.watermark - end) / 1000
        lines += [canonical(line | {"event": event, "value": values[event]}) + b"\n" for event in sorted(values)]
    return [Block("pipeline_events", end, layout.dataset, b"".join(lines))]


def _histograms(name: str, group: Group, number: int, result: WindowResult) -> list[bytes]:
    keys, buckets, counts = group.measures[number].samples.histograms()  # type: ignore[attr-defined]
    names = list(group.keys)
    edges = np.flatnonzero(np.diff(keys, prepend=-1, append=-1))
    times = f'"window_end":"{rfc3339(result.end)}","window_start":"{rfc3339(result.start)}"}}\n'
    return [
        (
            f'{{"buckets":{orjson.dumps(buckets[a:b].tolist()).decode()},"counts":{orjson.dumps(counts[a:b].tolist()).decode()}'
            f',"key":{names[keys[a]]},"metric":{_text(name)},{times}'
        ).encode()
        for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    ]


def number_texts(values: NDArray[Any]) -> list[str]:
    """Give each number as JSON: shortest floats, integers as they are."""
    return orjson.dumps(values.tolist()).decode()[1:-1].split(",") if len(values) else []


def _text(name: str) -> str:
    return orjson.dumps(name).decode()
