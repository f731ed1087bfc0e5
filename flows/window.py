"""Window: one shard of one dataset, from partials to closed windows.

Windows are made of panes: a tumbling window is one pane, a hopping one several. A window closes when the lowest watermark
of the dataset's partitions is at or past its end; what is closed stays closed (the high-water mark is kept for good).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectors.batch import DONE, UNHEARD, Mark
from flows.bad_records import BadSample
from flows.event import Event
from flows.exemplar import Exemplar
from flows.group import Group, Grouping, merged, top_keys
from flows.metric import Metric, groupings_of
from flows.partial import Partial


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowOptions:
    """The `[window]` table: how long windows are, what they wait for, and how much they hold."""

    length_ms: int = field(default=300_000, metadata={"duration": True, "help": "length of a window"})
    hop_ms: int = field(default=0, metadata={"duration": True, "help": "a window ends this often; = length: tumbling"})
    allowed_lateness_ms: int = field(
        default=120_000, metadata={"duration": True, "help": "how long after its end a window still takes records"}
    )
    idle_after_ms: int = field(
        default=60_000, metadata={"duration": True, "help": "live: a partition silent this long stops holding windows"}
    )
    max_ahead_ms: int = field(
        default=3_600_000, metadata={"duration": True, "help": "an event time further in the future is a dead letter"}
    )
    barrier_wait_ms: int = field(
        default=900_000,
        metadata={"duration": True, "help": "live: so long a window waits for other datasets that decide about its alerts"},
    )
    stall_after_ms: int = field(
        default=900_000,
        metadata={"duration": True, "help": "live: blind when no window closes, or no broker answers, this long"},
    )
    exact_samples: int = field(
        default=20_000, metadata={"unit": "values", "help": "values a key and window up to which percentiles are exact"}
    )
    max_keys: int = field(default=1_000, metadata={"unit": "keys", "help": "keys a window has rows for; the rest is (other)"})
    max_open_keys: int = field(default=100_000, metadata={"unit": "keys", "help": "open keys a shard, pane and grouping"})

    @property
    def pane_ms(self) -> int:
        """Give the length of a pane: the hop, or the window's where it tumbles."""
        return self.hop_ms or self.length_ms

    def problems(self) -> Iterable[tuple[str, str]]:
        """Yield (key, problem) for what the types cannot say."""
        for name in ("length_ms", "max_ahead_ms", "barrier_wait_ms", "stall_after_ms"):
            if getattr(self, name) <= 0:
                yield name.removesuffix("_ms"), "must be longer than 0"
        for name in ("exact_samples", "max_keys", "max_open_keys"):
            if getattr(self, name) < 1:
                yield name, f"must be at least 1, not {getattr(self, name)}"
        if self.hop_ms and (self.hop_ms > self.length_ms or self.length_ms % self.hop_ms):
            yield "hop", "must divide the window's length"
        if self.pane_ms % 1000:
            yield "hop" if self.hop_ms else "length", "must be whole seconds"


@dataclass(frozen=True, slots=True)
class MetricRows:
    """All rows of one metric in one window: keys as canonical JSON sorted as bytes, columns (k,) over them, never NaN."""

    metric: str
    keys: list[str]
    counts: NDArray[np.int64]
    statistics: dict[str, NDArray[np.float64]]
    sketch: NDArray[np.bool_]
    weighted: NDArray[np.bool_] | None = None  # which have records that stand for several; None: no row has


