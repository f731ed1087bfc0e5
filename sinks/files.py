"""Files: the NDJSON output of a bounded run, written as segments and put in order at the end.

Guarantee: exactly once. A segment's length is part of the snapshot; a resume truncates to it (to 0 without one), so what
is emitted again is not there twice. The output files appear, by rename, when the run is complete.
"""

import os
from array import array
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

OUTPUTS = ("windows", "evaluations", "transitions", "notifications", "provenance")
_COPY = 1 << 20


class Segments:
    """Append-only files of blocks, one a kind. Each block is a header line `at size name` and its bytes."""

    def __init__(self, folder: Path, lengths: Mapping[str, int] | None) -> None:
        """Open the folder; `lengths` (kind -> bytes) is the snapshot to resume from, None starts empty."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._files: dict[str, BinaryIO] = {}
        known = dict(lengths or {})
        for path in folder.glob("*.segment"):
            known.setdefault(path.stem, 0)
        for kind, length in known.items():
            with self._path(kind).open("ab") as file:
                file.truncate(length)

    def append(self, kind: str, at: int, name: str, data: bytes) -> None:
        """Append one block; OSError where the disk is full."""
        if kind not in self._files:
            self._files[kind] = self._path(kind).open("ab")
        self._files[kind].write(b"%d %d %s\n" % (at, len(data), name.encode()))
        self._files[kind].write(data)

    def flush(self) -> None:
        """Hand everything to the operating system."""
        for file in self._files.values():
            file.flush()

    def lengths(self) -> dict[str, int]:
        """Make everything durable and give the lengths (kind -> bytes)."""
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        return {path.stem: path.stat().st_size for path in self._folder.glob("*.segment")}

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _path(self, kind: str) -> Path:
        return self._folder / f"{kind}.segment"


def write_outputs(folder: Path, out: Path, kinds: Iterable[str] = OUTPUTS) -> None:
    """Write `<kind>.ndjson` files into `out` from the segments in `folder`, blocks sorted by (at, name)."""
    for kind in kinds:
        target = out / f"{kind}.ndjson"
        draft = target.with_suffix(".partial")
        with draft.open("wb") as file:
            path = folder / f"{kind}.segment"
            if path.exists():
                with path.open("rb") as segment:
                    _copy_sorted(segment, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)


def read_blocks(path: Path) -> Iterator[tuple[int, str, bytes]]:
    """Give (at, name, data) of each block in the order of writing."""
    if not path.exists():
        return
    with path.open("rb") as segment:
        for at, name, offset, size in _index(segment):
            segment.seek(offset)
            yield at, name.decode(), segment.read(size)
            segment.seek(offset + size)


def _index(segment: BinaryIO) -> Iterator[tuple[int, bytes, int, int]]:
    while header := segment.readline():
        at, size, name = header[:-1].split(b" ", 2)
        offset = segment.tell()
        yield int(at), name, offset, int(size)
        segment.seek(offset + int(size))


def _copy_sorted(segment: BinaryIO, file: BinaryIO) -> None:
    # Four numbers a block: there is a block for each window and metric, so a long replay has millions of them.
    numbers, codes = array("q"), dict[bytes, int]()
    for at, name, offset, size in _index(segment):
        numbers.extend((at, codes.setdefault(name, len(codes)), offset, size))
    blocks = np.frombuffer(numbers, np.int64).reshape(-1, 4)
    rank = np.argsort(np.argsort(np.array(list(codes), object), kind="stable"), kind="stable")
    # The sort is stable: blocks of one time and name keep the order in which the barrier gave them.
    for place in np.lexsort((rank[blocks[:, 1]], blocks[:, 0])):
        offset, left = map(int, blocks[place, 2:])
        segment.seek(offset)
        while left:
            piece = segment.read(min(left, _COPY))
            file.write(piece)
            left -= len(piece)
