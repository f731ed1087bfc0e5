"""Decoder: payloads of one dataset to columns, with only the fields in use.

Records are read natively (`native`), and what that leaves out by the typed reader in Python (`typed`), which is also the
whole decoder where the native one was not built. Both give the same columns for any bytes.
"""

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectors.batch import Detail, Strings
from connectors.dataset import Dataset, DecodeError, Field
from connectors.decoded import Decoded, joined
from connectors.merged import KEY, NAME
from connectors.native import Found, NativeReader
from connectors.payload import Sources, inflate, is_packed
from connectors.subrequests import Holding, Subrequests
from connectors.typed import Read, TypedReader, sources_of

_LARGEST = 10**15


class Decoder:
    """Decodes payloads of one dataset into the columns named at construction."""

    def __init__(self, dataset: Dataset, fields: frozenset[str], *, native: bool | None = None, unmerge: bool = True) -> None:
        """Take names of the dataset's columns, unknown ones are a KeyError; `native` says which reader, if it matters.

        With `unmerge` the subrequests that a request's record holds inside are records too.
        """
        self.dataset = dataset
        self._labels = sorted(dataset.labels & fields)
        names = sorted({*fields, *dataset.dedup, *([dataset.identity] if dataset.identity else [])} - dataset.labels)
        columns = {name: dataset.fields[name] for name in names}
        self._typed = TypedReader(dataset, columns)
        self._details = TypedReader(replace(dataset, event_time=()), dataset.dimensions)
        self._subrequests: Subrequests | None = None
        if unmerge and dataset.kind == "http_requests":
            self._subrequests = Subrequests(dataset.event_time, self._rows)
        left = NAME if self._subrequests else ""
        self._native = NativeReader.of(dataset, columns, left) if native is not False else None
        if native and self._native is None:
            raise RuntimeError("the native reader was not built, or cannot read these fields")

    @property
    def native(self) -> bool:
        """Tell whether records are read natively."""
        return self._native is not None

    def decode(self, payloads: Sequence[bytes | None], *, lines: bool = False) -> Decoded:
        """Decode payloads. With `lines` each one is a part of an NDJSON file; otherwise a message (read whole first)."""
        sources = sources_of(payloads, lines=lines)
        decoded, holding = self._read(payloads, sources, lines=lines)
        return self._subrequests.beside(decoded, holding, sources) if self._subrequests and holding else decoded

    def _rows(self, rows: list[bytes]) -> Decoded:
        """Decode lines, one a payload, and nothing that they hold inside."""
        return self._read(rows, sources_of(rows, lines=True), lines=True)[0]

    def _read(self, payloads: Sequence[bytes | None], sources: Sources, *, lines: bool) -> tuple[Decoded, list[Holding]]:
        """Read natively, and in Python what is left out; gives also what may hold subrequests."""
        native = self._native
        if native is None:
            holding = self._holding(payloads, sources, lines=lines) if self._subrequests else []
            return self._typed.decode(payloads, lines=lines), holding
        found = native.read(payloads, lines=lines)
        if not found.holes:
            return native.to_columns(found, sources), []
        parts = [found]
        rest, holding = self._typed.new(), list[Holding]()
        packed = [] if lines else [hole[0] for hole in found.holes if hole[1] < 0 and is_packed(payloads[hole[0]] or b"")]
        if packed:
            part, holding = self._unpacked(payloads, packed, rest, sources)
            parts.append(part)
        left = set(packed)
        holding += self._fill(rest, payloads, [hole for hole in found.holes if hole[0] not in left], sources, lines=lines)
        columns = [native.to_columns(part, sources) for part in parts]
        return joined([*columns, self._typed.to_columns(rest, sources)], sources), holding

    def _holding(self, payloads: Sequence[bytes | None], sources: Sources, *, lines: bool) -> list[Holding]:
        """Find the records that may hold subrequests."""
        found: list[Holding] = []
        for number, payload in enumerate(payloads):
            with contextlib.suppress(DecodeError):  # which was refused
                found += _holding_in(number, (payload if lines else inflate(payload or b"")) or b"", sources)
        return found

    def labels(self, topics: Sequence[str], number: NDArray[np.int32]) -> dict[str, Strings]:
        """Give the columns in use that topics fill; `number` (n,) says of which of `topics` each record is."""
        out: dict[str, Strings] = {}
        for name in self._labels:
            given = [self.dataset.label(name, topic) for topic in topics]
            words = [word for word in dict.fromkeys(given) if word is not None]
            codes = np.array([-1 if word is None else words.index(word) for word in given], np.int32)
            out[name] = Strings(codes[number], words)
        return out

    def details(self, records: Sequence[bytes]) -> list[Detail]:
        """Give what the dataset's dimensions are of each record, by its bytes; None where one is absent."""
        columns = self._details.values(records) if records else []
        return list(zip(*map(self._texts, self.dataset.dimensions.values(), columns), strict=True))

    def _texts(self, dimension: Field, values: Sequence[Any]) -> Iterable[str | None]:
        if dimension.kind == "number":
            return map(_number_text, values)
        if dimension.keys[0] in self.dataset.folded:
            return (None if value is None else value.lower() for value in values)
        return values

    def _unpacked(
        self, payloads: Sequence[bytes | None], packed: Sequence[int], rest: Read, sources: Sources
    ) -> tuple[Found, list[Holding]]:
        """Inflate the payloads numbered `packed` and read them; what cannot be inflated is refused."""
        assert self._native is not None  # noqa: S101 (narrows the type)
        plain: dict[int, bytes] = {}
        for number in packed:
            payload = payloads[number] or b""
            try:
                plain[number] = inflate(payload)
            except DecodeError as error:
                rest.refuse(number, 0, str(error), payload)
        found = self._native.read(list(plain.values()), lines=False).renumbered(np.array(list(plain), np.int32))
        return found, self._fill(rest, plain, found.holes, sources, lines=False)

    def _fill(
        self,
        rest: Read,
        payloads: Sequence[bytes | None] | dict[int, bytes],
        holes: Sequence[tuple[int, int, int, int]],
        sources: Sources,
        *,
        lines: bool,
    ) -> list[Holding]:
        """Read in Python what was left out natively; gives what of it may hold subrequests."""
        holding: list[Holding] = []
        for number, index, begin, end in holes:
            payload = payloads[number]
            if index < 0 or payload is None:
                self._typed.read_payload(rest, number, payload, lines=lines)
                holding += _holding_in(number, payload or b"", sources)
            else:
                row = payload[begin:end]
                self._typed.read_row(rest, number, index, row)
                if KEY in row:
                    holding.append(Holding(number, index, row))
        return holding


def _holding_in(number: int, payload: bytes, sources: Sources) -> list[Holding]:
    """Give the records of a payload that may hold subrequests; it is given as it is when it is not packed."""
    if KEY not in payload:
        return []
    return [Holding(number, index, row) for index, row in enumerate(sources.records(number)) if KEY in row]


@lru_cache(4096)
def _number_text(value: float | None) -> str | None:
    """Write a number as the value of a dimension; one that is too large for a status or a code is none."""
    if value is None or not abs(value) < _LARGEST:
        return None
    return f"{int(value)}" if value == int(value) else repr(float(value))
