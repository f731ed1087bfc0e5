"""Cell: one metric over the rows of one pane of a batch, how its keys fall to shards, and which of its records are bad."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectors.batch import Batch
from flows.exemplar_gate import Limits
from flows.partial import GroupPart, SamplePart
from flows.pick import Bad

if TYPE_CHECKING:
    from flows.metric import Metric

_HEAVIEST = 1 << 31


class Split:
    """How the keys of a pane and grouping fall to shards: each key gets a number local to its shard."""

    def __init__(
        self, codes: NDArray[np.int32], shard_of_key: NDArray[np.uint8], shards: int, numbers: NDArray[np.int32]
    ) -> None:
        self.codes = codes
        self.numbers = numbers  # of the keys, over all batches
        self.size = len(shard_of_key)
        self._order = np.argsort(shard_of_key, kind="stable")
        self._edges = np.searchsorted(shard_of_key[self._order], np.arange(shards + 1))
        self._shard_of_key = shard_of_key
        local = np.empty(self.size, np.int32)
        local[self._order] = np.arange(self.size) - self._edges[shard_of_key[self._order]]
        self._local = local
        self.occupied = np.flatnonzero(np.bincount(shard_of_key)).tolist()
        self._seen = self.per_key(None)

    def members(self, shard: int) -> NDArray[np.int32]:
        """Give the numbers, over all batches, of the keys of a shard, in the order of their numbers there."""
        return self.of_shard(self.numbers, shard)

    def counts(self, shard: int) -> NDArray[np.int64]:
        """Count the rows of each key of a shard."""
        return self.of_shard(self._seen, shard)

    def of_shard(self, per_key: NDArray[Any], shard: int) -> NDArray[Any]:
        """Take the values of a shard's keys."""
        return per_key[self._order[self._edges[shard] : self._edges[shard + 1]]]

    def per_key(self, mask: NDArray[np.bool_] | None) -> NDArray[np.int64]:
        """Count rows by key, of those in `mask`."""
        codes = self.codes if mask is None else self.codes[mask]
        return np.bincount(codes + 1, minlength=self.size + 1)[1:]

    def extra_per_key(self, mask: NDArray[np.bool_] | None, extra: NDArray[np.int64]) -> NDArray[np.int64]:
        """Add up by key how many more records the rows in `mask` stand for; exact up to 2^53 a batch."""
        codes, extra = (self.codes, extra) if mask is None else (self.codes[mask], extra[mask])
        return np.bincount(codes + 1, extra, self.size + 1)[1:].astype(np.int64)

    def places(self, mask: NDArray[np.bool_]) -> list[tuple[int, NDArray[np.int64]]]:
        """Give, for each shard with rows in `mask`, the places of those rows."""
        places = np.flatnonzero(mask & (self.codes >= 0))
        return [(shard, places[at]) for shard, at in self.by_shard(self.codes[places])]

    def by_shard(self, codes: NDArray[np.int32]) -> list[tuple[int, NDArray[np.int64]]]:
        """Give, for each shard with rows, which of some rows fall to it; `codes` (n,) are their keys, none of them absent."""
        if len(self.occupied) <= 1:
            return [(shard, np.arange(len(codes))) for shard in self.occupied]
        shards = self._shard_of_key[codes]
        order = np.argsort(shards, kind="stable")
        edges = np.searchsorted(shards[order], np.arange(max(self.occupied) + 2))
        return [(shard, order[edges[shard] : edges[shard + 1]]) for shard in self.occupied]

    def local(self, places: NDArray[np.int64]) -> NDArray[np.int32]:
        """Give the numbers, within their shards, of the keys of rows."""
        return self._local[self.codes[places]]

    def local_of(self, codes: NDArray[np.int32]) -> NDArray[np.int32]:
        """Give the numbers of keys within their shards."""
        return self._local[codes]


class Found(NamedTuple):
    """The bad records of one metric and grouping in a pane, and the parts that their candidates go to."""

    bad: Bad
    split: Split
    groups: list[GroupPart]


@dataclass(frozen=True, slots=True)
class Cell:
    """One metric over the rows of one pane: the batch, the rows in question and the metric's masks over them.

    `extra` is how many more records each row stands for; None where every row stands for itself. `limits` say which records can
    be shown.
    """

    batch: Batch
    rows: NDArray[np.int64] | None
    metric: "Metric"
    where: NDArray[np.bool_] | None
    chosen: NDArray[np.bool_] | None
    extra: NDArray[np.int64] | None = None
    limits: Limits | None = None

    def of_rows(self, column: NDArray[np.float64]) -> NDArray[np.float64]:
        """Take the rows in question of a column of the batch."""
        return column if self.rows is None else column[self.rows]

    def numbers(self) -> NDArray[np.float64]:
        """Give the values measured."""
        return self.of_rows(self.batch.numbers[self.metric.options.value])

    def bad(self) -> NDArray[np.bool_]:
        """Give which rows are bad: those that `bad` means or `good` does not, or whose value is beyond what rules allow."""
        beyond, mask = self.metric.beyond, self.chosen
        if mask is None:
            assert beyond is not None  # noqa: S101 (only then a metric has dimensions)
            values = self.numbers()
            mask = values > beyond.limit if beyond.sign > 0 else values < beyond.limit
        elif self.metric.options.good:
            mask = ~mask
        return mask if self.where is None else mask & self.where

    def strings(self) -> tuple[NDArray[np.int32], list[str]]:
        """Give the strings counted, as codes and vocabulary."""
        column = self.batch.strings[self.metric.options.value]
        return (column.codes if self.rows is None else column.codes[self.rows]), column.vocabulary


def extra_of(batch: Batch, weight: str) -> NDArray[np.int64] | None:
    """Give how many more records each row stands for; None where each stands for itself.

    A weight that is no whole number from 1 to 2^31 is as absent: its record counts once.
    """
    weights = batch.numbers[weight]
    with np.errstate(invalid="ignore"):
        extra = np.where((weights >= 1) & (weights <= _HEAVIEST) & (weights == np.floor(weights)), weights - 1, 0)
    return extra.astype(np.int64) if extra.any() else None


def bad_of(cell: Cell, split: Split, number: int, grouping: int, groups: list[GroupPart]) -> list[Found]:
    """Find the bad records of a cell, if any, and count those of a distribution."""
    places = np.flatnonzero(cell.bad() & (split.codes >= 0) if grouping else cell.bad())  # grouping 0 has one key
    if not len(places):
        return []
    codes = split.codes[places]
    if cell.metric.beyond is not None:
        counts = np.bincount(codes, minlength=split.size)
        for shard in split.occupied:
            part = groups[shard].metrics.get(number)
            if isinstance(part, SamplePart):
                part.beyond = split.of_shard(counts, shard)
    rows = places if cell.rows is None else cell.rows[places]
    return [Found(Bad(number, grouping, split.numbers, codes, rows), split, groups)]
