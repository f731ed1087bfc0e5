"""Event: a record that must not wait for its window, found in a batch."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from connectors.batch import Batch
from flows.exemplar import Exemplar

_LOOKED_AT = 1000  # matching records a batch; early messages are few


@dataclass(frozen=True, slots=True)
class Event:
    """The first matching record of a metric, key and pane in a batch; `end` is that of the first window with it (ms)."""

    metric: str
    key: str
    end: int
    record: Exemplar


def first_records(batch: Batch, mask: NDArray[np.bool_], pane_ms: int) -> dict[int, tuple[int, Exemplar]]:
    """Give, by place in the batch, the end of the pane and the record of each in-time record in `mask`; of many, the first."""
    places = np.flatnonzero(mask & ~batch.late)[:_LOOKED_AT]
    ends = (batch.times[places] // pane_ms + 1) * pane_ms
    rays = [batch.identity[place] for place in places.tolist()]
    out = {}
    for place, end, ray in zip(places.tolist(), ends.tolist(), rays, strict=True):
        at = batch.place
        position = at.partitions[int(at.partition[place])], int(at.offset[place]), int(at.index[place])
        out[place] = end, Exemplar("event", None, int(batch.times[place]), ray, *position)
    return out
