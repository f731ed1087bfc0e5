"""Measure: the state of one metric over the keys of a pane, one small class a kind, all with the same five methods.

`resize(size)`, `add(part, ids)` (ids: the part's keys as key numbers here), `absorb(other, place)` (merge, renaming keys),
`rows(seconds)` and `to_state()`/`from_state`. Everything is columns over key numbers.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from flows.bad_records import BadRecords
from flows.distinct import Distinct
from flows.exact_sum import ExactSums, times
from flows.exemplar import Candidates, Exemplars
from flows.grown import grown
from flows.metric import Metric
from flows.partial import CountPart, DistinctPart, RatioPart, SamplePart
from flows.samples import Samples


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one metric: key numbers (k,), records behind (k,), statistics by name (k,), and which are sketched (k,).

    `weighted` (k,): which have records that stand for several.
    """

    keys: NDArray[np.int64]
    counts: NDArray[np.int64]
    statistics: dict[str, NDArray[np.float64]]
    sketch: NDArray[np.bool_]
    weighted: NDArray[np.bool_] | None = None


class Measure(Protocol):
    """What every kind of state can do."""

    exemplars: Exemplars | None
    bad: BadRecords | None

    def bad_counts(self) -> NDArray[np.int64]:
        """Give how many records of each key (k,) are bad; asked only where there are bad records."""

    def resize(self, size: int) -> None:
        """Make room for keys up to `size`."""

    def add(self, part: Any, ids: NDArray[np.int64]) -> None:
        """Add a batch's part; `ids` are its keys as key numbers here."""

    def absorb(self, other: Any, place: NDArray[Any]) -> None:
        """Merge another state: its key i into key `place[i]`."""

    def rows(self, seconds: float) -> Rows:
        """Work out the rows of a window of so many seconds."""

    def to_state(self) -> dict[str, Any]:
        """Give plain values for a snapshot."""

    def load(self, state: dict[str, Any]) -> None:
        """Take the values of a snapshot."""


def new_measure(metric: Metric, exact_samples: int) -> Measure:
    """Make the empty state of a metric."""
    kind = metric.options.kind
    if kind == "count":
        return _Count()
    if kind == "ratio":
        return _Ratio("bad" if metric.options.bad else "good", _bad_records(metric))
    if kind == "distribution":
        return _Distribution(exact_samples, _bad_records(metric))
    if kind == "distinct":
        return _Distinct()
    return _Gauge() if kind == "gauge" else _Sum()


def _bad_records(metric: Metric) -> BadRecords | None:
    return BadRecords(metric.meaning, len(metric.dimensions)) if metric.dimensions else None


def _restored(bad: BadRecords | None, state: dict[str, Any]) -> BadRecords | None:
    """Load bad records; where the snapshot has none, or means others by it, there are none: they would be a part of them."""
    known = state.get("bad")
    if bad is None or known is None or known["meaning"] != bad.meaning:
        return None
    bad.load(known)
    return bad


def _together(bad: BadRecords | None, other: BadRecords | None, place: NDArray[Any]) -> BadRecords | None:
    """Merge bad records; with a part missing there are none."""
    if bad is None or other is None:
        return None
    bad.absorb(other, place)
    return bad


def _rename(candidates: Candidates, ids: NDArray[np.int64]) -> Candidates:
    return candidates.with_keys(ids[candidates.key])


class _NeverBad:
    bad: BadRecords | None = None

    def bad_counts(self) -> NDArray[np.int64]:
        return np.zeros(0, np.int64)


class _Count(_NeverBad):
    def __init__(self) -> None:
        self.exemplars: Exemplars | None = None
        self._counts: NDArray[np.int64] = np.zeros(0, np.int64)
        self._extra: NDArray[np.int64] = np.zeros(0, np.int64)

    def resize(self, size: int) -> None:
        self._counts, self._extra = grown(self._counts, size), grown(self._extra, size)

    def add(self, part: CountPart, ids: NDArray[np.int64]) -> None:
        self._counts[ids] += part.records
        if part.extra is not None:
            self._extra[ids] += part.extra

    def absorb(self, other: "_Count", place: NDArray[Any]) -> None:
        np.add.at(self._counts, place, other._counts)
        np.add.at(self._extra, place, other._extra)

    def rows(self, seconds: float) -> Rows:
        """Give a row for every key that has records, also those with a count of 0, so that a rule on it can resolve."""
        counts = (self._counts + self._extra).astype(np.float64)
        keys = np.arange(len(counts))
        exact = np.zeros(len(counts), np.bool_)
        return Rows(keys, self._counts, {"count": counts, "rate": counts / seconds}, exact, self._extra > 0)

    def to_state(self) -> dict[str, Any]:
        return {"counts": self._counts, "extra": self._extra}

    def load(self, state: dict[str, Any]) -> None:
        self._counts = state["counts"]
        self._extra = state.get("extra", np.zeros_like(self._counts))


