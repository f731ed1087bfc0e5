"""Group: the open keys of one pane and grouping, with the state of every metric over them.

The number of keys is bounded: beyond `max_open_keys` the keys with the smallest hashes stay and the rest become one key
whose group values are `(other)`. Which keys stay depends on the set of keys alone, so no order shows.
"""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.grown import grown
from flows.measure import Measure, new_measure
from flows.metric import Metric
from flows.output import canonical
from flows.partial import GroupPart, Keys

OTHER = "(other)"
_SLACK = 1.25  # how far over the limit the keys grow before the surplus is merged


@dataclass(frozen=True, slots=True)
class Grouping:
    """A way to group: its columns, and the metrics (by number) that have rows for it."""

    columns: tuple[str, ...]
    metrics: dict[int, Metric]
    exact_samples: int
    max_open_keys: int

    @property
    def other(self) -> str:
        """Give the key of what was merged."""
        return canonical(dict.fromkeys(self.columns, OTHER)).decode()


class Group:
    """Keys and their states; key numbers are the order in which keys came and show nowhere."""

    def __init__(self, grouping: Grouping) -> None:
        """Start without keys."""
        self.grouping = grouping
        self.keys: dict[str, int] = {}
        self.seen: NDArray[np.int64] = np.zeros(0, np.int64)
        self.measures: dict[int, Measure] = {
            number: new_measure(metric, grouping.exact_samples) for number, metric in grouping.metrics.items()
        }
        self._threshold: tuple[int, str] | None = None  # keys at or beyond this hash belong to (other)
        self._learn(None)

    def add(self, part: GroupPart) -> None:
        """Add one batch's part."""
        ids = self._numbers(part.keys)
        self._resize()
        np.add.at(self.seen, ids, part.seen)
        merged = self._threshold is not None and len(np.unique(ids)) != len(ids)
        for number, added in part.metrics.items():
            if number not in self.measures:
                continue  # the metric is new since the snapshot of this pane, and would be incomplete in it
            if merged:
                self._add_merged(number, added, ids, len(part.keys))
            else:
                self.measures[number].add(added, ids)
        if len(self.keys) > self.grouping.max_open_keys * _SLACK:
            self.shed()

    def absorb(self, other: "Group") -> None:
        """Add another group of the same grouping; `other` is of no use afterwards."""
        ids = self._looked_up(list(other.keys))
        self._resize()
        np.add.at(self.seen, ids, other.seen)
        for number, measure in self.measures.items():  # one that is new since the snapshot of this pane is left out
            measure.absorb(other.measures[number], ids)
        if len(self.keys) > self.grouping.max_open_keys * _SLACK:
            self.shed()

    def _add_merged(self, number: int, added: Any, ids: NDArray[np.int64], size: int) -> None:
        """Add a part of which several keys have become one: through a state of its own."""
        measure = new_measure(self.grouping.metrics[number], self.grouping.exact_samples)
        measure.resize(size)
        measure.add(added, np.arange(size))
        self.measures[number].absorb(measure, ids)

    def _learn(self, names: list[str] | None) -> None:
        """Begin to remember the keys of a fold, by its names; -1 is one whose number is not known yet."""
        self._names = names
        self._places: NDArray[np.int64] = np.zeros(0, np.int64)

    def _numbers(self, keys: Keys) -> NDArray[np.int64]:
        """Give the numbers of different keys, which are made known."""
        if not keys.is_lasting:
            return self._looked_up(keys.texts())
        if keys.names is not self._names:
            self._learn(keys.names)
        self._places = grown(self._places, len(keys.names), -1)
        ids = self._places[keys.numbers]
        fresh = np.flatnonzero(ids < 0)
        if len(fresh):
            ids[fresh] = self._looked_up(keys.texts(fresh))
            self._places[keys.numbers[fresh]] = ids[fresh]
        return ids

    def _looked_up(self, keys: list[str]) -> NDArray[np.int64]:
        if not self.keys and self._threshold is None:
            self.keys = dict(zip(keys, range(len(keys)), strict=True))
            return np.arange(len(keys))
        found: list[Any] = list(map(self.keys.get, keys))
        try:
            return np.array(found, np.int64)  # which refuses None: looking for it before would take as long again
        except TypeError:
            for place in [place for place, number in enumerate(found) if number is None]:
                found[place] = self._number(keys[place])
            return np.array(found, np.int64)

    def _number(self, key: str) -> int:
        if self._threshold is not None and _rank(key) >= self._threshold:
            key = self.grouping.other
        return self.keys.setdefault(key, len(self.keys))

    def _resize(self) -> None:
        size = len(self.keys)
        if size == len(self.seen):
            return
        self.seen = grown(self.seen, size)
        for measure in self.measures.values():
            measure.resize(size)

    def shed(self) -> None:
        """Merge the keys beyond `max_open_keys` into `(other)`."""
        other, limit = self.grouping.other, self.grouping.max_open_keys
        if len(self.keys) <= limit:
            return
        ranked = sorted(_rank(key) for key in self.keys if key != other)
        if len(ranked) <= limit:
            return
        self._threshold = ranked[limit]
        kept = [key for key in self.keys if key != other and _rank(key) < self._threshold]
        slim = merged([self], [*kept, other])
        self.keys, self.seen, self.measures = slim.keys, slim.seen, slim.measures
        self._learn(None)

    def __getstate__(self) -> dict[str, Any]:
        """Cross to another process without what that one has, or has no use for; the barrier puts the grouping back."""
        left = {"grouping": None, "_names": None, "_places": np.zeros(0, np.int64)}
        return self.__dict__ | left

    def to_state(self) -> dict[str, Any]:
        """Give plain values for a snapshot."""
        metrics = self.grouping.metrics
        measures = {metrics[number].identity: measure.to_state() for number, measure in self.measures.items()}
        return {"keys": list(self.keys), "seen": self.seen, "threshold": self._threshold, "measures": measures}

    @classmethod
    def from_state(cls, grouping: Grouping, state: dict[str, Any]) -> "Group":
        """Undo `to_state`; a metric that the snapshot does not have has no row in this pane: it would be a part of one."""
        out = cls(grouping)
        out.keys = {key: number for number, key in enumerate(state["keys"])}
        out._resize()
        out.seen = state["seen"]
        threshold = state["threshold"]
        out._threshold = (threshold[0], threshold[1]) if threshold else None
        known = {number: state["measures"].get(metric.identity) for number, metric in grouping.metrics.items()}
        out.measures = {number: out.measures[number] for number, kept in known.items() if kept is not None}
        for number, measure in out.measures.items():
            measure.load(known[number])
        return out


