"""Distinct: how many different strings each key saw, by theta sketches that are read through a union.

Read through a union, the estimate depends on the set of strings alone (an update sketch's depends on their order). It is
exact up to 2^14 strings and within 2 % beyond.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
from datasketches import compact_theta_sketch, theta_union, update_theta_sketch
from numpy.typing import NDArray

_LG_K = 14
_KNOWN = 50_000  # strings kept for a pane and metric
_MOST_PARTS = 8  # sketches of a key that wait to be put together, which costs as much for few as for many


class Distinct:
    """Sketches by key number, and how many records with a value each key had."""

    def __init__(self) -> None:
        """Start without keys."""
        self.counts: NDArray[np.int64] = np.zeros(0, np.int64)
        self._open: dict[int, update_theta_sketch] = {}
        self._closed: dict[int, list[update_theta_sketch | compact_theta_sketch]] = {}
        # Strings that a sketch has seen already: looking them up is ten times cheaper than asking the sketch again.
        self._known: dict[int, set[str]] = {}
        self._held = 0

    def resize(self, size: int) -> None:
        """Make room for keys up to `size`."""
        more = size - len(self.counts)
        if more > 0:
            self.counts = np.concatenate((self.counts, np.zeros(more, np.int64)))

    def add(self, counts: NDArray[np.int64], keys: NDArray[np.int64], strings: list[str]) -> None:
        """Add records per key (size,), and the different strings of a chunk with their keys, in order of keys."""
        self.counts[: len(counts)] += counts
        edges = np.flatnonzero(np.diff(keys, prepend=-1, append=-1)).tolist()
        for start, stop in pairwise(edges):
            self._add_to(int(keys[start]), strings[start:stop])

    def _add_to(self, key: int, strings: list[str]) -> None:
        known = self._known.setdefault(key, set())
        new = set(strings) - known
        if self._held + len(new) > _KNOWN:
            self._known, self._held = {}, 0
        else:
            known |= new
            self._held += len(new)
        sketch = self._open.get(key)
        if sketch is None:
            sketch = self._open[key] = update_theta_sketch(_LG_K)
        for text in new:  # in any order: a sketch is read through a union, which depends on the set alone
            sketch.update(text)

    def estimates(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Give the number of different strings of each key with records, in rising key number, and which are estimated."""
        present = np.flatnonzero(self.counts).tolist()
        results = [self._union(key) for key in present]
        values = np.array([result.get_estimate() for result in results], np.float64)
        return values, np.array([result.is_estimation_mode() for result in results], np.bool_)

    def absorb(self, other: "Distinct", place: NDArray[Any]) -> None:
        """Add another object's sketches: its key i to key `place[i]`."""
        np.add.at(self.counts, place, other.counts)
        for key in sorted({*other._open, *other._closed}):
            parts = self._closed.setdefault(int(place[key]), [])
            parts += other._parts(key)
            if len(parts) > _MOST_PARTS:
                parts[:] = [_together(parts)]

    def __reduce__(self) -> tuple[Any, ...]:
        """Cross to another process as plain values; a sketch cannot be pickled."""
        keys = sorted({*self._open, *self._closed})
        sketches = [[_compact(each).serialize() for each in self._parts(key)] for key in keys]
        return (_arrived, (self.counts, keys, sketches))

    def _parts(self, key: int) -> list[update_theta_sketch | compact_theta_sketch]:
        """Give the sketches of a key; nothing is added any more to what was absorbed, so they need no copy."""
        found = self._open.get(key)
        return [*([] if found is None else [found]), *self._closed.get(key, ())]

    def _union(self, key: int) -> compact_theta_sketch:
        return _together(self._parts(key))

    def to_state(self) -> dict[str, Any]:
        """Give plain values for a snapshot."""
        keys = sorted({*self._open, *self._closed})
        return {"counts": self.counts, "keys": keys, "sketches": [self._union(key).serialize() for key in keys]}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Distinct":
        """Undo `to_state`."""
        out = cls()
        out.counts = state["counts"]
        for key, data in zip(state["keys"], state["sketches"], strict=True):
            out._closed[key] = [compact_theta_sketch.deserialize(data)]
        return out


def _arrived(counts: NDArray[np.int64], keys: list[int], sketches: list[list[bytes]]) -> Distinct:
    """Take what came from another process."""
    out = Distinct()
    out.counts = counts
    for key, parts in zip(keys, sketches, strict=True):
        out._closed[key] = [compact_theta_sketch.deserialize(data) for data in parts]
    return out


def _compact(sketch: update_theta_sketch | compact_theta_sketch) -> compact_theta_sketch:
    return sketch if isinstance(sketch, compact_theta_sketch) else sketch.compact(False)  # unsorted, which is what costs


def _together(sketches: Iterable[update_theta_sketch | compact_theta_sketch]) -> compact_theta_sketch:
    union = theta_union(_LG_K)
    for sketch in sketches:
        union.update(sketch)
    return union.get_result()
