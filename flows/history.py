"""History: windows that were computed once, read as often as wanted, in the order of their ends.

A store keeps rows (a replay's folder, ClickHouse); a history lays them out as columns (windows x keys), a bounded number of
cells at a time, so that memory does not grow with the range.
"""

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from flows.budget import ANY_OTHER
from flows.metric import TOTAL, MetricOptions
from flows.rule import Rule, RuleOptions
from flows.sweep import Readings
from flows.window import MetricRows, WindowResult

CELLS = 2_000_000  # values in a span of rows (8 bytes each); laid out, twice as many at most. One window is never cut.
_AT_ONCE = 2  # metrics of a span: while the rows of one are unpacked, the server has the next in hand
_OTHER = ':"(other)"'
_STATELESS = ("threshold", "capacity", "budget")
_ELSEWHERE = "(another metric)"

Wanted = Mapping[str, Collection[str]]  # statistics, or keys, by metric


class HistoryError(Exception):
    """A history that cannot be used as asked; the sentence says what is there and the way out."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one metric, at most one a window and key, in any order: columns (n,) of rows.

    `starts` are those of the windows (ms), `codes` places in `keys` (canonical JSON, sorted).
    """

    keys: list[str]
    starts: NDArray[np.int64]
    codes: NDArray[np.int32]
    counts: NDArray[np.int64]
    values: dict[str, NDArray[np.float64]]
    sketch: NDArray[np.bool_]


