"""Typed reader: payloads to columns in Python: the definition of what is read, and what reads where no compiler was.

A clean stream is parsed once by msgspec into structs of the fields in use. A payload that does not fit the types is
read again, alone, by the reference reader (`json`), which makes the one bad value absent or the record a dead letter.

Why two readers: typed decoding is twice as fast as objects, but refuses a record for one wrong value. Both follow the
same rules (RFC 8259; invalid UTF-8 and lone surrogates matter only in the value in use that holds them).
"""

import itertools
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NoReturn

import msgspec
import numpy as np
from msgspec.structs import astuple
from numpy.typing import NDArray

from connectors.batch import Strings
from connectors.dataset import Dataset, DecodeError, Field, FieldKind
from connectors.decoded import EXCERPT, Decoded, Refusal, folded
from connectors.event_time import event_times
from connectors.payload import Sources, inflate, rows
from connectors.reshape import CsvReader, ObjectReader, Reshaper

_INT64 = 2**63
_LONGEST_INT64 = 20  # characters, with the sign
_PLAIN_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)
_FIRST, _LAST, _OPENING, _CLOSING = itemgetter(0), itemgetter(-1), ord("{"), ord("}")
_NEWLINE = ord("\n")
_FLAG_CODES = {True: 1, False: 0, None: -1}
_TYPES: dict[str, Any] = {"number": float | None, "string": str | None, "flag": bool | None, "time": int | str | None}
_ARRAY_TYPES: dict[str, Any] = {"number": list[float | None] | None, "string": list[str | None] | None}
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError)


class Read:
    """Records of a call as raw columns (one list a key), and where each came from.

    Structs become columns a message at a time, while they are in the processor's cache.
    """

    def __init__(self, width: int) -> None:
        self.columns: list[list[Any]] = [[] for _ in range(width)]
        self.payload: list[int] = []
        self.index: list[int] = []
        self.refusals: list[Refusal] = []

    def extend(self, records: Sequence[msgspec.Struct], payload: Iterable[int], places: Iterable[int]) -> None:
        """Take records, each with the number of its payload and its place in it."""
        for column, values in zip(self.columns, zip(*map(astuple, records), strict=True), strict=False):
            column.extend(values)
        self.payload.extend(payload)
        self.index.extend(places)

    def extend_singles(self, records: Sequence[msgspec.Struct], end: int) -> None:
        """Take the only records of as many payloads, the last of which stands before payload `end`."""
        if records:
            self.extend(records, range(end - len(records), end), itertools.repeat(0, len(records)))

    def replace(self, place: int, record: msgspec.Struct) -> None:
        """Put another record at a place of the columns."""
        for column, value in zip(self.columns, astuple(record), strict=True):
            column[place] = value

    def refuse(self, payload: int, index: int, reason: str, excerpt: bytes) -> None:
        """Take note of what is no record."""
        self.refusals.append(Refusal(payload, index, reason, excerpt[:EXCERPT]))


