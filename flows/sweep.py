"""Sweep: the same readings judged by many settings of one rule at once, with the state machine that judges them live.

One cell is a setting and a key. Only cells that are not at rest are stepped (at rest: inactive, and nothing bad in this
window), because of thousands of settings over months nearly all are at rest nearly always. A cell at rest keeps counters
that a step would change (how long it has been calm), but none that a later step reads before setting it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.alert_state import AlertColumns, Policy, forget, step
from flows.labels import Labels
from flows.rule import CRITICAL, INSUFFICIENT, NO_DATA, OK, WARNING, Rule, sure

_CHUNK = 64  # windows whose levels are worked out at once


@dataclass(frozen=True, slots=True)
class Readings:
    """What a rule judges over t windows and k keys, whatever its settings: ends (t,) in ms; (t, k) values and counts.

    Values are NaN where there is no row. `level` (t, k) is what limits do not decide (-1 elsewhere), or None.
    """

    ends: NDArray[np.int64]
    keys: list[str]
    values: NDArray[np.float64]
    counts: NDArray[np.int64]
    present: NDArray[np.bool_]
    level: NDArray[np.int8] | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """What all settings would have said: columns (n,) in order of time, then setting, then key.

    `notice` is a code of NOTICES, `severity` of SEVERITIES, `start` the end of the window that began the episode (ms).
    """

    at: NDArray[np.int64]
    setting: NDArray[np.int32]
    key: NDArray[np.int32]
    notice: NDArray[np.int8]
    severity: NDArray[np.int8]
    start: NDArray[np.int64]

    def of(self, setting: int) -> "Said":
        """Give what one setting would have said."""
        chosen = self.setting == setting
        return Said(*(getattr(self, column.name)[chosen] for column in fields(self)))


class Sweep:
    """Judges readings chunk by chunk; the state goes on from one call to the next."""

    def __init__(self, rules: Sequence[Rule], keys: Sequence[str], labels: Labels) -> None:
        """Take the rule in all its settings; they differ in limits, holds and times alone (`same_signal`)."""
        self._rules = list(rules)
        self._keys = list(keys)
        shape = len(self._rules), len(self._keys)
        which = [[rule.choose(labels.of(rule, key)) for key in self._keys] if rule.variants else None for rule in self._rules]
        self._limits = {
            name: np.array(
                [
                    np.broadcast_to(rule.limits(name, None if chosen is None else np.array(chosen, np.int16)), shape[1:])
                    for rule, chosen in zip(self._rules, which, strict=True)
                ],
                np.float64,
            ).reshape(shape)
            for name in ("warning", "critical", "recover")
        }
        self._policy = _policy(self._rules, self._limits)
        self._columns = AlertColumns().take(np.full(shape[0] * shape[1], -1))
        self._last_row = np.full(shape[1], -(2**62), np.int64)

    def run(self, readings: Readings) -> Said:
        """Judge windows, in the order of their ends."""
        found = [said for first in range(0, len(readings.ends), _CHUNK) for said in self._chunk(readings, first)]
        if not found:
            none = np.zeros(0, np.int64)
            return Said(none, none.astype(np.int32), none.astype(np.int32), none.astype(np.int8), none.astype(np.int8), none)
        said = Said(*(np.concatenate([getattr(each, column.name) for each in found]) for column in fields(Said)))
        order = np.lexsort((said.key, said.setting, said.at))
        return Said(*(getattr(said, column.name)[order] for column in fields(Said)))

    def _chunk(self, readings: Readings, first: int) -> Iterator[Said]:
        rows = slice(first, first + _CHUNK)
        values, counts = readings.values[rows], readings.counts[rows]
        fixed = None if readings.level is None else readings.level[rows]
        level, clear = self._levels(values, counts, readings.present[rows], fixed)
        for number, end in enumerate(readings.ends[rows].tolist()):
            gone = self._forget(end, readings.present[first + number])
            said = self._step(end, level[number].ravel(), clear[number].ravel(), values[number])
            yield from (each for each in (gone, said) if each is not None)

    def _levels(
        self,
        values: NDArray[np.float64],
        counts: NDArray[np.int64],
        present: NDArray[np.bool_],
        fixed: NDArray[np.int8] | None,
    ) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
        """Give level and clear (t, settings, k)."""
        rule = self._rules[0]
        judged = values if rule.options.guard == "none" else sure(values, counts, rule.sign)
        value, count = values[:, None, :], counts[:, None, :]
        level = np.zeros((len(values), *self._limits["warning"].shape), np.int8)
        for name, code in (("warning", WARNING), ("critical", CRITICAL)):
            level[(judged[:, None, :] - self._limits[name]) * rule.sign > 0] = code
        clear = (value - self._limits["recover"]) * rule.sign <= 0
        min_bad = np.array([each.options.min_bad for each in self._rules])[:, None]
        if min_bad.any():
            share = 1 - value if rule.metric.good else value
            few = (np.rint(share * count) < min_bad) & (min_bad > 0)
            level[few] = OK
            clear |= few
        min_count = np.array([each.options.min_count for each in self._rules])[:, None]
        level[np.broadcast_to(count < min_count, level.shape)] = INSUFFICIENT
        if fixed is not None:
            level = np.where(fixed[:, None, :] >= 0, fixed[:, None, :], level)
        level[np.broadcast_to(~present[:, None, :], level.shape)] = NO_DATA
        return level, clear & (level == OK)

    def _step(self, end: int, level: NDArray[np.int8], clear: NDArray[np.bool_], values: NDArray[np.float64]) -> Said | None:
        """Step the cells that are not at rest; gives what is said of them."""
        cells = np.flatnonzero((self._columns.state > 0) | ((level > OK) & (level < INSUFFICIENT)))
        if not len(cells):
            return None
        old = self._columns.take(cells)
        after = step(old, _at(self._policy, cells), level[cells], values[cells % len(self._keys)], clear[cells], end)
        self._put(cells, after.columns)
        spoken = np.flatnonzero(after.notice > 0)
        if not len(spoken):
            return None
        return self._said(end, cells[spoken], after.notice[spoken], after.severity[spoken], after.columns.start[spoken])

    def _forget(self, end: int, present: NDArray[np.bool_]) -> Said | None:
        """Forget keys without a row for too long; `forget_after` is one for all settings."""
        self._last_row[present] = end
        stale = (end - self._last_row > self._rules[0].options.forget_after_ms) & (self._last_row > -(2**62))
        if not stale.any():
            return None
        cells = np.flatnonzero(np.tile(stale, len(self._rules)))
        old = self._columns.take(cells)
        gone = forget(old)
        self._put(cells, AlertColumns().take(np.full(len(cells), -1)))
        self._last_row[stale] = -(2**62)
        spoken = np.flatnonzero(gone.notice > 0)
        if not len(spoken):
            return None
        return self._said(end, cells[spoken], gone.notice[spoken], gone.severity[spoken], old.start[spoken])

    def _put(self, cells: NDArray[np.int64], columns: AlertColumns) -> None:
        for column in fields(AlertColumns):
            getattr(self._columns, column.name)[cells] = getattr(columns, column.name)

    def _said(self, end: int, cells: NDArray[np.int64], notice: Any, severity: Any, start: Any) -> Said:
        at = np.full(len(cells), end, np.int64)
        setting, key = np.divmod(cells, len(self._keys))
        return Said(at, setting.astype(np.int32), key.astype(np.int32), notice, severity.astype(np.int8), start)


def same_signal(rules: Sequence[Rule]) -> bool:
    """Tell whether rules differ only in what a sweep can vary."""
    free = ("above", "below", "recover", "min_count", "min_bad", "for_", "clear", "repeat_ms", "repeat_backoff", "max_repeats")
    fresh = dict.fromkeys((*free, "cooldown_ms", "overrides", "name", "runbook", "labels"))
    kept = [{c.name: getattr(rule.options, c.name) for c in fields(rule.options) if c.name not in fresh} for rule in rules]
    return all(each == kept[0] for each in kept) and len({rule.sign for rule in rules}) == 1


def _policy(rules: Sequence[Rule], limits: dict[str, NDArray[np.float64]]) -> Policy:
    """Give the policy of every cell, flat."""
    keys = limits["warning"].shape[1]

    def column(values: list[Any]) -> NDArray[Any]:
        return np.repeat(np.array(values), keys)

    options = [rule.options for rule in rules]
    return Policy(
        hold_warning=column([each.hold.warning for each in options]),
        hold_critical=column([each.hold.critical for each in options]),
        has_warning=~np.isnan(limits["warning"]).ravel(),
        has_critical=~np.isnan(limits["critical"]).ravel(),
        clear=column([each.clear for each in options]),
        repeat_ms=column([each.repeat_ms for each in options]),
        cooldown_ms=column([each.cooldown_ms for each in options]),
        sign=rules[0].sign,
        repeat_backoff=column([each.repeat_backoff for each in options]),
        max_repeats=column([each.max_repeats for each in options]),
    )


def _at(policy: Policy, cells: NDArray[np.int64]) -> Policy:
    columns = {column.name: getattr(policy, column.name) for column in fields(policy)}
    return replace(policy, **{name: value[cells] for name, value in columns.items() if isinstance(value, np.ndarray)})
