"""Block: the payloads of many messages as places in one piece of bytes: what native consumption gives.

A payload becomes a Python object only where somebody asks for it, which few do: decoding reads the block.
"""

from collections.abc import Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray


class Block(Sequence[bytes | None]):
    """n payloads: `start` and `size` (n,) int64 are places in `data`, where a newline is behind each; of size -1 it is None."""

    def __init__(self, data: bytes, start: NDArray[np.int64], size: NDArray[np.int64]) -> None:
        """Take the bytes and the places."""
        self.data, self.start, self.size = data, start, size
        self._last: tuple[int, bytes | None] = (-1, None)  # records of one message are asked for one behind the other

    def __len__(self) -> int:
        return len(self.start)

    @overload
    def __getitem__(self, place: int) -> bytes | None: ...
    @overload
    def __getitem__(self, place: slice) -> "Block": ...
    def __getitem__(self, place: int | slice) -> "bytes | Block | None":
        """Give one payload, or a part of them without copying."""
        if isinstance(place, slice):
            return Block(self.data, self.start[place], self.size[place])
        number = range(len(self))[place]
        if number != self._last[0]:
            start, size = int(self.start[number]), int(self.size[number])
            self._last = number, None if size < 0 else self.data[start : start + size]
        return self._last[1]


def bytes_of(payloads: Sequence[bytes | None]) -> int:
    """Give the size of all payloads."""
    return int(np.maximum(payloads.size, 0).sum()) if isinstance(payloads, Block) else sum(map(len, filter(None, payloads)))


def joined(parts: Sequence[Sequence[bytes | None]]) -> Sequence[bytes | None]:
    """Put payloads one behind the other; parts of one block stay in it."""
    blocks = [part for part in parts if isinstance(part, Block)]
    if blocks and len(blocks) == len(parts) and all(block.data is blocks[0].data for block in blocks):
        if len(blocks) == 1:
            return blocks[0]
        return Block(
            blocks[0].data, np.concatenate([block.start for block in blocks]), np.concatenate([block.size for block in blocks])
        )
    return [payload for part in parts for payload in part]