class TypedReader:
    """Reads payloads of one dataset into the columns in use."""

    def __init__(self, dataset: Dataset, columns: Mapping[str, Field]) -> None:
        """Build the typed reader of `columns` and of the dataset's event times."""
        self._dataset = dataset
        self._columns = columns
        keys: dict[str, FieldKind | str] = dict.fromkeys(dataset.event_time, "time")
        arrays: dict[str, str] = {}
        for column in columns.values():
            for key in column.keys:
                if column.position is None:
                    keys.setdefault(key, column.kind)
                else:
                    arrays[key] = column.kind
        self._keys = [*keys, *arrays]
        self._kinds = {**keys, **arrays}
        self._arrays = frozenset(arrays)
        self._plain = [key for key, kind in self._kinds.items() if kind == "number" and key not in arrays]
        types = [_ARRAY_TYPES[arrays[key]] if key in arrays else _TYPES[keys[key]] for key in self._keys]
        slots = [f"f{i}" for i in range(len(self._keys))]
        self._struct = msgspec.defstruct(
            "Record",
            [(slot, kind, None) for slot, kind in zip(slots, types, strict=True)],
            rename=dict(zip(slots, self._keys, strict=True)),
            gc=False,
        )
        self._json: Any = msgspec.json.Decoder(self._struct)
        self._reshaper = Reshaper({key: dataset.places[key] for key in self._keys}) if dataset.places else None
        if self._reshaper is not None:
            self._json = ObjectReader(self._from_object)
        flags = frozenset(key for key, kind in self._kinds.items() if kind == "flag")
        self._csv = CsvReader(dataset.csv, flags, self._from_object) if dataset.csv else None
        if self._csv is not None:
            self._json = self._csv

    def decode(self, payloads: Sequence[bytes | None], *, lines: bool) -> Decoded:
        """Read all payloads; with `lines` each one is a part of an NDJSON file, otherwise a message (read whole first)."""
        # In a file a newline ends a record, so what spans lines must not be read in one call there.
        read = (None if lines else self._read_single(payloads)) or self._read_each(payloads, lines=lines)
        split = _split if self._csv is None else _never_whole
        return self.to_columns(read, Sources(payloads, lines=lines, split=split))

    def new(self) -> "Read":
        """Give an empty reading, for `read_payload` and `read_row`."""
        return Read(len(self._keys))

    def read_payload(self, read: "Read", number: int, payload: bytes | None, *, lines: bool) -> None:
        """Read one payload that is not packed."""
        if not payload:
            read.refuse(number, 0, "empty value", b"")
        elif lines or not self._read_message(read, number, payload):
            self._read_lines(read, number, payload)

    def read_row(self, read: "Read", number: int, index: int, row: bytes) -> None:
        """Read one line of a payload, the one at `index`."""
        record = self._record(row)
        if isinstance(record, str):
            read.refuse(number, index, record, row)
        else:
            read.extend([record], [number], [index])

    def values(self, records: Sequence[bytes]) -> list[Sequence[Any]]:
        """Give the values (n,) of each column, None where one is absent; `records` are the bytes of one record each."""
        found = self._decoded(b"\n".join(records), len(records))
        if found is None:
            read = (self._record(record) for record in records)
            found = [self._struct() if isinstance(record, str) else record for record in read]
        raw: dict[str, Sequence[Any]] = dict(zip(self._keys, zip(*map(astuple, found), strict=True), strict=True))
        return [self._column(raw, name) for name in self._columns]

    def _record(self, row: bytes) -> msgspec.Struct | str:
        """Give the record of a line, or the reason why it is none."""
        try:
            record: msgspec.Struct = self._json.decode(row)
            return record
        except _UNREADABLE as error:
            if self._csv is not None:
                return str(error)
            value = _lenient_json(row)
        return self._from_object(value) if isinstance(value, dict) else _line_reason(value)

    def _read_single(self, payloads: Sequence[bytes | None]) -> "Read | None":
        """Read everything in one call where every payload is one object on one line and fits the types; None where not.

        That each payload starts with `{` and ends with `}`, and that there are as many values as payloads, makes sure
        that none holds two (an object right after an object would be one too many).
        """
        if not payloads or not all(payloads) or b"\n" in payloads[0]:  # type: ignore[operator]
            return None
        pieces: Sequence[bytes] = payloads  # type: ignore[assignment]
        if set(map(_FIRST, pieces)) != {_OPENING} or set(map(_LAST, pieces)) != {_CLOSING}:
            return None
        records = self._decoded(b"\n".join(pieces), len(pieces))
        if records is None:
            return None
        read = Read(len(self._keys))
        read.extend_singles(records, len(pieces))
        return read

    def _decoded(self, blob: bytes, count: int) -> list[msgspec.Struct] | None:
        try:
            records = self._json.decode_lines(blob)
        except _UNREADABLE:
            return None
        return records if len(records) == count else None

    def _read_each(self, payloads: Sequence[bytes | None], *, lines: bool) -> Read:
        read = Read(len(self._keys))
        decode = self._json.decode
        singles: list[msgspec.Struct] = []  # of the payloads right before `number`
        for number, payload in enumerate(payloads):
            if payload and not lines and b"\n" not in payload:
                try:
                    singles.append(decode(payload))
                    continue
                except _UNREADABLE:
                    pass
            read.extend_singles(singles, number)
            singles = []
            if not payload:
                read.refuse(number, 0, "empty value", b"")
            elif not self._read_objects(read, number, payload):
                (self._read_lines if lines else self._read_packed)(read, number, payload)
        read.extend_singles(singles, len(payloads))
        return read

    def _read_objects(self, read: Read, number: int, payload: bytes) -> bool:
        """Read a payload of several lines, each exactly one object that fits the types, in one call; False where it is none.

        That each line starts with `{` and ends with `}`, and that there are as many values as lines, makes sure that no
        value spans lines (a newline is not allowed inside a JSON string, nor an object right after an object).
        """
        if b"\n" not in payload:
            return False
        blob = payload.rstrip(b"\n")
        count = _count_objects(blob)
        records = self._decoded(blob, count) if count > 1 else None
        if records is not None:
            read.extend(records, itertools.repeat(number, count), range(count))
        return records is not None

    def _read_packed(self, read: Read, number: int, payload: bytes) -> None:
        """Read a message that is no object of the expected types: packed, dirty, an array or lines."""
        try:
            self.read_payload(read, number, inflate(payload), lines=False)
        except DecodeError as error:
            read.refuse(number, 0, str(error), payload)

    def _read_message(self, read: Read, number: int, payload: bytes) -> bool:
        """Read a message that is one JSON value, or one line; False where its lines are to be read."""
        if self._csv is not None:
            return False
        try:
            record = self._json.decode(payload)
        except _UNREADABLE:
            value = _lenient_json(payload)
            if isinstance(value, list):
                self._read_array(read, number, value)
                return True
            if not isinstance(value, dict):
                if b"\n" in payload or not payload.strip():
                    return False
                read.refuse(number, 0, _line_reason(value), payload)
                return True
            record = self._from_object(value)
        read.extend([record], [number], [0])
        return True

    def _read_array(self, read: Read, number: int, values: list[Any]) -> None:
        for index, value in enumerate(values):
            if isinstance(value, dict):
                read.extend([self._from_object(value)], [number], [index])
            else:
                read.refuse(number, index, f"array element is no JSON object but {_json_name(value)}", _to_source(value))

    def _read_lines(self, read: Read, number: int, payload: bytes) -> None:
        found = rows(payload)
        if not found:
            read.refuse(number, 0, "empty value", payload)
        records, places = [], []
        for index, row in enumerate(found):
            record = self._record(row)
            if isinstance(record, str):
                read.refuse(number, index, record, row)
            else:
                records.append(record)
                places.append(index)
        read.extend(records, itertools.repeat(number, len(records)), places)

    def _from_object(self, value: dict[str, Any]) -> msgspec.Struct:
        """Take the values in use from a parsed object; a value of the wrong type is None."""
        if self._reshaper is not None:
            value = self._reshaper.flat(value)
        return self._struct(*(self._take(key, value.get(key)) for key in self._keys))

    def _take(self, key: str, value: Any) -> Any:
        kind = self._kinds[key]
        if key in self._arrays:
            return [_value(item, kind) for item in value] if isinstance(value, list) else None
        return _value(value, kind)

    def to_columns(self, read: Read, sources: Sources) -> Decoded:
        """Make columns of what was read; `sources` finds the bytes of records that are looked at twice."""
        raw = self._raw_columns(read)
        suspicious = self._suspicious(raw)
        for i in suspicious:
            value = _lenient_json(sources(read.payload[i], read.index[i]))
            if isinstance(value, dict):
                read.replace(i, self._from_object(value))
        if suspicious:
            raw = self._raw_columns(read)
        columns = {name: self._column(raw, name) for name in self._columns}
        kinds = {name: column.kind for name, column in self._columns.items()}
        identity, lower = self._dataset.identity, self._dataset.folded
        strings = {n: _encode(c) for n, c in columns.items() if kinds[n] == "string" and n != identity}
        return Decoded(
            payload=np.array(read.payload, np.int32),
            index=np.array(read.index, np.int32),
            times=self._times(raw, len(read.payload)),
            numbers={n: _numbers(c) for n, c in columns.items() if kinds[n] == "number"},
            strings={n: folded(column) if n in lower else column for n, column in strings.items()},
            flags={n: _flags(c) for n, c in columns.items() if kinds[n] == "flag"},
            identity=list(columns[identity]) if identity else [None] * len(read.payload),
            refusals=read.refusals,
            source=lambda i: sources(read.payload[i], read.index[i]),
            records=lambda places: [sources(read.payload[i], read.index[i]) for i in places.tolist()],
        )

    def _raw_columns(self, read: Read) -> dict[str, Sequence[Any]]:
        """Give the values of each key in turn; plain numbers as an array."""
        raw: dict[str, Any] = dict(zip(self._keys, read.columns, strict=True))
        return raw | {key: _numbers(raw[key]) for key in self._plain}

    def _suspicious(self, raw: dict[str, Sequence[Any]]) -> list[int]:
        """Find records whose numbers may be integers outside int64: read as floats they look like valid ones."""
        places: set[int] = set()
        for key in self._plain:
            places.update(np.flatnonzero(np.abs(raw[key]) >= _INT64).tolist())
        for key in sorted(self._arrays):
            if self._kinds[key] == "number":
                places.update(
                    i for i, row in enumerate(raw[key]) if row and any(v is not None and abs(v) >= _INT64 for v in row)
                )
        return sorted(places)

    def _column(self, raw: dict[str, Sequence[Any]], name: str) -> Sequence[Any]:
        column = self._columns[name]
        if column.position is not None:
            place = column.position
            return [row[place] if row is not None and len(row) > place else None for row in raw[column.keys[0]]]
        first, *others = column.keys
        values = raw[first]
        for other in others:
            if any(value is not None for value in raw[other]):
                values = [b if a is None else a for a, b in zip(values, raw[other], strict=True)]
        return values

    def _times(self, raw: dict[str, Sequence[Any]], count: int) -> NDArray[np.int64]:
        first, *others = self._dataset.event_time
        times = event_times(raw[first]) if count else np.zeros(0, np.int64)
        for other in others:
            missing = np.flatnonzero(times == -_INT64)
            if len(missing):
                values = raw[other]
                times[missing] = event_times([values[i] for i in missing.tolist()])
        return times