@dataclass(frozen=True, slots=True)
class WindowResult:
    """One closed window [start, end) of one dataset in ms; without metrics it leaves no evaluation."""

    dataset: str
    start: int
    end: int
    metrics: dict[str, MetricRows]
    exemplars: dict[tuple[str, str], tuple[Exemplar, ...]]
    bad: dict[str, BadSample] = field(default_factory=dict)  # by metric, of those whose bad records are sampled


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What one shard of one dataset closed: it is closed up to `closed` (ms), with or without windows."""

    dataset: str
    shard: int
    closed: int
    windows: list[tuple[int, list[Group]]]  # end, one group a grouping
    spans: dict[int, dict[str, tuple[int, int]]]  # end -> partition -> (first, last) offset; shard 0 only
    marks: tuple[Mark, ...]
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Layout:
    """How the windows of one dataset are laid out: partitions to wait for, window and pane lengths, groupings."""

    dataset: str
    partitions: tuple[str, ...]
    length_ms: int
    pane_ms: int
    max_keys: int
    groupings: tuple[Grouping, ...]
    metrics: tuple[Metric, ...]
    scale: float = 1.0  # what one record stands for: 1 / sample_rate


def layout_of(dataset: str, metrics: tuple[Metric, ...], partitions: tuple[str, ...], options: WindowOptions) -> Layout:
    """Lay out the windows of a dataset."""
    groupings = tuple(
        Grouping(
            columns,
            {n: m for n, m in enumerate(metrics) if columns in ((), m.options.group_by)},
            options.exact_samples,
            options.max_open_keys,
        )
        for columns in groupings_of(metrics)
    )
    return Layout(dataset, partitions, options.length_ms, options.pane_ms, options.max_keys, groupings, metrics)


class Windows:
    """The open windows of one shard of one dataset."""

    def __init__(self, layout: Layout, shard: int) -> None:
        """Start with every partition unheard."""
        self._layout = layout
        self._shard = shard
        self._marks: dict[str, Mark | None] = dict.fromkeys(layout.partitions)
        self._closed = UNHEARD
        self._panes: dict[int, dict[int, Group]] = {}
        self._spans: dict[int, dict[str, tuple[int, int]]] = {}

    def add(self, partial: Partial) -> list[ShardResult]:
        """Take one partial; gives a result where the shard is now closed further than before."""
        groupings = self._layout.groupings
        for part in partial.groups:
            pane = self._panes.setdefault(part.pane, {})
            if part.grouping not in pane:
                pane[part.grouping] = Group(groupings[part.grouping])
            pane[part.grouping].add(part)
        for start, number, group in partial.folded:
            pane = self._panes.setdefault(start, {})
            if number in pane:
                pane[number].absorb(group)
            else:
                group.grouping = groupings[number]  # one of another process comes without it
                pane[number] = group
        for start, spans in partial.spans:
            widen(self._spans.setdefault(start, {}), spans)
        for mark in partial.marks:
            self._marks[mark.partition] = mark
        events = tuple(replace(each, start=each.end - self._layout.length_ms) for each in partial.events)
        ahead = [ShardResult(self._layout.dataset, self._shard, self._closed, [], {}, (), events)] if events else []
        return [*ahead, *self._close()]

    def _close(self) -> list[ShardResult]:
        low = min((UNHEARD if mark is None else mark.watermark for mark in self._marks.values()), default=DONE)
        closed = low if low in (UNHEARD, DONE) else low // self._layout.pane_ms * self._layout.pane_ms
        if closed <= self._closed:
            return []
        windows = [(end, self._window(end)) for end in self._ends(self._panes) if self._closed < end <= closed]
        spans = {end: self._span(end) for end in self._ends(self._spans) if self._closed < end <= closed}
        self._closed = closed
        self._spans = {p: found for p, found in self._spans.items() if p + self._layout.length_ms > closed}
        self._panes = {p: groups for p, groups in self._panes.items() if p + self._layout.length_ms > closed}
        marks = tuple(mark for mark in self._marks.values() if mark is not None)
        return [ShardResult(self._layout.dataset, self._shard, closed, windows, spans, marks)]

    def _span(self, end: int) -> dict[str, tuple[int, int]]:
        """Give what went into the window that ends at `end`."""
        out: dict[str, tuple[int, int]] = {}
        for pane in range(end - self._layout.length_ms, end, self._layout.pane_ms):
            widen(out, self._spans.get(pane, {}))
        return out

    def _ends(self, panes: Iterable[int]) -> list[int]:
        """Give the ends of the windows that hold these panes."""
        hop, length = self._layout.pane_ms, self._layout.length_ms
        return sorted({end for pane in panes for end in range(pane + hop, pane + length + 1, hop)})

    def _window(self, end: int) -> list[Group]:
        """Merge the panes of the window that ends at `end`, cut to the keys that can have a row."""
        layout = self._layout
        out = []
        for number, grouping in enumerate(layout.groupings):
            panes = [
                self._panes[pane][number]
                for pane in range(end - layout.length_ms, end, layout.pane_ms)
                if number in self._panes.get(pane, {})
            ]
            if not panes:
                out.append(Group(grouping))
                continue
            for pane in panes:
                pane.shed()
            keys = top_keys(panes, layout.max_keys)
            whole = len(panes) == 1 and len(keys) + (grouping.other in panes[0].keys) >= len(panes[0].keys)
            # A pane of a hopping window goes into several windows, so it must not be handed out itself.
            out.append(panes[0] if whole and layout.pane_ms == layout.length_ms else merged(panes, keys))
        return out

    def snapshot(self) -> dict[str, Any]:
        """Give plain values; `restore` undoes it."""
        panes = [
            [pane, [[list(group.grouping.columns), group.to_state()] for group in groups.values()]]
            for pane, groups in sorted(self._panes.items())
        ]
        marks = {name: None if mark is None else list(_fields(mark)) for name, mark in self._marks.items()}
        spans = [[pane, {name: list(span) for name, span in found.items()}] for pane, found in sorted(self._spans.items())]
        return {"closed": self._closed, "panes": panes, "marks": marks, "spans": spans}

    def restore(self, state: dict[str, Any]) -> None:
        """Take the state of a snapshot."""
        self._closed = state["closed"]
        for name, values in state["marks"].items():
            if name in self._marks and values is not None:
                self._marks[name] = Mark(*values)
        self._spans = {p: {name: (low, high) for name, (low, high) in found.items()} for p, found in state["spans"]}
        places = {grouping.columns: number for number, grouping in enumerate(self._layout.groupings)}
        self._panes = {
            pane: {
                places[tuple(columns)]: Group.from_state(self._layout.groupings[places[tuple(columns)]], group)
                for columns, group in groups
                if tuple(columns) in places
            }
            for pane, groups in state["panes"]
        }


def widen(spans: dict[str, tuple[int, int]], others: Mapping[str, tuple[int, int]]) -> None:
    """Widen ranges of offsets (partition -> first, last), so that they hold others too."""
    for name, (low, high) in others.items():
        known = spans.get(name, (low, high))
        spans[name] = min(low, known[0]), max(high, known[1])


def _fields(mark: Mark) -> tuple[Any, ...]:
    return tuple(getattr(mark, name) for name in mark.__slots__)
