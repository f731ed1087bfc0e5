"""Batch: what one read of one dataset brought, as columns; the only thing that leaves a source.

A batch may hold several partitions of its dataset (one part each, in order), because a read of a lane mixes them and
the cost of a batch is per batch, not per record.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

UNHEARD = -(2**63)  # the watermark of a partition that has not been heard yet
DONE = 2**63 - 1  # the watermark of a bounded partition that was read to its end


@dataclass(frozen=True, slots=True)
class Strings:
    """A dictionary-encoded string column: `codes` (n,) int32, -1 where absent, into `vocabulary`."""

    codes: NDArray[np.int32]
    vocabulary: list[str]


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
    identity: list[str | None]
    place: Place
    marks: tuple[Mark, ...]
    dead: tuple[DeadLetter, ...] = field(default=())

    def __len__(self) -> int:
        """Give the number of records, late ones included."""
        return len(self.times)
