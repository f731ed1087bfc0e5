"""Spells: the alerts of a chunk that are not at rest, each from where it begins to be bad on, all of them side by side.

Where nothing that is said changes a state, an alert does not depend on another one. So a step takes many alerts at once, each
at a window of its own, and those that come to rest go on where they next have something bad. It takes as many steps as the
longest of them has windows, not as many as there are windows in which something is not at rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.alert_state import FIRING, AlertColumns, Step, step
from flows.chunk_levels import Loaded, Places, Policies
from flows.judged import Cells
from flows.rule import NO_DATA

_COLUMNS = tuple(column.name for column in fields(AlertColumns))
_NOBODY = np.zeros(0, np.int64)

Part = slice | NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Played:
    """What moved or is said in a chunk, by window and alert: columns (m,); and the open alerts that were forgotten.

    `silent` are the alerts that are open though they have no row.
    """

    edges: NDArray[np.int64]  # where the windows begin: (t + 1,)
    cells: NDArray[np.int64]
    before: AlertColumns
    after: Step
    rows: Cells
    gone_edges: NDArray[np.int64]
    gone: NDArray[np.int64]
    gone_columns: AlertColumns
    silent: Places

    def is_idle(self, number: int) -> bool:
        """Tell whether a window has nothing of it."""
        edges, gone = self.edges, self.gone_edges
        return bool(edges[number] == edges[number + 1] and gone[number] == gone[number + 1])

    def at(self, number: int) -> tuple[slice, slice]:
        """Give which part of the columns is of a window, and which of what was forgotten."""
        return slice(*self.edges[number : number + 2].tolist()), slice(*self.gone_edges[number : number + 2].tolist())


_NO_STEP = Step(AlertColumns(), *(np.zeros(0, np.int8) for _ in range(3)))
_NO_ROWS = Cells(np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int8))
_NOWHERE = (_NOBODY, _NOBODY)
NOTHING_PLAYED = Played(_NOBODY, _NOBODY, AlertColumns(), _NO_STEP, _NO_ROWS, _NOBODY, _NOBODY, AlertColumns(), _NOWHERE)


class _Cursors:
    """Where each alert goes on: at its next window while it is not at rest, else where it is bad or forgotten next."""

    def __init__(self, chunk: Loaded) -> None:
        self._size = max(len(chunk.ends), 1)
        self._gone = np.sort(self._marks(chunk.gone))
        marks = np.sort(np.concatenate([self._marks(chunk.bad), self._gone]))
        self._next = np.append(marks, np.iinfo(np.int64).max)

    def _marks(self, places: Places) -> NDArray[np.int64]:
        cells, edges = places
        rows = np.repeat(np.arange(len(edges) - 1), np.diff(edges))
        return np.asarray(cells * self._size + rows, np.int64)

    def after(self, cells: NDArray[np.int64], at: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give the next window from `at` on with something of each alert; the size of the chunk where there is none."""
        found = self._next[np.searchsorted(self._next, cells * self._size + at)] - cells * self._size
        return np.minimum(found, self._size)

    def forgotten(self, cells: NDArray[np.int64], at: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """Tell which alerts are forgotten at their windows; None where no alert is at any."""
        return np.isin(cells * self._size + at, self._gone) if len(self._gone) else None


def play(chunk: Loaded, policies: Policies, columns: AlertColumns, states: NDArray[np.int64]) -> Played:
    """Move the alerts through all windows of a chunk; `columns` become those at its end.

    `states` (states, n) counts in how many windows each alert was in which state; those at rest are not counted.
    """
    cursors, size = _Cursors(chunk), len(chunk.ends)
    news: list[tuple[Any, ...]] = []
    gone: list[tuple[Any, ...]] = []
    silent: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    every = np.arange(len(columns.state))
    at = np.where(columns.state > 0, 0, cursors.after(every, np.zeros(len(every), np.int64)))
    cells = every[at < size]
    at = at[cells]
    while len(cells):
        over = cursors.forgotten(cells, at)
        if over is not None and over.any():
            gone += _forget(cells[over], at[over], columns)
            stays = ~over
            _step((cells[stays], at[stays]), chunk, policies, (columns, states, news, silent))
        else:
            _step((cells, at), chunk, policies, (columns, states, news, silent))
        awake = columns.state[cells] > 0
        at = np.where(awake, at + 1, cursors.after(cells, at + 1))
        kept = at < size
        cells, at = cells[kept], at[kept]
    return _sorted(news, gone, silent, size)


def _step(where: tuple[NDArray[np.int64], NDArray[np.int64]], chunk: Loaded, policies: Policies, out: tuple[Any, ...]) -> None:
    """Move alerts by one window, each by its own, and keep what is news."""
    (cells, at), (columns, states, news, silent) = where, out
    before = cut(columns, cells)
    level, values = chunk.level[at, cells], chunk.values[at, cells]
    policy = policies.of(cells, before.flapping)
    now: Any = chunk.ends[at]  # elementwise as all of it
    after = step(before, policy, level, values, chunk.clear[at, cells], now)
    put(columns, cells, after.columns)
    states[after.columns.state, cells] += 1
    quiet = np.flatnonzero(is_silent(level, after))
    if len(quiet):
        silent.append((at[quiet], cells[quiet]))
    notice = np.where(policies.speaks[cells], after.notice, 0).astype(np.int8)
    found = np.flatnonzero((after.move > 0) | (notice > 0))
    if len(found):
        said = Step(cut(after.columns, found), after.move[found], notice[found], after.severity[found])
        rows = Cells(values[found], chunk.counts[at[found], cells[found]], level[found])
        news.append((at[found], cells[found], cut(before, found), said, rows))


def is_silent(level: NDArray[np.int8], after: Step) -> NDArray[np.bool_]:
    """Tell which alerts are open after a window in which they have no row."""
    silent: NDArray[np.bool_] = (level == NO_DATA) & (after.columns.state >= FIRING)
    return silent


def _forget(cells: NDArray[np.int64], at: NDArray[np.int64], columns: AlertColumns) -> list[tuple[Any, ...]]:
    """Forget alerts; gives those that were not over."""
    old = cut(columns, cells)
    put(columns, cells, AlertColumns().take(np.full(len(cells), -1)))
    open_ = np.flatnonzero(old.state >= FIRING)
    return [(at[open_], cells[open_], cut(old, open_))] if len(open_) else []


def _sorted(
    news: Sequence[tuple[Any, ...]],
    gone: Sequence[tuple[Any, ...]],
    silent: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
    size: int,
) -> Played:
    """Put all that was kept in the order of windows and alerts."""
    windows = np.arange(size + 1)
    at, cells = (_joined([each[n] for each in news]) for n in range(2))
    order = np.lexsort((cells, at))
    before = _joined_columns([each[2] for each in news], order)
    after = Step(
        _joined_columns([each[3].columns for each in news], order),
        *(_joined([getattr(each[3], name) for each in news])[order] for name in ("move", "notice", "severity")),
    )
    rows = Cells(*(_joined([getattr(each[4], name) for each in news])[order] for name in ("values", "counts", "level")))
    gone_at, gone_cells = (_joined([each[n] for each in gone]) for n in range(2))
    gone_order = np.lexsort((gone_cells, gone_at))
    silent_at, silent_cells = (_joined([each[n] for each in silent]) for n in range(2))
    silent_order = np.lexsort((silent_cells, silent_at))
    return Played(
        np.searchsorted(at[order], windows),
        cells[order],
        before,
        after,
        rows,
        np.searchsorted(gone_at[gone_order], windows),
        gone_cells[gone_order],
        _joined_columns([each[2] for each in gone], gone_order),
        (silent_cells[silent_order], np.searchsorted(silent_at[silent_order], windows)),
    )


def _joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(parts) if parts else _NOBODY


def _joined_columns(parts: Sequence[AlertColumns], order: NDArray[np.int64]) -> AlertColumns:
    if not parts:
        return AlertColumns()
    return AlertColumns(**{name: np.concatenate([getattr(each, name) for each in parts])[order] for name in _COLUMNS})


def cut(columns: AlertColumns, here: Part) -> AlertColumns:
    """Give a part of columns."""
    return AlertColumns(**{name: getattr(columns, name)[here] for name in _COLUMNS})


def cut_step(after: Step, here: Part) -> Step:
    """Give a part of a step."""
    return Step(cut(after.columns, here), after.move[here], after.notice[here], after.severity[here])


def put(columns: AlertColumns, cells: NDArray[np.int64], given: AlertColumns) -> None:
    """Put columns into others at some places."""
    for name in _COLUMNS:
        getattr(columns, name)[cells] = getattr(given, name)
