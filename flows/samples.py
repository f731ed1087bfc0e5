"""Samples: the values of a distribution by key, exact up to a number of samples, beyond it as a histogram.

Values are kept as they come, in flat columns, until a key has more than `exact_samples`; then that key's values become
counts of buckets of relative width 2^-7 (the top bits of the float), which merge by addition. Which applies depends on
the key's number of values only, so no order or split of the input shows. Percentiles of exact keys are numpy's linear ones,
computed over all keys at once; where a key's values have weights, numpy's weighted ones (`inverted_cdf`).
"""

import math
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.exact_sum import ExactSums, times
from flows.grown import grown

QUANTILES = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p999": 99.9}
_SHIFT = 45  # the float's sign, exponent and 7 bits of mantissa stay
_COMPACT = 1 << 17
_SORTED = 1 << 18  # values sorted at a time
_ROOMY = 4
_MANY = 8  # values a key from which it pays to sort each key's alone


def bucket_of(values: NDArray[np.float64]) -> NDArray[np.int32]:
    """Give the bucket number of each value: rising with the value, 0 for zero, negatives mirrored."""
    magnitude = (np.abs(values).view(np.int64) >> _SHIFT).astype(np.int32) + 1
    return np.where(values > 0, magnitude, np.where(values < 0, -magnitude, 0)).astype(np.int32)


def midpoint_of(buckets: NDArray[Any]) -> NDArray[np.float64]:
    """Give the middle of each bucket; the inverse of `bucket_of` within 2^-8."""
    low = (np.abs(buckets).astype(np.int64) - 1) << _SHIFT
    low = np.maximum(low, 0)
    middle = (low + (1 << (_SHIFT - 1))).view(np.float64)
    return np.where(buckets > 0, middle, np.where(buckets < 0, -middle, 0.0))


def bucket_percentiles(buckets: NDArray[Any], counts: NDArray[np.int64], low: float, high: float) -> dict[str, float]:
    """Give the percentiles of a histogram by name, as a window of many records has them; the values lie in [low, high]."""
    values, ends = np.clip(midpoint_of(buckets), low, high), np.cumsum(counts)
    return {name: _between_ranks(values, ends, int(ends[-1]), q) for name, q in QUANTILES.items()}


