"""Decoder: payloads of one dataset to columns, typed, with only the fields in use.

A clean stream is parsed once by msgspec into structs of the fields in use. A payload that does not fit the types is
read again, alone, by the reference reader (`json`), which makes the one bad value absent or the record a dead letter.

Why two readers: typed decoding is twice as fast as objects, but refuses a record for one wrong value. Both follow the
same rules (RFC 8259; invalid UTF-8 and lone surrogates matter only in the value in use that holds them).
"""

import gzip
import io
import itertools
import json
import re
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NoReturn

import msgspec
import numpy as np
import zstandard
from msgspec.structs import astuple
from numpy.typing import NDArray

from connectors.batch import Strings
from connectors.dataset import Dataset, DecodeError, FieldKind
from connectors.event_time import event_times

MAX_INFLATED = 1 << 30  # bytes; a Logpush upload holds 1 GB at most
EXCERPT = 512  # bytes of a bad record that its dead letter shows

_INT64 = 2**63
_LONGEST_INT64 = 20  # characters, with the sign
_PLAIN_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)
_FIRST, _LAST, _OPENING, _CLOSING = itemgetter(0), itemgetter(-1), ord("{"), ord("}")
_NEWLINE = ord("\n")
_FLAG_CODES = {True: 1, False: 0, None: -1}
_TYPES: dict[str, Any] = {"number": float | None, "string": str | None, "flag": bool | None, "time": int | str | None}
_ARRAY_TYPES: dict[str, Any] = {"number": list[float | None] | None, "string": list[str | None] | None}
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record that is none: the payload's number, the record's place in it, the reason and an excerpt."""

    payload: int
    index: int
    reason: str
    excerpt: bytes


@dataclass(frozen=True, slots=True)
class Decoded:
    """n records as columns, in order of (payload, index); `times` is INVALID where no time field is valid."""

    payload: NDArray[np.int32]
    index: NDArray[np.int32]
    times: NDArray[np.int64]
    numbers: dict[str, NDArray[np.float64]]
    strings: dict[str, Strings]
    flags: dict[str, NDArray[np.int8]]
    identity: list[str | None]
    refusals: list[Refusal]
    source: Callable[[int], bytes]  # the bytes of the i-th record


class _Read:
    """Records of a call as raw columns (one list a key), and where each came from.

    Structs become columns a message at a time, while they are in the processor's cache.
    """

    def __init__(self, width: int) -> None:
        self.columns: list[list[Any]] = [[] for _ in range(width)]
        self.payload: list[int] = []
        self.index: list[int] = []
        self.refusals: list[Refusal] = []

    def extend(self, records: Sequence[msgspec.Struct], payload: Iterable[int], places: Iterable[int]) -> None:
        for column, values in zip(self.columns, zip(*map(astuple, records), strict=True), strict=False):
            column.extend(values)
        self.payload.extend(payload)
        self.index.extend(places)

    def extend_singles(self, records: Sequence[msgspec.Struct], end: int) -> None:
        """Take the only records of as many payloads, the last of which stands before payload `end`."""
        if records:
            self.extend(records, range(end - len(records), end), itertools.repeat(0, len(records)))

    def replace(self, place: int, record: msgspec.Struct) -> None:
        for column, value in zip(self.columns, astuple(record), strict=True):
            column[place] = value

    def refuse(self, payload: int, index: int, reason: str, excerpt: bytes) -> None:
        self.refusals.append(Refusal(payload, index, reason, excerpt[:EXCERPT]))


class _Sources:
    """The bytes of single records, found only when asked for: on a clean stream nobody asks."""

    def __init__(self, payloads: Sequence[bytes | None], *, lines: bool) -> None:
        self._payloads = payloads
        self._lines = lines
        self._rows: tuple[int, list[bytes]] = (-1, [])

    def __call__(self, payload: int, index: int) -> bytes:
        if self._rows[0] != payload:
            self._rows = payload, self._split(inflate(self._payloads[payload] or b""))
        return self._rows[1][index]

    def _split(self, payload: bytes) -> list[bytes]:
        whole = None if self._lines else _lenient_json(payload)
        if isinstance(whole, list):
            return [_to_source(value) for value in whole]
        return [payload] if isinstance(whole, dict) else _rows(payload)


def inflate(payload: bytes) -> bytes:
    """Undo gzip or zstd, told by their first bytes; plain bytes come back as they are. Raises DecodeError."""
    try:
        if payload[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=io.BytesIO(payload)) as stream:
                inflated = stream.read(MAX_INFLATED + 1)
        elif payload[:4] == b"\x28\xb5\x2f\xfd":
            with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(payload), read_across_frames=True) as reader:
                inflated = reader.read(MAX_INFLATED + 1)
        else:
            return payload
    except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
        raise DecodeError(f"compressed value cannot be inflated: {error}") from error
    if len(inflated) > MAX_INFLATED:
        raise DecodeError(f"compressed value inflates to more than {MAX_INFLATED} bytes")
    return inflated


class Decoder:
    """Decodes payloads of one dataset into the columns named at construction."""

    def __init__(self, dataset: Dataset, fields: frozenset[str]) -> None:
        """Build the typed reader; `fields` are names of the dataset's columns, unknown ones are a KeyError."""
        self.dataset = dataset
        self._identity = dataset.identity
        names = sorted(fields | ({dataset.identity} if dataset.identity else set()))
        self._columns = {name: dataset.fields[name] for name in names}
        keys: dict[str, FieldKind | str] = dict.fromkeys(dataset.event_time, "time")
        arrays: dict[str, str] = {}
        for column in self._columns.values():
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
        self._json = msgspec.json.Decoder(self._struct)

    def decode(self, payloads: Sequence[bytes | None], *, lines: bool = False) -> Decoded:
        """Decode payloads. With `lines` each one is a part of an NDJSON file; otherwise a message (read whole first)."""
        read = self._read_single(payloads) or self._read_each(payloads, lines=lines)
        return self._to_columns(read, _Sources(payloads, lines=lines))

    def _read_single(self, payloads: Sequence[bytes | None]) -> "_Read | None":
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
        read = _Read(len(self._keys))
        read.extend_singles(records, len(pieces))
        return read

    def _decoded(self, blob: bytes, count: int) -> list[msgspec.Struct] | None:
        try:
            records = self._json.decode_lines(blob)
        except _UNREADABLE:
            return None
        return records if len(records) == count else None

    def _read_each(self, payloads: Sequence[bytes | None], *, lines: bool) -> _Read:
        read = _Read(len(self._keys))
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
                (self._read_lines if lines else self._read_payload)(read, number, payload)
        read.extend_singles(singles, len(payloads))
        return read

    def _read_objects(self, read: _Read, number: int, payload: bytes) -> bool:
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

    def _read_payload(self, read: _Read, number: int, payload: bytes) -> None:
        """Read a message that is no object of the expected types: compressed, dirty, an array or lines."""
        try:
            plain = inflate(payload)
        except DecodeError as error:
            read.refuse(number, 0, str(error), payload)
            return
        if not self._read_message(read, number, plain):
            self._read_lines(read, number, plain)

    def _read_message(self, read: _Read, number: int, payload: bytes) -> bool:
        """Read a message as one object or one array; False where it is neither (then its lines are read)."""
        try:
            record = self._json.decode(payload)
        except _UNREADABLE:
            value = _lenient_json(payload)
            if isinstance(value, dict):
                record = self._from_object(value)
            elif isinstance(value, list):
                self._read_array(read, number, value)
                return True
            else:
                return False
        read.extend([record], [number], [0])
        return True

    def _read_array(self, read: _Read, number: int, values: list[Any]) -> None:
        for index, value in enumerate(values):
            if isinstance(value, dict):
                read.extend([self._from_object(value)], [number], [index])
            else:
                read.refuse(number, index, f"array element is no JSON object but {_json_name(value)}", _to_source(value))

    def _read_lines(self, read: _Read, number: int, payload: bytes) -> None:
        rows = _rows(payload)
        if not rows:
            read.refuse(number, 0, "empty value", payload)
            return
        decode, records = self._json.decode, []
        refused: list[tuple[int, str]] = []
        for row in rows:
            try:
                records.append(decode(row))
            except _UNREADABLE:
                value = _lenient_json(row)
                if isinstance(value, dict):
                    records.append(self._from_object(value))
                else:
                    refused.append((len(records) + len(refused), _line_reason(value)))
        places: Sequence[int] = range(len(rows))
        if refused:
            bad = dict(refused)
            for index, reason in refused:
                read.refuse(number, index, reason, rows[index])
            places = [index for index in places if index not in bad]
        read.extend(records, itertools.repeat(number, len(records)), places)

    def _from_object(self, value: dict[str, Any]) -> msgspec.Struct:
        """Take the values in use from a parsed object; a value of the wrong type is None."""
        return self._struct(*(self._take(key, value.get(key)) for key in self._keys))

    def _take(self, key: str, value: Any) -> Any:
        kind = self._kinds[key]
        if key in self._arrays:
            return [_value(item, kind) for item in value] if isinstance(value, list) else None
        return _value(value, kind)

    def _to_columns(self, read: _Read, sources: _Sources) -> Decoded:
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
        identity = self._identity
        return Decoded(
            payload=np.array(read.payload, np.int32),
            index=np.array(read.index, np.int32),
            times=self._times(raw, len(read.payload)),
            numbers={n: _numbers(c) for n, c in columns.items() if kinds[n] == "number"},
            strings={
                n: _encode(c, folded=n in self.dataset.folded)
                for n, c in columns.items()
                if kinds[n] == "string" and n != identity
            },
            flags={n: _flags(c) for n, c in columns.items() if kinds[n] == "flag"},
            identity=list(columns[identity]) if identity else [None] * len(read.payload),
            refusals=read.refusals,
            source=lambda i: sources(read.payload[i], read.index[i]),
        )

    def _raw_columns(self, read: _Read) -> dict[str, Sequence[Any]]:
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
        first, *others = self.dataset.event_time
        times = event_times(raw[first]) if count else np.zeros(0, np.int64)
        for other in others:
            missing = np.flatnonzero(times == -_INT64)
            if len(missing):
                values = raw[other]
                times[missing] = event_times([values[i] for i in missing.tolist()])
        return times


def _rows(payload: bytes) -> list[bytes]:
    """Give the lines that are not blank."""
    return list(filter(bytes.strip, payload.split(b"\n")))


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


def _encode(values: Sequence[str | None], *, folded: bool) -> Strings:
    """Encode by dictionary: codes are in order of first appearance; None is -1."""
    known: defaultdict[str | None, int] = defaultdict(itertools.count().__next__)
    codes = np.fromiter(map(known.__getitem__, values), np.int32, len(values))
    vocabulary = list(known)
    if None not in known and not folded:
        return Strings(codes, vocabulary)  # type: ignore[arg-type]
    place: dict[str, int] = {}
    for text in vocabulary:
        if text is not None:
            place.setdefault(text.lower() if folded else text, len(place))
    renamed = [-1 if text is None else place[text.lower() if folded else text] for text in vocabulary]
    return Strings(np.array(renamed, np.int32)[codes], list(place))


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
