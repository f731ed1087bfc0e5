"""Pick: which of a batch's bad records go on as candidates for the sample that says what they have in common.

Of each key and pane, the KEPT bad records with the lowest ranks are the sample. A rank is a hash of the record's event time
and identity, so the sample is the same whatever the order, the chunks, the processes, and whether it was read from a file or
from a topic. Records of one rank are told apart by what they say.

Why a gate: what a record says besides the columns in use is read anew from its bytes, which is worth it for few. Once KEPT
candidates of a key and pane were given, one with a higher rank than they have cannot be in the sample. Leaving it out
changes no result, as long as everything that was given arrives; a fold and its windows live and die in one process group.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from connectors.batch import Batch, Detail
from flows.grown import grown
from flows.path import template

KEPT = 64
_GATES = 32  # panes whose ranks are remembered; one that is forgotten costs time only
_ROOM = 2 * KEPT
_LAST = np.uint64(2**64 - 1)
_NONE: NDArray[np.int32] = np.zeros(0, np.int32)
# Steele, Lea and Flood: Fast splittable pseudorandom number generators (2014), the finalizer of SplitMix64.
_STEP, _FIRST, _SECOND = (np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_THIRTY, _TWENTY_SEVEN, _THIRTY_ONE = (np.uint64(n) for n in (30, 27, 31))


def ranks(times: NDArray[np.int64], hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Give the ranks (n,) of records by event time (ms) and the hash of their identity."""
    mixed = times.astype(np.uint64) * _STEP + hashes
    mixed = (mixed ^ (mixed >> _THIRTY)) * _FIRST
    mixed = (mixed ^ (mixed >> _TWENTY_SEVEN)) * _SECOND
    found: NDArray[np.uint64] = mixed ^ (mixed >> _THIRTY_ONE)
    return found


