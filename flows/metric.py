"""Metric: what is measured of a dataset, and the fold of a batch's columns into partials.

A metric's total is always kept besides its groups. Group keys become canonical JSON once per distinct value of a batch;
everything else is counting over integer codes.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from connectors.batch import Batch
from connectors.dataset import Dataset
from flows.cell import Cell, Found, Split, bad_of, extra_of
from flows.event import Event, first_of_each_key, in_time, record_at
from flows.exemplar import Candidates
from flows.exemplar_gate import ExemplarGate
from flows.expression import Expression
from flows.key_numbers import KeyNumbers, different, groups_of
from flows.output import canonical
from flows.partial import CountPart, DistinctPart, GroupPart, Partial, Picked, RatioPart, SamplePart
from flows.pick import Picker

KINDS = {
    "count": ("count", "rate"),
    "ratio": ("total", "bad", "good", "ratio"),
    "distribution": ("count", "mean", "min", "max", "p50", "p90", "p95", "p99", "p999"),
    "distinct": ("distinct",),
    "gauge": ("last", "mean", "min", "max"),
    "sum": ("sum",),
}
TOTAL = "{}"
_Masks = tuple[NDArray[np.bool_] | None, NDArray[np.bool_] | None]  # which records take part, and which are chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricOptions:
    """One `[[metric]]` table: what is counted or measured of the records of a dataset, by which key."""

    name: str = field(metadata={"help": "the name that rules and rows use"})
    kind: str = field(metadata={"help": f"one of {', '.join(KINDS)}"})
    dataset: str = field(metadata={"help": "the dataset whose records are measured"})
    where: str = field(default="", metadata={"help": "which records take part (an expression; empty: all)"})
    value: str = field(default="", metadata={"help": "the column measured (distribution, distinct, gauge, sum)"})
    bad: str = field(default="", metadata={"help": "ratio: which records are bad (or use good)"})
    good: str = field(default="", metadata={"help": "ratio: which records are good (or use bad)"})
    unit: str = field(default="", metadata={"help": "unit of the value, as shown to people"})
    group_by: tuple[str, ...] = field(default=(), metadata={"help": "columns that make the key; the total is always kept"})

    def problems(self) -> Iterable[tuple[str, str]]:
        """Yield (key, problem) for what the types cannot say."""
        if self.kind not in KINDS:
            yield "kind", f"{self.kind!r} is not a kind of metric; allowed: {', '.join(KINDS)}"
            return
        if self.kind == "ratio":
            if bool(self.bad) == bool(self.good):
                yield "bad", "a ratio needs exactly one of bad and good"
        elif self.bad or self.good:
            yield "bad" if self.bad else "good", "only a ratio has bad or good"
        if self.kind in ("distribution", "distinct", "gauge", "sum") and not self.value:
            yield "value", f"a {self.kind} needs the column that it measures"
        if self.kind in ("count", "ratio") and self.value:
            yield "value", f"a {self.kind} measures no column"
        if len(set(self.group_by)) != len(self.group_by):
            yield "group_by", "a column is named twice"

    def statistics(self) -> tuple[str, ...]:
        """Give the names of the statistics this metric's rows have."""
        if self.kind == "ratio":
            return ("total", "bad" if self.bad else "good", "ratio")
        return KINDS.get(self.kind, ())

    @property
    def identity(self) -> str:
        """Name the metric and its definition: what is kept of a metric under it is of no changed one."""
        definition = canonical({name: getattr(self, name) for name in self.__slots__})
        return f"{self.name}:{hashlib.sha256(definition).hexdigest()[:16]}"


