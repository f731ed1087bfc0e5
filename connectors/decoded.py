"""Decoded: what reading payloads gives: columns of records, and refusals of what is none; and the joining of two.

A record stands at (payload, index): the payload's number in the call, and the record's place among those of the payload.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectors.batch import Identities, Strings

EXCERPT = 512  # bytes of a bad record that its dead letter shows


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
    identity: Sequence[str | None]
    refusals: list[Refusal]
    source: Callable[[int], bytes]  # the bytes of the i-th record
    records: Callable[
        [NDArray[np.int64]], list[bytes]
    ]  # the same of several, but for blanks around them; fast where read natively


def joined(parts: Sequence[Decoded], source: Callable[[int, int], bytes]) -> Decoded:
    """Put the records of several readings of the same payloads in order; `source` finds bytes by payload and index."""
    payload = np.concatenate([part.payload for part in parts])
    index = np.concatenate([part.index for part in parts])
    order = np.lexsort((index, payload))
    payload, index = payload[order], index[order]

    def together(columns: Sequence[NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate(columns)[order]

    before = np.cumsum([0, *(len(part.payload) for part in parts)])

    def records(places: NDArray[np.int64]) -> list[bytes]:
        found = order[places]
        part_of = np.searchsorted(before, found, side="right") - 1
        out = [b""] * len(places)
        for number, part in enumerate(parts):
            at = np.flatnonzero(part_of == number)
            for place, record in zip(at.tolist(), part.records(found[at] - before[number]), strict=True):
                out[place] = record
        return out

    first = parts[0]
    return Decoded(
        payload=payload,
        index=index,
        times=together([part.times for part in parts]),
        numbers={name: together([part.numbers[name] for part in parts]) for name in first.numbers},
        strings={name: _together([part.strings[name] for part in parts], order) for name in first.strings},
        flags={name: together([part.flags[name] for part in parts]) for name in first.flags},
        identity=Identities.joined([part.identity for part in parts]).take(order),
        refusals=[refusal for part in parts for refusal in part.refusals],
        source=lambda i: source(int(payload[i]), int(index[i])),
        records=records,
    )


def coalesced(columns: Sequence[Strings]) -> Strings:
    """Take each value from the first column that has one."""
    used = [column for column in columns if column.vocabulary] or list(columns[:1])
    if len(used) == 1:
        return used[0]
    codes, vocabulary = _one_vocabulary(used)
    out = codes[0]
    for other in codes[1:]:
        out = np.where(out < 0, other, out)
    return Strings(out, vocabulary)


def folded(column: Strings) -> Strings:
    """Make all values lower case."""
    place: dict[str, int] = {}
    renamed = [place.setdefault(text.lower(), len(place)) for text in column.vocabulary]
    if list(place) == column.vocabulary:
        return column
    return Strings(np.array([*renamed, -1], np.int32)[column.codes], list(place))


def _together(columns: Sequence[Strings], order: NDArray[np.int64]) -> Strings:
    codes, vocabulary = _one_vocabulary(columns)
    lasting = columns[0].lasting if len(vocabulary) == len(columns[0].vocabulary) else None
    return Strings(np.concatenate(codes)[order], vocabulary, lasting)


def _one_vocabulary(columns: Sequence[Strings]) -> tuple[list[NDArray[np.int32]], list[str]]:
    """Give the codes of each column in one vocabulary, which begins with the first one's."""
    if len(columns) == 1:
        return [columns[0].codes], columns[0].vocabulary
    place = {text: code for code, text in enumerate(columns[0].vocabulary)}
    codes = [columns[0].codes]
    for column in columns[1:]:
        renamed = [place.setdefault(text, len(place)) for text in column.vocabulary]
        codes.append(np.array([*renamed, -1], np.int32)[column.codes])
    return codes, list(place)
