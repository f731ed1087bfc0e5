"""Stored windows: the table `window_metrics` as a store of a history: live rows, or those of a run.

Read as columns, a hash in place of each key, so a row costs bytes, not an object. Of a row that was inserted
again the last version counts, as FINAL has it: where two rows come for one place they are read again with their versions and
compared here, which costs less than having the server merge all of them.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

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
# What is selected of each row, and its numbers.
_SELECTED = f"statistic, toLowCardinality({_HASH}) AS hash, toUInt32(window_start) AS start, value, method, count"
_NUMBERS: Mapping[str, type[np.generic]] = {"start": np.uint32, "value": np.float64, "count": np.uint64, "version": np.uint64}


class StoredWindows:
    """A store over a table; `run` is a run's id, or empty for live rows. Methods raise DeliveryError."""

    def __init__(self, client: ClickHouse, metrics: Sequence[MetricOptions], *, run: str = "", url: str = "") -> None:
        """Take an open client, and the metrics that matter."""
        self._client = client
        self._names = sorted(metric.name for metric in metrics)
        self._run = run
        self._keys: dict[str, _Keys] = {}
        self._whole: set[str] = set()  # metrics of which every key is known
        self._counts: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
        self.name = f"ClickHouse at {url} ({f'run {run}' if run else 'live rows'})"

    @cached_property
    def _found(self) -> dict[str, dict[str, int]]:
        """Give the number of rows, repeats included, by metric and statistic; raises HistoryError."""
        out: dict[str, dict[str, int]] = {}
        for row in self._client.query(
            f"SELECT metric, statistic, count() AS n FROM {_TABLE} WHERE {self._where(self._names)}"  # noqa: S608 (quoted)
            " GROUP BY metric, statistic ORDER BY metric, statistic SETTINGS optimize_aggregation_in_order = 1"  # an eighth
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
            at, rows = self._numbers(
                f"SELECT toUInt32(window_start) AS at, count() AS n FROM {_TABLE}"  # noqa: S608 (quoted)
                f" WHERE {self._where([metric])} AND statistic = {quoted(most)} GROUP BY at ORDER BY at",
                "at",
                "n",
            )
            self._counts[metric] = at * 1000, rows
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
        found = [self.counts(metric)[0] for metric in metrics if metric in self._found]
        return np.unique(np.concatenate([np.zeros(0, np.int64), *found]))

    def keys(self, metric: str) -> list[str]:
        """Give the keys of a metric, sorted."""
        if metric not in self._whole:
            self._learn(metric, f"{self._where([metric])} AND statistic = {quoted(next(iter(self._found[metric])))}")
            self._whole.add(metric)
        return list(self._keys[metric].names)

    def rows(self, metric: str, statistics: Sequence[str], start: int, end: int, keys: Collection[str] | None = None) -> Rows:
        """Give the rows of windows that start in [start, end) ms, of some keys alone where they are given."""
        low, high = (min(max(-(-at // 1000), 0), _LATEST) for at in (start, end))
        chosen = list(statistics) or [next(iter(self._found[metric]))]
        where = (
            f"{self._where([metric])} AND statistic IN ({', '.join(map(quoted, chosen))})"
            f" AND window_start >= toDateTime({low}, 'UTC') AND window_start < toDateTime({high}, 'UTC')"
        )
        if keys is not None:
            self.keys(metric)
            hashes = [str(each) for each, key in self._keys[metric].by_hash.items() if key in keys]
            where += f" AND {_HASH} IN ({', '.join(hashes)})" if hashes else " AND 0"
        read, names = self._read(metric, chosen, where, _SELECTED)
        grid = _Grid.over(read, len(chosen), len(names))
        if grid.repeats:  # some were inserted again: the last version counts
            read, names = self._read(metric, chosen, where, f"{_SELECTED}, version")
            order = np.argsort(read["version"], kind="stable")
            read = {name: column[order] for name, column in read.items()}
            grid = _Grid.over(read, len(chosen), len(names))
        return grid.rows(read, names, statistics)

    def _read(self, metric: str, statistics: list[str], where: str, selected: str) -> tuple[dict[str, NDArray[Any]], list[str]]:
        """Read rows as columns of numbers; gives the names of their keys too. Keys not met before are asked for.

        `key` is a place in the names, `rank` one in `statistics`.
        """
        blocks = list(self._client.columns(f"SELECT {selected} FROM {_TABLE} WHERE {where}"))  # noqa: S608 (quoted)
        keys = self._keys.get(metric, _Keys({}))
        codes = _column(blocks, "hash", np.int64, keys.codes)
        if (codes < 0).any():
            keys = self._learn(metric, where)
            codes = _column(blocks, "hash", np.int64, keys.codes)
        ranks = {name: rank for rank, name in enumerate(statistics)}
        columns = {name: _column(blocks, name, kind) for name, kind in _NUMBERS.items()}
        columns["key"] = codes
        columns["rank"] = _column(blocks, "statistic", np.int64, lambda names: [ranks.get(name, -1) for name in names.tolist()])
        columns["sketch"] = _column(blocks, "method", np.bool_, lambda names: [name == "sketch" for name in names.tolist()])
        return columns, keys.names

    def _learn(self, metric: str, where: str) -> "_Keys":
        """Make the keys of some rows known by their hashes; a key that was written in two orders has two."""
        inner = f"SELECT {_HASH} AS hash, any(key) AS one FROM {_TABLE} WHERE {where} GROUP BY hash"  # noqa: S608 (quoted)
        rows = self._client.query(f"SELECT toString(hash) AS hash, toJSONString(one) AS text FROM ({inner})")  # noqa: S608
        found = {int(row["hash"]): canonical(orjson.loads(row["text"])).decode() for row in rows}
        self._keys[metric] = _Keys((self._keys[metric].by_hash if metric in self._keys else {}) | found)
        return self._keys[metric]

    def _numbers(self, sql: str, *names: str) -> list[NDArray[np.int64]]:
        """Give columns of whole numbers."""
        found = list(self._client.columns(sql))
        return [_column(found, name, np.uint64).astype(np.int64) for name in names]

    def _where(self, metrics: Sequence[str]) -> str:
        names = ", ".join(map(quoted, metrics))
        return f"run = {quoted(self._run)} AND metric IN ({names})" if metrics else "0"


class _Keys:
    """The keys of a metric that were met: `names`, sorted, and by their hashes."""

    def __init__(self, by_hash: dict[int, str]) -> None:
        self.by_hash = by_hash
        self.names = sorted(set(by_hash.values()))
        place = {name: number for number, name in enumerate(self.names)}
        self._hashes = np.array(sorted(by_hash), np.uint64)
        self._codes = np.array([place[by_hash[each]] for each in sorted(by_hash)], np.int64)

    def codes(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Give the places of keys in `names`, -1 for one not met."""
        if not len(self._hashes):
            return np.full(len(hashes), -1, np.int64)
        places = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
        return np.where(self._hashes[places] == hashes, self._codes[places], -1)


def _column(
    blocks: Sequence[Mapping[str, Any]], name: str, kind: type[np.generic], change: Callable[[NDArray[Any]], Any] | None = None
) -> NDArray[Any]:
    """Give a column of all blocks, empty where it was not asked for; of a coded one the values are changed first."""
    found = [block[name] for block in blocks if name in block]
    parts = found if change is None else [np.array(change(each.values), kind)[each.codes] for each in found]
    return np.concatenate([np.zeros(0, kind), *parts])


@dataclass(frozen=True, slots=True)
class _Grid:
    """Places of rows: statistic x window x key, from the first window on, or only those cells of which there is a row."""

    places: NDArray[np.int64]  # of rows
    there: NDArray[np.bool_]  # (statistics, cells)
    cells: NDArray[np.int64]  # window x key, sorted
    keys: int
    first: int  # seconds
    unit: int

    @classmethod
    def over(cls, read: Mapping[str, NDArray[Any]], statistics: int, keys: int) -> "_Grid":
        """Lay out rows."""
        first = int(read["start"].min()) if len(read["key"]) else 0
        offsets = read["start"].astype(np.int64) - first
        unit = int(np.gcd.reduce(offsets[: 1 << 12])) or 1
        windows = offsets // unit
        if (windows * unit != offsets).any():
            windows, unit = offsets, 1
        flat = windows * keys + read["key"]
        size = (int(windows.max(initial=-1)) + 1) * keys
        if size * statistics <= _SPARSE * len(flat):
            cells = np.arange(size)
        else:
            cells, flat = np.unique(flat, return_inverse=True)
        places = read["rank"] * len(cells) + flat
        there = np.zeros((statistics, len(cells)), np.bool_)
        there.reshape(-1)[places] = True
        return cls(places, there, cells, keys, first, unit)

    @property
    def repeats(self) -> bool:
        """Tell whether several rows are in one place."""
        return bool(np.count_nonzero(self.there) < len(self.places))

    def rows(self, read: Mapping[str, NDArray[Any]], names: list[str], statistics: Sequence[str]) -> Rows:
        """Put statistics side by side; a row counts where all of them are there, and of several in one place the last."""
        full: NDArray[np.bool_] = np.logical_and.reduce(self.there)
        whole = slice(None) if bool(np.all(full)) else full
        cells = self.cells[whole]
        windows = cells // max(self.keys, 1)
        codes = cells - windows * self.keys
        used = np.flatnonzero(np.bincount(codes, minlength=self.keys))
        local = np.zeros(self.keys, np.int32)
        local[used] = np.arange(len(used))
        values = self._laid_out(read["value"])
        return Rows(
            [names[place] for place in used.tolist()],
            (self.first + windows * self.unit) * 1000,
            local[codes],
            self._laid_out(read["count"])[0, whole].astype(np.int64),
            {name: values[place, whole] for place, name in enumerate(statistics)},
            np.logical_or.reduce(self._laid_out(read["sketch"]))[whole],
        )

    def _laid_out(self, column: NDArray[Any]) -> NDArray[Any]:
        laid = np.zeros(self.there.shape, column.dtype)
        laid.reshape(-1)[self.places] = column
        return laid