def sources_of(payloads: Sequence[bytes | None], *, lines: bool) -> Sources:
    """Give the bytes of the records of payloads."""
    return Sources(payloads, lines=lines, split=_split)


def _never_whole(_payload: bytes) -> None:
    """Say that a payload is to be read line by line, as CSV is."""


def _split(payload: bytes) -> list[bytes] | None:
    newline = payload.find(b"\n")
    if newline >= 0 and payload[newline - 1 : newline + 2] == b"}\n{":
        return None  # no JSON value has an object right behind another
    whole = _lenient_json(payload)
    if isinstance(whole, list):
        return [_to_source(value) for value in whole]
    return [payload] if isinstance(whole, dict) else None


def _count_objects(blob: bytes) -> int:
    """Count the lines, or give 0 where one does not begin with `{` and end with `}`."""
    column = np.frombuffer(blob, np.uint8)
    if not len(column) or column[0] != _OPENING or column[-1] != _CLOSING:
        return 0
    inner = np.flatnonzero(column == _NEWLINE)
    well = (column[inner - 1] == _CLOSING).all() and (column[inner + 1] == _OPENING).all()
    return len(inner) + 1 if well else 0


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(constant)


def _parse_int(text: str) -> int:
    # An integer of thousands of digits is as absent as one of twenty, and must not cost quadratic time.
    return int(text) if len(text) <= _LONGEST_INT64 else _INT64


