"""Batch: what one read of one dataset brought, as columns; the only thing that leaves a source.

A batch may hold several partitions of its dataset (one part each, in order), because a read of a lane mixes them and
the cost of a batch is per batch, not per record.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import overload

import numpy as np
from numpy.typing import NDArray

UNHEARD = -(2**63)  # the watermark of a partition that has not been heard yet
DONE = 2**63 - 1  # the watermark of a bounded partition that was read to its end


@dataclass(frozen=True, slots=True)
class Strings:
    """A dictionary-encoded string column: `codes` (n,) int32, -1 where absent, into `vocabulary`."""

    codes: NDArray[np.int32]
    vocabulary: list[str]


@dataclass(frozen=True, slots=True, eq=False)
class Identities(Sequence[str | None]):
    """The identities of n records, as places in the bytes they came in: a string is made only of those that are shown.

    `source` (n,) numbers `sources`; `start` and `size` (n,) are in bytes, of UTF-8 text; size -1 is absent.
    """

    sources: Sequence[bytes]
    source: NDArray[np.int32]
    start: NDArray[np.int64]
    size: NDArray[np.int32]

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
        return Identities(
            [source for column in columns for source in column.sources],
            np.concatenate([column.source + first for column, first in zip(columns, before, strict=False)]).astype(np.int32),
            np.concatenate([column.start for column in columns]),
            np.concatenate([column.size for column in columns]),
        )

    def take(self, places: NDArray[np.int64]) -> "Identities":
        """Give those at `places`."""
        return Identities(self.sources, self.source[places], self.start[places], self.size[places])

    def __len__(self) -> int:
        return len(self.size)

    @overload
    def __getitem__(self, place: int) -> str | None: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[str | None]: ...
    def __getitem__(self, place: int | slice) -> str | Sequence[str | None] | None:
        """Give one identity, or None where it is absent."""
        chosen = range(len(self))[place]
        texts = self.texts(np.array(chosen, ndmin=1))
        return texts[0] if isinstance(chosen, int) else texts

    def texts(self, places: NDArray[np.int64]) -> list[str | None]:
        """Give the identities at `places`."""
        sources, start, size = self.sources, self.start[places], self.size[places]
        found = zip(self.source[places].tolist(), start.tolist(), (start + size).tolist(), strict=True)
        return [sources[each][a:b].decode() if b >= a else None for each, a, b in found]


@dataclass(frozen=True, slots=True)
class Mark:
    """How far one partition has come: its watermark (ms UTC) and its counts since its first record."""

    partition: str
    watermark: int
    records: int
    late: int
    dead: int
    first_event: int | None
    last_event: int | None


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

    def __len__(self) -> int:
        """Give the number of records, late ones included."""
        return len(self.times)

    def identities(self, places: NDArray[np.int64]) -> list[str | None]:
        """Give the identities of the records at `places`."""
        if isinstance(self.identity, Identities):
            return self.identity.texts(places)
        return [self.identity[place] for place in places.tolist()]
