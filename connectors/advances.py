"""Advances: what a live lane decided by the clock, written durably before it took effect, and read again by a resume.

Two kinds: an idle partition's watermark was advanced at an offset, and a message stamped in this machine's future got a
time limit. Without the file, a resume at another time would decide otherwise.
"""

import os
from collections.abc import Iterable
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
        self.known, whole = _read(path)
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


def read_advances(paths: Iterable[Path]) -> list[Advance]:
    """Give what lanes have written, without touching their files; of one offset, only the furthest advance counts."""
    out: dict[tuple[str, int, bool], Advance] = {}
    for path in paths:
        for advance in _read(path)[0]:
            place = advance.partition, advance.offset, advance.high is None
            known = out.get(place)
            if known is None or (advance.high is not None and advance.high > (known.high or 0)):
                out[place] = advance
    return list(out.values())


def write_advances(path: Path, advances: Iterable[Advance]) -> None:
    """Write a file that lanes can read; there whole, or not at all."""
    draft = path.with_suffix(".draft")
    draft.write_bytes(b"".join(msgspec.json.encode(advance) + b"\n" for advance in advances))
    draft.replace(path)


def _read(path: Path) -> tuple[list[Advance], int]:
    """Give the whole lines of a file, and how many bytes they take."""
    if not path.exists():
        return [], 0
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    return [msgspec.json.decode(line, type=Advance) for line in data[:whole].splitlines()], whole
