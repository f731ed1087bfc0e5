"""Known keys: the sorted keys that a signal remembers something of, and columns kept in their order."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class KnownKeys:
    """Sorted keys; `learn` tells where old columns go when new keys come between."""

    def __init__(self) -> None:
        """Start with none."""
        self.keys: list[str] = []

    def __len__(self) -> int:
        """Give how many there are."""
        return len(self.keys)

    def learn(self, keys: Sequence[str]) -> NDArray[np.int64] | None:
        """Make keys known; gives where each known key stood before (-1: it is new), or None where nothing is new."""
        if keys == self.keys:
            return None
        known = {key: place for place, key in enumerate(self.keys)}
        if all(key in known for key in keys):
            return None
        self.keys = sorted(known.keys() | set(keys))  # code points sort as UTF-8 bytes do
        return np.array([known.get(key, -1) for key in self.keys], np.int64)

    def places(self, keys: Sequence[str]) -> NDArray[np.int64]:
        """Give where keys stand; all must be known."""
        if keys == self.keys:
            return np.arange(len(keys))
        known = {key: place for place, key in enumerate(self.keys)}
        return np.array([known[key] for key in keys], np.int64)

    def keep(self, kept: NDArray[np.bool_]) -> None:
        """Forget the others."""
        self.keys = [key for key, stays in zip(self.keys, kept.tolist(), strict=True) if stays]


def spread_out(column: NDArray[Any], before: NDArray[np.int64], fill: float) -> NDArray[Any]:
    """Give a column (..., k) in the order that `learn` told, new keys filled."""
    out = np.full((*column.shape[:-1], len(before)), fill, column.dtype)
    old = before >= 0
    out[..., old] = column[..., before[old]]
    return out
