"""Barrier: waits for all shards of a dataset, makes one window's rows of them, and has the rules judge it.

Rules, inhibition and grouping need all results of one window end. Ends are worked through in order, keys in sorted order,
so what comes out depends on the windows alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from connectors.batch import DONE, UNHEARD, Mark
from flows.bad_records import BadSample, joined
from flows.event import Event
from flows.exemplar import Exemplar
from flows.group import Group, merged, top_keys
from flows.metric import Metric
from flows.output import Block, Closed, canonical, rfc3339
from flows.rows import exemplar_lines, histogram_lines, pipeline_lines, window_lines
from flows.turns import ENDLESS, Patience, Turn, Turns
from flows.window import Layout, MetricRows, ShardResult, WindowResult

_GROWING = frozenset({"count", "rate", "sum"})  # statistics that a sample has a part of

Output = Block | Any  # Any: a Notification, Closed or About


class Judge(Protocol):
    """What the barrier asks of the rules: decisions on a window, and a state that can be kept."""

    @property
    def bonds(self) -> Sequence[Sequence[str]]:
        """Give the groups of datasets that are judged in step."""

    def __call__(self, result: WindowResult, partitions: list[dict[str, Any]], beside: Sequence[str] = ()) -> list[Output]:
        """Judge one window; `partitions` says from which offsets it was made, `beside` whose alerts count for it too."""

    def hears_silence(self, dataset: str) -> bool:
        """Tell whether windows of a dataset without any record are to be judged too."""

    def early(self, event: Event) -> list[Output]:
        """Say of an event what can be said before its window closes."""

    def snapshot(self) -> bytes:
        """Give the state."""

    def restore(self, state: bytes) -> None:
        """Take the state of a snapshot."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which windows leave rows (those that start in [start, end) ms).

    `extras` says whether those for ClickHouse are made, `firing` whether each barrier tells which alerts it left open,
    `early` whether events are said before their windows close. `alerts` is the state of the rules before the first of them.
    """

    start: int | None = None
    end: int | None = None
    extras: bool = False
    firing: bool = False
    early: bool = False
    alerts: bytes | None = None

    def holds(self, window_start: int) -> bool:
        """Tell whether a window is selected."""
        return (self.start is None or window_start >= self.start) and (self.end is None or window_start < self.end)


def judged_before(start: int, pane_ms: int, length_ms: int) -> int:
    """Give the end of the last window that starts before `start` (ms)."""
    return (start - 1) // pane_ms * pane_ms + length_ms


class Barrier:
    """The single-key step behind the windows of all datasets."""

    def __init__(
        self, layouts: Mapping[str, Layout], shards: int, judge: Judge, scope: Scope, patience: Patience = ENDLESS
    ) -> None:
        """Wait for `shards` shards of every dataset in `layouts`."""
        self._layouts = dict(layouts)
        self._judge = judge
        self._scope = scope
        self._closed = {name: [UNHEARD] * shards for name in layouts}
        self._pending: dict[str, dict[int, list[list[Group]]]] = {name: {} for name in layouts}
        self._spans: dict[str, dict[int, dict[str, tuple[int, int]]]] = {name: {} for name in layouts}
        self._marks: dict[str, Mark] = {}
        self._counts = {"windows": 0, "evaluations": 0, "transitions": 0, "notifications": 0}
        self._done: set[str] = set()
        panes = {name: layout.pane_ms for name, layout in self._layouts.items()}
        self._turns = Turns(panes, judge.bonds, patience)
        if scope.alerts is not None and scope.start is not None:
            judge.restore(scope.alerts)
            lengths = {name: layout.length_ms for name, layout in self._layouts.items()}
            self._turns.through = {name: judged_before(scope.start, panes[name], lengths[name]) for name in panes}

    def add(self, result: ShardResult) -> list[Output]:
        """Take one shard's result; gives the output of every window that is now complete."""
        groupings = self._layouts[result.dataset].groupings
        for end, groups in result.windows:
            for group, grouping in zip(groups, groupings, strict=True):
                group.grouping = grouping
            self._pending[result.dataset].setdefault(end, []).append(groups)
        self._spans[result.dataset].update(result.spans)
        self._closed[result.dataset][result.shard] = result.closed
        for mark in result.marks:
            known = self._marks.get(mark.partition)
            if known is None or mark.records >= known.records:
                self._marks[mark.partition] = mark
                if mark.rest is not None:
                    self._turns.rest[result.dataset] = min(mark.rest, self._turns.rest.get(result.dataset, mark.rest))
        out: list[Output] = []
        if self._scope.early:
            out += [
                said
                for each in result.events
                if each.end > self._turns.through[result.dataset]
                for said in self._judge.early(each)
            ]
        turns = self._turns
        turns.low[result.dataset] = low = min(self._closed[result.dataset])
        due, further = turns.due(result.dataset, self._pending, self._judge.hears_silence)
        for turn in due:
            out += self._window(turn) if turn.end in self._pending[turn.dataset] else self._silence(turn)
        out += [Closed(name, turns.through[name]) for name in further]
        if low == DONE and result.dataset not in self._done:
            self._done.add(result.dataset)
            if len(self._done) == len(self._layouts):
                out.append(Block("summary", 0, "summary", canonical(self.summary()) + b"\n"))
        return out

    def _silence(self, turn: Turn) -> list[Output]:
        """Have a window judged that has no record."""
        start = turn.end - self._layouts[turn.dataset].length_ms
        if not self._scope.holds(start):
            return []
        return self._counted(self._judge(WindowResult(turn.dataset, start, turn.end, {}, {}), [], turn.beside))

    def _window(self, turn: Turn) -> list[Output]:
        layout, end = self._layouts[turn.dataset], turn.end
        shards = self._pending[turn.dataset].pop(end)
        spans = self._spans[layout.dataset].pop(end, {})
        if not self._scope.holds(end - layout.length_ms):
            return []
        groups = [merged(parts, top_keys(parts, layout.max_keys)) for parts in map(list, zip(*shards, strict=True))]
        result = _result(layout, end, groups)
        out: list[Output] = window_lines(result)
        if self._scope.extras:
            out += exemplar_lines(result) + histogram_lines(layout, result, groups)
            out += pipeline_lines(layout, end, [self._marks[name] for name in layout.partitions if name in self._marks])
        return self._counted(out + self._judge(result, _partitions(spans), turn.beside))

    def _counted(self, out: list[Output]) -> list[Output]:
        for item in out:
            kind = item.kind if isinstance(item, Block) else ""
            if kind in self._counts:
                self._counts[kind] += item.data.count(b"\n")
        return out

    def summary(self) -> dict[str, Any]:
        """Give what the run counted so far."""
        marks = self._marks.values()
        first = [mark.first_event for mark in marks if mark.first_event is not None]
        last = [mark.last_event for mark in marks if mark.last_event is not None]
        return {
            "records": sum(mark.records for mark in marks),
            "late": sum(mark.late for mark in marks),
            "dead_letters": sum(mark.dead for mark in marks),
            "repeats": sum(mark.repeats for mark in marks),
            **self._counts,
            "first_event": rfc3339(min(first)) if first else None,
            "last_event": rfc3339(max(last)) if last else None,
            "partitions": {
                mark.partition: {"records": mark.records, "late": mark.late, "dead_letters": mark.dead}
                for mark in sorted(marks, key=lambda mark: mark.partition)
            },
        }

    def snapshot(self) -> dict[str, Any]:
        """Give plain values; `restore` undoes it."""
        pending = {
            name: [
                [end, [[[list(g.grouping.columns), g.to_state()] for g in groups] for groups in shards]]
                for end, shards in sorted(ends.items())
            ]
            for name, ends in self._pending.items()
        }
        marks = [[getattr(mark, name) for name in mark.__slots__] for mark in self._marks.values()]
        return {
            "closed": self._closed,
            "through": self._turns.through,
            "silent": self._turns.silent,
            "rest": self._turns.rest,
            "pending": pending,
            "spans": {name: [[end, spans] for end, spans in sorted(ends.items())] for name, ends in self._spans.items()},
            "marks": marks,
            "counts": self._counts,
            "done": sorted(self._done),
            "rules": self._judge.snapshot(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take the state of a snapshot; a dataset that is no longer configured is left out."""
        for name in self._layouts:
            if name not in state["closed"]:
                continue
            self._closed[name] = state["closed"][name]
            self._turns.low[name] = min(self._closed[name])
            self._turns.through[name] = state.get("through", {}).get(name, self._turns.low[name])
            self._pending[name] = {
                end: [_restored(self._layouts[name], groups) for groups in shards] for end, shards in state["pending"][name]
            }
            self._spans[name] = {
                end: {part: (low, high) for part, (low, high) in spans.items()} for end, spans in state["spans"][name]
            }
        self._turns.silent, self._turns.rest = dict(state.get("silent", {})), dict(state.get("rest", {}))
        self._marks = {values[0]: Mark(*values) for values in state["marks"]}
        self._counts = state["counts"]
        self._done = set(state["done"])
        self._judge.restore(state["rules"])


def _restored(layout: Layout, groups: list[Any]) -> list[Group]:
    """Give one shard's groups of a snapshot in the order of the layout; a new grouping is empty."""
    known = {tuple(columns): state for columns, state in groups}
    return [Group.from_state(g, known[g.columns]) if g.columns in known else Group(g) for g in layout.groupings]


def _partitions(spans: Mapping[str, tuple[int, int]]) -> list[dict[str, Any]]:
    """Give the offset ranges of a window as its provenance shows them."""
    return [{"partition": name, "from": low, "to": high} for name, (low, high) in sorted(spans.items())]


def _result(layout: Layout, end: int, groups: list[Group]) -> WindowResult:
    """Work out the rows of one window; `groups` holds one merged group a grouping."""
    start = end - layout.length_ms
    metrics: dict[str, MetricRows] = {}
    exemplars: dict[tuple[str, str], tuple[Exemplar, ...]] = {}
    for number, metric in enumerate(layout.metrics):
        name = metric.options.name
        rows = [_rows_of(group, number, layout) for group in groups if number in group.measures]
        joined = _join(name, [row for row in rows if row.keys])
        if joined is not None:
            metrics[name] = joined
        for group in groups:
            if number in group.measures and group.keys:
                exemplars |= _exemplars_of(name, group, number)
    samples = ((metric.options.name, _bad_of(metric, groups, number)) for number, metric in enumerate(layout.metrics))
    bad = {name: sample for name, sample in samples if sample is not None}
    return WindowResult(layout.dataset, start, end, metrics, exemplars, bad)


def _bad_of(metric: Metric, groups: list[Group], number: int) -> BadSample | None:
    """Give the sample of a metric's bad records over all groupings; None where there is none, or not of all records."""
    parts = []
    for group in groups:
        measure = group.measures.get(number)
        if measure is None:
            continue
        if measure.bad is None:
            return None
        parts.append(measure.bad.sample(metric.dimensions, list(group.keys), measure.bad_counts()))
    return joined(parts) if parts else None


def _rows_of(group: Group, number: int, layout: Layout) -> MetricRows:
    keys = list(group.keys)
    rows = group.measures[number].rows(layout.length_ms / 1000)
    statistics = rows.statistics if layout.scale == 1 else scaled(rows.statistics, layout.scale)
    return MetricRows("", [keys[i] for i in rows.keys.tolist()], rows.counts, statistics, rows.sketch, rows.weighted)


def scaled(statistics: Mapping[str, NDArray[np.float64]], scale: float) -> dict[str, NDArray[np.float64]]:
    """Give statistics of a sample as those of all records: counts, rates and sums grow, nothing else changes.

    A ratio's total and bad stay those of the sample: what is said with few records is judged by the records there are.
    """
    grown = {name: values * scale if name in _GROWING else values for name, values in statistics.items()}
    return {name: np.rint(values) if name == "count" else values for name, values in grown.items()}


def _join(name: str, parts: list[MetricRows]) -> MetricRows | None:
    """Join the rows of a metric's groupings, sorted by key."""
    if not parts:
        return None
    keys = [key for part in parts for key in part.keys]
    order = np.array(sorted(range(len(keys)), key=keys.__getitem__), np.int64)
    return MetricRows(
        name,
        [keys[i] for i in order.tolist()],
        np.concatenate([part.counts for part in parts])[order],
        {s: np.concatenate([part.statistics[s] for part in parts])[order] for s in parts[0].statistics},
        np.concatenate([part.sketch for part in parts])[order],
        np.concatenate([np.zeros(len(part.keys), np.bool_) if part.weighted is None else part.weighted for part in parts])[
            order
        ],
    )


def _exemplars_of(name: str, group: Group, number: int) -> dict[tuple[str, str], tuple[Exemplar, ...]]:
    chosen = group.measures[number].exemplars
    if chosen is None:
        return {}
    best = chosen.best()
    keys = list(group.keys)
    options = group.grouping.metrics[number].options
    reason = "error" if options.bad else "bad" if options.good else "slowest"
    out: dict[tuple[str, str], list[Exemplar]] = {}
    columns = (best.key, best.value, best.time, best.ray, best.partition, best.offset, best.index, best.trace)
    for key, value, time, ray, partition, offset, index, trace in zip(*(each.tolist() for each in columns), strict=True):
        shown = None if value != value else value  # noqa: PLR0124 (NaN is absent)
        found = Exemplar(reason, shown, time, ray, partition, offset, index, trace)
        out.setdefault((name, keys[key]), []).append(found)
    return {place: tuple(found) for place, found in out.items()}
