"""Dashboard steps: the rows of a range by step of time, of which those that are closed are asked for once.

Steps lie at fixed times, not at the start of what is looked at. So a step whose windows have closed is the same in every range
that holds it: of a year by days, only the last day is asked for again when a window closes. Steps without rows are asked for
again: history may yet be loaded into them.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from flows.report_source import Range

Rows = list[dict[str, Any]]
LASTING_S = 3600.0  # rows of the past may come later (history that is loaded from elsewhere)
_MOST_ROWS = 200_000
_MOST_RUNS = 4


@dataclass(frozen=True, slots=True)
class Grid:
    """Steps of `step` ms that start `phase` ms after a multiple of it."""

    step: int
    phase: int = 0

    def floor(self, at: int) -> int:
        """Give the start of the step that holds a time (ms)."""
        return (at - self.phase) // self.step * self.step + self.phase

    def places(self, over: Range) -> int:
        """Give how many steps a range touches."""
        return -(-(over.end - self.floor(over.start)) // self.step)

    def sql(self, column: str = "window_start") -> str:
        """Give the start of a row's step (seconds since 1970, UInt32)."""
        phase, step = self.phase // 1000, self.step // 1000
        moved = f"toUnixTimestamp({column})" + (f" - {phase}" if phase else "")
        return f"toUInt32(intDiv({moved}, {step}) * {step}" + (f" + {phase})" if phase else ")")


class _Kept:
    """The rows of one question, by step."""

    def __init__(self, sql: Callable[[Sequence[Range]], str], step: int) -> None:
        self.lock = threading.Lock()
        self.sql, self.step = sql, step
        self.at = self.asked = time.monotonic()
        self.rows: dict[int, Rows] = {}
        self.size = 0


class Steps:
    """Rows by step; safe from any thread. Methods raise DeliveryError."""

    def __init__(self, query: Callable[[str], Rows]) -> None:
        """Take who gives the rows of a query, which nobody changes."""
        self._query = query
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def rows(self, sql: Callable[[Sequence[Range]], str], over: Range, grid: Grid, closed: int) -> Rows:
        """Give the rows of a range; up to `closed` (ms) no row is added any more. What is not known is one question.

        `sql` gives the query of some ranges; its rows are by step, each with `second`: `Grid.sql`.
        """
        first = grid.floor(over.start + grid.step - 1)
        last = max(min(grid.floor(over.end), grid.floor(closed)), first)
        if first >= last:
            return self._query(sql([over]))
        name = sql([Range(0, 0)])
        with self._lock:
            kept = self._kept.setdefault(name, _Kept(sql, grid.step))
            self._kept.move_to_end(name)
        with kept.lock:
            kept.asked = time.monotonic()
            if time.monotonic() - kept.at > LASTING_S or kept.size > _MOST_ROWS:
                kept.rows, kept.at, kept.size = {}, time.monotonic(), 0
            steps = range(first, last, grid.step)
            asked = _runs([at for at in steps if at not in kept.rows], grid.step)
            asked = _joined([Range(over.start, first), *asked, Range(last, over.end)])
            fresh: dict[int, Rows] = {}
            for row in self._query(sql(asked)) if asked else ():
                fresh.setdefault(int(row["second"]) * 1000, []).append(row)
            kept.rows |= {at: rows for at, rows in fresh.items() if first <= at < last}
            known = {at: kept.rows[at] for at in steps if at in kept.rows} | fresh
            kept.size = sum(map(len, kept.rows.values()))
        self._make_room()
        return [row for at in sorted(known) for row in known[at]]

    def renew(self, after_s: float = LASTING_S / 2) -> None:
        """Ask again for what has been known so long and was asked for meanwhile; the old stays until the new is there."""
        with self._lock:
            old = [each for each in self._kept.values() if time.monotonic() - each.at >= after_s and each.asked > each.at]
        for kept in old:
            with kept.lock:
                steps = sorted(kept.rows)
            if not steps:
                continue
            began, fresh = time.monotonic(), dict[int, Rows]()
            whole = Range(steps[0], steps[-1] + kept.step)
            for row in self._query(kept.sql([whole])):
                fresh.setdefault(int(row["second"]) * 1000, []).append(row)
            with kept.lock:
                kept.rows = {at: rows for at, rows in kept.rows.items() if not whole.start <= at < whole.end} | fresh
                kept.at, kept.size = began, sum(map(len, kept.rows.values()))

    def _make_room(self) -> None:
        """Let go of what was asked for longest ago."""
        with self._lock:
            while len(self._kept) > 1 and sum(each.size for each in self._kept.values()) > _MOST_ROWS:
                self._kept.popitem(last=False)


def _runs(missing: Sequence[int], step: int) -> list[Range]:
    """Give the ranges that cover the missing steps; few of them, so that a lot of holes is one range."""
    runs = _joined([Range(at, at + step) for at in missing])
    return runs if len(runs) <= _MOST_RUNS else [Range(runs[0].start, runs[-1].end)]


def _joined(parts: Sequence[Range]) -> list[Range]:
    """Join ranges that touch, and leave out the empty ones."""
    out: list[Range] = []
    for part in parts:
        if part.length and out and out[-1].end == part.start:
            out[-1] = Range(out[-1].start, part.end)
        elif part.length:
            out.append(part)
    return out
