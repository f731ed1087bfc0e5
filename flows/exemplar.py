"""Exemplars: the few records a key and window are shown by (the slowest, or the first errors), chosen deterministically.

Order is by (rank value, event time, ray id); two records equal in all three look the same, so which of them stays does
not show.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PER_KEY = 3
_COMPACT = 1 << 14
_MANY, _EVERY = 2_000, 16  # of so many records every so-manyth is looked at first


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One record of a window: why it was chosen, its value, and where it stands."""

    reason: str  # "slowest", "error", or "bad" where the metric says what is good
    value: float | None
    event_time: int  # ms
    ray_id: str | None
    partition: str
    offset: int
    index: int
    trace_id: str | None = None


@dataclass(frozen=True, slots=True)
class Candidates:
    """n records as columns; `rank` is what is ordered first (the negated value for the slowest)."""

    key: NDArray[np.int32]
    rank: NDArray[np.float64]
    value: NDArray[np.float64]
    time: NDArray[np.int64]
    ray: NDArray[Any]  # objects: str or None
    partition: NDArray[Any]  # objects: str
    offset: NDArray[np.int64]
    index: NDArray[np.int64]
    trace: NDArray[Any]  # objects: trace id or None

    def take(self, places: NDArray[Any]) -> "Candidates":
        """Give the records at `places`."""
        return Candidates(*(getattr(self, name)[places] for name in self.__slots__))

    def with_keys(self, keys: NDArray[Any]) -> "Candidates":
        """Give the same records under other key numbers."""
        return Candidates(keys.astype(np.int32), *(getattr(self, name) for name in self.__slots__[1:]))


def empty_candidates() -> Candidates:
    """Give no records."""
    none: NDArray[Any] = np.zeros(0, object)
    number = np.zeros(0)
    whole = np.zeros(0, np.int64)
    return Candidates(np.zeros(0, np.int32), number, number, whole, none, none, whole, whole, none)


