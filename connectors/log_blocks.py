"""Log blocks: a log file as blocks of whole lines.

Why not line by line: a block goes to the decoder as it is, and only where lines end in it is looked for.
"""

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from connectors.decoded import EXCERPT
from connectors.log_file import UNREADABLE

LONGEST_LINE = 64 << 20
_BLOCK = 1 << 22
_READ = 1 << 20
_NEW_LINE, _SPACE = 10, 32


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
