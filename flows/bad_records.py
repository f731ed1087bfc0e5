"""Bad records: of each key, a sample of what its bad records say by dimension (path, colo, status ...).

The sample is the KEPT records of a key with the lowest ranks (see pick), so parts may be merged in any order. Values are
codes of one vocabulary: a hundred thousand keys have few different values among them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectors.batch import Detail
from flows.partial import Picked
from flows.pick import KEPT, lowest

_COMPACT = 1 << 14


class _Rows(NamedTuple):
    """n records as columns: key number, rank, and the codes (n, d) of what they say."""

    key: NDArray[np.int32]
    rank: NDArray[np.uint64]
    said: NDArray[np.int32]

    def take(self, places: NDArray[Any]) -> "_Rows":
        return _Rows(self.key[places], self.rank[places], self.said[places])


@dataclass(frozen=True, slots=True)
class BadSample:
    """A window's bad records of k keys: how many (k,); of the n in the sample the key's number and what they say (n, d).

    What is said are codes of `words`. `dimensions` gives by name the columns that one is about; `meaning` is as in BadRecords.
    `at` (n,) are the ends (ms) of the windows that the records are of, where they are of several.
    """

    meaning: str
    dimensions: Mapping[str, tuple[str, ...]]
    keys: list[str]
    counts: NDArray[np.int64]
    key: NDArray[np.int32]
    rank: NDArray[np.uint64]
    said: NDArray[np.int32]
    words: list[str | None]
    at: NDArray[np.int64]

    def of(self, chosen: Sequence[str]) -> "BadSample":
        """Give the sample of these keys, in this order; one that is not known has no record."""
        known = {key: number for number, key in enumerate(self.keys)}
        places = np.array([known.get(key, -1) for key in chosen], np.int64)
        counts = np.concatenate((self.counts, np.zeros(1, np.int64)))[places]
        renamed: NDArray[Any] = np.full(len(self.keys) + 1, -1, np.int32)
        renamed[places] = np.arange(len(chosen), dtype=np.int32)
        renamed[-1] = -1
        key = renamed[self.key]
        kept = key >= 0
        rows = (key[kept], self.rank[kept], self.said[kept])
        return BadSample(self.meaning, self.dimensions, list(chosen), counts, *rows, self.words, self.at[kept])

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Count the records of each key (k,) in the sample."""
        return np.bincount(self.key, minlength=len(self.keys))


def joined(samples: Sequence[BadSample], most: int = KEPT) -> BadSample:
    """Put samples of one meaning together, and keep only words that are in use.

    A key that is in several has the count of the first, and of their records `most`: the newest, then the lowest ranks.
    """
    first, keys, words = samples[0], dict[str, int](), dict[str | None, int]()
    columns: list[tuple[NDArray[Any], ...]] = []
    for sample in samples:
        places = np.array([keys.setdefault(key, len(keys)) for key in sample.keys], np.int64)
        codes = np.array([words.setdefault(word, len(words)) for word in sample.words], np.int64)
        said = codes[sample.said] if len(codes) else sample.said
        columns.append((places[sample.key], sample.at, sample.rank, said))
    key, at, rank, said = (np.concatenate(column) for column in zip(*columns, strict=True))
    rows = _Rows(key.astype(np.int32), rank, said.astype(np.int32))
    chosen = _first(rows, at.max(initial=0) - at, list(words), most)
    rows = rows.take(chosen)
    said, used = _renumbered(rows.said, list(words))
    counts = {key: count for each in reversed(samples) for key, count in zip(each.keys, each.counts.tolist(), strict=True)}
    return BadSample(
        first.meaning,
        first.dimensions,
        list(keys),
        np.array([counts[key] for key in keys], np.int64),
        rows.key,
        rows.rank,
        said,
        used,
        at[chosen],
    )


def _first(rows: _Rows, age: NDArray[Any], words: Sequence[str | None], most: int) -> NDArray[np.int64]:
    """Give the places of the first `most` records of each key, by age, rank and what they say."""
    crowded = (np.bincount(rows.key) > most)[rows.key]
    places = np.flatnonzero(crowded)
    if not len(places):
        return np.arange(len(rows.key))
    key, rank = rows.key[places].astype(np.int64) * (int(age.max()) + 1) + age[places], rows.rank[places]
    order = np.lexsort((rank, key))
    if (np.diff(key[order]) == 0)[np.diff(rank[order]) == 0].any():  # ties are rare, and costly to tell apart
        alphabet = np.zeros(len(words), np.int64)
        alphabet[sorted(range(len(words)), key=lambda code: _sortable(words[code]))] = np.arange(len(words))
        order = np.lexsort((*reversed(alphabet[rows.said[places]].T), rank, key))
    order = places[order]
    kept = np.arange(len(order)) - np.searchsorted(rows.key[order], rows.key[order]) < most
    return np.concatenate((np.flatnonzero(~crowded), order[kept]))


