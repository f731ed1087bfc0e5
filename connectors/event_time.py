"""Event times: values of every published form to int64 milliseconds UTC, a column at a time.

Valid are integers in seconds, milliseconds, microseconds or nanoseconds told apart by magnitude, the same as strings of
digits, RFC 3339 with any fraction, and `YYYY-MM-DD hh:mm:ss` read as UTC. Digits below a millisecond are cut. Integers
stay integers throughout: nanoseconds do not fit a float.

Why columns: parsing one RFC 3339 string in Python takes microseconds. Strings are grouped by length, and each group is
one matrix of digits.
"""

import datetime
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

INVALID = -(2**63)
EARLIEST = 631_152_000_000  # 1990-01-01: what is older is a broken clock or a wrong unit, not a record

_RFC3339 = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$", re.ASCII)
_SECONDS, _MILLIS, _MICROS = 10**11, 10**14, 10**17
_DIGITS_MAX = 19
_WHOLE = 19  # characters of YYYY-MM-DDThh:mm:ss
_ZERO = ord("0")
_DAYS_IN_MONTH = np.array([0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


def event_times(values: Sequence[int | str | None]) -> NDArray[np.int64]:
    """Turn n raw values into (n,) ms; INVALID where a value is no event time."""
    kinds = set(map(type, values))
    if kinds == {int}:
        return _integers(values)
    if kinds == {str}:
        return _texts(values)
    out = np.full(len(values), INVALID, np.int64)
    for kind, parse in ((int, _integers), (str, _texts)):
        if kind in kinds:
            places = [i for i, value in enumerate(values) if type(value) is kind]
            out[places] = parse([values[i] for i in places])
    return out


def _integers(values: Sequence[int | str | None]) -> NDArray[np.int64]:
    try:
        raw = np.array(values, dtype=np.int64)
    except OverflowError:
        raw = np.array([v if isinstance(v, int) and 0 < v < 2**63 else 0 for v in values], dtype=np.int64)
    return _scale(raw)


def _scale(raw: NDArray[np.int64]) -> NDArray[np.int64]:
    """Tell the unit by magnitude, value by value: two formats may be interleaved on one topic."""
    if raw.size and raw.min() >= _MICROS:
        return raw // 1_000_000
    ms = np.where(raw >= _SECONDS, raw, raw * 1000)
    ms = np.where(raw >= _MILLIS, raw // 1000, ms)
    ms = np.where(raw >= _MICROS, raw // 1_000_000, ms)
    return np.where(raw > 0, ms, INVALID)


def _texts(values: Sequence[int | str | None]) -> NDArray[np.int64]:
    texts = [value for value in values if isinstance(value, str)]
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    out = np.full(len(texts), INVALID, np.int64)
    for length in np.unique(lengths).tolist():
        places = np.flatnonzero(lengths == length)
        group = texts if len(places) == len(texts) else [texts[i] for i in places]
        if not "".join(group).isascii():
            keep = [i for i, text in enumerate(group) if text.isascii()]
            places, group = places[keep], [group[i] for i in keep]
        joined = "".join(group)
        if joined:
            matrix = np.frombuffer(joined.encode(), np.uint8).reshape(len(group), length)
            out[places] = _same_length(matrix, group)
    return out


def _same_length(matrix: NDArray[np.uint8], group: Sequence[str]) -> NDArray[np.int64]:
    """Parse ASCII texts of one length; `matrix` is (n, length) bytes of the same texts."""
    length = matrix.shape[1]
    out = np.full(len(matrix), INVALID, np.int64)
    if length <= _DIGITS_MAX:
        digits = ((matrix >= _ZERO) & (matrix <= _ZERO + 9)).all(axis=1)
        if digits.any():
            out[digits] = _digit_strings(matrix[digits])
    if length >= _WHOLE:
        whole, valid = _whole_seconds(matrix)
        zulu = _zulu(matrix)
        good = valid & zulu
        out[good] = whole[good] * 1000 + _fraction_ms(matrix)[good]
        for i in np.flatnonzero(matrix[:, -3] == ord(":")).tolist() if length > _WHOLE else ():
            out[i] = _with_offset(group[i])
    return out


def _digit_strings(matrix: NDArray[np.uint8]) -> NDArray[np.int64]:
    value = np.zeros(len(matrix), np.uint64)
    for column in (matrix - _ZERO).T:
        value = value * np.uint64(10) + column
    return _scale(np.where(value < np.uint64(2**63), value, np.uint64(0)).astype(np.int64))


def _number(matrix: NDArray[np.uint8], start: int, stop: int) -> NDArray[np.int64]:
    value = np.zeros(len(matrix), np.int64)
    for column in range(start, stop):
        value = value * 10 + (matrix[:, column].astype(np.int64) - _ZERO)
    return value


def _whole_seconds(matrix: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Give seconds since the epoch of the first 19 characters, and whether they are a date and time."""
    digit = (matrix >= _ZERO) & (matrix <= _ZERO + 9)
    valid = digit[:, [0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18]].all(axis=1)
    for place, mark in ((4, "-"), (7, "-"), (13, ":"), (16, ":")):
        valid &= matrix[:, place] == ord(mark)
    separator = ord("T") if matrix.shape[1] > _WHOLE else ord(" ")
    valid &= matrix[:, 10] == separator
    year, month, day = _number(matrix, 0, 4), _number(matrix, 5, 7), _number(matrix, 8, 10)
    hour, minute, second = _number(matrix, 11, 13), _number(matrix, 14, 16), _number(matrix, 17, 19)
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    valid &= (year > 0) & (month >= 1) & (month <= 12) & (day >= 1)  # noqa: PLR2004 (a calendar)
    longest = _DAYS_IN_MONTH[np.where(valid, month, 0)] - ((month == 2) & ~leap)  # noqa: PLR2004
    valid &= (day <= longest) & (hour < 24) & (minute < 60) & (second < 60)  # noqa: PLR2004
    return _days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second, valid


def _days(year: NDArray[np.int64], month: NDArray[np.int64], day: NDArray[np.int64]) -> Any:
    """Days since 1970-01-01 in the proleptic Gregorian calendar (years counted from March, so leap days come last)."""
    shifted = year - (month <= 2)  # noqa: PLR2004
    era = shifted // 400
    of_era = shifted - era * 400
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468


def _zulu(matrix: NDArray[np.uint8]) -> Any:
    """Tell which texts end after the seconds as UTC does: nothing (with a space), `Z`, or a fraction and `Z`."""
    length = matrix.shape[1]
    if length == _WHOLE:
        return np.ones(len(matrix), np.bool_)
    zulu = matrix[:, -1] == ord("Z")
    if length == _WHOLE + 1:
        return zulu
    fraction = matrix[:, _WHOLE + 1 : -1]
    if fraction.shape[1] == 0:
        return np.zeros(len(matrix), np.bool_)
    digits = ((fraction >= _ZERO) & (fraction <= _ZERO + 9)).all(axis=1)
    return zulu & (matrix[:, _WHOLE] == ord(".")) & digits


def _fraction_ms(matrix: NDArray[np.uint8]) -> NDArray[np.int64]:
    given = min(max(matrix.shape[1] - _WHOLE - 2, 0), 3)
    return _number(matrix, _WHOLE + 1, _WHOLE + 1 + given) * 10 ** (3 - given) if given else np.zeros(len(matrix), np.int64)


def _with_offset(text: str) -> int:
    """Parse RFC 3339 with a numeric offset; Logpush never sends one, so these go one by one."""
    if not _RFC3339.match(text):
        return INVALID
    head, _, tail = text.partition(".")
    digits = re.match(r"[0-9]+", tail)
    base = head + tail[digits.end() :] if digits else head
    try:
        seconds = int(datetime.datetime.fromisoformat(base).timestamp())
    except (ValueError, OverflowError):
        return INVALID
    return seconds * 1000 + (int((digits.group() + "000")[:3]) if digits else 0)


def moment_words(ms: int) -> str:
    """Write a time for people."""
    return datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