def _lenient_json(payload: bytes) -> Any:
    """Parse by the reference reader; None where the bytes are not JSON (a JSON null is no record either)."""
    try:
        text = payload.decode("utf-8", "surrogateescape")
        return json.loads(text, parse_constant=_refuse_constant, parse_int=_parse_int)
    except (ValueError, RecursionError):
        return None


def _value(value: Any, kind: str) -> Any:
    if kind == "number":
        return _number(value)
    if kind == "string":
        return _text(value)
    if kind == "flag":
        return value if isinstance(value, bool) else None
    return value if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)) else None


def _number(value: Any) -> float | None:
    if isinstance(value, str) and _PLAIN_NUMBER.fullmatch(value):
        value = float(value) if "." in value else _parse_int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int):
        return float(value) if -_INT64 <= value < _INT64 else None
    return value if np.isfinite(value) else None


def _text(value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        return None
    return value


def _numbers(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array(values, np.float64) + 0.0  # None becomes NaN, and -0.0 becomes 0.0


def _flags(values: Sequence[bool | None]) -> NDArray[np.int8]:
    return np.fromiter(map(_FLAG_CODES.__getitem__, values), np.int8, len(values))


def _encode(values: Sequence[str | None]) -> Strings:
    """Encode by dictionary: codes are in order of first appearance; None is -1."""
    known: defaultdict[str | None, int] = defaultdict(itertools.count().__next__)
    codes = np.fromiter(map(known.__getitem__, values), np.int32, len(values))
    if None not in known:
        return Strings(codes, list(known))  # type: ignore[arg-type]
    vocabulary = [text for text in known if text is not None]
    place = {text: code for code, text in enumerate(vocabulary)}
    return Strings(np.array([place.get(text, -1) for text in known], np.int32)[codes], vocabulary)  # type: ignore[arg-type]


def _to_source(value: Any) -> bytes:
    return json.dumps(value).encode()


def _json_name(value: Any) -> str:
    names = {
        dict: "an object",
        list: "an array",
        str: "a string",
        bool: "a boolean",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), "null")


def _line_reason(value: Any) -> str:
    return "not JSON" if value is None else f"no JSON object but {_json_name(value)}"