def _renumbered(said: NDArray[Any], words: Sequence[str | None]) -> tuple[NDArray[np.int32], list[str | None]]:
    """Give what records say in codes of the words in use alone, and these words."""
    used = np.flatnonzero(np.bincount(said.ravel(), minlength=len(words)))
    codes = np.zeros(len(words) + 1, np.int32)
    codes[used] = np.arange(len(used))
    return codes[said], [words[code] for code in used.tolist()]


class BadRecords:
    """The state over the keys of a pane; `meaning` says what is called bad, and by what its records are told apart."""

    def __init__(self, meaning: str, width: int) -> None:
        """Start without records; `width` is the number of dimensions."""
        self.meaning = meaning
        self._width = width
        self._words: dict[str | None, int] = {}
        self._fresh: list[tuple[NDArray[np.int64], NDArray[np.uint64], list[Detail]]] = []  # not in codes yet
        self._parts: list[_Rows] = []
        self._size, self._room = 0, _COMPACT
        self._ignored = -1

    def ignore(self, key: int) -> None:
        """Keep no records of this key number, as exemplars do not."""
        self._ignored = key

    def add(self, part: Picked, ids: NDArray[np.int64]) -> None:
        """Add a batch's part; `ids` are its keys as key numbers here."""
        self._fresh.append((ids[part.key], part.rank, part.details))
        self._count(len(part.key))

    def absorb(self, other: "BadRecords", place: NDArray[Any]) -> None:
        """Add another object's records: those of its key i to key `place[i]`."""
        other._encode()
        codes = self._codes(other._words)
        for part in other._parts:
            keys = place[part.key].astype(np.int32)
            kept = np.flatnonzero(keys != self._ignored)
            self._add(_Rows(keys[kept], part.rank[kept], codes[part.said[kept]]))

    def sample(self, dimensions: Mapping[str, tuple[str, ...]], keys: list[str], counts: NDArray[np.int64]) -> BadSample:
        """Give the sample; `keys` and `counts` are by key number."""
        rows = self._best()
        at = np.zeros(len(rows.key), np.int64)
        return BadSample(self.meaning, dimensions, keys, counts, *rows, list(self._words), at)

    def _codes(self, values: Iterable[str | None]) -> NDArray[np.int32]:
        words = self._words
        return np.array([words.setdefault(value, len(words)) for value in values], np.int32)

    def _add(self, rows: _Rows) -> None:
        if len(rows.key):
            self._parts.append(rows)
            self._count(len(rows.key))

    def _count(self, more: int) -> None:
        self._size += more
        if self._size > self._room:
            self._best()
            self._room = _COMPACT + 2 * self._size

    def _encode(self) -> None:
        """Write what came since the last time in codes."""
        if self._fresh:
            key, rank = (np.concatenate([part[column] for part in self._fresh]) for column in (0, 1))
            said = self._codes(value for part in self._fresh for detail in part[2] for value in detail)
            self._parts.append(_Rows(key.astype(np.int32), rank, said.reshape(-1, self._width)))
            self._fresh = []

    def _best(self) -> _Rows:
        """Cut to the sample, and to the words in it."""
        self._encode()
        if not self._parts:
            return _Rows(np.zeros(0, np.int32), np.zeros(0, np.uint64), np.zeros((0, self._width), np.int32))
        whole = _Rows(*(np.concatenate(column) for column in zip(*self._parts, strict=True)))
        whole = whole.take(lowest(whole.key, whole.rank))
        whole = whole.take(_first(whole, np.zeros(len(whole.key), np.int64), list(self._words), KEPT))
        said, words = _renumbered(whole.said, list(self._words))
        self._words = {word: code for code, word in enumerate(words)}
        whole = whole._replace(said=said)
        self._parts, self._size = [whole], len(whole.key)
        return whole

    def __getstate__(self) -> dict[str, Any]:
        """Cross to another process as little as matters there."""
        self._best()
        return self.__dict__

    def to_state(self) -> dict[str, Any]:
        """Give plain values for a snapshot."""
        rows = self._best()
        return {"meaning": self.meaning, "words": list(self._words), **rows._asdict()}

    def load(self, state: dict[str, Any]) -> None:
        """Undo `to_state`."""
        self._words = {word: code for code, word in enumerate(state["words"])}
        self._parts = [_Rows(state["key"], state["rank"], state["said"])] if len(state["key"]) else []
        self._size = len(state["key"])


def _sortable(word: str | None) -> tuple[bool, str]:
    return word is not None, word or ""
