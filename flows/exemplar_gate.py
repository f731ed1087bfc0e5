"""Exemplar gate: which records of a batch go on as candidates for the few that a key and pane are shown by.

Why a gate: among a thousand keys nearly every record of a batch is one of the first of its key there, and each that goes on
costs objects. Once PER_KEY were given of a key and pane, one that comes after all of them cannot be shown. Leaving it out
changes no result, as everything that was given arrives (see pick).
"""

import numpy as np
from numpy.typing import NDArray

from flows.exemplar import PER_KEY, first_of_each
from flows.grown import grown

_PANES = 32  # whose limits are remembered; one that is forgotten costs time only
_MOST = 1 << 19  # records remembered over all panes
_ROOM = 256


class Limits:
    """Of one pane, metric and grouping: by key number, the (rank, time) beyond which no record is shown any more."""

    def __init__(self) -> None:
        """Start without limits."""
        self._rank: NDArray[np.float64] = np.zeros(0)
        self._time: NDArray[np.int64] = np.zeros(0, np.int64)
        self._given: list[tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.int64]]] = []
        self._room = _ROOM
        self.size = 0

    def admit(self, number: NDArray[np.int32], rank: NDArray[np.float64], time: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give the places of the candidates among records (n,), and remember them; `number` is of their keys."""
        if not len(number):
            return np.zeros(0, np.int64)
        size = int(number.max()) + 1
        if size > len(self._rank):
            self._rank, self._time = grown(self._rank, 2 * size, np.inf), grown(self._time, 2 * size, 2**63 - 1)
        limit = self._rank[number]
        places = np.flatnonzero((rank < limit) | ((rank == limit) & (time <= self._time[number])))
        number, rank, time = number[places], rank[places], time[places]
        first = first_of_each(number, rank, time)
        if len(first):
            self._given.append((number[first], rank[first], time[first]))
            self.size += len(first)
            if self.size > self._room:
                self._narrow()
        return places[first]

    def _narrow(self) -> None:
        """Keep the first PER_KEY of each key alone, the last of which limits what is let through from now on."""
        number, rank, time = (np.concatenate(column) for column in zip(*self._given, strict=True))
        order = np.lexsort((time, rank, number))
        number, rank, time = number[order], rank[order], time[order]
        place = np.arange(len(number)) - np.searchsorted(number, number)
        last, kept = place == PER_KEY - 1, place < PER_KEY
        self._rank[number[last]], self._time[number[last]] = rank[last], time[last]
        self._given, self.size = [(number[kept], rank[kept], time[kept])], int(kept.sum())
        self._room = _ROOM + 2 * self.size


class ExemplarGate:
    """The limits of one fold, whose keys are numbered by grouping."""

    def __init__(self) -> None:
        """Start without limits."""
        self._panes: dict[int, dict[tuple[int, int], Limits]] = {}

    def of(self, pane: int, metric: int, grouping: int) -> Limits:
        """Give the limits of a pane, metric and grouping."""
        if pane not in self._panes:
            self._make_room()
        return self._panes.setdefault(pane, {}).setdefault((metric, grouping), Limits())

    def forget(self) -> None:
        """Forget all limits: keys are numbered anew."""
        self._panes.clear()

    def _make_room(self) -> None:
        size = sum(limits.size for pane in self._panes.values() for limits in pane.values())
        while self._panes and (len(self._panes) >= _PANES or size > _MOST):
            size -= sum(limits.size for limits in self._panes.pop(next(iter(self._panes))).values())