class Samples:
    """Values by key number. `exact_samples` is the count up to which a key's values are kept one by one."""

    def __init__(self, exact_samples: int) -> None:
        """Start without keys."""
        self._exact = exact_samples
        self.counts: NDArray[np.int64] = np.zeros(0, np.int64)
        self.extra: NDArray[np.int64] = np.zeros(0, np.int64)  # how many more records a key's values stand for
        self._keys: list[NDArray[np.int32]] = []
        self._values: list[NDArray[np.float64]] = []
        self._more: list[NDArray[np.int64] | None] = []  # of each value; None where each stands for itself
        self._buffered = 0
        self._limit = _COMPACT
        self._folded = _Folded()

    def resize(self, size: int) -> None:
        """Make room for keys up to `size`."""
        more = size - len(self.counts)
        if more > 0:
            self.counts = np.concatenate((self.counts, np.zeros(more, np.int64)))
            self.extra = np.concatenate((self.extra, np.zeros(more, np.int64)))

    def add(self, keys: NDArray[np.int32], values: NDArray[np.float64], extra: NDArray[np.int64] | None = None) -> None:
        """Add finite values (n,) to their keys (n,); `extra` (n,) is how many more records each stands for."""
        if not len(values):
            return
        self.counts += np.bincount(keys, minlength=len(self.counts))
        if extra is not None:
            self.extra += np.bincount(keys, extra, len(self.extra)).astype(np.int64)
        self._keys.append(keys)
        self._values.append(values)
        self._more.append(extra)
        self._buffered += len(values)
        self._make_room()

    def _make_room(self) -> None:
        if self._buffered > self._limit:
            self._compact()
            self._limit = _COMPACT + 2 * self._buffered

    def _compact(self) -> None:
        """Move the values of keys that have too many into buckets, and the rest into one pair of columns."""
        keys, values, more = self._columns()
        over = self.counts > self._exact
        if over.any():
            chosen = over[keys]
            self._folded.add(keys[chosen], values[chosen], None if more is None else more[chosen], len(self.counts))
            keys, values, more = keys[~chosen], values[~chosen], None if more is None else more[~chosen]
        self._keys, self._values, self._more, self._buffered = [keys], [values], [more], len(values)

    def _columns(self) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.int64] | None]:
        if not self._keys:
            return np.zeros(0, np.int32), np.zeros(0), None
        if len(self._keys) == 1:
            return self._keys[0], self._values[0], self._more[0]
        more = None
        if any(each is not None for each in self._more):
            plain = zip(self._more, self._values, strict=True)
            more = np.concatenate([np.zeros(len(values), np.int64) if each is None else each for each, values in plain])
        return np.concatenate(self._keys), np.concatenate(self._values), more

    def absorb(self, other: "Samples", place: NDArray[Any]) -> None:
        """Add another object's samples: its key i to key `place[i]`."""
        np.add.at(self.counts, place, other.counts)
        np.add.at(self.extra, place, other.extra)
        for keys, values, more in zip(other._keys, other._values, other._more, strict=True):
            self._keys.append(place[keys].astype(np.int32))
            self._values.append(values)
            self._more.append(more)
            self._buffered += len(values)
        self._folded.absorb(other._folded, place, len(self.counts))
        self._make_room()

    def statistics(self) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.bool_]]:
        """Give statistics by name, each (k,) over the keys that have values in rising key number, and which are sketched.

        The keys are `numpy.flatnonzero(counts)`.
        """
        self._compact()
        present = np.flatnonzero(self.counts)
        counts = self.counts[present]
        sketched = counts > self._exact
        exact = np.where(sketched, 0, counts)
        starts = np.cumsum(exact) - exact
        sums = ExactSums(len(self.counts))
        values, more = self._sorted(present, starts, sums)
        padded = np.append(values, np.nan)
        stood_for = counts + self.extra[present]
        self._folded.resize(len(self.counts))
        sums.absorb(self._folded.sums, np.arange(len(self.counts)))
        first, last = padded[np.minimum(starts, len(values))], padded[np.maximum(starts + exact - 1, 0)]
        out = {
            "count": stood_for.astype(np.float64),
            "mean": sums.means(self.counts + self.extra)[present],
            "min": np.where(sketched, self._folded.extremes(present, low=True), first),
            "max": np.where(sketched, self._folded.extremes(present, low=False), last),
        }
        for name, q in QUANTILES.items():
            out[name] = _exact_percentile(padded, starts, exact, q)
        if more is not None:
            _weigh(values, more, np.flatnonzero(~sketched & (self.extra[present] > 0)), (starts, stood_for), out)
        self._folded.percentiles(present, sketched, stood_for, out)
        return out, sketched

    def _sorted(
        self, present: NDArray[Any], starts: NDArray[np.int64], sums: ExactSums
    ) -> tuple[NDArray[np.float64], NDArray[np.int64] | None]:
        """Give the values sorted by key and value, and how many more they stand for; adds them to `sums`.

        Some keys at a time, which needs less memory.
        """
        keys, values, more = self._columns()
        out, of_each = np.empty(len(values)), None if more is None else np.empty(len(values), np.int64)
        cuts = np.searchsorted(starts, np.arange(_SORTED, len(values), _SORTED)).tolist()
        edges = sorted({0, *cuts, len(present)})
        for low, high in pairwise(edges):
            chosen = (keys >= present[low]) & (keys <= present[high - 1])
            key, value = keys[chosen], values[chosen]
            place = slice(starts[low], starts[low] + len(value))
            if more is not None and of_each is not None:
                order = np.lexsort((value, key))
                out[place], of_each[place] = value[order], more[chosen][order]
                sums.add(key[order], times(out[place], of_each[place] + 1))
                continue
            sums.add(key, value)
            if len(value) < _MANY * (high - low):
                out[place] = value[np.lexsort((value, key))]
                continue
            out[place] = value[_by_key(key - present[low])]
            for start, stop in pairwise([*starts[low:high].tolist(), place.stop]):
                out[start:stop].sort()
        return out, of_each

    def histograms(self) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
        """Give (key, bucket, count) columns of all values, sorted by key and bucket."""
        keys, values, more = self._columns()
        whole = _Folded()
        whole.add(keys, values, more, len(self.counts))
        whole.absorb(self._folded, np.arange(len(self.counts)), len(self.counts))
        return whole.key, whole.bucket, whole.count

    def __getstate__(self) -> dict[str, Any]:
        """Cross to another process as little as matters there: what is to be in buckets is put there before."""
        self._compact()
        return self.__dict__

    def to_state(self) -> dict[str, Any]:
        """Give plain arrays for a snapshot."""
        keys, values, more = self._columns()
        columns = {"counts": self.counts, "extra": self.extra, "keys": keys, "values": values, "more": more}
        return columns | {"folded": self._folded.to_state()}

    @classmethod
    def from_state(cls, state: dict[str, Any], exact_samples: int) -> "Samples":
        """Undo `to_state`."""
        out = cls(exact_samples)
        out.counts = state["counts"]
        out.extra = state.get("extra", np.zeros_like(out.counts))
        out._keys, out._values, out._buffered = [state["keys"]], [state["values"]], len(state["values"])
        out._more = [state.get("more")]
        out._limit = _COMPACT + 2 * out._buffered
        out._folded = _Folded.from_state(state["folded"])
        return out


