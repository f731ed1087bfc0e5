"""Stored windows: the table `window_metrics` as a store of a history: live rows, or those of a run.

Read as columns: ClickHouse collects the rows of each key into arrays (RowBinary), so a row costs bytes, not an object. Of a
row that was inserted again, the last version counts, as FINAL has it: versions are read along and compared here, which costs
less than having the server merge.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
import orjson
from numpy.typing import NDArray

from flows.decision_log import quoted
from flows.history import HistoryError, Rows
from flows.metric import MetricOptions
from flows.output import canonical
from sinks.clickhouse import ClickHouse

_TABLE = "window_metrics"


class StoredWindows:
    """A store over a table; `run` is a run's id, or empty for live rows. Methods raise DeliveryError."""

    def __init__(self, client: ClickHouse, metrics: Sequence[MetricOptions], *, run: str = "", url: str = "") -> None:
        """Take an open client, and the metrics that matter."""
        self._client = client
        self._names = sorted(metric.name for metric in metrics)
        self._run = run
        self.name = f"ClickHouse at {url} ({f'run {run}' if run else 'live rows'})"

    @cached_property
    def _found(self) -> dict[str, dict[str, int]]:
        """Give the number of rows, repeats included, by metric and statistic; raises HistoryError."""
        out: dict[str, dict[str, int]] = {}
        for row in self._client.query(
            f"SELECT metric, statistic, count() AS n FROM {_TABLE} WHERE {self._where(self._names)}"  # noqa: S608 (quoted)
            " GROUP BY metric, statistic ORDER BY metric, statistic"
        ):
            out.setdefault(row["metric"], {})[row["statistic"]] = int(row["n"])
        return out

    @cached_property
    def length_ms(self) -> int:
        """Give the length of the windows; raises HistoryError where there are several."""
        rows = self._client.query(
            f"SELECT DISTINCT toUInt32(window_end) - toUInt32(window_start) AS seconds FROM {_TABLE}"  # noqa: S608
            f" WHERE {self._where(self._names)} ORDER BY seconds"
        )
        lengths = [int(row["seconds"]) for row in rows]
        if len(lengths) > 1:
            shown = " and ".join(f"{seconds} s" for seconds in lengths)
            raise HistoryError(f"{self.name} holds windows of {shown}; a backtest judges windows of one length")
        return lengths[0] * 1000 if lengths else 0

    @property
    def metrics(self) -> Mapping[str, tuple[str, ...]]:
        """Give the statistics of each metric."""
        return {metric: tuple(found) for metric, found in self._found.items()}

    @property
    def sizes(self) -> Mapping[str, int]:
        """Give about how many rows there are of each metric."""
        return {metric: max(found.values()) for metric, found in self._found.items()}

    def starts(self, metrics: Sequence[str]) -> NDArray[np.int64]:
        """Give the starts (ms), sorted, of the windows in which one of these metrics left a row."""
        one = [(metric, next(iter(self._found[metric]))) for metric in metrics if metric in self._found]
        if not one:
            return np.zeros(0, np.int64)
        pairs = ", ".join(f"({quoted(metric)}, {quoted(statistic)})" for metric, statistic in one)
        data = self._client.binary(
            f"SELECT DISTINCT toUInt32(window_start) AS at FROM {_TABLE}"  # noqa: S608 (quoted)
            f" WHERE {self._where(metrics)} AND (metric, statistic) IN ({pairs}) ORDER BY at"
        )
        return np.frombuffer(data, "<u4").astype(np.int64) * 1000

    def keys(self, metric: str) -> list[str]:
        """Give the keys of a metric, sorted."""
        rows = self._client.query(
            f"SELECT DISTINCT key FROM {_TABLE} WHERE {self._where([metric])}"  # noqa: S608 (quoted)
            f" AND statistic = {quoted(next(iter(self._found[metric])))}"
        )
        return sorted(canonical(row["key"]).decode() for row in rows)

    def rows(self, metric: str, statistics: Sequence[str], start: int, end: int) -> Rows:
        """Give the rows of windows that start in [start, end) ms."""
        chosen = list(statistics) or [next(iter(self._found[metric]))]
        times = (
            f"window_start >= toDateTime({-(-start // 1000)}, 'UTC') AND window_start < toDateTime({-(-end // 1000)}, 'UTC')"
        )
        parts = {}
        for statistic in chosen:
            data = self._client.binary(
                "SELECT toJSONString(key), groupArray(toUInt32(window_start)), groupArray(version), groupArray(value),"  # noqa: S608
                f" groupArray(count), groupArray(toUInt8(method = 'sketch')) FROM {_TABLE}"
                f" WHERE {self._where([metric])} AND statistic = {quoted(statistic)} AND {times} GROUP BY key"
            )
            parts[statistic] = _Part.of(data)
        return _joined(parts, statistics)

    def _where(self, metrics: Sequence[str]) -> str:
        names = ", ".join(map(quoted, metrics))
        return f"run = {quoted(self._run)} AND metric IN ({names})" if metrics else "0"