def _rank(key: str) -> tuple[int, str]:
    return zlib.crc32(key.encode()), key


def merged(groups: Sequence[Group], keys: Iterable[str]) -> Group:
    """Merge groups of one grouping over the given keys, in this order; all other keys become `(other)`."""
    grouping = groups[0].grouping
    out = Group(grouping)
    out.keys = {key: number for number, key in enumerate(keys)}
    places = [np.array([out.keys.get(key, -1) for key in group.keys], np.int64) for group in groups]
    if any((place < 0).any() for place in places):
        out.keys.setdefault(grouping.other, len(out.keys))
    out._resize()
    other = out.keys.get(grouping.other, -1)
    out.measures = {n: m for n, m in out.measures.items() if all(n in group.measures for group in groups)}
    for measure in out.measures.values():
        if measure.exemplars is not None and grouping.columns:  # the key of the total reads like an empty `(other)`
            measure.exemplars.ignore(other)
            if measure.bad is not None:
                measure.bad.ignore(other)
    for group, place in zip(groups, places, strict=True):
        renamed = np.where(place < 0, other, place)
        np.add.at(out.seen, renamed, group.seen)
        for number, measure in out.measures.items():
            measure.absorb(group.measures[number], renamed)
    return out


def top_keys(groups: Sequence[Group], limit: int) -> list[str]:
    """Give the `limit` keys with most records over all groups (ties by key), sorted as bytes; never `(other)`."""
    numbers = dict(groups[0].keys)
    places = [np.arange(len(numbers))]
    places += [np.array([numbers.setdefault(key, len(numbers)) for key in group.keys], np.int64) for group in groups[1:]]
    counts = np.zeros(len(numbers), np.int64)
    for group, place in zip(groups, places, strict=True):
        np.add.at(counts, place, group.seen)
    keys = list(numbers)
    other = numbers.get(groups[0].grouping.other, -1) if groups[0].grouping.columns else -1
    chosen = np.flatnonzero(np.arange(len(keys)) != other)
    if len(chosen) > limit:
        least = np.partition(counts[chosen], len(chosen) - limit)[len(chosen) - limit]
        more, tied = chosen[counts[chosen] > least], chosen[counts[chosen] == least]
        ties = sorted([keys[place] for place in tied.tolist()])[: limit - len(more)]
        return sorted([*(keys[place] for place in more.tolist()), *ties])
    return sorted(keys[place] for place in chosen.tolist())  # code points sort as UTF-8 bytes do