class _Ratio:
    def __init__(self, name: str, bad: BadRecords | None) -> None:
        self.exemplars: Exemplars | None = Exemplars()
        self.bad = bad
        self._name = name
        self._total: NDArray[np.int64] = np.zeros(0, np.int64)
        self._chosen: NDArray[np.int64] = np.zeros(0, np.int64)
        self._extra: NDArray[np.int64] = np.zeros((2, 0), np.int64)  # of the total, of the chosen

    def resize(self, size: int) -> None:
        self._total, self._chosen = grown(self._total, size), grown(self._chosen, size)
        more = size - self._extra.shape[1]
        if more > 0:
            self._extra = np.pad(self._extra, ((0, 0), (0, more)))

    def bad_counts(self) -> NDArray[np.int64]:
        return self._chosen if self._name == "bad" else self._total - self._chosen

    def add(self, part: RatioPart, ids: NDArray[np.int64]) -> None:
        self._total[ids] += part.total
        self._chosen[ids] += part.chosen
        if part.extra is not None:
            self._extra[:, ids] += part.extra
        if part.candidates is not None and self.exemplars is not None:
            self.exemplars.add(_rename(part.candidates, ids))
        if part.bad is not None and self.bad is not None:
            self.bad.add(part.bad, ids)

    def absorb(self, other: "_Ratio", place: NDArray[Any]) -> None:
        np.add.at(self._total, place, other._total)
        np.add.at(self._chosen, place, other._chosen)
        for mine, theirs in zip(self._extra, other._extra, strict=True):
            np.add.at(mine, place, theirs)
        if self.exemplars is not None and other.exemplars is not None:
            self.exemplars.absorb(other.exemplars, place)
        self.bad = _together(self.bad, other.bad, place)

    def rows(self, seconds: float) -> Rows:  # noqa: ARG002 (one signature for all)
        keys = np.flatnonzero(self._total)
        more, more_chosen = self._extra[:, keys]
        total, chosen = (self._total[keys] + more).astype(np.float64), (self._chosen[keys] + more_chosen).astype(np.float64)
        statistics = {"total": total, self._name: chosen, "ratio": chosen / total}
        return Rows(keys, self._total[keys], statistics, np.zeros(len(keys), np.bool_), more > 0)

    def to_state(self) -> dict[str, Any]:
        shown = self.exemplars.to_state() if self.exemplars else None
        bad = self.bad and self.bad.to_state()
        return {"total": self._total, "chosen": self._chosen, "extra": list(self._extra), "exemplars": shown, "bad": bad}

    def load(self, state: dict[str, Any]) -> None:
        self._total, self._chosen = state["total"], state["chosen"]
        self._extra = np.stack(state.get("extra", [np.zeros_like(self._total)] * 2))
        self.exemplars = Exemplars.from_state(state["exemplars"])
        self.bad = _restored(self.bad, state)


class _Distribution:
    def __init__(self, exact_samples: int, bad: BadRecords | None) -> None:
        self.exemplars: Exemplars | None = Exemplars()
        self.bad = bad
        self._exact = exact_samples
        self._beyond: NDArray[np.int64] = np.zeros(0, np.int64)
        self.samples = Samples(exact_samples)

    def resize(self, size: int) -> None:
        self.samples.resize(size)
        self._beyond = grown(self._beyond, size)

    def bad_counts(self) -> NDArray[np.int64]:
        return self._beyond

    def add(self, part: SamplePart, ids: NDArray[np.int64]) -> None:
        self.samples.add(ids[part.keys].astype(np.int32), part.values, part.extra)
        if part.beyond is not None:
            self._beyond[ids] += part.beyond
        if part.candidates is not None and self.exemplars is not None:
            self.exemplars.add(_rename(part.candidates, ids))
        if part.bad is not None and self.bad is not None:
            self.bad.add(part.bad, ids)

    def absorb(self, other: "_Distribution", place: NDArray[Any]) -> None:
        self.samples.absorb(other.samples, place)
        np.add.at(self._beyond, place, other._beyond)
        if self.exemplars is not None and other.exemplars is not None:
            self.exemplars.absorb(other.exemplars, place)
        self.bad = _together(self.bad, other.bad, place)

    def rows(self, seconds: float) -> Rows:  # noqa: ARG002
        statistics, sketched = self.samples.statistics()
        keys = np.flatnonzero(self.samples.counts)
        return Rows(keys, self.samples.counts[keys], statistics, sketched, self.samples.extra[keys] > 0)

    def to_state(self) -> dict[str, Any]:
        shown = self.exemplars.to_state() if self.exemplars else None
        bad = self.bad and self.bad.to_state()
        return {"samples": self.samples.to_state(), "exemplars": shown, "beyond": self._beyond, "bad": bad}

    def load(self, state: dict[str, Any]) -> None:
        self.samples = Samples.from_state(state["samples"], self._exact)
        self._beyond = state.get("beyond", self._beyond)
        self.exemplars = Exemplars.from_state(state["exemplars"])
        self.bad = _restored(self.bad, state)


