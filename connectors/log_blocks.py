"""Log blocks: a log file as blocks of whole lines.

Why not line by line: a block goes to the decoder as it is, and only where lines end in it is looked for. What was inflated is
copied once: blocks are many, and larger than the processor's cache.
"""

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from connectors.decoded import EXCERPT
from connectors.log_file import UNREADABLE

try:
    from connectors._native import line_ends as _native_ends
except ImportError:  # built without a C compiler
    _native_ends = None  # type: ignore[assignment]

LONGEST_LINE = 64 << 20
_BLOCK = 1 << 22
_READ = 1 << 20
_NEW_LINE, _SPACE = 10, 32


def blocks(stream: BinaryIO, records: int) -> Iterator[tuple[bytes, int, bool]]:
    """Give (lines, number of lines, too long) of about `records` lines; a line that is too long is cut and stands alone.

    How lines fall into blocks shows nowhere but in the time it takes.
    """
    rest: list[bytes] = []  # without a new line
    trouble: Exception | None = None
    while trouble is None:
        pieces, trouble = _next_block(stream)
        if not pieces:
            break
        lines, rest = _cut(rest, pieces)
        yield from _pieces(lines, records)
        if sum(map(len, rest)) > LONGEST_LINE:
            yield b"".join(rest)[:EXCERPT], 1, True
            _skip_line(stream)
            rest = []
    yield from _pieces(b"".join(rest), records)
    if trouble is not None:
        raise trouble


def line_ends(lines: bytes) -> NDArray[np.int64]:
    """Give where the new lines are."""
    if _native_ends is None:
        return np.flatnonzero(np.frombuffer(lines, np.uint8) == _NEW_LINE)
    return np.frombuffer(_native_ends(lines), np.int64)


def filled(lines: bytes) -> list[bytes]:
    """Give the lines that are not blank."""
    return [line for line in lines.split(b"\n") if line.strip()]


def _may_be_blank(text: NDArray[np.uint8], ends: NDArray[np.int64]) -> bool:
    """Tell whether a line begins with white space, as blank ones do and hardly any other does."""
    first = text[np.concatenate(([0], ends + 1))[: len(ends) + bool(len(text) and text[-1] != _NEW_LINE)]]
    return bool((first <= _SPACE).any()) or not len(first)


def _next_block(stream: BinaryIO) -> tuple[list[bytes], Exception | None]:
    """Give pieces of about a block, less at the end, and the trouble met after it: what came before it is not lost."""
    pieces: list[bytes] = []
    size = 0
    try:
        while size < _BLOCK and (piece := stream.read1(_READ)):  # type: ignore[attr-defined]
            pieces.append(piece)
            size += len(piece)
    except UNREADABLE as error:
        return pieces, error
    return pieces, None


def _cut(rest: list[bytes], pieces: list[bytes]) -> tuple[bytes, list[bytes]]:
    """Give the whole lines of what was left and what was read, without the last new line; and what is left now."""
    for number in reversed(range(len(pieces))):
        end = pieces[number].rfind(b"\n")
        if end >= 0:
            lines = b"".join([*rest, *pieces[:number], memoryview(pieces[number])[:end]])
            return lines, [pieces[number][end + 1 :], *pieces[number + 1 :]]
    return b"", rest + pieces


def _skip_line(stream: BinaryIO) -> None:
    while (block := stream.readline(_READ)) and not block.endswith(b"\n"):
        pass


def _pieces(lines: bytes, records: int) -> Iterator[tuple[bytes, int, bool]]:
    """Cut lines into pieces of so many; blank ones are left out."""
    ends = line_ends(lines)
    if _may_be_blank(np.frombuffer(lines, np.uint8), ends):
        lines = b"\n".join(filled(lines))
        ends = line_ends(lines)
    if not lines:
        return
    count, start = len(ends) + 1, 0
    for first in range(0, count, records):
        last = min(first + records, count)
        end = int(ends[last - 1]) if last < count else len(lines)
        yield lines[start:end], last - first, False
        start = end + 1
