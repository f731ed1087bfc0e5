"""Resting: rules judged a chunk of windows at a time, where only alerts that are not at rest are looked at.

At rest is an alert that is inactive, remembers no turn (of flapping), and has nothing bad in a window: a step would change
counters of it that no later step reads before setting them. So levels are worked out as columns of windows x alerts, and
what is not at rest is stepped window by window, all rules of a dataset in one go, by the state machine that judges live.
"""

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
from numpy.typing import NDArray

from flows.alert_state import FIRING, NEVER, STATES, AlertColumns, Step, forget, step
from flows.book import Book
from flows.chunk_levels import Loaded, at_window, laid_out, limits_of, policies_of
from flows.flap import flapped
from flows.history import Chunk, keys_of
from flows.judged import Cells, Judged, count_seen
from flows.rule import INSUFFICIENT, NO_DATA
from flows.spells import NOTHING_PLAYED, cut, cut_step, is_silent, play, put

KINDS = ("threshold", "capacity", "budget")  # what these judge follows from one window alone
_NOBODY = np.zeros(0, np.int64)


class Resting:
    """The rules of one dataset that are judged this way; their books are asked what is to be said, and keep no columns."""

    def __init__(self, books: Sequence[Book], *, alone: bool = False) -> None:
        """Start without any known key; `alone` says that nothing that is said or withheld changes an alert's state."""
        self._alone = alone
        self._played = NOTHING_PLAYED
        self.books = list(books)
        self._keys: list[list[str]] = [[] for _ in books]
        self._edges = np.zeros(len(books) + 1, np.int64)  # where each rule's alerts begin
        self._columns = AlertColumns()
        self._live: NDArray[np.int64] = _NOBODY  # not at rest, sorted
        self._stepped: tuple[NDArray[np.int64], AlertColumns] | None = None
        self._chunk: Loaded
        self._policy = policies_of([], [])
        self._states = np.zeros((len(STATES), 0), np.int64)

    def take_over(self) -> None:
        """Go on from the state that the books were given."""
        handed = [book.hand_over() for book in self.books]
        if not handed:
            return
        self._keys = [keys for keys, _ in handed]
        self._edges = np.cumsum([0, *map(len, self._keys)])
        columns = {each.name: [getattr(state, each.name) for _, state in handed] for each in fields(AlertColumns)}
        self._columns = AlertColumns(**{name: np.concatenate(parts) for name, parts in columns.items()})
        # What was withheld before is said at the first window that lets it, though nothing moves.
        self._alone = self._alone and not any(book.owes for book in self.books)

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
        self._policy = policies_of(self.books, [limits_of(book, each) for book, each in zip(self.books, keys, strict=True)])
        last_rows = np.split(self._columns.last_row, self._edges[1:-1])[: len(keys)]
        self._chunk = laid_out(self.books, keys, last_rows, chunk)
        self._states = np.zeros((len(STATES), len(places)), np.int64)
        self._live = self._awake(np.arange(len(places)), self._columns)
        if self._alone:
            self._played = play(self._chunk, self._policy, self._columns, self._states)

    def is_idle(self, number: int) -> bool:
        """Tell whether all alerts are at rest in a window, and none is forgotten."""
        if self._alone:
            return self._played.is_idle(number)
        bad, gone = self._chunk.bad[1], self._chunk.gone[1]
        return not len(self._live) and bad[number] == bad[number + 1] and gone[number] == gone[number + 1]

    def judge(self, number: int, *, every: bool) -> dict[str, Judged]:
        """Move the alerts that are not at rest by one window; `settle` must follow.

        Gives what it did to them, by rule; unless `every` is asked for, of rules alone of which something moved or is said, or
        may be said that was withheld.
        """
        if self._alone:
            return self._found(number)
        chunk, end = self._chunk, int(self._chunk.ends[number])
        gone = at_window(chunk.gone, number)
        bad = at_window(chunk.bad, number)
        cells = np.union1d(self._live, bad) if len(self._live) and len(bad) else self._live if len(self._live) else bad
        over: dict[int, Judged] = {}
        if len(gone):
            cells = np.setdiff1d(cells, gone)
            over = self._forgotten(gone, self._columns.take(gone))
            put(self._columns, gone, AlertColumns().take(np.full(len(gone), -1)))
            self._live = np.setdiff1d(self._live, gone)
        before = cut(self._columns, cells)
        level, values, clear = chunk.level[number, cells], chunk.values[number, cells], chunk.clear[number, cells]
        policy = self._policy.of(cells, before.flapping)
        after = step(before, policy, level, values, clear, end)
        after = self._spoken(cells, before, after, level < INSUFFICIENT)
        self._states[after.columns.state, cells] += 1
        self._stepped = cells, after.columns
        flaps = before.flapping | after.columns.flapping
        news = np.ones(len(cells), np.bool_) if every else (after.move > 0) | (after.notice > 0) | flaps
        busy = np.diff(np.searchsorted(np.flatnonzero(news), np.searchsorted(cells, self._edges))) > 0
        due = [place for place, book in enumerate(self.books) if busy[place] or place in over or book.owes]
        silent = cells[is_silent(level, after)]
        moved = (Cells(values, chunk.counts[number, cells], level), before, after)
        return self._by_rule((number, silent), cells, moved, over, due)

    def _found(self, number: int) -> dict[str, Judged]:
        """Give what a window did where all of it is known beforehand."""
        played = self._played
        here, over_here = played.at(number)
        over: dict[int, Judged] = {}
        if over_here.start < over_here.stop:
            over = self._forgotten(played.gone[over_here], cut(played.gone_columns, over_here))
        cells = played.cells[here]
        rows = Cells(played.rows.values[here], played.rows.counts[here], played.rows.level[here])
        places = np.searchsorted(self._edges, cells, side="right") - 1
        due = sorted({*places.tolist(), *over})
        moved = (rows, cut(played.before, here), cut_step(played.after, here))
        return self._by_rule((number, at_window(played.silent, number)), cells, moved, over, due)

    def _by_rule(
        self,
        window: tuple[int, NDArray[np.int64]],
        cells: NDArray[np.int64],
        moved: tuple[Cells, AlertColumns, Step],
        over: dict[int, Judged],
        due: Sequence[int],
    ) -> dict[str, Judged]:
        """Cut what moved by rules; `due` are the places of those that are wanted.

        `window` is its number, and the alerts that are open in it though they have no row.
        """
        edges = np.searchsorted(cells, self._edges).tolist()
        rows, before, after = moved
        out = {}
        for place in due:
            here = slice(edges[place], edges[place + 1])
            keys = [self._keys[place][at] for at in (cells[here] - self._edges[place]).tolist()]
            kept = Cells(rows.values[here], rows.counts[here], rows.level[here])
            seen = self._seen(window, place)
            judged = Judged(keys, kept, cut(before, here), cut_step(after, here), over.get(place), seen)
            out[self.books[place].rule.options.name] = judged
        return out

    def _seen(self, window: tuple[int, NDArray[np.int64]], place: int) -> int:
        """Count the keys that a rule could see in a window."""
        (number, silent), (first, last) = window, self._edges[place : place + 2].tolist()
        seen = self._chunk.level[number, first:last] != NO_DATA
        seen[silent[np.searchsorted(silent, first) : np.searchsorted(silent, last)] - first] = True
        return count_seen(self._keys[place], seen)

    def settle(self) -> None:
        """Keep what the last window left, after what was said of it is counted in its columns."""
        if self._stepped is not None:
            cells, columns = self._stepped
            put(self._columns, cells, columns)
            self._live = self._awake(cells, columns)
            self._stepped = None

    def still(self) -> dict[str, Judged]:
        """Give the alerts that are not at rest as they are, by rule; none where they are nothing to others."""
        out: dict[str, Judged] = {}
        if self._alone:
            return out
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

    def _forgotten(self, gone: NDArray[np.int64], old: AlertColumns) -> dict[int, Judged]:
        """Give those of forgotten alerts that were not over, by the place of their rule."""
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
                    held = flapped(cut_step(after, here), flap, judged[here])
                    turns[here], flag[here] = held.turns, held.flapping
            after = replace(after, columns=replace(columns, turns=turns, flapping=flag))
        return replace(after, notice=np.where(self._policy.speaks[cells], after.notice, 0).astype(np.int8))

    @staticmethod
    def _awake(cells: NDArray[np.int64], columns: AlertColumns) -> NDArray[np.int64]:
        awake: NDArray[np.bool_] = (columns.state > 0) | (columns.turns != 0) | columns.flapping
        return cells[awake]