class _Distinct(_NeverBad):
    def __init__(self) -> None:
        self.exemplars: Exemplars | None = None
        self._sketches = Distinct()

    def resize(self, size: int) -> None:
        self._sketches.resize(size)

    def add(self, part: DistinctPart, ids: NDArray[np.int64]) -> None:
        counts = np.bincount(ids, part.counts, len(self._sketches.counts)).astype(np.int64)
        self._sketches.add(counts, ids[part.keys], part.strings)

    def absorb(self, other: "_Distinct", place: NDArray[Any]) -> None:
        self._sketches.absorb(other._sketches, place)

    def rows(self, seconds: float) -> Rows:  # noqa: ARG002
        values, estimated = self._sketches.estimates()
        keys = np.flatnonzero(self._sketches.counts)
        return Rows(keys, self._sketches.counts[keys], {"distinct": np.rint(values)}, estimated)

    def to_state(self) -> dict[str, Any]:
        return self._sketches.to_state()

    def load(self, state: dict[str, Any]) -> None:
        self._sketches = Distinct.from_state(state)


class _Sum(_NeverBad):
    def __init__(self) -> None:
        self.exemplars: Exemplars | None = None
        self._counts: NDArray[np.int64] = np.zeros(0, np.int64)
        self._extra: NDArray[np.int64] = np.zeros(0, np.int64)
        self._sums = ExactSums()

    def resize(self, size: int) -> None:
        self._counts, self._extra = grown(self._counts, size), grown(self._extra, size)
        self._sums.resize(size)

    def add(self, part: SamplePart, ids: NDArray[np.int64]) -> None:
        keys = ids[part.keys]
        self._counts += np.bincount(keys, minlength=len(self._counts))
        if part.extra is not None:
            self._extra += np.bincount(keys, part.extra, len(self._extra)).astype(np.int64)
        self._sums.add(keys, part.values if part.extra is None else times(part.values, part.extra + 1))

    def absorb(self, other: "_Sum", place: NDArray[Any]) -> None:
        np.add.at(self._counts, place, other._counts)
        np.add.at(self._extra, place, other._extra)
        self._sums.absorb(other._sums, place)

    def rows(self, seconds: float) -> Rows:  # noqa: ARG002
        keys = np.flatnonzero(self._counts)
        exact = np.zeros(len(keys), np.bool_)
        return Rows(keys, self._counts[keys], {"sum": self._sums.totals()[keys]}, exact, self._extra[keys] > 0)

    def to_state(self) -> dict[str, Any]:
        return {"counts": self._counts, "extra": self._extra, "sums": self._sums.to_state()}

    def load(self, state: dict[str, Any]) -> None:
        self._counts, self._sums = state["counts"], ExactSums.from_state(state["sums"])
        self._extra = state.get("extra", np.zeros_like(self._counts))


class _Gauge(_Sum):
    """Last value by event time (of two at one time the larger), mean and extremes."""

    def __init__(self) -> None:
        super().__init__()
        self._time: NDArray[np.int64] = np.zeros(0, np.int64)
        self._last, self._low, self._high = np.zeros(0), np.zeros(0), np.zeros(0)

    def resize(self, size: int) -> None:
        super().resize(size)
        self._time = grown(self._time, size, -(2**63))
        self._last, self._low = grown(self._last, size, -np.inf), grown(self._low, size, np.inf)
        self._high = grown(self._high, size, -np.inf)

    def add(self, part: SamplePart, ids: NDArray[np.int64]) -> None:
        super().add(part, ids)
        keys = ids[part.keys]
        np.minimum.at(self._low, keys, part.values)
        np.maximum.at(self._high, keys, part.values)
        self._put_last(keys, np.asarray(part.times), part.values)

    def _put_last(self, keys: NDArray[np.int64], times: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        order = np.lexsort((values, times, keys))
        keys, times, values = keys[order], times[order], values[order]
        final = np.flatnonzero(np.append(keys[1:] != keys[:-1], np.True_)) if len(keys) else np.zeros(0, np.int64)
        keys, times, values = keys[final], times[final], values[final]
        newer = (times > self._time[keys]) | ((times == self._time[keys]) & (values > self._last[keys]))
        self._time[keys[newer]], self._last[keys[newer]] = times[newer], values[newer]

    def absorb(self, other: _Sum, place: NDArray[Any]) -> None:
        super().absorb(other, place)
        if isinstance(other, _Gauge):
            np.minimum.at(self._low, place, other._low)
            np.maximum.at(self._high, place, other._high)
            self._put_last(place, other._time, other._last)

    def rows(self, seconds: float) -> Rows:
        summed = super().rows(seconds)
        keys = summed.keys
        statistics = {
            "last": self._last[keys],
            "mean": self._sums.means(self._counts)[keys],
            "min": self._low[keys],
            "max": self._high[keys],
        }
        return Rows(keys, summed.counts, statistics, summed.sketch)

    def to_state(self) -> dict[str, Any]:
        columns = {"time": self._time, "last": self._last, "low": self._low, "high": self._high}
        return super().to_state() | columns

    def load(self, state: dict[str, Any]) -> None:
        super().load(state)
        self._time, self._last, self._low, self._high = (state[name] for name in ("time", "last", "low", "high"))
