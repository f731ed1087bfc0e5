"""Resting: rules judged a chunk of windows at a time, where only alerts that are not at rest are looked at.

At rest is an alert that is inactive, remembers no turn (of flapping), and has nothing bad in a window: a step would change
counters of it that no later step reads before setting them. So levels are worked out as columns of windows x alerts, and
what is not at rest is stepped window by window, all rules of a dataset in one go, by the state machine that judges live.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.alert_state import FIRING, NEVER, STATES, AlertColumns, Policy, Step, forget, step
from flows.book import Book
from flows.flap import FOREVER_MS, flapped
from flows.history import Chunk, keys_of, readings_of
from flows.judged import Cells, Judged
from flows.rule import CRITICAL, INSUFFICIENT, NO_DATA, OK, WARNING, Rule

KINDS = ("threshold", "capacity", "budget")  # what these judge follows from one window alone
_COLUMNS = tuple(column.name for column in fields(AlertColumns))
_NOBODY = np.zeros(0, np.int64)


@dataclass(slots=True)
class _Loaded:
    """A chunk made ready: columns (t, n) over all alerts of all rules, and where something happens, sorted by window."""

    ends: NDArray[np.int64]
    values: NDArray[np.float64]
    counts: NDArray[np.int64]
    level: NDArray[np.int8]
    clear: NDArray[np.bool_]
    bad: tuple[NDArray[np.int64], NDArray[np.int64]]  # alerts with a bad level; where each window's begin
    gone: tuple[NDArray[np.int64], NDArray[np.int64]]  # alerts that are forgotten
    known: NDArray[np.int64]  # in how many windows each alert was judged
    last_row: NDArray[np.int64]  # as it is at the end


class Resting:
    """The rules of one dataset that are judged this way; their books are asked what is to be said, and keep no columns."""

    def __init__(self, books: Sequence[Book]) -> None:
        """Start without any known key."""
        self.books = list(books)
        self._keys: list[list[str]] = [[] for _ in books]
        self._edges = np.zeros(len(books) + 1, np.int64)  # where each rule's alerts begin
        self._columns = AlertColumns()
        self._live: NDArray[np.int64] = _NOBODY  # not at rest, sorted
        self._stepped: tuple[NDArray[np.int64], AlertColumns] | None = None
        self._chunk: _Loaded
        self._policy = _columns_of([], [])
        self._states = np.zeros((len(STATES), 0), np.int64)

    def load(self, chunk: Chunk) -> None:
        """Take the next windows of the dataset."""
        places: list[int] = []
        keys = []
        for number, book in enumerate(self.books):
            first = int(self._edges[number])
            rows = self._columns.last_row[first : int(self._edges[number + 1])].tolist()
            known = {key: first + place for place, key in enumerate(self._keys[number]) if rows[place] != NEVER}
            table = chunk.tables.get(book.rule.options.metric)
            there = sorted(known.keys() | keys_of(book.rule, table.keys if table is not None else ()))
            places += [known.get(key, -1) for key in there]
            keys.append(there)
        self._columns = self._columns.take(np.array(places, np.int64))
        self._keys = keys
        self._edges = np.cumsum([0, *map(len, keys)])
        which = [_chosen(book, each) for book, each in zip(self.books, keys, strict=True)]
        self._policy = _columns_of(self.books, which)
        self._chunk = self._laid_out(chunk, which)
        self._states = np.zeros((len(STATES), len(places)), np.int64)
        self._live = self._awake(np.arange(len(places)), self._columns)

    def is_idle(self, number: int) -> bool:
        """Tell whether all alerts are at rest in a window, and none is forgotten."""
        bad, gone = self._chunk.bad[1], self._chunk.gone[1]
        return not len(self._live) and bad[number] == bad[number + 1] and gone[number] == gone[number + 1]

    def judge(self, number: int, *, every: bool) -> dict[str, Judged]:
        """Move the alerts that are not at rest by one window; `settle` must follow.

        Gives what it did to them, by rule; unless `every` is asked for, of rules alone of which something moved or is said, or
        may be said that was withheld.
        """
        chunk, end = self._chunk, int(self._chunk.ends[number])
        gone = _of(chunk.gone, number)
        cells = np.union1d(self._live, _of(chunk.bad, number))
        over: dict[int, Judged] = {}
        if len(gone):
            cells = np.setdiff1d(cells, gone)
            over = self._forget(gone)
        before = self._columns.take(cells)
        level, values, clear = chunk.level[number, cells], chunk.values[number, cells], chunk.clear[number, cells]
        policy = self._policy.of(cells, before.flapping)
        after = step(before, policy, level, values, clear, end)
        after = self._spoken(cells, before, after, level < INSUFFICIENT)
        self._states[after.columns.state, cells] += 1
        self._stepped = cells, after.columns
        flaps = before.flapping | after.columns.flapping
        news = np.ones(len(cells), np.bool_) if every else (after.move > 0) | (after.notice > 0) | flaps
        edges = np.searchsorted(cells, self._edges)
        busy = np.diff(np.searchsorted(np.flatnonzero(news), edges)).tolist()
        rows = Cells(values, chunk.counts[number, cells], level)
        out = {}
        for place, book in enumerate(self.books):
            if busy[place] or place in over or book.owes:
                here = slice(int(edges[place]), int(edges[place + 1]))
                keys = [self._keys[place][at] for at in (cells[here] - self._edges[place]).tolist()]
                judged = Judged(keys, _cut_cells(rows, here), _cut(before, here), _cut_step(after, here), over.get(place))
                out[book.rule.options.name] = judged
        return out

    def settle(self) -> None:
        """Keep what the last window left, after what was said of it is counted in its columns."""
        if self._stepped is not None:
            cells, columns = self._stepped
            self._put(cells, columns)
            self._live = self._awake(cells, columns)
            self._stepped = None

    def still(self) -> dict[str, Judged]:
        """Give the alerts that are not at rest as they are, by rule."""
        out = {}
        edges = np.searchsorted(self._live, self._edges).tolist()
        for place, book in enumerate(self.books):
            cells = self._live[edges[place] : edges[place + 1]]
            if len(cells):
                size, columns = len(cells), self._columns.take(cells)
                rows = Cells(np.full(size, np.nan), np.zeros(size, np.int64), np.full(size, NO_DATA, np.int8))
                nothing = np.zeros(size, np.int8)
                keys = [self._keys[place][at] for at in (cells - self._edges[place]).tolist()]
                out[book.rule.options.name] = Judged(keys, rows, columns, Step(columns, nothing, nothing, columns.severity))
        return out

    def unload(self) -> list[tuple[str, list[str], NDArray[np.int64]]]:
        """End a chunk; gives of each rule its keys, and in how many windows each was in which state: (states, k)."""
        self._columns = replace(self._columns, last_row=self._chunk.last_row)
        self._states[0] = self._chunk.known - self._states[1:].sum(axis=0)
        pairs = zip(self._edges[:-1].tolist(), self._edges[1:].tolist(), strict=True)
        return [
            (book.rule.options.name, keys, self._states[:, low:high])
            for book, keys, (low, high) in zip(self.books, self._keys, pairs, strict=True)
        ]

    def _laid_out(self, chunk: Chunk, which: Sequence[NDArray[np.int16]]) -> _Loaded:
        """Work out the levels of all rules."""
        parts: list[tuple[NDArray[Any], ...]] = []
        for number, book in enumerate(self.books):
            read = readings_of(book.rule, chunk, self._keys[number])
            level, clear = _levels(book.rule, read.values, read.counts, which[number])
            level[~read.present] = NO_DATA
            last = self._columns.last_row[self._edges[number] : self._edges[number + 1]]
            seen = _seen(read.present, chunk.ends, last, book.rule.options.forget_after_ms)
            parts.append((read.values, read.counts, level, clear & (level == OK), *seen))
        size = len(chunk.starts)
        if not parts:
            parts = [(*(np.zeros((size, 0), kind) for kind in (float, np.int64, np.int8, bool, bool)), _NOBODY, _NOBODY)]
        values, counts, level, clear, gone = (np.concatenate([part[n] for part in parts], axis=1) for n in range(5))
        known, last_row = (np.concatenate([part[n] for part in parts]) for n in (5, 6))
        bad = (level == WARNING) | (level == CRITICAL)
        return _Loaded(chunk.ends, values, counts, level, clear, _by_window(bad), _by_window(gone), known, last_row)

    def _forget(self, gone: NDArray[np.int64]) -> dict[int, Judged]:
        """Forget keys; gives those whose alerts were not over, by the place of their rule."""
        old = self._columns.take(gone)
        self._put(gone, AlertColumns().take(np.full(len(gone), -1)))
        self._live = np.setdiff1d(self._live, gone)
        out = {}
        rules = np.searchsorted(self._edges, gone, side="right") - 1
        open_ = (old.state >= FIRING) | old.flapping
        for place in np.unique(rules[open_]).tolist():
            chosen = np.flatnonzero((rules == place) & open_)
            columns, size = old.take(chosen), len(chosen)
            cells = Cells(np.full(size, np.nan), np.zeros(size, np.int64), np.full(size, NO_DATA, np.int8))
            keys = [self._keys[place][at] for at in (gone[chosen] - self._edges[place]).tolist()]
            out[place] = Judged(keys, cells, columns, forget(columns))
        return out

    def _spoken(self, cells: NDArray[np.int64], before: AlertColumns, after: Step, judged: NDArray[np.bool_]) -> Step:
        """Hold what flaps, and say nothing of rules that only judge."""
        if self._policy.flaps[cells].any() or before.flapping.any():
            columns = after.columns
            turns, flag = columns.turns.copy(), columns.flapping.copy()
            edges = np.searchsorted(cells, self._edges).tolist()
            for place, book in enumerate(self.books):
                here, flap = slice(edges[place], edges[place + 1]), book.rule.options.flap
                if flap is not None or before.flapping[here].any():
                    held = flapped(_cut_step(after, here), flap, judged[here])
                    turns[here], flag[here] = held.turns, held.flapping
            after = replace(after, columns=replace(columns, turns=turns, flapping=flag))
        return replace(after, notice=np.where(self._policy.speaks[cells], after.notice, 0).astype(np.int8))

    def _put(self, cells: NDArray[np.int64], columns: AlertColumns) -> None:
        for name in _COLUMNS:
            getattr(self._columns, name)[cells] = getattr(columns, name)

    @staticmethod
    def _awake(cells: NDArray[np.int64], columns: AlertColumns) -> NDArray[np.int64]:
        awake: NDArray[np.bool_] = (columns.state > 0) | (columns.turns != 0) | columns.flapping
        return cells[awake]


@dataclass(frozen=True, slots=True)
class _Policies:
    """The policy of every alert: columns (n,); `flaps` where turns are remembered."""

    columns: dict[str, NDArray[Any]]
    speaks: NDArray[np.bool_]
    flaps: NDArray[np.bool_]

    def of(self, cells: NDArray[np.int64], flapping: NDArray[np.bool_]) -> Policy:
        """Give the policy of some alerts; `flapping` says which are."""
        policy = {name: column[cells] for name, column in self.columns.items()}
        flaps = self.flaps[cells]
        if flaps.any():
            # While it is flapping, an alert goes on with its episode, however short the cooldown is.
            policy["cooldown_ms"] = np.where(flapping & flaps, FOREVER_MS, policy["cooldown_ms"])
        return Policy(**policy)


def _chosen(book: Book, keys: list[str]) -> NDArray[np.int16]:
    """Give by which limits keys are judged."""
    return np.array(book.choose(keys) if book.rule.variants else [0] * len(keys), np.int16)


def _columns_of(books: Sequence[Book], which: Sequence[NDArray[np.int16]]) -> _Policies:
    columns: dict[str, NDArray[Any]] = {}
    sizes = [len(each) for each in which]
    for column in fields(Policy):
        columns[column.name] = np.repeat(np.array([getattr(book.policy, column.name) for book in books]), sizes)
    for name in ("warning", "critical"):
        given = [
            np.broadcast_to(~np.isnan(book.rule.limits(name, each)), each.shape)
            for book, each in zip(books, which, strict=True)
        ]
        columns[f"has_{name}"] = np.concatenate([np.zeros(0, np.bool_), *given])
    speaks = np.repeat(np.array([book.rule.options.notify for book in books], np.bool_), sizes)
    flaps = np.repeat(np.array([book.rule.options.flap is not None for book in books], np.bool_), sizes)
    return _Policies(columns, speaks, flaps)


def _levels(
    rule: Rule, values: NDArray[np.float64], counts: NDArray[np.int64], which: NDArray[np.int16]
) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    """Give level and clear of (t, k) rows."""
    chosen = which if rule.variants else None
    return rule.levels(values, counts, chosen), rule.clears(values, counts, chosen)


def _seen(
    present: NDArray[np.bool_], ends: NDArray[np.int64], last_row: NDArray[np.int64], forget_after: int
) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
    """Give where keys are forgotten (t, k), in how many windows each is known, and its last row at the end; NEVER: unknown."""
    gone = np.zeros(present.shape, np.bool_)
    known = np.full(present.shape[1], len(ends), np.int64)
    if not len(ends):
        return gone, known, last_row.copy()
    last = np.full(present.shape[1], ends[-1], np.int64)
    gaps = np.flatnonzero(~present.all(axis=0))
    if len(gaps):
        seen = np.where(present[:, gaps], ends[:, None], NEVER)
        seen[0] = np.maximum(seen[0], last_row[gaps])
        np.maximum.accumulate(seen, axis=0, out=seen)
        stale = (ends[:, None] - seen > forget_after) & (seen != NEVER)
        gone[:, gaps] = stale
        gone[1:, gaps] &= ~stale[:-1]
        alive = (seen != NEVER) & ~stale
        known[gaps] = np.count_nonzero(alive, axis=0)
        last[gaps] = np.where(alive[-1], seen[-1], NEVER)
    return gone, known, last


def _by_window(flags: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give the columns of what is set, window by window, and where each window's begin."""
    rows, cells = np.nonzero(flags)
    return cells, np.searchsorted(rows, np.arange(len(flags) + 1))


def _of(found: tuple[NDArray[np.int64], NDArray[np.int64]], number: int) -> NDArray[np.int64]:
    cells, edges = found
    return cells[edges[number] : edges[number + 1]]


def _cut(columns: AlertColumns, here: slice) -> AlertColumns:
    return AlertColumns(**{name: getattr(columns, name)[here] for name in _COLUMNS})


def _cut_step(after: Step, here: slice) -> Step:
    return Step(_cut(after.columns, here), after.move[here], after.notice[here], after.severity[here])


def _cut_cells(cells: Cells, here: slice) -> Cells:
    return Cells(cells.values[here], cells.counts[here], cells.level[here])
