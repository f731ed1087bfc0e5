"""Board: a small mapped file in the run folder where each lane writes how many records it read and how far in time it is.

Advisory: people look at it while a run goes on, decisions never do.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from connectors.batch import Batch


class Board:
    """Four int64 a lane: records read, highest event time (ms), and how much of how much of its input was read."""

    def __init__(self, path: Path, lanes: Sequence[str]) -> None:
        """Open the file, making or resizing it as needed."""
        self._rows = {name: row for row, name in enumerate(lanes)}
        size = max(len(lanes), 1) * 32
        if not path.exists() or path.stat().st_size != size:
            path.write_bytes(bytes(size))
        self._slots = np.memmap(path, np.int64, "r+", shape=(max(len(lanes), 1), 4))

    def note(self, lane: str, batch: Batch) -> None:
        """Write what a lane has just read."""
        row = self._rows[lane]
        self._slots[row, 0] += len(batch) + len(batch.dead)
        if len(batch):
            self._slots[row, 1] = max(int(self._slots[row, 1]), int(batch.times.max()))

    def place(self, lane: str, place: tuple[int, int]) -> None:
        """Write how much of its input a lane has read, and how much there is."""
        self._slots[self._rows[lane], 2:] = place

    def share(self) -> float | None:
        """Give which share of the input was read; None where there is no end, or not every lane has begun."""
        done, total = self._slots[:, 2].sum(), self._slots[:, 3].sum()
        begun = bool((self._slots[:, 3] > 0).all())
        return float(done / total) if begun and total else None

    def records(self) -> int:
        """Give the records read by all lanes."""
        return int(self._slots[:, 0].sum())

    def event_time(self) -> int | None:
        """Give the event time (ms) that every lane with records has reached."""
        heard = self._slots[:, 1][self._slots[:, 1] > 0]
        return int(heard.min()) if len(heard) else None
