"""Key numbers: the groups of a batch's rows, and the number that each of their keys has over all batches of a fold.

A key is written as JSON and falls to a shard once; from then on it is its number. Strings that last (connectors/batch.py) lead
to that by their own, so that a batch looks up only the keys that it is the first to bring.
"""

import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectors.batch import Batch, Lasting, Strings
from flows.grown import grown
from flows.output import canonical
from flows.partial import Keys
from flows.path import template

_MOST = 200_000  # keys of a grouping that are remembered


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of n rows: `codes` (n,) int32, -1 where a group value is absent, are places in `present` (k,).

    That is the values of each group's columns as one number: places in their vocabularies, `columns`, the last one lowest.
    """

    codes: NDArray[np.int32]
    columns: list[list[str]]
    present: NDArray[np.int64]
    lasting: Lasting | None = None

    def values(self, places: NDArray[np.int64] | None = None) -> list[Any]:
        """Give the group values (of one column, itself) of the groups at some places, or of all."""
        present = (self.present if places is None else self.present[places]).tolist()
        if len(self.columns) == 1:
            return list(map(self.columns[0].__getitem__, present))
        return [self._values(code) for code in present]

    def _values(self, code: int) -> tuple[str, ...]:
        values = []
        for vocabulary in reversed(self.columns):
            code, place = divmod(code, max(len(vocabulary), 1))
            values.append(vocabulary[place])
        return tuple(reversed(values))


def groups_of(batch: Batch, rows: NDArray[np.int64] | None, grouping: tuple[str, ...], paths: frozenset[str]) -> Groups:
    """Group rows of a batch (None: all) by columns; one of `paths` is templated before it may be a key."""
    count = len(batch) if rows is None else len(rows)
    if not grouping:
        return Groups(np.zeros(count, np.int32), [], np.zeros(1, np.int64))
    combined = np.zeros(count, np.int64)
    absent = np.zeros(count, np.bool_)
    columns = []
    for name in grouping:
        column = _templated(batch.strings[name]) if name in paths else batch.strings[name]
        codes = column.codes if rows is None else column.codes[rows]
        absent |= codes < 0
        combined = combined * max(len(column.vocabulary), 1) + codes
        columns.append(column)
    combined[absent] = -1
    size = math.prod(max(len(column.vocabulary), 1) for column in columns)
    present = different(combined[~absent], size)
    if _countable(count, size):
        lookup: NDArray[np.int32] = np.full(size + 1, -1, np.int32)  # what is absent takes the last
        lookup[present] = np.arange(len(present), dtype=np.int32)
        codes = lookup[combined]
    else:
        codes = np.where(absent, -1, np.searchsorted(present, combined)).astype(np.int32)
    lasting = columns[0].lasting if len(columns) == 1 else None
    if lasting is not None:
        lasting = Lasting(lasting.numbers[present], lasting.generation)
    return Groups(codes, [column.vocabulary for column in columns], present, lasting)


def _templated(column: Strings) -> Strings:
    templated = [template(text) for text in column.vocabulary]
    vocabulary = list(dict.fromkeys(templated))
    place = {text: i for i, text in enumerate(vocabulary)}
    lookup = np.array([*(place[text] for text in templated), -1], np.int32)
    return Strings(lookup[column.codes], vocabulary)


def different(codes: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Give the different codes, all in [0, size), in rising order: by counting where there is not much to count."""
    return np.flatnonzero(np.bincount(codes, minlength=size)) if _countable(len(codes), size) else np.unique(codes)


def _countable(count: int, size: int) -> bool:
    """Tell whether so many codes in [0, size) are told apart sooner by a table over all of them than by sorting."""
    return size <= 4 * count + 64


class KeyNumbers:
    """The keys of a grouping that a fold has seen, numbered in the order in which they came."""

    def __init__(self, grouping: tuple[str, ...], shards: int) -> None:
        """Start without keys."""
        self._grouping = grouping
        self._count = shards
        self.clear()

    @property
    def full(self) -> bool:
        """Tell whether it is time to forget them."""
        return len(self._known) > _MOST

    def clear(self) -> None:
        """Forget all keys: those that come are numbered anew."""
        self._known: dict[Any, int] = {}
        self._names: list[str] = []
        self._shards: NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._by_lasting: NDArray[np.int32] = np.zeros(0, np.int32)
        self._generation = -1

    def of(self, groups: Groups) -> NDArray[np.int32]:
        """Give the number of each group's key."""
        lasting = groups.lasting
        if lasting is None or not len(lasting.numbers):
            return self._looked_up(groups.values())
        if lasting.generation != self._generation:
            self._generation, self._by_lasting = lasting.generation, np.zeros(0, np.int32)
        size = int(lasting.numbers.max()) + 2
        if size > len(self._by_lasting):
            self._by_lasting = grown(self._by_lasting, 2 * size, -1)
        numbers = self._by_lasting[lasting.numbers]  # the last place is no string's: those without a number take it
        fresh = np.flatnonzero(numbers < 0)
        if len(fresh):
            numbers[fresh] = self._looked_up(groups.values(fresh))
            learnt = fresh[lasting.numbers[fresh] >= 0]
            self._by_lasting[lasting.numbers[learnt]] = numbers[learnt]
        return numbers

    def shards(self, numbers: NDArray[np.int32]) -> NDArray[np.uint8]:
        """Give the shards that keys fall to, by their numbers."""
        return self._shards[numbers]

    def named(self, numbers: NDArray[np.int32]) -> Keys:
        """Give keys by their numbers."""
        return Keys(self._names, numbers)

    def _looked_up(self, values: list[Any]) -> NDArray[np.int32]:
        found: list[Any] = list(map(self._known.get, values))
        try:
            return np.array(found, np.int32)  # which refuses None: looking for it before would take as long again
        except TypeError:
            fresh = []
            for place in [place for place, number in enumerate(found) if number is None]:
                value = values[place]
                named = zip(self._grouping, (value,) if isinstance(value, str) else value, strict=True)
                key = canonical(dict(named))
                fresh.append(zlib.crc32(key) % self._count)
                found[place] = self._known[value] = len(self._names)
                self._names.append(key.decode())
            self._shards = np.concatenate((self._shards, np.array(fresh, np.uint8)))
            return np.array(found, np.int32)
