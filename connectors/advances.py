"""Advances: what a live lane decided by the clock, written durably before it took effect, and read again by a resume.

Two kinds: an idle partition's watermark was advanced at an offset, and a message stamped in this machine's future got a
time limit. Without the file, a resume at another time would decide otherwise.
"""

import os
from pathlib import Path
from typing import BinaryIO

import msgspec


class Advance(msgspec.Struct, frozen=True, omit_defaults=True):
    """At `offset` of `partition`: the highest event time became `high`, or the message's limit is `limit` (ms)."""

    partition: str
    offset: int
    high: int | None = None
    limit: int | None = None


class Advances:
    """The append-only file of one lane."""

    def __init__(self, path: Path) -> None:
        """Read what is there; a last line that was torn by a crash never took effect and is cut off."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.known: list[Advance] = []
        whole = 0
        if path.exists():
            data = path.read_bytes()
            whole = data.rfind(b"\n") + 1
            self.known = [msgspec.json.decode(line, type=Advance) for line in data[:whole].splitlines()]
        self._file: BinaryIO = path.open("ab")
        self._file.truncate(whole)

    def write(self, advances: list[Advance]) -> None:
        """Make them durable; when this returns they may take effect."""
        self._file.write(b"".join(msgspec.json.encode(advance) + b"\n" for advance in advances))
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()
