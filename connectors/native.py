"""Native reader: what the compiled `_native` gives, as the columns that decoding asks for.

It is optional: where no C compiler was there at installation, Python reads instead, with the same results. EDGEWATCH_NATIVE=0
leaves it out.
"""

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectors.batch import Identities, Lasting, Strings
from connectors.block import Block
from connectors.dataset import Dataset, Field
from connectors.decoded import Decoded, coalesced, folded
from connectors.event_time import INVALID
from connectors.payload import Sources

try:
    from connectors import _native
except ImportError:  # built without a C compiler
    _native = None  # type: ignore[assignment]

_SEED = secrets.randbits(64)


@dataclass(frozen=True, slots=True)
class Found:
    """n records as raw columns, and what was left out: (payload, index or -1 for all of it, begin, end)."""

    payloads: Sequence[bytes | None]
    source: NDArray[np.int32]  # which of `payloads`
    payload: NDArray[np.int32]  # the number it goes by
    index: NDArray[np.int32]
    columns: tuple[Any, ...]
    holes: list[tuple[int, int, int, int]]

    def renumbered(self, numbers: NDArray[np.int32]) -> "Found":
        """Give the payloads other numbers."""
        holes = [(int(numbers[number]), index, begin, end) for number, index, begin, end in self.holes]
        return replace(self, payload=numbers[self.payload], holes=holes)


def available() -> bool:
    """Tell whether the compiled reader is there and wanted."""
    return _native is not None and os.environ.get("EDGEWATCH_NATIVE", "1") != "0"


class NativeReader:
    """Reads payloads of one dataset into the columns in use."""

    @staticmethod
    def of(dataset: Dataset, columns: Mapping[str, Field], left: str = "") -> "NativeReader | None":
        """Make the reader; None where it is not built, one key means two things, or values stand deeper.

        Records that hold objects at the key `left` are left out.
        """
        places = {(key, column.position is None) for column in columns.values() for key in column.keys}
        keys = {key for key, _ in places}
        clear = not dataset.places and not dataset.csv and len(keys) == len(places) and not keys & set(dataset.event_time)
        clear = clear and left not in keys
        return NativeReader(dataset, columns, left) if clear and available() else None

    def __init__(self, dataset: Dataset, columns: Mapping[str, Field], left: str = "") -> None:
        """Lay out the raw columns: event times first, then each column's keys, and the one that is only looked at."""
        self._dataset = dataset
        self._columns = columns
        self._keys = [(key.encode(), "t", -1) for key in dataset.event_time]
        self._places: dict[str, list[int]] = {}
        for name, column in columns.items():
            kind = "i" if name == dataset.identity else column.kind[0]
            position = -1 if column.position is None else column.position
            first = len(self._keys)
            self._keys += [(key.encode(), kind, position) for key in column.keys]
            self._places[name] = list(range(first, len(self._keys)))
        if left:
            self._keys.append((left.encode(), "h", -1))

    def read(self, payloads: Sequence[bytes | None], *, lines: bool) -> Found:
        """Read what can be read natively."""
        if isinstance(payloads, Block) and not lines:
            found = _native.read_block(tuple(self._keys), payloads.data, payloads.start, payloads.size, _SEED)
        else:
            found = _native.read(tuple(self._keys), payloads, lines, _SEED)
        payload, index, columns, holes = found
        numbers = np.frombuffer(payload, np.int32)
        left = [
            (number, place, begin, end) for number, place, begin, end in np.frombuffer(holes, np.int64).reshape(-1, 4).tolist()
        ]
        return Found(payloads, numbers, numbers, np.frombuffer(index, np.int32), columns, left)

    def to_columns(self, found: Found, sources: Sources) -> Decoded:
        """Make columns of what was read."""
        kinds = {name: column.kind for name, column in self._columns.items()}
        identity, lower = self._dataset.identity, self._dataset.folded
        strings = {n: self._strings(found, n) for n, kind in kinds.items() if kind == "string" and n != identity}
        named = self._identities(found, identity) if identity else None

        def source(i: int) -> bytes:
            return sources(int(found.payload[i]), int(found.index[i]))

        def records(places: NDArray[np.int64]) -> list[bytes]:
            lines = [None] * len(places) if named is None else named.lines(places)
            return [source(i) if line is None else line for i, line in zip(places.tolist(), lines, strict=True)]

        return Decoded(
            payload=found.payload,
            index=found.index,
            times=self._times(found),
            numbers={n: self._numbers(found, n) for n, kind in kinds.items() if kind == "number"},
            strings={n: folded(column) if n in lower else column for n, column in strings.items()},
            flags={n: self._flags(found, n) for n, kind in kinds.items() if kind == "flag"},
            identity=[None] * len(found.payload) if named is None else named,
            refusals=[],
            source=source,
            records=records,
        )

    def _times(self, found: Found) -> NDArray[np.int64]:
        first, *others = (np.frombuffer(found.columns[i], np.int64) for i in range(len(self._dataset.event_time)))
        for other in others:
            first = np.where(first == INVALID, other, first)
        return first

    def _numbers(self, found: Found, name: str) -> NDArray[np.float64]:
        first, *others = (np.frombuffer(found.columns[i], np.float64) for i in self._places[name])
        for other in others:
            first = np.where(np.isnan(first), other, first)
        return first

    def _flags(self, found: Found, name: str) -> NDArray[np.int8]:
        first, *others = (np.frombuffer(found.columns[i], np.int8) for i in self._places[name])
        for other in others:
            first = np.where(first < 0, other, first)
        return first

    def _strings(self, found: Found, name: str) -> Strings:
        columns = [found.columns[i] for i in self._places[name]]
        return coalesced([_strings_of(*column) for column in columns])

    def _identities(self, found: Found, name: str) -> Identities:
        begin, long, hashed = found.columns[self._places[name][0]]
        payloads: Sequence[Any] = found.payloads
        start, size, hashes = np.frombuffer(begin, np.int64), np.frombuffer(long, np.int32), np.frombuffer(hashed, np.uint64)
        if isinstance(payloads, Block):
            whole = np.zeros(len(size), np.int32)
            return Identities([payloads.data], whole, payloads.start[found.source] + start, size, hashes)
        return Identities(payloads, found.source, start, size, hashes)


def _strings_of(codes: bytearray, vocabulary: list[str], numbers: bytearray, generation: int) -> Strings:
    return Strings(np.frombuffer(codes, np.int32), vocabulary, Lasting(np.frombuffer(numbers, np.int32), generation))
