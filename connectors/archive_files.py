"""Archive files: Logpush files, plain, gzip or zstd, as blocks of whole lines.

Why not line by line: a block goes to the decoder as it is, and only where lines lie in it is looked for. Gzip is inflated by
ISA-L, which takes a third of the time of zlib.
"""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import zstandard
from isal import isal_zlib
from numpy.typing import NDArray

from connectors.decoded import EXCERPT

LONGEST_LINE = 64 << 20
_BROKEN: type[Exception] = isal_zlib.error  # type: ignore[assignment]  # its stubs say that it is an instance
UNREADABLE = (OSError, EOFError, _BROKEN, zstandard.ZstdError)
_BLOCK = 1 << 22
_READ = 1 << 20
_PACKED = 1 << 17
_GZIP = 31  # wbits: a gzip header and trailer
_NEW_LINE, _SPACE = 10, 32


def opened(path: Path) -> BinaryIO:
    """Open a file by what its name ends in."""
    if path.name.endswith(".gz"):
        return io.BufferedReader(_Members(path.open("rb"), lambda: isal_zlib.decompressobj(_GZIP), b"\0"), _READ)
    if path.name.endswith(".zst"):
        return io.BufferedReader(_Members(path.open("rb"), _zstd, b""), _READ)
    return path.open("rb")


def _zstd() -> Any:
    return zstandard.ZstdDecompressor().decompressobj()


def blocks(stream: BinaryIO, records: int) -> Iterator[tuple[bytes, int, bool]]:
    """Give (lines, number of lines, too long) of about `records` lines; a line that is too long is cut and stands alone.

    How lines fall into blocks shows nowhere but in the time it takes.
    """
    rest: list[bytes] = []
    held = 0
    trouble: Exception | None = None
    while trouble is None:
        block, trouble = _next_block(stream)
        if not block:
            break
        end = block.rfind(b"\n")
        if end < 0:
            rest.append(block)
            held += len(block)
            if held > LONGEST_LINE:
                yield b"".join(rest)[:EXCERPT], 1, True
                _skip_line(stream)
                rest, held = [], 0
            continue
        yield from _pieces(b"".join([*rest, block[:end]]), records)
        rest, held = [block[end + 1 :]], len(block) - end - 1
    yield from _pieces(b"".join(rest), records)
    if trouble is not None:
        raise trouble


def filled(lines: bytes) -> list[bytes]:
    """Give the lines that are not blank."""
    return [line for line in lines.split(b"\n") if line.strip()]


def _may_be_blank(text: NDArray[np.uint8], ends: NDArray[np.int64]) -> bool:
    """Tell whether a line begins with white space, as blank ones do and hardly any other does."""
    first = text[np.concatenate(([0], ends + 1))[: len(ends) + bool(len(text) and text[-1] != _NEW_LINE)]]
    return bool((first <= _SPACE).any()) or not len(first)


def _next_block(stream: BinaryIO) -> tuple[bytes, Exception | None]:
    """Give about a block, less at the end, and the trouble met after it: what came before it is not lost."""
    pieces: list[bytes] = []
    size = 0
    try:
        while size < _BLOCK and (piece := stream.read1(_READ)):  # type: ignore[attr-defined]
            pieces.append(piece)
            size += len(piece)
    except UNREADABLE as error:
        return b"".join(pieces), error
    return b"".join(pieces), None


def _skip_line(stream: BinaryIO) -> None:
    while (block := stream.readline(_READ)) and not block.endswith(b"\n"):
        pass


def _pieces(lines: bytes, records: int) -> Iterator[tuple[bytes, int, bool]]:
    """Cut lines into pieces of so many; blank ones are left out."""
    text = np.frombuffer(lines, np.uint8)
    ends = np.flatnonzero(text == _NEW_LINE)
    if _may_be_blank(text, ends):
        lines = b"\n".join(filled(lines))
        ends = np.flatnonzero(np.frombuffer(lines, np.uint8) == _NEW_LINE)
    if not lines:
        return
    count, start = len(ends) + 1, 0
    for first in range(0, count, records):
        last = min(first + records, count)
        end = int(ends[last - 1]) if last < count else len(lines)
        yield lines[start:end], last - first, False
        start = end + 1


class _Members(io.RawIOBase):
    """Inflates members (gzip) or frames (zstd) one after the other; EOFError where the last one is torn.

    What came before a tear is given first: the libraries' own readers keep it or just end.
    """

    def __init__(self, file: BinaryIO, make: Callable[[], Any], padding: bytes) -> None:
        self._file = file
        self._make = make
        self._padding = padding  # may stand between members
        self._member: Any = None
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        while not self._ready and self._feed():
            pass
        size = min(len(self._ready), len(view))
        view[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def _feed(self) -> bool:
        data = self._file.read(_PACKED)
        if not data and self._member is not None:
            raise EOFError("Compressed file ended before the end of its last part")
        parts = []
        data = data if self._member is not None else data.lstrip(self._padding)
        while data:
            member = self._member or self._make()
            parts.append(member.decompress(data))
            self._member, data = (None, member.unused_data.lstrip(self._padding)) if member.eof else (member, b"")
        self._ready = memoryview(b"".join(parts))
        return bool(self._ready) or self._member is not None

    def close(self) -> None:
        self._file.close()
        super().close()