class _Part:
    """The rows of one statistic, one a window and key, by key and time: columns (n,) and the keys of `codes`."""

    def __init__(self, keys: list[str], columns: list[NDArray[np.int64]], values: NDArray[np.float64]) -> None:
        self.keys = keys
        self.codes, self.starts, self.counts, self.sketch = columns
        self.values = values

    @classmethod
    def of(cls, data: bytes) -> "_Part":
        """Read RowBinary: a key as JSON, and arrays of starts (s), versions, values, counts and sketch."""
        found = sorted(_groups(data), key=lambda each: each[0])
        keys = [key for key, _ in found]
        sizes = [len(columns[0]) for _, columns in found]
        codes = np.repeat(np.arange(len(keys)), sizes)
        starts, versions, values, counts, sketch = (
            np.concatenate([np.zeros(0, kind), *(columns[n] for _, columns in found)])
            for n, kind in enumerate(("<u4", "<u8", "<f8", "<u8", "u1"))
        )
        order = np.lexsort((versions, starts, codes))
        last = np.ones(len(order), np.bool_)
        sorted_codes, sorted_starts = codes[order], starts[order]
        last[:-1] = (sorted_codes[1:] != sorted_codes[:-1]) | (sorted_starts[1:] != sorted_starts[:-1])
        kept = order[last]
        columns = [
            codes[kept],
            starts[kept].astype(np.int64) * 1000,
            counts[kept].astype(np.int64),
            sketch[kept].astype(np.int64),
        ]
        return cls(keys, columns, values[kept].astype(np.float64))


def _groups(data: bytes) -> Iterator[tuple[str, list[NDArray[np.generic]]]]:
    """Give each key with its arrays."""
    place = 0
    while place < len(data):
        size, place = _varint(data, place)
        key = canonical(orjson.loads(data[place : place + size])).decode()
        place += size
        columns: list[NDArray[np.generic]] = []
        for kind in ("<u4", "<u8", "<f8", "<u8", "u1"):
            size, place = _varint(data, place)
            columns.append(np.frombuffer(data, kind, size, place))
            place += size * np.dtype(kind).itemsize
        yield key, columns


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """Read an unsigned LEB128 number; gives it and the place behind it."""
    number = shift = 0
    while True:
        byte = data[place]
        place += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004
            return number, place
        shift += 7


def _joined(parts: Mapping[str, _Part], statistics: Sequence[str]) -> Rows:
    """Put statistics of the same rows side by side; a row counts where all of them are there."""
    first = next(iter(parts.values()))
    aligned = all(
        each.keys == first.keys and np.array_equal(each.codes, first.codes) and np.array_equal(each.starts, first.starts)
        for each in parts.values()
    )
    places = {name: np.arange(len(first.starts)) for name in parts} if aligned else _shared(parts)
    here = places[next(iter(parts))]
    sketch = np.zeros(len(here), np.bool_)
    for name, part in parts.items():
        sketch |= part.sketch[places[name]] > 0
    return Rows(
        first.keys,
        first.starts[here],
        first.codes[here].astype(np.int32),
        first.counts[here],
        {name: parts[name].values[places[name]] for name in statistics},
        sketch,
    )


def _shared(parts: Mapping[str, _Part]) -> dict[str, NDArray[np.int64]]:
    """Give where the rows stand that all statistics have, in the order of the first."""
    names = {key: number for number, key in enumerate(sorted({key for part in parts.values() for key in part.keys}))}
    places: dict[str, NDArray[np.int64]] = {}
    marks = {}
    for name, part in parts.items():
        codes = np.array([names[key] for key in part.keys], np.int64)[part.codes]
        marks[name] = np.stack([codes, part.starts], axis=1).view("i8,i8").ravel()
    both = functools.reduce(np.intersect1d, marks.values())
    for name, mark in marks.items():
        order = np.argsort(mark)
        places[name] = order[np.searchsorted(mark, both, sorter=order)]
    return places
