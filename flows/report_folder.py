"""Report folder: what a report asks, answered from the files of a replay.

A replay's folder has no histograms, so percentiles of longer spans cannot be had from it; the report says so.
"""

import itertools
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from flows.decision_log import EVALUATIONS, NOTIFICATIONS, TRANSITIONS
from flows.history import CELLS, Rows, cuts
from flows.metric import TOTAL
from flows.output import canonical
from flows.report_source import Buckets, Course, Floats, Ints, Partition, Range, Tally
from flows.window_folder import Report, WindowFolder


class ReportFolder:
    """A source over DIR/windows.ndjson and the files beside it."""

    def __init__(self, folder: Path, length_ms: int, report: Report | None = None) -> None:
        """Open the folder; raises HistoryError where it holds no windows."""
        self._folder = folder
        self._store = WindowFolder(folder, report)
        self._length = self._store.length_ms or length_ms
        self.name = f"the replay in {folder}"
        self.metrics = frozenset(self._store.metrics)

    def close(self) -> None:
        """Remove what was only temporary."""
        self._store.close()

    def span(self) -> tuple[int, int] | None:
        """Give the start of the first and the end of the last window (ms)."""
        starts = self._store.starts(sorted(self.metrics))
        return (int(starts[0]), int(starts[-1]) + self._length) if len(starts) else None

    def tally(self, metric: str, statistics: Sequence[str], over: Range) -> dict[str, Tally]:
        """Add up the rows of each key."""
        sums: dict[str, _Sums] = {name: _Sums() for name in statistics}
        for rows in self._rows(metric, statistics, over):
            for name in statistics:
                sums[name].add(rows.keys, rows.codes.astype(np.int64), rows, rows.values[name])
        return {name: each.tally() for name, each in sums.items() if each.names}

    def stretches(self, metric: str, statistics: Sequence[str], edges: Sequence[int]) -> dict[str, Tally]:
        """Add up the rows of the total between edges."""
        names = [str(edge) for edge in edges[:-1]]
        sums: dict[str, _Sums] = {name: _Sums() for name in statistics}
        for rows in map(_total, self._rows(metric, statistics, Range(edges[0], edges[-1]))):
            places = np.searchsorted(np.array(edges), rows.starts, side="right") - 1
            for name in statistics:
                sums[name].add(names, places, rows, rows.values[name])
        return {name: each.tally() for name, each in sums.items() if each.names}

    def course(self, metric: str, statistics: Sequence[str], over: Range, step: int) -> Course:
        """Give the total over time."""
        parts = [_total(rows) for rows in self._rows(metric, statistics, over)]
        starts = np.concatenate([np.zeros(0, np.int64), *(rows.starts for rows in parts)])
        places, first = np.unique((starts - over.start) // step, return_index=True)
        low, high = {}, {}
        for name in statistics:
            values = np.concatenate([np.zeros(0), *(rows.values[name] for rows in parts)])
            low[name] = np.minimum.reduceat(values, first) if len(first) else np.zeros(0)
            high[name] = np.maximum.reduceat(values, first) if len(first) else np.zeros(0)
        return Course(over.start + places * step, low, high)

    def buckets(self, metric: str, over: Range) -> dict[str, Buckets] | None:  # noqa: ARG002 (a source answers alike)
        """Say that there are no histograms."""
        return None

    def bucket_stretches(self, metric: str, edges: Sequence[int]) -> dict[str, Buckets] | None:  # noqa: ARG002
        """Say that there are no histograms."""
        return None

    def starts(self, metrics: Sequence[str], over: Range) -> Ints:
        """Give the starts (ms) of the windows that left rows."""
        starts = self._store.starts([name for name in metrics if name in self.metrics])
        return np.asarray(starts[(starts >= over.start) & (starts < over.end) & (starts % self._length == 0)])

    def transitions(self, over: Range) -> list[dict[str, Any]]:
        """Give the transitions at the ends of these windows."""
        return [row for row in self._lines(TRANSITIONS) if over.start < row["at"] <= over.end]

    def held(self, at: int) -> list[dict[str, Any]]:
        """Give the last transition of each alert that was not inactive at a time."""
        last = {(row["rule"], row["key"]): row for row in self._lines(TRANSITIONS) if row["at"] <= at}
        return [
            row | {"at": at, "from": row["to"], "reason": "held"} for _, row in sorted(last.items()) if row["to"] != "inactive"
        ]

    def notifications(self, over: Range) -> list[dict[str, Any]]:
        """Give what was said at the ends of these windows."""
        return [row for row in self._lines(NOTIFICATIONS) if over.start < row["at"] <= over.end]

    def quiet(self, over: Range) -> list[tuple[str, str, int]]:
        """Give (rule, what kept it quiet, evaluations)."""
        found: dict[tuple[str, str], int] = {}
        for row in self._lines(EVALUATIONS, b'"suppressed_by":"'):
            if over.start < row["at"] <= over.end:
                place = row["rule"], row["suppressed_by"]
                found[place] = found.get(place, 0) + 1
        return [(rule, kept, count) for (rule, kept), count in sorted(found.items())]

    def partitions(self, over: Range) -> tuple[list[Partition], str]:  # noqa: ARG002 (a replay counts as a whole)
        """Give how reading went in the whole replay."""
        path = self._folder / "summary.json"
        if not path.is_file():
            return [], ""
        found = orjson.loads(path.read_bytes()).get("partitions", {})
        parts = [Partition(name, n["records"], n["late"], n["dead_letters"]) for name, n in sorted(found.items())]
        return parts, "of the whole replay, whatever the range"

    def _rows(self, metric: str, statistics: Sequence[str], over: Range) -> Iterator[Rows]:
        """Give rows some windows at a time, without windows that overlap others."""
        starts = self.starts([metric], over)
        if not len(starts):
            return
        found, rows_of = self._store.counts(metric)
        cells = rows_of[np.searchsorted(found, starts)] * (len(statistics) + 1)
        edges = [int(starts[0]), *starts[cuts(cells, CELLS)].tolist(), over.end]
        for first, last in itertools.pairwise(edges):
            rows = self._store.rows(metric, statistics, first, last)
            yield _chosen(rows, rows.starts % self._length == 0)

    def _lines(self, table: str, part: bytes = b"") -> Iterator[dict[str, Any]]:
        path = self._folder / f"{table}.ndjson"
        if not path.is_file():
            return
        with path.open("rb") as file:
            for line in file:
                if part in line:
                    row = orjson.loads(line)
                    at = datetime.fromisoformat(row["at" if "at" in row else "window_end"])
                    yield row | {"at": int(at.timestamp() * 1000), "key": canonical(row["key"]).decode()}


class _Sums:
    """Adds up values by name, some rows at a time."""

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self._whole: Ints = np.zeros((4, 0), np.int64)  # windows, records, low_at, high_at
        self._floats: Floats = np.zeros((4, 0))  # total, weighted, low, high

    def add(self, names: Sequence[str], codes: Ints, rows: Rows, values: Floats) -> None:
        """Add rows; `codes` are their places in `names`."""
        used, places = np.unique(codes, return_inverse=True)
        at = np.array([self.names.setdefault(names[code], len(self.names)) for code in used.tolist()], np.int64)
        self._grow()
        place = at[places] if len(at) else places
        np.add.at(self._whole[0], place, 1)
        np.add.at(self._whole[1], place, rows.counts)
        np.add.at(self._floats[0], place, values)
        np.add.at(self._floats[1], place, values * rows.counts)
        order = np.lexsort((rows.starts, values))
        self._extreme(2, 2, place[order], values[order], rows.starts[order], first=True)
        self._extreme(3, 3, place[order][::-1], values[order][::-1], rows.starts[order][::-1], first=False)

    def _extreme(self, row: int, at: int, place: Ints, values: Floats, starts: Ints, *, first: bool) -> None:  # noqa: PLR0913
        names, found = np.unique(place, return_index=True)
        better = values[found] < self._floats[row, names] if first else values[found] > self._floats[row, names]
        self._floats[row, names[better]] = values[found][better]
        self._whole[at, names[better]] = starts[found][better]

    def _grow(self) -> None:
        more = len(self.names) - self._whole.shape[1]
        if more > 0:
            self._whole = np.concatenate([self._whole, np.zeros((4, more), np.int64)], axis=1)
            fresh = np.zeros((4, more))
            fresh[2], fresh[3] = np.inf, -np.inf
            self._floats = np.concatenate([self._floats, fresh], axis=1)

    def tally(self) -> Tally:
        """Give the sums by name, sorted."""
        names = sorted(self.names)
        order = [self.names[name] for name in names]
        windows, records, low_at, high_at = self._whole[:, order]
        total, weighted, low, high = self._floats[:, order]
        return Tally(names, windows, records, total, weighted, low, high, low_at, high_at)


def _total(rows: Rows) -> Rows:
    """Give the rows of the total."""
    place = rows.keys.index(TOTAL) if TOTAL in rows.keys else -1
    return _chosen(rows, rows.codes == place)


def _chosen(rows: Rows, here: Any) -> Rows:
    values = {name: column[here] for name, column in rows.values.items()}
    return Rows(rows.keys, rows.starts[here], rows.codes[here], rows.counts[here], values, rows.sketch[here])
