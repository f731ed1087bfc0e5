"""Stored windows: the table `window_metrics` as a store of a history: live rows, or those of a run.

Read as RowBinary of fixed width, a hash in place of each key, so a row costs bytes, not an object. Of a row that was inserted
again the last version counts, as FINAL has it: where two rows come for one place they are read again with their versions and
compared here, which costs less than having the server merge all of them.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
_LATEST = 2**32 - 1  # seconds that a DateTime can hold
_SPARSE = 8  # places a row, up to which all of them are laid out
_HASH = "cityHash64(key)"
# What is selected, and as what it comes.
_VALUE = {
    "hash": (_HASH, "<u8"),
    "start": ("toUInt32(window_start)", "<u4"),
    "value": ("value", "<f8"),
    "sketch": ("toUInt8(method = 'sketch')", "u1"),
}
_WHOLE = _VALUE | {"count": ("count", "<u8")}
_VERSION = {"version": ("version", "<u8")}


class StoredWindows:
    """A store over a table; `run` is a run's id, or empty for live rows. Methods raise DeliveryError."""

    def __init__(self, client: ClickHouse, metrics: Sequence[MetricOptions], *, run: str = "", url: str = "") -> None:
        """Take an open client, and the metrics that matter."""
        self._client = client
        self._names = sorted(metric.name for metric in metrics)
        self._run = run
        self._keys: dict[str, dict[int, str]] = {}
        self._counts: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
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

    def counts(self, metric: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Give the starts (ms), sorted, of the windows of a metric, and how many rows there are in each, repeats included."""
        if metric not in self._counts:
            most = max(self._found[metric], key=lambda statistic: self._found[metric][statistic])
            data = self._client.binary(
                f"SELECT toUInt32(window_start) AS at, toUInt32(count()) AS n FROM {_TABLE}"  # noqa: S608 (quoted)
                f" WHERE {self._where([metric])} AND statistic = {quoted(most)} GROUP BY at ORDER BY at"
            )
            found = np.frombuffer(data, [("at", "<u4"), ("n", "<u4")])
            self._counts[metric] = found["at"].astype(np.int64) * 1000, found["n"].astype(np.int64)
        return self._counts[metric]

    def versions(self, start: int, end: int) -> list[tuple[str, int, int]]:
        """Give the configurations that made the windows in [start, end) ms: version, and where its first and last one start."""
        low, high = (min(max(-(-at // 1000), 0), _LATEST) for at in (start, end))
        rows = self._client.query(
            "SELECT config_version AS made_by, toString(toUInt32(min(window_start))) AS first,"  # noqa: S608 (quoted)
            f" toString(toUInt32(max(window_start))) AS last FROM {_TABLE} WHERE {self._where(self._names)}"
            f" AND window_start >= toDateTime({low}, 'UTC') AND window_start < toDateTime({high}, 'UTC')"
            " GROUP BY made_by ORDER BY min(window_start), made_by"
        )
        return [(row["made_by"], int(row["first"]) * 1000, int(row["last"]) * 1000) for row in rows]

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
        self._learn(metric, f"{self._where([metric])} AND statistic = {quoted(next(iter(self._found[metric])))}")
        return sorted(set(self._keys[metric].values()))

    def rows(self, metric: str, statistics: Sequence[str], start: int, end: int) -> Rows:
        """Give the rows of windows that start in [start, end) ms."""
        low, high = (min(max(-(-at // 1000), 0), _LATEST) for at in (start, end))
        times = f"window_start >= toDateTime({low}, 'UTC') AND window_start < toDateTime({high}, 'UTC')"
        chosen = list(statistics) or [next(iter(self._found[metric]))]
        wheres = {name: f"{self._where([metric])} AND statistic = {quoted(name)} AND {times}" for name in chosen}
        found = {name: self._selected(where, _WHOLE if name == chosen[0] else _VALUE) for name, where in wheres.items()}
        grid = self._grid(metric, found, wheres)
        places, kept = {}, {}
        for name, rows in found.items():
            places[name], kept[name] = grid.placed(rows)
            if len(kept[name]) < len(rows):  # some were inserted again: the last version counts, here the last row
                again = self._selected(wheres[name], (_WHOLE if name == chosen[0] else _VALUE) | _VERSION)
                found[name] = again[np.argsort(again["version"], kind="stable")]
                grid = self._grid(metric, found, wheres)
                places[name], kept[name] = grid.placed(found[name])
        return grid.rows(found, places, kept, statistics)

    def _selected(self, where: str, columns: Mapping[str, tuple[str, str]]) -> NDArray[np.void]:
        wanted = ", ".join(f"{expression} AS `_{name}`" for name, (expression, _) in columns.items())
        data = self._client.binary(f"SELECT {wanted} FROM {_TABLE} WHERE {where}")  # noqa: S608 (quoted)
        return np.frombuffer(data, np.dtype([(name, kind) for name, (_, kind) in columns.items()]))

    def _grid(self, metric: str, found: Mapping[str, NDArray[np.void]], wheres: Mapping[str, str]) -> "_Grid":
        """Lay out rows by keys and windows; keys not met before are asked for."""
        for name, rows in found.items():
            if not _all_in(rows["hash"], np.array(sorted(self._keys.get(metric, ())), np.uint64)):
                self._learn(metric, wheres[name])
        known = self._keys.get(metric, {})
        hashes = sorted(known)
        names = sorted(set(known.values()))
        place = {name: number for number, name in enumerate(names)}
        codes = np.array([place[known[each]] for each in hashes], np.int64)
        starts = [rows["start"] for rows in found.values() if len(rows)]
        first = min((int(each.min()) for each in starts), default=0)
        last = max((int(each.max()) for each in starts), default=0)
        return _Grid(names, np.array(hashes, np.uint64), codes, first, last - first + 1)

    def _learn(self, metric: str, where: str) -> None:
        """Make the keys of some rows known by their hashes; a key that was written in two orders has two."""
        inner = f"SELECT {_HASH} AS hash, any(key) AS one FROM {_TABLE} WHERE {where} GROUP BY hash"  # noqa: S608 (quoted)
        rows = self._client.query(f"SELECT toString(hash) AS hash, toJSONString(one) AS text FROM ({inner})")  # noqa: S608
        known = self._keys.setdefault(metric, {})
        known |= {int(row["hash"]): canonical(orjson.loads(row["text"])).decode() for row in rows}

    def _where(self, metrics: Sequence[str]) -> str:
        names = ", ".join(map(quoted, metrics))
        return f"run = {quoted(self._run)} AND metric IN ({names})" if metrics else "0"


def _all_in(found: NDArray[np.uint64], known: NDArray[np.uint64]) -> bool:
    """Tell whether all of `found` are among sorted ones."""
    if not len(known):
        return not len(found)
    return bool((known[np.minimum(np.searchsorted(known, found), len(known) - 1)] == found).all())


@dataclass(frozen=True, slots=True)
class _Grid:
    """Places of rows: key x second, from the first start on; `codes` are those of the sorted `hashes` in `names`."""

    names: list[str]
    hashes: NDArray[np.uint64]
    codes: NDArray[np.int64]
    first: int
    width: int

    def placed(self, rows: NDArray[np.void]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Give the places of rows, sorted, and which row is at each; of several at one the last."""
        if not len(rows):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        codes = self.codes[np.searchsorted(self.hashes, rows["hash"])]
        offsets = rows["start"].astype(np.int64) - self.first
        unit = int(np.gcd.reduce(offsets[: 1 << 12]))
        unit = unit if unit and not (offsets % unit).any() else 1
        width = self.width // unit + 1
        flat = codes * width + offsets // unit
        if len(self.names) * width <= _SPARSE * len(flat):
            at = np.full(len(self.names) * width, -1, np.int64)
            at[flat] = np.arange(len(flat))
            found = np.flatnonzero(at >= 0)
            kept = at[found]
        else:
            order = np.argsort(flat, kind="stable")
            last = np.ones(len(order), np.bool_)
            last[:-1] = flat[order[1:]] != flat[order[:-1]]
            kept = order[last]
            found = flat[kept]
        codes, offsets = np.divmod(found, width)
        return codes * self.width + offsets * unit, kept

    def rows(
        self,
        found: Mapping[str, NDArray[np.void]],
        places: Mapping[str, NDArray[np.int64]],
        kept: Mapping[str, NDArray[np.int64]],
        statistics: Sequence[str],
    ) -> Rows:
        """Put statistics side by side; a row counts where all of them are there."""
        head = next(iter(places))
        shared = places[head]
        if not all(np.array_equal(shared, each) for each in places.values()):
            shared = functools.reduce(np.intersect1d, places.values())
        chosen = {
            name: kept[name] if len(each) == len(shared) else kept[name][np.searchsorted(each, shared)]
            for name, each in places.items()
        }
        codes, offsets = np.divmod(shared, self.width)
        used = np.flatnonzero(np.bincount(codes, minlength=len(self.names)))
        local = np.zeros(len(self.names), np.int32)
        local[used] = np.arange(len(used))
        first = found[head][chosen[head]]
        return Rows(
            [self.names[place] for place in used.tolist()],
            (self.first + offsets) * 1000,
            local[codes],
            first["count"].astype(np.int64),
            {name: found[name]["value"][chosen[name]].astype(np.float64) for name in statistics},
            functools.reduce(np.logical_or, (found[name]["sketch"][chosen[name]] > 0 for name in places)),
        )