class _Folded:
    """Buckets, exact sums and extremes of the keys that have more values than are kept one by one."""

    def __init__(self) -> None:
        self.key: NDArray[np.int32] = np.zeros(0, np.int32)
        self.bucket: NDArray[np.int32] = np.zeros(0, np.int32)
        self.count: NDArray[np.int64] = np.zeros(0, np.int64)
        self.sums = ExactSums()
        self._low: NDArray[np.float64] = np.zeros(0)
        self._high: NDArray[np.float64] = np.zeros(0)

    def resize(self, size: int) -> None:
        self.sums.resize(size)
        self._low, self._high = grown(self._low, size, np.inf), grown(self._high, size, -np.inf)

    def add(self, keys: NDArray[np.int32], values: NDArray[np.float64], extra: NDArray[np.int64] | None, size: int) -> None:
        self.resize(size)
        weights = np.ones(len(values), np.int64) if extra is None else extra + 1
        self.sums.add(keys, values if extra is None else times(values, weights))
        np.minimum.at(self._low, keys, values)
        np.maximum.at(self._high, keys, values)
        self._add_buckets(keys, bucket_of(values), weights)

    def _add_buckets(self, keys: NDArray[Any], buckets: NDArray[Any], counts: NDArray[np.int64]) -> None:
        key = np.concatenate((self.key, keys)).astype(np.int64)
        bucket = np.concatenate((self.bucket, buckets)).astype(np.int64)
        count = np.concatenate((self.count, counts))
        if not len(key):
            return
        low, width = int(bucket.min()), int(bucket.max() - bucket.min()) + 1
        pairs = key * width + (bucket - low)
        if (int(key.max()) + 1) * width <= _ROOMY * len(pairs):  # few keys: counting is ten times faster than sorting
            counts = np.bincount(pairs, count)
            pairs = np.flatnonzero(counts)
            self.count = counts[pairs].astype(np.int64)
        else:
            pairs, place = np.unique(pairs, return_inverse=True)
            self.count = np.bincount(place, count, len(pairs)).astype(np.int64)
        self.key = (pairs // width).astype(np.int32)
        self.bucket = (pairs % width + low).astype(np.int32)

    def absorb(self, other: "_Folded", place: NDArray[Any], size: int) -> None:
        if not len(other._low):
            return
        self.resize(size)
        place = place[: len(other._low)]
        self.sums.absorb(other.sums, place)
        np.minimum.at(self._low, place, other._low)
        np.maximum.at(self._high, place, other._high)
        self._add_buckets(place[other.key], other.bucket, other.count)

    def extremes(self, present: NDArray[Any], *, low: bool) -> Any:
        return (self._low if low else self._high)[present]

    def percentiles(
        self,
        present: NDArray[Any],
        sketched: NDArray[np.bool_],
        counts: NDArray[np.int64],
        out: dict[str, NDArray[np.float64]],
    ) -> None:
        """Fill in the percentiles of sketched keys: linear between the midpoints of the two neighbouring ranks."""
        middles = midpoint_of(self.bucket)
        for i in np.flatnonzero(sketched).tolist():
            key, n = present[i], int(counts[i])
            part = slice(*np.searchsorted(self.key, [key, key + 1]))
            ends = np.cumsum(self.count[part])
            values = np.clip(middles[part], self._low[key], self._high[key])
            for name, q in QUANTILES.items():
                out[name][i] = _between_ranks(values, ends, n, q)

    def to_state(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "bucket": self.bucket,
            "count": self.count,
            "sums": self.sums.to_state(),
            "low": self._low,
            "high": self._high,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "_Folded":
        out = cls()
        out.key, out.bucket, out.count = state["key"], state["bucket"], state["count"]
        out.sums = ExactSums.from_state(state["sums"])
        out._low, out._high = state["low"], state["high"]
        return out


def _by_key(keys: NDArray[Any]) -> NDArray[np.int64]:
    """Give the places of values in order of their keys (n,), which are not negative; sixteen bits are sorted by counting."""
    narrow = len(keys) and int(keys.max()) <= np.iinfo(np.uint16).max
    return np.argsort(keys.astype(np.uint16) if narrow else keys, kind="stable")


def _between_ranks(values: NDArray[np.float64], ends: NDArray[np.int64], n: int, q: float) -> float:
    """Give a percentile of n values, of which `ends` (running counts) says how many are up to each value."""
    rank = (n - 1) * np.true_divide(q, 100)
    below = int(np.floor(rank))
    low, high = map(float, values[np.searchsorted(ends, [below, min(below + 1, n - 1)], side="right")])
    weight, far = float(rank - below), high - low  # Python's floats: beyond the largest is no warning
    return low + far * weight if math.isfinite(far) else low * (1 - weight) + high * weight


def _weigh(
    values: NDArray[np.float64],
    more: NDArray[np.int64],
    chosen: NDArray[np.int64],
    segments: tuple[NDArray[np.int64], NDArray[np.int64]],
    out: dict[str, NDArray[np.float64]],
) -> None:
    """Fill in numpy.percentile(..., method="inverted_cdf", weights=...) of the chosen segments (starts, weights in all)."""
    starts, totals = segments[0][chosen], segments[1][chosen]
    ends = np.cumsum(more + 1)
    before = np.where(starts > 0, ends[starts - 1], 0)
    for name, q in QUANTILES.items():
        # The least whole weight w with w / total >= q, divided as numpy does, so that ties fall as they do there.
        share = np.true_divide(q, 100)
        least = np.ceil(totals * share).astype(np.int64)
        least = np.where((least - 1) / totals >= share, least - 1, np.where(least / totals < share, least + 1, least))
        out[name][chosen] = values[np.searchsorted(ends, before + least)]


def _exact_percentile(values: NDArray[np.float64], starts: NDArray[np.int64], counts: NDArray[np.int64], q: float) -> Any:
    """numpy.percentile(..., method="linear") of each sorted segment; `values` ends with one NaN of padding."""
    rank = (counts - 1) * np.true_divide(q, 100)
    below = np.floor(rank)
    weight = rank - below
    place = np.minimum(starts + np.maximum(below, 0).astype(np.int64), len(values) - 1)
    above = np.minimum(place + 1, np.maximum(starts + counts - 1, 0))
    low, high = values[place], values[np.minimum(above, len(values) - 1)]
    return _between(low, high, weight)


def _between(low: NDArray[np.float64], high: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Interpolate as numpy does; where that is beyond the floats, as two shares."""
    with np.errstate(over="ignore", invalid="ignore"):
        far = high - low
        out = np.where(weight >= 0.5, high - far * (1 - weight), low + far * weight)  # noqa: PLR2004
        return np.where(np.isinf(far), low * (1 - weight) + high * weight, out)
