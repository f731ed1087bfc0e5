"""Partial: what one batch adds to one shard's windows; the only thing that crosses between processes before the barrier.

Key numbers in the columns are places in the group's `keys`.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from connectors.batch import Detail, Mark
from flows.event import Event
from flows.exemplar import Candidates

if TYPE_CHECKING:
    from flows.group import Group


@dataclass(frozen=True, slots=True)
class Picked:
    """Candidates (n,) for the sample of the bad records: key, rank, and what each says by dimension."""

    key: NDArray[np.int32]
    rank: NDArray[np.uint64]
    details: list[Detail]


@dataclass(frozen=True, slots=True)
class CountPart:
    """Records per key (k,), and how many more they stand for where they have weights."""

    records: NDArray[np.int64]
    extra: NDArray[np.int64] | None


@dataclass(slots=True)
class RatioPart:
    """Per key (k,): records in question, and those that are bad (or good); `extra` (2, k): how many more they stand for."""

    total: NDArray[np.int64]
    chosen: NDArray[np.int64]
    candidates: Candidates | None
    bad: Picked | None = None
    extra: NDArray[np.int64] | None = None


@dataclass(slots=True)
class SamplePart:
    """Values (n,) with their keys; times (n,) ms where the last one matters; `beyond` (k,) counts bad values per key.

    `extra` (n,) is how many more records each value stands for, where they have weights.
    """

    keys: NDArray[np.int32]
    values: NDArray[np.float64]
    times: NDArray[np.int64] | None
    candidates: Candidates | None
    beyond: NDArray[np.int64] | None = None
    bad: Picked | None = None
    extra: NDArray[np.int64] | None = None


@dataclass(frozen=True, slots=True)
class DistinctPart:
    """Records with a value per key (k,), and the different strings with their keys."""

    counts: NDArray[np.int64]
    keys: NDArray[np.int64]
    strings: list[str]


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys (k,), all different: `names`, canonical JSON, by their `numbers` in it.

    The names of a fold stay where they are and only grow, so who has them once need not look for them again. To another process
    go the names in question alone, and `is_lasting` no more.
    """

    names: list[str]
    numbers: NDArray[np.int32]
    is_lasting: bool = True

    def __len__(self) -> int:
        return len(self.numbers)

    def texts(self, places: NDArray[np.int64] | None = None) -> list[str]:
        """Give the keys at some places, or all."""
        numbers = self.numbers if places is None else self.numbers[places]
        return list(map(self.names.__getitem__, numbers.tolist()))

    def __reduce__(self) -> tuple[Any, ...]:
        """Take along what is used."""
        return _own_keys, (self.texts(),)


def _own_keys(names: list[str]) -> Keys:
    return Keys(names, np.arange(len(names), dtype=np.int32), is_lasting=False)


@dataclass(frozen=True, slots=True)
class GroupPart:
    """One pane and grouping: its keys (k,), records per key (k,), and each metric's part by number."""

    pane: int  # start, ms
    grouping: int
    keys: Keys
    seen: NDArray[np.int64]
    metrics: dict[int, "CountPart | RatioPart | SamplePart | DistinctPart"]


@dataclass(frozen=True, slots=True)
class Partial:
    """The part of one batch that falls to one shard; empty groups still carry the marks.

    Or of several batches: then `folded` has (pane start, number of the grouping, group) in place of `groups`.
    """

    dataset: str
    shard: int
    marks: tuple[Mark, ...]
    groups: list[GroupPart]
    # Shard 0 only: pane start (ms), and partition -> (first, last) offset that went into it.
    spans: list[tuple[int, dict[str, tuple[int, int]]]]
    events: tuple[Event, ...] = ()
    folded: "list[tuple[int, int, Group]]" = field(default_factory=list)
