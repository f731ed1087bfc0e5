"""Repeats: which records of a partition were there before, by the fields that a dataset's `dedup` names.

A record repeats another if its event time and these fields are the same, and fewer than `MEMORY` different records lie
between. So what repeats is a function of the partition's log alone, not of chunks, processes or restarts. Fields are compared
by a hash of 64 bits: of a hundred million records one may be taken for a repeat by mistake with a chance of one in a million.
"""

import base64
from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from connectors.batch import Identities, Strings, identity_hashes
from connectors.decoded import Decoded

MEMORY = 100_000  # records of a partition

_MULTIPLIER = np.uint64(0x9FB21C651E98DF25)
_HALF = np.uint64(32)
_ABSENT = np.uint64(1)


class Memory:
    """The hashes of the last different records of a partition, the oldest first."""

    def __init__(self, state: str = "") -> None:
        """Begin with nothing, or with what a snapshot has."""
        known = np.frombuffer(base64.b64decode(state), "<u8")
        self._order: deque[int] = deque(known.tolist())
        self._known = set(self._order)

    def fresh(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Take hashes (n,) in log order; tell which are no repeats."""
        known, order = self._known, self._order
        out = np.ones(len(hashes), np.bool_)
        for place, each in enumerate(hashes.tolist()):
            if each in known:
                out[place] = False
                continue
            known.add(each)
            order.append(each)
            if len(order) > MEMORY:
                known.discard(order.popleft())
        return out

    def to_state(self) -> str:
        """Give what a snapshot keeps."""
        return base64.b64encode(np.array(self._order, "<u8").tobytes()).decode()


def record_hashes(decoded: Decoded, fields: Sequence[str], identity: str | None) -> NDArray[np.uint64]:
    """Hash event time and fields of n records."""
    mixed = decoded.times.astype(np.int64).view(np.uint64) * _MULTIPLIER
    for name in fields:
        mixed = (mixed ^ _column(decoded, name, identity)) * _MULTIPLIER
        mixed ^= mixed >> _HALF
    return mixed


def _column(decoded: Decoded, name: str, identity: str | None) -> NDArray[np.uint64]:
    if name == identity:
        found = decoded.identity
        column = found if isinstance(found, Identities) else Identities.of(found)
        return column.hashed(np.arange(len(column)))
    if name in decoded.numbers:
        values = decoded.numbers[name]
        return np.where(np.isnan(values), _ABSENT, values.view(np.uint64))
    if name in decoded.flags:
        return decoded.flags[name].astype(np.int64).view(np.uint64)
    strings: Strings = decoded.strings[name]
    hashes = np.append(identity_hashes([text.encode() for text in strings.vocabulary]), _ABSENT)
    return np.asarray(hashes[strings.codes])
