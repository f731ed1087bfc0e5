"""Board: a small mapped file in the run folder where each lane writes how many records it read and how far in time it is.

Advisory: people look at it while a run goes on, and the supervisor whether lanes are still asked; decisions never do.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from connectors.batch import Batch

_COLUMNS = 5
_RECORDS, _EVENT_TIME, _ASKED, _DONE, _TOTAL = range(_COLUMNS)
_NOTHING = -1  # as the total of a lane that has begun; 0: it has not


class Board:
    """Five int64 a lane: records read, highest event time (ms), when it was last asked (ms of the machine's uptime).

    And how much of how much of its input it has read. Why uptime: all processes of a machine share it, and nobody sets it.
    """

    def __init__(self, path: Path, lanes: Sequence[str]) -> None:
        """Open the file, making or resizing it as needed."""
        self._rows = {name: row for row, name in enumerate(lanes)}
        shape = max(len(lanes), 1), _COLUMNS
        size = shape[0] * shape[1] * 8
        if not path.exists() or path.stat().st_size != size:
            path.write_bytes(bytes(size))
        self._slots = np.memmap(path, np.int64, "r+", shape=shape)

    def note(self, lane: str, batch: Batch) -> None:
        """Write what a lane has just read."""
        row = self._rows[lane]
        self._slots[row, _RECORDS] += len(batch) + len(batch.dead)
        if len(batch):
            self._slots[row, _EVENT_TIME] = max(int(self._slots[row, _EVENT_TIME]), int(batch.times.max()))

    def asked(self, lane: str) -> None:
        """Write that the engine has asked a lane for records, whether there were any or not."""
        self._slots[self._rows[lane], _ASKED] = time.monotonic_ns() // 1_000_000

    def idle_s(self, since: float, lanes: Sequence[str] | None = None) -> float:
        """Give how long (s) some lane (of `lanes`) has not been asked, counted from `since` (time.monotonic()) at the earliest.

        Where there is no such lane, 0.
        """
        rows = list(self._rows.values()) if lanes is None else [self._rows[lane] for lane in lanes]
        now = time.monotonic()
        last = min((float(self._slots[row, _ASKED]) / 1000 for row in rows), default=now)
        return max(now - max(last, since), 0.0)

    def row(self, lane: str) -> list[int]:
        """Give what a lane has written, with the time since it was asked (ms) in place of when: uptime is a machine's own."""
        row = self._slots[self._rows[lane]].tolist()
        row[_ASKED] = time.monotonic_ns() // 1_000_000 - row[_ASKED]
        return [int(each) for each in row]

    def take(self, lane: str, row: Sequence[int]) -> None:
        """Write what a lane of another machine has written, as `row` gave it there."""
        here = np.array(row, np.int64)
        here[_ASKED] = time.monotonic_ns() // 1_000_000 - here[_ASKED]
        here[_RECORDS] = max(here[_RECORDS], self._slots[self._rows[lane], _RECORDS])  # it may be new there, and had more here
        self._slots[self._rows[lane]] = here

    def place(self, lane: str, place: tuple[int, int]) -> None:
        """Write how much of its input a lane has read, and how much there is: 0 of 0 where there is no end, or nothing."""
        done, total = place
        self._slots[self._rows[lane], _DONE:] = done, total or _NOTHING

    def share(self) -> float | None:
        """Give which share of the input was read; None where there is no end, or not every lane has begun."""
        done, total = self._slots[:, _DONE].sum(), self._slots[:, _TOTAL].clip(0).sum()
        begun = bool((self._slots[:, _TOTAL] != 0).all())
        return float(done / total) if begun and total else None

    def records(self) -> int:
        """Give the records read by all lanes."""
        return int(self._slots[:, _RECORDS].sum())

    def event_time(self) -> int | None:
        """Give the event time (ms) that every lane with records has reached."""
        times = self._slots[:, _EVENT_TIME]
        heard = times[times > 0]
        return int(heard.min()) if len(heard) else None
