"""Joined batch: several batches of one dataset as one, because the cost of a fold is per batch, not per record.

What a record says besides its columns is still read by the batch that it came in.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from connectors.batch import DONE, Batch, Identities, Place, Strings
from connectors.decoded import one_vocabulary

_Said = TypeVar("_Said")


def joined_batches(batches: Iterable[Batch], *, apart: Collection[str] = ()) -> list[Batch]:
    """Put batches together by dataset, those of the datasets in `apart` excepted.

    What the last records close is closed before the end: silence after them is not judged by it. So a batch that says of a
    partition that it is done does not join what came before.
    """
    runs: list[list[Batch]] = []
    open_runs: dict[str, list[Batch]] = {}
    for batch in batches:
        ends = any(mark.watermark == DONE for mark in batch.marks)
        run = open_runs.get(batch.dataset)
        if run is None or ends or batch.dataset in apart:
            run = open_runs[batch.dataset] = []
            runs.append(run)
        run.append(batch)
    return [joined_batch(run) for run in runs]


def joined_batch(batches: Sequence[Batch]) -> Batch:
    """Put batches of one dataset one behind the other; of each partition the last mark counts. Dead letters are left out."""
    first = batches[0]
    if len(batches) == 1:
        return first
    return Batch(
        dataset=first.dataset,
        times=np.concatenate([batch.times for batch in batches]),
        late=np.concatenate([batch.late for batch in batches]),
        numbers={name: np.concatenate([batch.numbers[name] for batch in batches]) for name in first.numbers},
        strings={name: _strings([batch.strings[name] for batch in batches]) for name in first.strings},
        flags={name: np.concatenate([batch.flags[name] for batch in batches]) for name in first.flags},
        identity=Identities.joined([batch.identity for batch in batches]),
        place=_place([batch.place for batch in batches]),
        marks=tuple({mark.partition: mark for batch in batches for mark in batch.marks}.values()),
        details=_spread(batches, [batch.details for batch in batches]),
        traces=_spread(batches, [batch.traces for batch in batches]),
    )


def _strings(columns: Sequence[Strings]) -> Strings:
    codes, vocabulary = one_vocabulary(columns)
    return Strings(np.concatenate(codes), vocabulary)


def _place(places: Sequence[Place]) -> Place:
    numbers: dict[str, int] = {}
    partition = [
        np.array([numbers.setdefault(name, len(numbers)) for name in place.partitions], np.int32)[place.partition]
        for place in places
    ]
    return Place(
        list(numbers),
        np.concatenate(partition),
        np.concatenate([place.offset for place in places]),
        np.concatenate([place.index for place in places]),
    )


def _spread(
    batches: Sequence[Batch], asked: Sequence[Callable[[NDArray[np.int64]], list[_Said]] | None]
) -> Callable[[NDArray[np.int64]], list[_Said]] | None:
    """Give what asks the batch that each record came in; None where a batch cannot be asked."""
    ways = [way for way in asked if way is not None]
    if len(ways) < len(asked):
        return None
    edges = np.cumsum([0, *map(len, batches)])

    def said(places: NDArray[np.int64]) -> list[_Said]:
        of = np.searchsorted(edges, places, side="right") - 1
        out: list[Any] = [None] * len(places)
        for number in np.unique(of).tolist():
            at = np.flatnonzero(of == number)
            for place, each in zip(at.tolist(), ways[number](places[at] - edges[number]), strict=True):
                out[place] = each
        return out

    return said