@dataclass(frozen=True, slots=True)
class Beyond:
    """Which values rules call bad: those above `limit`, or below it where `sign` is -1."""

    sign: int
    limit: float


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric made ready: its options with the expressions parsed.

    `dimensions` are what bad records are told apart by (keys by name; none: they are not), `meaning` says which they are and by
    what: samples of another meaning do not mix.
    """

    options: MetricOptions
    where: Expression | None
    chosen: Expression | None  # what `bad` or `good` says
    exemplars: bool
    beyond: Beyond | None = None  # which values are bad
    dimensions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    meaning: str = ""

    @property
    def identity(self) -> str:
        """Name the metric and its definition: state is kept under it, so a changed metric starts afresh."""
        return self.options.identity

    @property
    def fields(self) -> frozenset[str]:
        """Give the columns that this metric reads."""
        names = {*self.options.group_by, *filter(None, [self.options.value])}
        for expression in (self.where, self.chosen):
            names |= expression.fields if expression else frozenset()
        return frozenset(names)


def compile_metric(options: MetricOptions, dataset: Dataset, *, exemplars: bool, beyond: Beyond | None = None) -> Metric:
    """Parse the expressions of a metric; raises ExpressionError."""
    where, chosen = (
        Expression.parse(text, dataset.predicates) if text else None for text in (options.where, options.bad or options.good)
    )
    plain = Metric(options, where, chosen, exemplars, beyond)
    if not exemplars or not dataset.dimensions or (chosen is None and beyond is None):
        return plain
    dimensions = {name: column.keys for name, column in dataset.dimensions.items()}
    meaning = canonical([plain.identity, beyond and [beyond.sign, beyond.limit], list(dimensions)]).decode()
    return replace(plain, dimensions=dimensions, meaning=meaning)


class Fold:
    """Turns batches of one dataset into partials, one a shard (maybe empty: every shard hears every mark)."""

    def __init__(
        self,
        dataset: Dataset,
        metrics: Iterable[Metric],
        *,
        shards: int,
        pane_ms: int,
        events: frozenset[str] = frozenset(),
    ) -> None:
        """Take the metrics of this dataset; `pane_ms` is the length of a pane, `events` the metrics whose records go ahead."""
        self.dataset = dataset
        self.metrics = tuple(metrics)
        self.groupings = groupings_of(self.metrics)
        self._shards = shards
        self._pane_ms = pane_ms
        self._events = [n for n, metric in enumerate(self.metrics) if metric.options.name in events]
        self._keys = {grouping: KeyNumbers(grouping, shards) for grouping in self.groupings}
        self._gate = ExemplarGate()
        self._picker = Picker(tuple(dataset.dimensions), dataset.paths)

    @property
    def fields(self) -> frozenset[str]:
        """Give the columns that the metrics read, and the records' weight."""
        weight = filter(None, [self.dataset.weight]) if self.metrics else ()
        return frozenset(weight).union(*(metric.fields for metric in self.metrics))

    def __call__(self, batch: Batch) -> list[tuple[int, Partial]]:
        """Fold one batch; gives (shard, partial) for every shard."""
        partials = [Partial(batch.dataset, shard, batch.marks, [], []) for shard in range(self._shards)]
        for keys in self._keys.values():
            if keys.full:
                keys.clear()
                self._gate.forget()
                self._picker.forget()
        in_time = None if not batch.late.any() else np.flatnonzero(~batch.late)
        times = batch.times if in_time is None else batch.times[in_time]
        if len(times):
            panes = times // self._pane_ms
            masks = self._masks(batch)
            extra = extra_of(batch, self.dataset.weight) if self.dataset.weight and self.metrics else None
            for pane in np.unique(panes).tolist() if panes.min() != panes.max() else [int(panes[0])]:
                rows = _rows(in_time, panes == pane)
                partials[0].spans.append((pane * self._pane_ms, _spans(batch, rows)))
                bad: list[Found] = []
                for number, grouping in enumerate(self.groupings):
                    place = pane * self._pane_ms, number
                    bad += self._fold_group(batch, (masks, extra), rows, place, grouping, partials)
                if bad and batch.details is not None:
                    self._pick(batch, pane, bad)
            if self._events:
                self._add_events(batch, masks, partials)
        return list(enumerate(partials))

    def _add_events(self, batch: Batch, masks: list[_Masks], partials: list[Partial]) -> None:
        """Send along the first record of each key and pane of the metrics whose records go ahead."""
        found: dict[int, list[Event]] = {}
        for number in self._events:
            metric, places = self.metrics[number].options, in_time(batch, masks[number][0])
            if not len(places):
                continue
            ends = (batch.times[places] // self._pane_ms + 1) * self._pane_ms
            for grouping in dict.fromkeys(((), metric.group_by)):
                groups, keys = groups_of(batch, places, grouping, self.dataset.paths), self._keys[grouping]
                numbers = keys.of(groups)
                names, shards = keys.named(numbers).texts(), keys.shards(numbers)
                for row in first_of_each_key(groups.codes, ends):
                    code, end = groups.codes[row], int(ends[row])
                    event = Event(metric.name, names[code], end - self._pane_ms, end, record_at(batch, int(places[row])))
                    found.setdefault(int(shards[code]), []).append(event)
        for shard, events in found.items():
            partials[shard] = replace(partials[shard], events=tuple(events))

    def _masks(self, batch: Batch) -> list[_Masks]:
        return [(m.where.mask(batch) if m.where else None, m.chosen.mask(batch) if m.chosen else None) for m in self.metrics]

    def _fold_group(  # noqa: PLR0913 (one cell of the fold)
        self,
        batch: Batch,
        weighed: tuple[list[_Masks], NDArray[np.int64] | None],
        rows: NDArray[np.int64] | None,
        place: tuple[int, int],
        grouping: tuple[str, ...],
        partials: list[Partial],
    ) -> list[Found]:
        """Fold the rows of one pane by one grouping into every shard's partial; gives what is bad among them."""
        bad = []
        masks, extra = weighed
        extra = extra if extra is None or rows is None else extra[rows]
        found, keys = groups_of(batch, rows, grouping, self.dataset.paths), self._keys[grouping]
        numbers = keys.of(found)
        split = Split(found.codes, keys.shards(numbers), self._shards, numbers)
        groups = [
            GroupPart(place[0], place[1], keys.named(split.members(shard)), split.counts(shard), {})
            for shard in range(self._shards)
        ]
        for number, metric in enumerate(self.metrics):
            if grouping in ((), metric.options.group_by):
                where, chosen = (mask if mask is None or rows is None else mask[rows] for mask in masks[number])
                limits = self._gate.of(place[0], number, place[1]) if metric.exemplars else None
                cell = Cell(batch, rows, metric, where, chosen, extra, limits)
                _fold_metric(cell, split, number, groups)
                if metric.dimensions:
                    bad += bad_of(cell, split, number, place[1], groups)
        for shard, group in enumerate(groups):
            if len(group.keys):
                partials[shard].groups.append(group)
        return bad

    def _pick(self, batch: Batch, pane: int, found: list[Found]) -> None:
        """Put the candidates among a pane's bad records into the parts."""
        for each, chosen in zip(found, self._picker.pick(batch, pane, [each.bad for each in found]), strict=True):
            if not len(chosen.places):
                continue
            codes = each.bad.codes[chosen.places]
            for shard, at in each.split.by_shard(codes):
                part = each.groups[shard].metrics.get(each.bad.metric)
                if len(at) and isinstance(part, RatioPart | SamplePart):
                    details = [chosen.details[place] for place in at.tolist()]
                    part.bad = Picked(each.split.local_of(codes[at]), chosen.ranks[at], details)


def _spans(batch: Batch, rows: NDArray[np.int64] | None) -> dict[str, tuple[int, int]]:
    """Give partition -> (first, last) offset of the rows, for the provenance of what is said of their window."""
    partition = batch.place.partition if rows is None else batch.place.partition[rows]
    offset = batch.place.offset if rows is None else batch.place.offset[rows]
    edges = np.flatnonzero(np.diff(partition, prepend=-1, append=-1))
    # The rows of a partition stand together and in order of offset.
    return {
        batch.place.partitions[int(partition[a])]: (int(offset[a]), int(offset[b - 1]))
        for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    }


def groupings_of(metrics: Iterable[Metric]) -> tuple[tuple[str, ...], ...]:
    """Give the different groupings of metrics in a fixed order; the total comes first."""
    return ((), *sorted({metric.options.group_by for metric in metrics} - {()}))


def _rows(in_time: NDArray[np.int64] | None, chosen: NDArray[np.bool_]) -> NDArray[np.int64] | None:
    if chosen.all():
        return in_time
    return np.flatnonzero(chosen) if in_time is None else in_time[chosen]


def _fold_metric(cell: Cell, split: Split, number: int, groups: list[GroupPart]) -> None:
    kind = cell.metric.options.kind
    if kind == "count":
        counts = split.per_key(cell.where)
        extra = None if cell.extra is None else split.extra_per_key(cell.where, cell.extra)
        for shard in split.occupied:
            of_shard = None if extra is None else split.of_shard(extra, shard)
            groups[shard].metrics[number] = CountPart(split.of_shard(counts, shard), of_shard)
    elif kind == "ratio":
        _fold_ratio(cell, split, number, groups)
    elif kind == "distinct":
        _fold_distinct(cell, split, number, groups)
    else:
        _fold_samples(cell, split, number, groups)


def _fold_ratio(cell: Cell, split: Split, number: int, groups: list[GroupPart]) -> None:
    chosen = cell.chosen if cell.where is None else cell.chosen & cell.where  # type: ignore[operator]
    total, picked = split.per_key(cell.where), split.per_key(chosen)
    for shard in split.occupied:
        part = RatioPart(split.of_shard(total, shard), split.of_shard(picked, shard), None)
        if cell.extra is not None:
            extra = (split.extra_per_key(mask, cell.extra) for mask in (cell.where, chosen))
            part.extra = np.stack([split.of_shard(each, shard) for each in extra])
        groups[shard].metrics[number] = part
    if cell.metric.exemplars and chosen is not None:
        shown = next((cell.batch.numbers[f] for f in sorted(cell.metric.chosen.fields) if f in cell.batch.numbers), None)  # type: ignore[union-attr]
        values = np.full(len(split.codes), np.nan) if shown is None else cell.of_rows(shown)
        places = np.flatnonzero(cell.bad() & (split.codes >= 0))
        _show(cell, split, (places, np.zeros(len(places)), values[places]), (number, groups))


def _fold_samples(cell: Cell, split: Split, number: int, groups: list[GroupPart]) -> None:
    values = cell.numbers()
    present = ~np.isnan(values)
    kind = cell.metric.options.kind
    times = (cell.batch.times if cell.rows is None else cell.batch.times[cell.rows]) if kind == "gauge" else None
    places = np.flatnonzero((present if cell.where is None else present & cell.where) & (split.codes >= 0))
    for shard, at in split.by_shard(split.codes[places]):
        if not len(at):
            continue
        of_shard = places[at]
        part = SamplePart(split.local(of_shard), values[of_shard], None if times is None else times[of_shard], None)
        if cell.extra is not None and kind != "gauge":
            part.extra = cell.extra[of_shard]
        groups[shard].metrics[number] = part
    if cell.metric.exemplars and kind == "distribution":
        _show(cell, split, (places, -values[places], values[places]), (number, groups))


def _fold_distinct(cell: Cell, split: Split, number: int, groups: list[GroupPart]) -> None:
    codes, vocabulary = cell.strings()
    present = codes >= 0
    for shard, places in split.places(present if cell.where is None else present & cell.where):
        if not len(places):
            continue
        local = split.local(places)
        counts = np.bincount(local, minlength=len(groups[shard].keys))
        pairs = different(local.astype(np.int64) * len(vocabulary) + codes[places], len(counts) * len(vocabulary))
        strings = [vocabulary[code] for code in (pairs % len(vocabulary)).tolist()]
        groups[shard].metrics[number] = DistinctPart(counts, pairs // len(vocabulary), strings)


def _show(
    cell: Cell,
    split: Split,
    found: tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]],
    to: tuple[int, list[GroupPart]],
) -> None:
    """Put candidates among records (their places, ranks and values) into the parts of a metric by its number."""
    places, rank, values = found
    times = cell.batch.times[places if cell.rows is None else cell.rows[places]]
    codes = split.codes[places]
    assert cell.limits is not None  # noqa: S101 (a metric that is shown has them)
    keep = cell.limits.admit(split.numbers[codes], rank, times)
    if not len(keep):
        return
    codes, rows = codes[keep], places[keep] if cell.rows is None else cell.rows[places[keep]]
    batch, where = cell.batch, cell.batch.place
    names = np.array(where.partitions, object)
    rays = np.empty(len(rows), object)
    rays[:] = batch.identities(rows)
    traces = np.full(len(rows), None, object)
    if batch.traces:
        traces[:] = batch.traces(rows)
    whole = Candidates(
        split.local_of(codes), rank[keep], values[keep], times[keep], rays, names[where.partition[rows]], where.offset[rows],
        where.index[rows].astype(np.int64), traces,
    )  # fmt: skip
    for shard, at in split.by_shard(codes):
        part = to[1][shard].metrics.get(to[0])
        if len(at) and isinstance(part, RatioPart | SamplePart):
            part.candidates = whole.take(at)


def compile_metrics(
    options: Iterable[MetricOptions],
    datasets: Mapping[str, Dataset],
    *,
    with_exemplars: frozenset[str],
    beyond: Mapping[str, Beyond] = MappingProxyType({}),
) -> dict[str, list[Metric]]:
    """Make metrics ready, by dataset; `with_exemplars` are the metrics that rules judge, `beyond` what they call bad."""
    out: dict[str, list[Metric]] = {name: [] for name in datasets}
    for option in options:
        dataset = datasets[option.dataset]
        judged = option.name in with_exemplars
        out[option.dataset].append(compile_metric(option, dataset, exemplars=judged, beyond=beyond.get(option.name)))
    return out
