"""Hold: keeps lanes aligned in event time, so that what runs ahead does not fill the memory with open windows.

All lanes, of all processes on this machine, write their partitions' watermarks into one small mapped file. It is advisory:
a stale value may cost time or memory, never bytes of output.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from connectors.batch import DONE, UNHEARD

_STALE_S = 10.0


class Hold:
    """Watermark slots (ms), one a partition; a slot of a lane that is not open is `DONE`."""

    def __init__(self, path: Path, partitions: Sequence[str], *, ahead_ms: int) -> None:
        """Open the file, making it as needed; a partition may be `ahead_ms` ahead of the lowest."""
        self._slot = {name: number for number, name in enumerate(partitions)}
        self._ahead_ms = ahead_ms
        size = max(len(partitions), 1) * 8
        if not path.exists() or path.stat().st_size != size:
            draft = path.with_suffix(f".{os.getpid()}")
            draft.write_bytes(np.full(max(len(partitions), 1), DONE, np.int64).tobytes())
            draft.replace(path)
        self._slots = np.memmap(path, np.int64, "r+", shape=(max(len(partitions), 1),))
        self._seen: tuple[int | None, float] = (None, 0.0)

    def write(self, partition: str, watermark: int) -> None:
        """Say how far a partition is."""
        self._slots[self._slot[partition]] = watermark

    def read(self, partition: str) -> int:
        """Give how far a partition is."""
        return int(self._slots[self._slot[partition]])

    def may_read(self, watermark: int) -> bool:
        """Tell whether a partition at this watermark may go on: it is not far ahead, or the lowest has not moved for long."""
        low = int(self._slots.min())
        if watermark == UNHEARD or low == DONE or watermark <= low + self._ahead_ms:
            return True
        if low == UNHEARD and watermark != UNHEARD:
            return self._stuck(low)
        return self._stuck(low)

    def _stuck(self, low: int) -> bool:
        """Tell whether the lowest watermark has stood still so long that its lane is probably gone."""
        now = time.monotonic()
        if low != self._seen[0]:
            self._seen = (low, now)
        return now - self._seen[1] > _STALE_S
