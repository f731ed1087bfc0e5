"""Source and Lane: what the line asks of an input, whatever brings the bytes.

A lane is one reader (one Kafka client, or one thread of files) of a fixed set of partitions; names of lanes do not depend
on the number of processes.
"""

from collections.abc import Sequence
from typing import Protocol

from connectors.batch import Batch


class SourceError(Exception):
    """An input that cannot be read: one sentence that names the topic, partition, broker or file and the way out."""


def share_of(lanes: Sequence[str], machine: int, machines: int) -> list[str]:
    """Give the lanes that one of several machines reads: what they record stays on it."""
    return list(lanes[machine::machines])


class Lane(Protocol):
    """One reader. Its guarantee: what `snapshot` says was read is what `read` gave; a resume reads on from there."""

    @property
    def done(self) -> bool:
        """Tell whether every partition of a bounded lane was read to its end."""

    @property
    def caught_up(self) -> bool:
        """Tell whether a live lane has little to read, and has read it; False of a bounded one, which has an end."""

    def read(self) -> list[Batch]:
        """Give what came, at most one batch a dataset; nothing where nothing came within about 50 ms."""

    def place(self) -> tuple[int, int]:
        """Give how much of a bounded input was read, and how much there is (offsets, or bytes of files); (0, 0) live."""

    def snapshot(self) -> bytes:
        """Give the state to resume from; never pickle."""

    def close(self) -> None:
        """Let go of files and connections."""


class Source(Protocol):
    """A planned input: its lanes, and the partitions of each dataset that windows wait for."""

    def lanes(self) -> list[str]:
        """Give the names of the lanes."""

    def partitions(self) -> dict[str, list[str]]:
        """Give dataset -> names of partitions."""

    def open(self, lane: str, state: bytes | None) -> Lane:
        """Open a lane, new or from a snapshot."""
