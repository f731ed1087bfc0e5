"""Batch: what one read of one dataset brought, as columns; the only thing that leaves a source.

A batch may hold several partitions of its dataset (one part each, in order), because a read of a lane mixes them and
the cost of a batch is per batch, not per record.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import overload

import numpy as np
from numpy.typing import NDArray

try:
    from connectors._native import texts as _native_texts
except ImportError:  # built without a C compiler
    _native_texts = None  # type: ignore[assignment]

UNHEARD = -(2**63)  # the watermark of a partition that has not been heard yet
DONE = 2**63 - 1  # the watermark of a bounded partition that was read to its end
_SIZE, _MULTIPLIER = np.uint64(0x9E3779B97F4A7C15), np.uint64(0x9FB21C651E98DF25)
_HALF, _TAIL = np.uint64(32), np.uint64(29)

Detail = tuple[str | None, ...]  # one record's values by dimension


def identity_hashes(texts: Sequence[bytes]) -> NDArray[np.uint64]:
    """Hash identities in 64 bits as the native reader does: the same in every process; of nothing it is 0."""
    sizes = np.fromiter(map(len, texts), np.uint64, len(texts))
    out = np.zeros(len(texts), np.uint64)
    for size in np.unique(sizes).tolist():
        places = np.flatnonzero(sizes == size)
        width = size // 8 * 8 + 8
        padded = b"".join([texts[place].ljust(width, b"\0") for place in places.tolist()])
        hashed = np.full(len(places), size, np.uint64) * _SIZE
        *words, last = np.frombuffer(padded, "<u8").reshape(-1, width // 8).T
        for word in words:
            hashed = (hashed ^ word) * _MULTIPLIER
            hashed ^= hashed >> _HALF
        hashed = (hashed ^ last) * _MULTIPLIER
        out[places] = hashed ^ hashed >> _TAIL
    return out


@dataclass(frozen=True, slots=True)
class Lasting:
    """Numbers (v,) int32 that the strings of a vocabulary keep from batch to batch, or -1: in one process, one generation."""

    numbers: NDArray[np.int32]
    generation: int

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """Be None in another process, where the numbers mean nothing."""
        return type(None), ()


@dataclass(frozen=True, slots=True)
class Strings:
    """A dictionary-encoded string column: `codes` (n,) int32, -1 where absent, into `vocabulary` (v,), all different.

    With `lasting`, what was found out of a string needs no looking up in the batches behind.
    """

    codes: NDArray[np.int32]
    vocabulary: list[str]
    lasting: Lasting | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Identities(Sequence[str | None]):
    """The identities of n records, as places in the bytes they came in: a string is made only of those that are shown.

    `source` (n,) numbers `sources`; `start` and `size` (n,) are in bytes, of UTF-8 text; size -1 is absent. `hashes` (n,) are
    their `identity_hashes`, where reading gave them.
    """

    sources: Sequence[bytes]
    source: NDArray[np.int32]
    start: NDArray[np.int64]
    size: NDArray[np.int32]
    hashes: NDArray[np.uint64] | None = None

    @staticmethod
    def of(texts: Sequence[str | None]) -> "Identities":
        """Take texts."""
        found = [b"" if text is None else text.encode() for text in texts]
        size = np.array([-1 if text is None else len(each) for text, each in zip(texts, found, strict=True)], np.int32)
        start = np.cumsum([0, *map(len, found)], dtype=np.int64)[:-1]
        return Identities([b"".join(found)], np.zeros(len(found), np.int32), start, size)

    @staticmethod
    def joined(parts: "Sequence[Sequence[str | None]]") -> "Identities":
        """Put columns one behind the other."""
        columns = [part if isinstance(part, Identities) else Identities.of(part) for part in parts]
        before = np.cumsum([0, *(len(column.sources) for column in columns)])
        hashed = (
            [column.hashed(np.arange(len(column))) for column in columns] if any(c.hashes is not None for c in columns) else []
        )
        return Identities(
            [source for column in columns for source in column.sources],
            np.concatenate([column.source + first for column, first in zip(columns, before, strict=False)]).astype(np.int32),
            np.concatenate([column.start for column in columns]),
            np.concatenate([column.size for column in columns]),
            np.concatenate(hashed) if hashed else None,
        )

    def take(self, places: NDArray[np.int64]) -> "Identities":
        """Give those at `places`."""
        hashes = None if self.hashes is None else self.hashes[places]
        return Identities(self.sources, self.source[places], self.start[places], self.size[places], hashes)

    def __len__(self) -> int:
        return len(self.size)

    @overload
    def __getitem__(self, place: int) -> str | None: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[str | None]: ...
    def __getitem__(self, place: int | slice) -> str | Sequence[str | None] | None:
        """Give one identity, or None where it is absent."""
        chosen = range(len(self))[place]
        texts = self.texts(np.array(chosen, np.int64, ndmin=1))
        return texts[0] if isinstance(chosen, int) else texts

    def lines(self, places: NDArray[np.int64]) -> list[bytes | None]:
        """Give the lines around the identities at `places`; None where one is absent."""
        out: list[bytes | None] = []
        columns = (self.source[places], self.start[places], self.size[places])
        for number, start, size in zip(*(column.tolist() for column in columns), strict=True):
            source = self.sources[number]
            end = source.find(b"\n", start)
            begin = source.rfind(b"\n", 0, start) + 1
            out.append(source[begin : len(source) if end < 0 else end] if size >= 0 else None)
        return out

    def hashed(self, places: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Give the hashes of the identities at `places`; 0 where one is absent."""
        if self.hashes is not None:
            return self.hashes[places]
        return identity_hashes([(text or "").encode() for text in self.texts(places)])

    def texts(self, places: NDArray[np.int64]) -> list[str | None]:
        """Give the identities at `places`."""
        sources, start, size = self.sources, self.start[places], self.size[places]
        if _native_texts is not None and isinstance(sources, list):
            return _native_texts(sources, self.source[places], start, size)
        found = zip(self.source[places].tolist(), start.tolist(), (start + size).tolist(), strict=True)
        return [sources[each][a:b].decode() if b >= a else None for each, a, b in found]