def lowest(key: NDArray[np.int32], rank: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Give the places of records that can be among the KEPT of their key with the lowest ranks, ties kept."""
    if len(key) <= KEPT:
        return np.arange(len(key))
    crowded = (np.bincount(key) > KEPT)[key]
    places = np.flatnonzero(crowded)
    if not len(places):
        return np.arange(len(key))
    order = places[np.lexsort((rank[places], key[places]))]
    key, rank = key[order], rank[order]
    start = np.searchsorted(key, key)
    kept = (np.arange(len(key)) - start < KEPT) | (rank == rank[start + KEPT - 1])
    return np.concatenate((np.flatnonzero(~crowded), order[kept]))


@dataclass(frozen=True, slots=True)
class Bad:
    """The bad records of one metric and grouping in a batch and pane: rows (n,), and their keys: `numbers[code]`."""

    metric: int
    grouping: int
    numbers: NDArray[np.int32]  # (k,) of keys, over all batches
    codes: NDArray[np.int32]
    rows: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Chosen:
    """The candidates among bad records: their places (m,), ranks, and what each says."""

    places: NDArray[np.int64]
    ranks: NDArray[np.uint64]
    details: list[Detail]


class Picker:
    """Picks candidates out of the batches of one dataset."""

    def __init__(self, dimensions: Sequence[str], paths: frozenset[str]) -> None:
        """Take the names of the dimensions; those in `paths` are templated."""
        self._paths = [place for place, name in enumerate(dimensions) if name in paths]
        self._gates: dict[int, _Gate] = {}

    def forget(self) -> None:
        """Forget all ranks: keys are numbered anew."""
        self._gates.clear()

    def pick(self, batch: Batch, pane: int, found: Sequence[Bad]) -> list[Chosen]:
        """Give the candidates among what was found bad in a pane of a batch, in the same order."""
        gate = self._gates.get(pane)
        if gate is None:
            if len(self._gates) >= _GATES:
                del self._gates[next(iter(self._gates))]
            gate = self._gates[pane] = _Gate()
        rows = np.concatenate([bad.rows for bad in found])
        rank = _ranks_of(batch, rows)
        places = gate.admit(np.concatenate([gate.numbers(bad) for bad in found]), rank)
        details = self._details(batch, rows[places])
        edges = np.cumsum([0, *(len(bad.rows) for bad in found)])
        cuts = np.searchsorted(places, edges).tolist()
        parts = zip(edges.tolist(), cuts, cuts[1:], strict=False)
        return [Chosen(places[a:b] - first, rank[places[a:b]], details[a:b]) for first, a, b in parts]

    def _details(self, batch: Batch, rows: NDArray[np.int64]) -> list[Detail]:
        """Give what the records at `rows` say, paths as templates; each is read once."""
        if batch.details is None or not len(rows):
            return []
        listed = rows.tolist()
        different = sorted(set(listed))
        details = map(self._templated, batch.details(np.array(different, np.int64)))
        found = dict(zip(different, details, strict=True))
        return [found[row] for row in listed]

    def _templated(self, detail: Detail) -> Detail:
        for place in self._paths:
            text = detail[place]
            if text is not None:
                detail = (*detail[:place], _template(text), *detail[place + 1 :])
        return detail


_template = lru_cache(1 << 14)(template)


def _ranks_of(batch: Batch, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Give the ranks of the records at `rows`; identities are hashed once where metrics and groupings have the same rows."""
    wanted = np.zeros(len(batch), np.bool_)
    wanted[rows] = True
    different = np.flatnonzero(wanted)
    out = np.zeros(len(batch), np.uint64)
    out[different] = ranks(batch.times[different], batch.identity_hashes(different))
    return out[rows]


class _Gate:
    """Of one pane: by metric, grouping and key, the rank beyond which no record is in the sample any more."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], NDArray[np.int32]] = {}
        self._count = 0
        self._limits: NDArray[np.uint64] = np.zeros(0, np.uint64)
        self._given: list[tuple[NDArray[np.int32], NDArray[np.uint64]]] = []
        self._size, self._room = 0, _ROOM

    def numbers(self, bad: Bad) -> NDArray[np.int32]:
        """Give the numbers (n,) of the keys of bad records, counted over all metrics and groupings."""
        place = bad.metric, bad.grouping
        used = np.flatnonzero(np.bincount(bad.codes))
        keys = bad.numbers[used]
        known = self._known[place] = grown(self._known.get(place, _NONE), int(keys.max()) + 1, -1)
        fresh = keys[known[keys] < 0]
        known[fresh] = np.arange(self._count, self._count + len(fresh))
        self._count += len(fresh)
        lookup = np.zeros(len(bad.numbers), np.int32)
        lookup[used] = known[keys]
        return lookup[bad.codes]

    def admit(self, number: NDArray[np.int32], rank: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Give the places of the candidates among bad records, in rising order, and remember them."""
        if self._count > len(self._limits):
            more = np.full(2 * self._count - len(self._limits), _LAST)
            self._limits = np.concatenate((self._limits, more))
        passed = np.flatnonzero(rank <= self._limits[number])
        chosen = passed[np.sort(lowest(number[passed], rank[passed]))]
        if len(chosen):
            self._given.append((number[chosen], rank[chosen]))
            self._size += len(chosen)
            if self._size > self._room:
                self._narrow()
        return chosen

    def _narrow(self) -> None:
        """Keep the lowest ranks of each key alone, the highest of which limits what is let through from now on."""
        number, rank = (np.concatenate(column) for column in zip(*self._given, strict=True))
        order = np.lexsort((rank, number))
        number, rank = number[order], rank[order]
        place = np.arange(len(number)) - np.searchsorted(number, number)
        last, kept = place == KEPT - 1, place < KEPT
        self._limits[number[last]] = rank[last]
        self._given = [(number[kept], rank[kept])]
        self._size = int(kept.sum())
        self._room = _ROOM + self._size * 3 // 2
