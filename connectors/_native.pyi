"""The compiled half of the native reader (`_native.c`)."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

_Column: TypeAlias = bytearray | tuple[bytearray, list[str], bytearray, int] | tuple[bytearray, bytearray, bytearray]

def read(
    keys: tuple[tuple[bytes, str, int], ...],
    payloads: Sequence[bytes | None],
    lines: bool,
    seed: int,
    /,
) -> tuple[bytearray, bytearray, tuple[_Column, ...], bytearray]:
    """Read payloads into columns of n records, without the interpreter's lock.

    A key is (name, kind, position): kind n(umber) s(tring) f(lag) t(ime) i(dentity) or h, of which the column is empty: a
    record that holds an object there is left out. Position in an array or -1; those of one name are all scalars or all
    positions. Gives payload (n,) int32, index (n,) int32, a column a key, and what was left out, (m, 4) int64 of payload,
    index (-1: the whole payload), begin and end. Columns are float64 (NaN), (int32 codes, strings, int32 numbers that the
    strings keep in this process as long as the generation is the same, or -1, and the generation), int8 (-1), int64 ms, and
    (int64 start in the payload, int32 size or -1, uint64 hash or 0). `seed` is of the vocabularies' hash, results do not
    depend on it.
    """

def read_block(
    keys: tuple[tuple[bytes, str, int], ...], block: bytes, start: NDArray[np.int64], size: NDArray[np.int64], seed: int, /
) -> tuple[bytearray, bytearray, tuple[_Column, ...], bytearray]:
    """Read the messages of a block as `read` does its payloads; `start` and `size` (-1: no value) are (n,) int64.

    Raises ValueError where one lies outside of the block.
    """

def line_ends(lines: bytes, /) -> bytearray:
    """Give where the new lines are, as int64."""

def texts(
    sources: list[bytes], source: NDArray[np.int32], start: NDArray[np.int64], size: NDArray[np.int32], /
) -> list[str | None]:
    """Give n texts of UTF-8: source (n,) int32 in `sources`, start (n,) int64 and size (n,) int32 in bytes; size -1 is None."""
