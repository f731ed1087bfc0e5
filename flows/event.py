"""Event: a record that must not wait for its window, found in a batch."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectors.batch import Batch
from flows.exemplar import Exemplar
from flows.output import rfc3339

_LOOKED_AT = 10_000  # matching records a metric and batch: a flood must not cost more than its fold
_MOST = 1000  # keys a metric and batch; early messages are few


@dataclass(frozen=True, slots=True)
class Event:
    """The first matching record of a metric, key and pane in a batch.

    [start, end) in ms is its pane; behind the window step it is the first window with it, which ends with the pane.
    """

    metric: str
    key: str
    start: int
    end: int
    record: Exemplar

    def facts(self) -> dict[str, Any]:
        """Give what the evidence of an early message says of the record that made it."""
        where = {"partition": self.record.partition, "offset": self.record.offset, "index": self.record.index}
        at = {"event_time": rfc3339(self.record.event_time), "window_end": rfc3339(self.end)}
        trace = {"trace_id": self.record.trace_id} if self.record.trace_id else {}
        return {**at, **where, "ray_id": self.record.ray_id, **trace}


def in_time(batch: Batch, mask: NDArray[np.bool_] | None) -> NDArray[np.int64]:
    """Give the places (n,) of the first records in `mask` (None: all) that are not late: those change no decision."""
    timely = ~batch.late
    return np.flatnonzero(timely if mask is None else mask & timely)[:_LOOKED_AT]


def first_of_each_key(codes: NDArray[np.int32], ends: NDArray[np.int64]) -> list[int]:
    """Give, of rows (n,) with a key's code (-1: it has none) and a pane's end, the first of each key and pane."""
    out: list[int] = []
    for end in np.unique(ends).tolist():
        rows = np.flatnonzero((ends == end) & (codes >= 0))
        first = np.full(codes.max() + 1, -1)
        first[codes[rows[::-1]]] = rows[::-1]  # of one key, the last that is written stays: its first row
        out += first[first >= 0].tolist()
    return sorted(out)[:_MOST]


def record_at(batch: Batch, place: int) -> Exemplar:
    """Give the record at a place of a batch."""
    at = batch.place
    trace = batch.traces(np.array([place]))[0] if batch.traces else None
    where = at.partitions[int(at.partition[place])], int(at.offset[place]), int(at.index[place])
    return Exemplar("event", None, int(batch.times[place]), batch.identity[place], *where, trace)
