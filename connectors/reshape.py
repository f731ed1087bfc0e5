"""Reshape: records whose values stand deeper than their keys, or in columns of CSV, as the flat objects that decoding reads.

It stands in for msgspec's typed decoder inside `TypedReader`, so all rules of decoding are the same: what is no JSON, a value
of the wrong type, numbers outside int64.
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from connectors.record_path import Place

_FLAGS = {"true": True, "false": False}


class Reshaper:
    """Gives flat objects: key -> value at its place."""

    def __init__(self, places: Mapping[str, tuple[Place, ...]]) -> None:
        """Take key -> places, tried in order."""
        self._places = places

    def flat(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """Give the flat object of a record."""
        return {key: _first(places, value) for key, places in self._places.items()}


def _first(places: tuple[Place, ...], record: Mapping[str, Any]) -> Any:
    for place in places:
        found = place.of(record)
        if found is not None:
            return found
    return None


class ObjectReader:
    """Reads one JSON object a call, as a decoder of msgspec does; raises msgspec.DecodeError."""

    def __init__(self, made: Callable[[dict[str, Any]], Any]) -> None:
        """Take what makes a record of an object."""
        self._made = made
        self._json = msgspec.json.Decoder(dict[str, Any])

    def decode(self, row: bytes) -> Any:
        """Read one record."""
        return self._made(self._json.decode(row))

    def decode_lines(self, rows: bytes) -> list[Any]:
        """Read one record a line."""
        return [self._made(value) for value in self._json.decode_lines(rows)]


class CsvReader:
    """Reads lines of CSV (RFC 4180, but a line is a record); values are strings. Raises msgspec.DecodeError with the reason."""

    def __init__(self, columns: Sequence[str], flags: frozenset[str], made: Callable[[dict[str, Any]], Any]) -> None:
        """Take the names of the columns in order, which are true or false, and what makes a record of an object."""
        self._columns = list(columns)
        self._flags = flags
        self._made = made

    def decode(self, row: bytes) -> Any:
        """Read one record."""
        try:
            values = next(csv.reader([row.decode().strip("\r\n")], strict=True), [])
        except (csv.Error, UnicodeDecodeError):
            raise msgspec.DecodeError("not CSV") from None
        if values == self._columns:
            raise msgspec.DecodeError("the header of a CSV file")
        if len(values) != len(self._columns):
            raise msgspec.DecodeError(f"CSV with {len(values)} columns instead of {len(self._columns)}")
        found: dict[str, Any] = dict(zip(self._columns, values, strict=True))
        return self._made(found | {name: _FLAGS.get(found[name].lower()) for name in self._flags & found.keys()})

    def decode_lines(self, _rows: bytes) -> list[Any]:
        """Refuse: lines are read one by one."""
        raise msgspec.DecodeError("not CSV")