class Store(Protocol):
    """Where rows of windows are kept. Methods raise HistoryError, or DeliveryError where a server is asked."""

    @property
    def name(self) -> str:
        """Say what it is, for errors."""
        ...

    @property
    def length_ms(self) -> int:
        """Give the length of its windows; 0 where there are none."""
        ...

    @property
    def metrics(self) -> Mapping[str, tuple[str, ...]]:
        """Give the statistics of each metric that it has rows of."""
        ...

    def counts(self, metric: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Give the starts (ms), sorted, of the windows in which a metric left rows, and how many it left, or a few more.

        A row is one however many statistics it has.
        """
        ...

    def starts(self, metrics: Sequence[str]) -> NDArray[np.int64]:
        """Give the starts (ms), sorted, of the windows in which one of these metrics left a row."""
        ...

    def keys(self, metric: str) -> list[str]:
        """Give the keys of a metric, sorted."""
        ...

    def rows(self, metric: str, statistics: Sequence[str], start: int, end: int, keys: Collection[str] | None = None) -> Rows:
        """Give the rows of windows that start in [start, end) ms; asked for several metrics at once, from threads.

        `keys` are those that matter: others may be left out.
        """
        ...


@dataclass(frozen=True, slots=True)
class Table:
    """One metric over t windows and k keys, sorted: columns (t, k); NaN and 0 where there is no row."""

    keys: list[str]
    counts: NDArray[np.int64]
    present: NDArray[np.bool_]
    values: dict[str, NDArray[np.float64]]
    sketch: NDArray[np.bool_]

    def row(self, metric: str, number: int) -> MetricRows | None:
        """Give the rows of one window; None where there are none."""
        here = self.present[number]
        if not here.any():
            return None
        if here.all():
            columns = {name: column[number] for name, column in self.values.items()}
            return MetricRows(metric, self.keys, self.counts[number], columns, self.sketch[number])
        places = np.flatnonzero(here)
        columns = {name: column[number, places] for name, column in self.values.items()}
        keys = [self.keys[place] for place in places.tolist()]
        return MetricRows(metric, keys, self.counts[number, places], columns, self.sketch[number, places])


@dataclass(frozen=True, slots=True)
class Chunk:
    """The windows of one dataset that start in [start, end) ms: `starts` (t,), and a table a metric.

    The chunks of a range follow each other without a gap.
    """

    dataset: str
    start: int
    end: int
    starts: NDArray[np.int64]
    length_ms: int
    tables: dict[str, Table]

    @property
    def ends(self) -> NDArray[np.int64]:
        """Give the ends of the windows (t,) in ms."""
        return self.starts + self.length_ms

    def window(self, number: int, metrics: Collection[str] | None = None) -> WindowResult:
        """Give one window, or some of its metrics; where others alone left rows, it still shows that there were some."""
        chosen = self.tables if metrics is None else {name: self.tables[name] for name in self.tables if name in metrics}
        found = ((name, table.row(name, number)) for name, table in chosen.items())
        rows_of = {name: rows for name, rows in found if rows is not None}
        if not rows_of:
            rows_of = {_ELSEWHERE: MetricRows(_ELSEWHERE, [TOTAL], np.ones(1, np.int64), {}, np.zeros(1, np.bool_))}
        start = int(self.starts[number])
        return WindowResult(self.dataset, start, start + self.length_ms, rows_of, {})


class History:
    """The windows of the configured metrics in a store."""

    def __init__(
        self, store: Store, metrics: Sequence[MetricOptions], bonds: Sequence[Sequence[str]] = (), *, cells: int = CELLS
    ) -> None:
        """Take the metrics of a configuration, which say of which dataset rows are, and its bonds (`Alerting.bonds`)."""
        self.store = store
        self._metrics = {metric.name: metric for metric in metrics}
        self._cells = cells
        bonded = [dataset for bond in bonds for dataset in bond]
        names = {metric.dataset for metric in metrics}
        self.datasets = tuple(sorted(names, key=lambda name: (bonded.index(name) if name in bonded else len(bonded), name)))
        self._starts: dict[str, NDArray[np.int64]] = {}

    @property
    def length_ms(self) -> int:
        """Give the length of the windows."""
        return self.store.length_ms

    def starts(self, dataset: str) -> NDArray[np.int64]:
        """Give the starts (ms) of the windows of a dataset that left rows."""
        if dataset not in self._starts:
            names = [name for name, each in self._metrics.items() if each.dataset == dataset and name in self.store.metrics]
            self._starts[dataset] = self.store.starts(names) if names else np.zeros(0, np.int64)
        return self._starts[dataset]

    @property
    def start(self) -> int | None:
        """Give the start of the first window (ms); None where there is none."""
        return min((int(starts[0]) for starts in map(self.starts, self.datasets) if len(starts)), default=None)

    @property
    def end(self) -> int | None:
        """Give the end of the last window (ms); None where there is none."""
        last = max((int(starts[-1]) for starts in map(self.starts, self.datasets) if len(starts)), default=None)
        return None if last is None else last + self.length_ms

    def keys(self, metric: str) -> list[str]:
        """Give the keys of a metric, sorted."""
        return self.store.keys(metric) if metric in self.store.metrics else []

    def chunks(
        self, start: int, end: int, wanted: Wanted | None = None, keys: Wanted | None = None
    ) -> Iterator[tuple[Chunk, ...]]:
        """Give the windows that start in [start, end) ms, in time order: for each span of time a chunk a dataset.

        `wanted` says which statistics of which metrics are read, `keys` which keys of them matter; None all.
        """
        chosen = {name: tuple(self.store.metrics[name]) for name in self._metrics if name in self.store.metrics}
        if wanted is not None:
            chosen = {name: tuple(sorted(wanted[name])) for name in chosen if name in wanted}
        with ThreadPoolExecutor(_AT_ONCE, "rows") as pool:
            for low, high in self._spans(start, end, chosen):
                asked = {
                    name: pool.submit(self.store.rows, name, statistics, low, high, keys[name] if keys else None)
                    for name, statistics in chosen.items()
                }
                yield from self._laid_out({name: each.result() for name, each in asked.items()}, low, high)

    def windows(self, start: int, end: int, wanted: Wanted | None = None) -> Iterator[WindowResult]:
        """Give the windows that start in [start, end) ms, by their ends; at one end in the order of `datasets`."""
        for chunks in self.chunks(start, end, wanted):
            places = [(int(at), rank, n) for rank, chunk in enumerate(chunks) for n, at in enumerate(chunk.starts.tolist())]
            for _, rank, number in sorted(places):
                yield chunks[rank].window(number)

    def readings(self, rule: Rule, start: int, end: int, keys: Sequence[str] | None = None) -> Iterator[Readings]:
        """Give what a rule judges in the windows that start in [start, end) ms, in time order, over one sorted list of keys.

        `keys` are those wanted; None all that the rule judges. The kinds threshold, capacity and budget: what the others judge
        follows from earlier windows too, so they raise HistoryError.
        """
        options = rule.options
        if options.kind not in _STATELESS:
            message = f"rule {options.name!r}: what a rule of kind {options.kind} judges is not in one window alone"
            raise HistoryError(message)
        judged = keys_of(rule, self.keys(options.metric))
        chosen = judged if keys is None else sorted(set(keys) & set(judged))
        for chunks in self.chunks(start, end, {options.metric: (options.statistic,)}):
            chunk = next(each for each in chunks if each.dataset == rule.metric.dataset)
            if len(chunk.starts):
                yield readings_of(rule, chunk, chosen)

    def _spans(self, start: int, end: int, chosen: Mapping[str, Sequence[str]]) -> Iterator[tuple[int, int]]:
        """Cut the range into spans of no more cells than may be held at a time, or of one window."""
        found = [self.starts(dataset) for dataset in self.datasets]
        starts = np.unique(np.concatenate([np.zeros(0, np.int64), *found]))
        cells = np.zeros(len(starts), np.int64)
        for name, statistics in chosen.items():
            found_at, rows = self.store.counts(name)
            cells[np.searchsorted(starts, found_at)] += rows * (len(statistics) + 1)
        here = slice(*np.searchsorted(starts, [start, end]).tolist())
        edges = [int(at) for at in starts[here][cuts(cells[here], self._cells)]]
        yield from itertools.pairwise([start, *edges, end])

    def _laid_out(self, rows: dict[str, Rows], low: int, high: int) -> Iterator[tuple[Chunk, ...]]:
        """Lay out rows; a span in which keys come and go is cut in two as long as most of the cells would be empty."""
        windows = {dataset: self._between(dataset, low, high) for dataset in self.datasets}
        size = sum(len(windows[self._metrics[n].dataset]) * len(each.keys) * (len(each.values) + 1) for n, each in rows.items())
        if size > 2 * self._cells and max(map(len, windows.values())) > 1:
            found = np.unique(np.concatenate(list(windows.values())))
            middle = int(found[len(found) // 2])  # behind the first
            for first, last in ((low, middle), (middle, high)):
                yield from self._laid_out({name: _cut(each, first, last) for name, each in rows.items()}, first, last)
            return
        chunks = []
        for dataset, starts in windows.items():
            tables = {n: _table(each, starts) for n, each in rows.items() if self._metrics[n].dataset == dataset}
            chunks.append(Chunk(dataset, low, high, starts, self.length_ms, tables))
        yield tuple(chunks)

    def _between(self, dataset: str, low: int, high: int) -> NDArray[np.int64]:
        starts = self.starts(dataset)
        return starts[np.searchsorted(starts, low) : np.searchsorted(starts, high)]


def wanted_of(rules: Sequence[RuleOptions], metrics: Sequence[MetricOptions]) -> dict[str, set[str]]:
    """Give which statistics rules read of which metrics; the counts of rows are always read."""
    known = {metric.name: metric.statistics() for metric in metrics}
    needed = {"slo": ("bad", "good"), "event": ("count",)}
    out: dict[str, set[str]] = {}
    for rule in rules:
        if rule.kind != "composite":
            chosen = {*needed.get(rule.kind, ()), rule.statistic} & set(known[rule.metric])
            out.setdefault(rule.metric, set()).update(chosen)
    return out


def cuts(cells: NDArray[np.int64], most: int) -> list[int]:
    """Give where to cut windows, of so many cells each (n,), into spans of `most` cells, or of one window."""
    before = np.concatenate([[0], np.cumsum(cells)])  # cells ahead of each window
    found, place = [], 0
    while (place := max(place + 1, int(np.searchsorted(before, before[place] + most, "right")) - 1)) < len(cells):
        found.append(place)
    return found


def keys_of(rule: Rule, keys: Sequence[str]) -> list[str]:
    """Give those of a metric's keys that a rule judges, never `(other)`."""
    chosen = [key for key in keys if rule.judges(key) and _OTHER not in key]
    if rule.options.kind != "budget" or ANY_OTHER in rule.options.budgets:
        return chosen
    return [key for key in chosen if orjson.loads(key).get(rule.options.by, "") in rule.options.budgets]


def readings_of(rule: Rule, chunk: Chunk, keys: list[str]) -> Readings:
    """Give what a rule (of kind threshold, capacity or budget) judges in a chunk, over these sorted keys."""
    shape = len(chunk.starts), len(keys)
    table = chunk.tables.get(rule.options.metric)
    values, counts = np.full(shape, np.nan), np.zeros(shape, np.int64)
    present = np.zeros(shape, np.bool_)
    if table is not None:
        column = table.values[rule.options.statistic]
        if table.keys == keys:
            values, counts, present = column, table.counts, table.present
        else:
            known = {key: place for place, key in enumerate(table.keys)}
            pairs = [(place, known[key]) for place, key in enumerate(keys) if key in known]
            here, there = np.array(pairs, np.int64).reshape(-1, 2).T
            for to, source in ((values, column), (counts, table.counts), (present, table.present)):
                to[:, here] = source[:, there]
    if rule.options.kind == "capacity":
        values = values / rule.options.capacity
    return Readings(chunk.ends, keys, values, counts, present)


def _cut(rows: Rows, start: int, end: int) -> Rows:
    """Give the rows of the windows that start in [start, end), with their keys alone."""
    here = (rows.starts >= start) & (rows.starts < end)
    codes = rows.codes[here]
    used = np.flatnonzero(np.bincount(codes, minlength=len(rows.keys)))
    places = np.zeros(len(rows.keys), np.int32)
    places[used] = np.arange(len(used))
    return Rows(
        [rows.keys[place] for place in used.tolist()],
        rows.starts[here],
        places[codes],
        rows.counts[here],
        {name: column[here] for name, column in rows.values.items()},
        rows.sketch[here],
    )


def _table(rows: Rows, starts: NDArray[np.int64]) -> Table:
    shape = len(starts), len(rows.keys)
    places = np.searchsorted(starts, rows.starts) * len(rows.keys) + rows.codes

    def laid_out(column: NDArray[Any], nothing: float) -> NDArray[Any]:
        if in_order:
            return column.reshape(shape)
        laid = np.full(len(starts) * len(rows.keys), nothing, column.dtype)
        laid[places] = column
        return laid.reshape(shape)

    in_order = len(places) == shape[0] * shape[1] and bool((places[1:] > places[:-1]).all())
    values = {name: laid_out(column, np.nan) for name, column in rows.values.items()}
    present = laid_out(np.ones(len(places), np.bool_), False)
    return Table(rows.keys, laid_out(rows.counts, 0), present, values, laid_out(rows.sketch, False))
