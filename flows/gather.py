"""Gather: what several batches add to each shard, folded together in the process that read them.

Why: what crosses to another process is packed, sent and taken up piece by piece, which costs per piece; and folding where the
records were read leaves little to the process that many shards fall to. Nothing is held from one read to the next, so there is
no state to snapshot.
"""

from collections.abc import Mapping

from connectors.batch import DONE, Mark
from flows.event import Event
from flows.group import Group
from flows.partial import Partial
from flows.window import Layout, widen

_Place = tuple[str, int]  # dataset and shard


class Gather:
    """Partials in, at most a few a shard out; the windows they make are the same."""

    def __init__(self, layouts: Mapping[str, Layout]) -> None:
        """Start empty; `layouts` are those of the windows behind."""
        self._layouts = layouts
        self._open: dict[_Place, _Open] = {}
        self._ready: list[Partial] = []

    def add(self, partial: Partial) -> None:
        """Take the part of a batch that falls to one shard."""
        place = partial.dataset, partial.shard
        if place in self._open and any(mark.watermark == DONE for mark in partial.marks):
            # What the last records close is closed before the end: silence after them is not judged by it.
            self._ready.append(self._open.pop(place).partial(*place))
        if place not in self._open:
            self._open[place] = _Open(self._layouts[partial.dataset])
        self._open[place].add(partial)

    def give(self) -> list[Partial]:
        """Give what was taken since the last time."""
        given = [*self._ready, *(found.partial(*place) for place, found in self._open.items())]
        self._ready, self._open = [], {}
        return given


class _Open:
    def __init__(self, layout: Layout) -> None:
        self._groupings = layout.groupings
        self._groups: dict[tuple[int, int], Group] = {}
        self._marks: dict[str, Mark] = {}
        self._spans: dict[int, dict[str, tuple[int, int]]] = {}
        self._events: list[Event] = []

    def add(self, partial: Partial) -> None:
        for part in partial.groups:
            place = part.pane, part.grouping
            if place not in self._groups:
                self._groups[place] = Group(self._groupings[part.grouping])
            self._groups[place].add(part)
        for mark in partial.marks:
            self._marks[mark.partition] = mark
        for pane, spans in partial.spans:
            widen(self._spans.setdefault(pane, {}), spans)
        self._events += partial.events

    def partial(self, dataset: str, shard: int) -> Partial:
        folded = [(pane, grouping, group) for (pane, grouping), group in self._groups.items()]
        marks = tuple(self._marks.values())
        return Partial(dataset, shard, marks, [], list(self._spans.items()), tuple(self._events), folded)