@dataclass(frozen=True, slots=True)
class Mark:
    """How far one partition has come: its watermark (ms UTC) and its counts since its first record.

    `rest` is the watermark with which a bounded partition ended, where more than its records has moved it.
    """

    partition: str
    watermark: int
    records: int
    late: int
    dead: int
    first_event: int | None
    last_event: int | None
    rest: int | None = None
    repeats: int = 0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that could not be read: where it stands, why, and an excerpt of its bytes.

    `offset` is the message's offset (Kafka) or the line's number in the partition (archive); `index` the record's place
    in the message.
    """

    dataset: str
    topic: str
    partition: int | str
    offset: int
    index: int
    reason: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Place:
    """Where the records of a batch stand: names of partitions, and per record (n,) which one, offset and index."""

    partitions: list[str]
    partition: NDArray[np.int32]
    offset: NDArray[np.int64]
    index: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Batch:
    """Columns of n records. Absent is NaN (numbers), -1 (strings, flags), None (identity)."""

    dataset: str
    times: NDArray[np.int64]
    late: NDArray[np.bool_]
    numbers: dict[str, NDArray[np.float64]]
    strings: dict[str, Strings]
    flags: dict[str, NDArray[np.int8]]
    identity: Sequence[str | None]
    place: Place
    marks: tuple[Mark, ...]
    dead: tuple[DeadLetter, ...] = field(default=())
    # Gives what the dataset's dimensions are of the records at some places: read anew, so only for the few that are shown.
    details: Callable[[NDArray[np.int64]], list[Detail]] | None = None
    # Gives which traces the records at some places belong to, likewise; None where the dataset's records do not say so.
    traces: Callable[[NDArray[np.int64]], list[str | None]] | None = None

    def __len__(self) -> int:
        """Give the number of records, late ones included."""
        return len(self.times)

    def identities(self, places: NDArray[np.int64]) -> list[str | None]:
        """Give the identities of the records at `places`."""
        if isinstance(self.identity, Identities):
            return self.identity.texts(places)
        return [self.identity[place] for place in places.tolist()]

    def identity_hashes(self, places: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Give the hashes of the identities of the records at `places`; 0 where one is absent."""
        if isinstance(self.identity, Identities):
            return self.identity.hashed(places)
        return identity_hashes([(self.identity[place] or "").encode() for place in places.tolist()])
