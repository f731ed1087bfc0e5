"""Vitals: a small mapped file in the run folder in which live lanes write how each of their partitions is.

The watcher outside the flow reads it, whatever process a lane is in, and writes back how far the broker says each partition
goes: one of which nobody knows whether more waits must not be taken for a silent one.
Guarantee: none of a row as a whole (a cell is whole); what is decided on it is written down elsewhere before it takes effect.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from connectors.progress import Progress

_UNKNOWN = -(2**63)
UNWATCHED = -1
_COLUMNS = ("heard", "position", "high", "records", "late", "dead", "stamp", "behind", "end")
_HEARD, _END = _COLUMNS.index("heard"), _COLUMNS.index("end")


@dataclass(frozen=True, slots=True)
class Vital:
    """How one partition is: next offset, highest event time (ms), counts since its first record.

    `stamp` is the timestamp of the last message (ms), `behind` how far that was behind the clock where it was read as it came.
    """

    position: int
    high: int | None
    records: int
    late: int
    dead: int
    stamp: int | None
    behind: int


class Vitals:
    """A row of int64 a partition."""

    def __init__(self, path: Path, partitions: Sequence[str]) -> None:
        """Open the file, making it where it is not there or of other partitions."""
        self._rows = {name: row for row, name in enumerate(partitions)}
        shape = (max(len(partitions), 1), len(_COLUMNS))
        size = shape[0] * shape[1] * 8
        if not path.exists() or path.stat().st_size != size:
            path.write_bytes(bytes(size))
        self._slots = np.memmap(path, np.int64, "r+", shape=shape)

    def write(self, progress: Progress, position: int, *, stamp: int | None, behind: int) -> None:
        """Say how a partition is; called by its lane."""
        row = self._slots[self._rows[progress.name]]
        high, known = progress.high, _UNKNOWN if stamp is None else stamp
        values = (position, _UNKNOWN if high is None else high, progress.records, progress.late, progress.dead, known, behind)
        row[_HEARD + 1 : _END] = values
        row[_HEARD] = 1

    def read(self, partition: str) -> Vital | None:
        """Give how a partition is; None where no lane has said so yet."""
        heard, position, high, records, late, dead, stamp, behind, _ = self._slots[self._rows[partition]].tolist()
        if not heard:
            return None
        known = [None if value == _UNKNOWN else value for value in (high, stamp)]
        return Vital(position, known[0], records, late, dead, known[1], behind)

    def row(self, partition: str) -> list[int]:
        """Give what a partition's lane has written."""
        return [int(each) for each in self._slots[self._rows[partition], :_END].tolist()]

    def take(self, partition: str, row: Sequence[int]) -> None:
        """Write what a lane of another machine has written, as `row` gave it there."""
        self._slots[self._rows[partition], :_END] = np.array(row, np.int64)

    def set_end(self, partition: str, end: int | None) -> None:
        """Say how far a partition goes at the broker, None where it does not answer; called by the watcher."""
        self._slots[self._rows[partition], _END] = _UNKNOWN if end is None else end

    def end(self, partition: str) -> int | None:
        """Give how far a partition goes: None where the broker was found not to answer, `UNWATCHED` where nobody looks."""
        end = int(self._slots[self._rows[partition], _END])
        return None if end == _UNKNOWN else end
