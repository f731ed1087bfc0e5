"""Report source: what a report asks of stored windows and decisions, already added up where they lie.

Sums, extremes and buckets of a year are small; its rows are not. So ClickHouse and a replay's folder each give sums, and the
report never sees a row of windows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Buckets = tuple[NDArray[np.int64], NDArray[np.int64]]  # bucket numbers, rising, and their counts


class ReportError(Exception):
    """There is nothing to report on; the sentence says what is there and the way out."""


@dataclass(frozen=True, slots=True)
class Range:
    """The windows that start in [start, end) ms."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """Give its length in ms."""
        return self.end - self.start

    def before(self) -> "Range":
        """Give the range of the same length that ends where this one starts."""
        return Range(self.start - self.length, self.start)


@dataclass(frozen=True, slots=True)
class Tally:
    """What the rows of one statistic come to, by key or by stretch of time: columns (k,).

    `names` are keys (canonical JSON), or starts of stretches (ms, as text). `weighted` is the sum of value x records; `high_at`
    and `low_at` are the starts of the windows with the greatest and the least value (ms).
    """

    names: list[str]
    windows: Ints
    records: Ints
    total: Floats
    weighted: Floats
    low: Floats
    high: Floats
    low_at: Ints
    high_at: Ints

    def place(self, name: str) -> int | None:
        """Give the place of a name."""
        return self.names.index(name) if name in self.names else None


@dataclass(frozen=True, slots=True)
class Course:
    """The total of a metric over time: the start of each stretch (n,) in ms, and the least and greatest by statistic (n,)."""

    starts: Ints
    low: dict[str, Floats]
    high: dict[str, Floats]


@dataclass(frozen=True, slots=True)
class Partition:
    """How reading went in one partition: records, late ones, dead letters."""

    name: str
    records: int
    late: int
    dead: int


class Source(Protocol):
    """Where windows and decisions are kept. Methods raise DeliveryError where a server is asked."""

    @property
    def name(self) -> str:
        """Say what it is, for people."""
        ...

    @property
    def metrics(self) -> frozenset[str]:
        """Give the metrics that have rows."""
        ...

    def span(self) -> tuple[int, int] | None:
        """Give the start of the first and the end of the last window (ms); None where there is none."""
        ...

    def tally(self, metric: str, statistics: Sequence[str], over: Range) -> dict[str, Tally]:
        """Add up the rows of each key; statistics without a row are left out."""
        ...

    def stretches(self, metric: str, statistics: Sequence[str], edges: Sequence[int]) -> dict[str, Tally]:
        """Add up the rows of the total between neighbouring edges (ms, rising)."""
        ...

    def course(self, metric: str, statistics: Sequence[str], over: Range, step: int) -> Course:
        """Give the total over time, in stretches of `step` ms."""
        ...

    def buckets(self, metric: str, over: Range) -> dict[str, Buckets] | None:
        """Give the merged histogram of each key; None where histograms are not kept."""
        ...

    def bucket_stretches(self, metric: str, edges: Sequence[int]) -> dict[str, Buckets] | None:
        """Give the merged histogram of the total between neighbouring edges, by the edge's text."""
        ...

    def starts(self, metrics: Sequence[str], over: Range) -> Ints:
        """Give the starts (ms) of the windows in which one of these metrics left a row."""
        ...

    def transitions(self, over: Range) -> list[dict[str, Any]]:
        """Give the transitions at the ends of these windows, in order: `at` in ms, `key` canonical."""
        ...

    def held(self, at: int) -> list[dict[str, Any]]:
        """Give the last transition up to a time (ms) of each alert that was not inactive then."""
        ...

    def notifications(self, over: Range) -> list[dict[str, Any]]:
        """Give what was said at the ends of these windows, in order: `at` in ms, `key` canonical."""
        ...

    def quiet(self, over: Range) -> list[tuple[str, str, int]]:
        """Give (rule, what kept it quiet, evaluations)."""
        ...

    def partitions(self, over: Range) -> tuple[list[Partition], str]:
        """Give how reading went, and words on what that covers."""
        ...


def tallied(names: Sequence[str], columns: Mapping[str, Sequence[Any]]) -> Tally:
    """Make a tally of lists."""
    whole = {name: np.array(columns[name], np.int64) for name in ("windows", "records", "low_at", "high_at")}
    floats = {name: np.array(columns[name], np.float64) for name in ("total", "weighted", "low", "high")}
    return Tally(
        list(names),
        whole["windows"],
        whole["records"],
        floats["total"],
        floats["weighted"],
        floats["low"],
        floats["high"],
        whole["low_at"],
        whole["high_at"],
    )