def first_of_each(key: NDArray[Any], rank: NDArray[np.float64], time: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give places of records that can be among the first PER_KEY of their key by (rank, time), ties kept."""
    if not len(key):
        return np.zeros(0, np.int64)
    crowded = (np.bincount(key) > PER_KEY)[key]
    places = np.flatnonzero(crowded)
    if not len(places):  # of very many keys each has few records in a batch
        return np.arange(len(key))
    return np.concatenate((np.flatnonzero(~crowded), places[_first(key[places], rank[places], time[places])]))


def _first(key: NDArray[Any], rank: NDArray[np.float64], time: NDArray[np.int64]) -> NDArray[np.int64]:
    """Do so by sorting; of many records only those that are not behind PER_KEY others of their key in a sample."""
    if len(key) > _MANY:
        places = _not_behind(key, rank, time)
        key, rank, time = key[places], rank[places], time[places]
        return places[_sorted_first(key, rank, time)]
    return _sorted_first(key, rank, time)


def _not_behind(key: NDArray[Any], rank: NDArray[np.float64], time: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give places of the records that do not come after the PER_KEY-th of their key in a sample, which no chosen one does."""
    some = np.arange(0, len(key), _EVERY)
    order = some[np.lexsort((time[some], rank[some], key[some]))]
    bound = order[PER_KEY - 1 :]
    bound = bound[key[bound] == key[order[: len(bound)]]][::-1]  # of a key the first one is written last, and stays
    ranks, times = np.full(int(key.max()) + 1, np.inf), np.zeros(int(key.max()) + 1, np.int64)
    ranks[key[bound]], times[key[bound]] = rank[bound], time[bound]
    limit = ranks[key]
    return np.flatnonzero((rank < limit) | ((rank == limit) & (time <= times[key])))


def _sorted_first(key: NDArray[Any], rank: NDArray[np.float64], time: NDArray[np.int64]) -> NDArray[np.int64]:
    order = np.lexsort((time, rank, key))
    key, rank, time = key[order], rank[order], time[order]
    new = np.concatenate(([True], key[1:] != key[:-1]))
    start = np.flatnonzero(new)[np.cumsum(new) - 1]
    last = np.minimum(start + PER_KEY - 1, len(key) - 1)
    tied = (rank == rank[last]) & (time == time[last]) & (key[last] == key)
    chosen: NDArray[np.int64] = order[(np.arange(len(key)) - start < PER_KEY) | tied]
    return chosen


def _in_order(whole: Candidates) -> NDArray[np.int64]:
    """Give places by key, rank, time, ray id and where a record stands; few tie in the first three."""
    order = np.lexsort((whole.time, whole.rank, whole.key))
    key, rank, time = whole.key[order], whole.rank[order], whole.time[order]
    tied = (key[1:] == key[:-1]) & (rank[1:] == rank[:-1]) & (time[1:] == time[:-1])
    edges = np.flatnonzero(np.diff(tied, prepend=False, append=False)).tolist()
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        places = order[first : last + 1]
        part = whole.take(places)
        rays = [ray or "" for ray in part.ray]
        rows = list(zip(rays, part.partition.tolist(), part.offset.tolist(), part.index.tolist(), strict=True))
        order[first : last + 1] = places[sorted(range(len(rows)), key=rows.__getitem__)]
    return order


class Exemplars:
    """The best candidates so far, by key number."""

    def __init__(self) -> None:
        """Start without records."""
        self._parts: list[Candidates] = []
        self._buffered = 0
        self._limit = _COMPACT
        self._ignored = -1

    def ignore(self, key: int) -> None:
        """Keep no records of this key number: what was merged into `(other)` is shown by none."""
        self._ignored = key

    def add(self, candidates: Candidates) -> None:
        """Add candidates, whose keys are key numbers."""
        if len(candidates.key):
            self._parts.append(candidates)
            self._buffered += len(candidates.key)
            if self._buffered > self._limit:
                self._limit = _COMPACT + 2 * len(self.best().key)

    def _cut(self) -> Candidates:
        """Keep what can be among the best, and give it in no order of its own."""
        if not self._parts:
            return empty_candidates()
        names = Candidates.__slots__
        whole = Candidates(*(np.concatenate([getattr(part, name) for part in self._parts]) for name in names))
        whole = whole.take(first_of_each(whole.key, whole.rank, whole.time))
        self._parts, self._buffered = [whole], len(whole.key)
        return whole

    def best(self) -> Candidates:
        """Give the first PER_KEY records of each key, sorted by key, rank, time and ray id."""
        whole = self._cut()
        if not len(whole.key):
            return whole
        whole = whole.take(_in_order(whole))
        start = np.searchsorted(whole.key, whole.key)
        whole = whole.take(np.flatnonzero(np.arange(len(start)) - start < PER_KEY))
        self._parts, self._buffered = [whole], len(whole.key)
        return whole

    def absorb(self, other: "Exemplars", place: NDArray[Any]) -> None:
        """Add another object's records: those of its key i to key `place[i]`."""
        for part in other._parts:
            keys = place[part.key]
            kept = np.flatnonzero(keys != self._ignored)
            self.add(part.with_keys(keys) if len(kept) == len(keys) else part.take(kept).with_keys(keys[kept]))

    def to_state(self) -> list[Any]:
        """Give plain values for a snapshot, which reading waits for: sorting is left to the window's end."""
        kept = self._cut()
        return [column.tolist() if column.dtype == object else column for column in map(kept.__getattribute__, kept.__slots__)]

    @classmethod
    def from_state(cls, state: list[Any]) -> "Exemplars":
        """Undo `to_state`."""
        out = cls()
        columns = [np.array(column, object) if isinstance(column, list) else column for column in state]
        if len(columns) < len(Candidates.__slots__):  # of a version without traces
            columns.append(np.full(len(columns[0]), None, object))
        out.add(Candidates(*columns))
        return out
