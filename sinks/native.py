"""Native: ClickHouse's format of columns, as numpy arrays; numbers as they are in memory, few distinct values by codes.

Why not RowBinary: the server writes and this reads a column at a time, which costs half as much. Only what is asked for here
is read: numbers, and LowCardinality of numbers and of short texts (https://clickhouse.com/docs/interfaces/formats/Native).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NUMBERS = {"UInt8": "u1", "UInt16": "<u2", "UInt32": "<u4", "UInt64": "<u8", "Float64": "<f8"}
_LOW = "LowCardinality("
_VERSION = 1  # of LowCardinality's keys
_CODES = ("u1", "<u2", "<u4", "<u8")  # by the low byte of the flags
_ADDITIONAL_KEYS = 0x200  # the dictionary comes with the block, as it does always where blocks stand alone


@dataclass(frozen=True, slots=True)
class Coded:
    """A column (n,) of few distinct values: places in `values`."""

    codes: NDArray[Any]
    values: NDArray[Any]


Column = NDArray[Any] | Coded


def blocks(data: bytes) -> Iterator[dict[str, Column]]:
    """Give the blocks of an answer, columns by name; raises ValueError where it is not of this format, or cut."""
    reader = _Reader(data)
    while reader.at < len(data):
        width, size = reader.number(), reader.number()
        block: dict[str, Column] = {}
        for _ in range(width):
            name, kind = reader.text(), reader.text()
            block[name] = reader.column(kind, size)
        yield block


class _Reader:
    """Reads one answer from its beginning."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def number(self) -> int:
        """Read an integer of seven bits a byte, the lowest first."""
        found = shift = 0
        while True:
            if self.at >= len(self._data):
                raise ValueError("the answer is cut")
            byte = self._data[self.at]
            self.at += 1
            found |= (byte & 0x7F) << shift
            if byte < 0x80:  # noqa: PLR2004  the last one
                return found
            shift += 7

    def text(self) -> str:
        return bytes(self._taken(self.number())).decode()

    def column(self, kind: str, size: int) -> Column:
        """Read a column of `size` values."""
        if not kind.startswith(_LOW):
            return self._numbers(kind, size)
        if not size:
            return Coded(np.zeros(0, np.uint8), np.zeros(0))
        version, flags, count = self._numbers("UInt64", 3).tolist()
        if version != _VERSION or not flags & _ADDITIONAL_KEYS or flags & 0xFF >= len(_CODES):
            message = f"LowCardinality with version {version} and flags {flags:#x}"
            raise ValueError(message)
        of = kind.removeprefix(_LOW)[:-1]
        values = np.array([self.text() for _ in range(count)], np.str_) if of == "String" else self._numbers(of, count)
        if self._numbers("UInt64", 1)[0] != size:
            raise ValueError("codes are missing")
        return Coded(self._array(_CODES[flags & 0xFF], size), values)

    def _numbers(self, kind: str, size: int) -> NDArray[Any]:
        if kind not in _NUMBERS:
            message = f"a column of {kind}"
            raise ValueError(message)
        return self._array(_NUMBERS[kind], size)

    def _array(self, kind: str, size: int) -> NDArray[Any]:
        taken = self._taken(size * np.dtype(kind).itemsize)
        return np.frombuffer(taken, kind)

    def _taken(self, size: int) -> memoryview:
        taken = memoryview(self._data)[self.at : self.at + size]
        if len(taken) < size:
            raise ValueError("the answer is cut")
        self.at += size
        return taken
