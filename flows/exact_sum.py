"""Exact sums: floating-point sums of many keys, rounded once, so that no order of addition shows.

A float is an integer mantissa at a bit position. Positions are cut into limbs of 32 bits; each key keeps one int64 a
limb, and adding is integer addition. Where all values are integral and small, one int64 a key is enough.

Why not float addition: (a + b) + c depends on the order, and the order on chunks, partitions and processes.
"""

import math
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LIMB = 32
_SCALE = 1074  # the lowest bit of a float stands for 2 ** -1074
_FACTOR = 1022  # powers of two up to this, and down to its negative, are normal floats
_SAFE = 2.0**52  # sums of integers below this are exact in a float
_LARGEST = sys.float_info.max
_PIECE = 1 << 16  # values a pass: weighted bincounts stay exact, and what a pass needs stays in the cache


class ExactSums:
    """Sums of `size` keys; `add` takes key numbers (n,) and finite values (n,)."""

    def __init__(self, size: int = 0) -> None:
        """Start `size` sums at zero."""
        self._whole: NDArray[np.int64] = np.zeros(size, np.int64)
        self._limbs: dict[int, NDArray[np.int64]] = {}

    def resize(self, size: int) -> None:
        """Make room for keys up to `size`."""
        more = size - len(self._whole)
        if more > 0:
            self._whole = np.concatenate((self._whole, np.zeros(more, np.int64)))
            self._limbs = {limb: np.concatenate((sums, np.zeros(more, np.int64))) for limb, sums in self._limbs.items()}

    def add(self, keys: NDArray[Any], values: NDArray[np.float64]) -> None:
        """Add each value to its key's sum."""
        for start in range(0, len(values), _PIECE):
            self._add_piece(keys[start : start + _PIECE], values[start : start + _PIECE])

    def _add_piece(self, keys: NDArray[Any], values: NDArray[np.float64]) -> None:
        size = len(self._whole)
        with np.errstate(over="ignore"):  # beyond all numbers is beyond what is safe, too
            magnitude = np.abs(values).sum()
        if magnitude < _SAFE and (values == np.trunc(values)).all():
            self._whole += np.bincount(keys, values, size).astype(np.int64)
            return
        most = float(np.abs(values).max())
        while most:  # From the highest limb down; what is cut off and what is left are floats without an error.
            limb = (math.frexp(most)[1] - 1 + _SCALE) // _LIMB
            digits = np.trunc(_shifted(values, _SCALE - limb * _LIMB))
            self._limbs[limb] = self._limbs.get(limb, 0) + np.bincount(keys, digits, size).astype(np.int64)
            values = values - _shifted(digits, limb * _LIMB - _SCALE)
            most = float(np.abs(values).max())

    def totals(self) -> NDArray[np.float64]:
        """Give the sums (size,), each rounded once; one beyond the largest float is that, as no row can hold more."""
        if not self._limbs:
            return self._whole.astype(np.float64)
        exact, divisor = self._exactly()
        return np.array([_divide(int(value), divisor) for value in exact], np.float64)

    def means(self, counts: NDArray[Any]) -> NDArray[np.float64]:
        """Give the sums (size,) by their counts (size,), 0 where that is 0; exact where the sum is beyond the floats, too."""
        totals = self.totals()
        means: NDArray[np.float64] = np.divide(totals, counts, out=np.zeros(len(totals)), where=counts > 0)
        beyond = np.flatnonzero((np.abs(totals) == _LARGEST) & (counts > 0))
        if len(beyond):
            exact, divisor = self._exactly()
            means[beyond] = [_divide(int(exact[key]), divisor * int(counts[key])) for key in beyond.tolist()]
        return means

    def _exactly(self) -> tuple[NDArray[Any], int]:
        """Give the sums (size,) as integers, and what to divide them by."""
        lowest = min(self._limbs, default=0)
        exact = self._whole.astype(object)
        scale = _SCALE - lowest * _LIMB
        exact = exact << scale if scale >= 0 else exact
        unit = 0 if scale >= 0 else -scale
        for limb, sums in self._limbs.items():
            exact = exact + (sums.astype(object) << ((limb - lowest) * _LIMB + unit))
        return exact, 1 << max(scale, 0)

    def absorb(self, other: "ExactSums", place: NDArray[Any]) -> None:
        """Add another object's sums: its key i to key `place[i]`."""
        np.add.at(self._whole, place, other._whole)
        for limb, sums in other._limbs.items():
            mine = self._limbs.setdefault(limb, np.zeros(len(self._whole), np.int64))
            np.add.at(mine, place, sums)

    def to_state(self) -> dict[str, Any]:
        """Give plain arrays for a snapshot."""
        return {"whole": self._whole, "limbs": {str(limb): sums for limb, sums in self._limbs.items()}}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "ExactSums":
        """Undo `to_state`."""
        out = cls()
        out._whole = state["whole"]
        out._limbs = {int(limb): sums for limb, sums in state["limbs"].items()}
        return out


def times(values: NDArray[np.float64], weights: NDArray[np.int64]) -> NDArray[np.float64]:
    """Give each value (n,) as often as it counts, at most the largest float."""
    with np.errstate(over="ignore"):
        return np.clip(values * weights, -_LARGEST, _LARGEST)


def _shifted(values: NDArray[np.float64], bits: int) -> NDArray[np.float64]:
    """Multiply by a power of two."""
    return values * 2.0**bits if abs(bits) <= _FACTOR else np.ldexp(values, bits)


def _divide(value: int, divisor: int) -> float:
    try:
        return value / divisor  # Division of integers rounds once, to nearest even.
    except OverflowError:
        return _LARGEST if value > 0 else -_LARGEST
