"""Chunk levels: what rules make of a chunk of windows before any state: levels and policies, columns over all their alerts."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.alert_state import NEVER, Policy
from flows.book import Book
from flows.flap import FOREVER_MS
from flows.history import Chunk, readings_of
from flows.rule import CRITICAL, NO_DATA, OK, WARNING, Rule

_NOBODY = np.zeros(0, np.int64)
Places = tuple[NDArray[np.int64], NDArray[np.int64]]  # alerts, window by window, and where each window's begin


@dataclass(slots=True)
class Loaded:
    """A chunk made ready: columns (t, n) over all alerts of all rules, and where something happens, sorted by window."""

    ends: NDArray[np.int64]
    values: NDArray[np.float64]
    counts: NDArray[np.int64]
    level: NDArray[np.int8]
    clear: NDArray[np.bool_]
    bad: Places  # alerts with a bad level
    gone: Places  # alerts that are forgotten
    known: NDArray[np.int64]  # in how many windows each alert was judged
    last_row: NDArray[np.int64]  # as it is at the end


@dataclass(frozen=True, slots=True)
class Policies:
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


def policies_of(books: Sequence[Book], which: Sequence[NDArray[np.int16]]) -> Policies:
    """Give the policy of every alert; `which` says by which limits the keys of each rule are judged."""
    columns: dict[str, NDArray[Any]] = {}
    sizes = [len(each) for each in which]
    remembers = any(book.policy.remembers for book in books)
    for column in fields(Policy):
        if column.name.startswith("among_") and not remembers:
            continue
        columns[column.name] = np.repeat(np.array([getattr(book.policy, column.name) for book in books]), sizes)
    for name in ("warning", "critical"):
        given = [
            np.broadcast_to(~np.isnan(book.rule.limits(name, each)), each.shape)
            for book, each in zip(books, which, strict=True)
        ]
        columns[f"has_{name}"] = np.concatenate([np.zeros(0, np.bool_), *given])
    speaks = np.repeat(np.array([book.rule.options.notify for book in books], np.bool_), sizes)
    flaps = np.repeat(np.array([book.rule.options.flap is not None for book in books], np.bool_), sizes)
    return Policies(columns, speaks, flaps)


def laid_out(books: Sequence[Book], keys: Sequence[list[str]], last_rows: Sequence[NDArray[np.int64]], chunk: Chunk) -> Loaded:
    """Work out the levels of all rules; `last_rows` (k,) are the ends of the windows with each key's last row before (ms)."""
    parts: list[tuple[NDArray[Any], ...]] = []
    for book, names, last in zip(books, keys, last_rows, strict=True):
        read = readings_of(book.rule, chunk, names)
        level, clear = _levels(book.rule, read.values, read.counts, limits_of(book, names))
        level[~read.present] = NO_DATA
        seen = _seen(read.present, chunk.ends, last, book.rule.options.forget_after_ms)
        parts.append((read.values, read.counts, level, clear & (level == OK), *seen))
    size = len(chunk.starts)
    if not parts:
        parts = [(*(np.zeros((size, 0), kind) for kind in (float, np.int64, np.int8, bool, bool)), _NOBODY, _NOBODY)]
    values, counts, level, clear, gone = (np.concatenate([part[n] for part in parts], axis=1) for n in range(5))
    known, last_row = (np.concatenate([part[n] for part in parts]) for n in (5, 6))
    bad = (level == WARNING) | (level == CRITICAL)
    return Loaded(chunk.ends, values, counts, level, clear, _by_window(bad), _by_window(gone), known, last_row)


def limits_of(book: Book, keys: list[str]) -> NDArray[np.int16]:
    """Give by which limits keys are judged."""
    return np.array(book.choose(keys) if book.rule.variants else [0] * len(keys), np.int16)


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


def at_window(found: Places, number: int) -> NDArray[np.int64]:
    """Give the alerts of a window."""
    cells, edges = found
    return cells[edges[number] : edges[number + 1]]
