"""Sweep: the same readings judged by many settings of one rule at once, with the state machine that judges them live.

One cell is a setting and a key. Only cells that are not at rest are stepped (at rest: inactive, and nothing bad in this
window), because of thousands of settings over months nearly all are at rest nearly always. A cell at rest keeps counters
that a step would change (how long it has been calm), but none that a later step reads before setting it. A value that the
mildest of all limits forgives is not even looked at.

What mute times and silences withhold is made good as `withhold` does it. Not judged here: inhibitions, which depend on other
rules, and `flap`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.alert_state import FIRING, RECOVERING, AlertColumns, Policy, Step, forget, step
from flows.paging import Paging
from flows.rule import CRITICAL, INSUFFICIENT, NO_DATA, OK, WARNING, Rule, sure
from flows.withhold import REASONS

_LIMITS = ("warning", "critical", "recover")
_REASON = {name: number for number, name in enumerate(REASONS)}
_RESOLVED, _FORGOTTEN = _REASON["resolved"], _REASON["forgotten"]
_NEVER = -(2**62)
_NOT_HELD = -1


@dataclass(frozen=True, slots=True)
class Readings:
    """What a rule judges over t windows and k keys, whatever its settings: ends (t,) in ms; (t, k) values and counts.

    Values are NaN where the rule reads nothing. `present` says where there was a row; `level` (t, k) is what limits do not
    decide (-1 elsewhere), or None.
    """

    ends: NDArray[np.int64]
    keys: list[str]
    values: NDArray[np.float64]
    counts: NDArray[np.int64]
    present: NDArray[np.bool_]
    level: NDArray[np.int8] | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """What all settings would have said: columns (n,) in order of time, then setting, then key (place in `Sweep.keys`).

    `reason` is a code of REASONS, `severity` of SEVERITIES. `begins` says that nobody had heard of the episode, `page` that a
    person is rung.
    """

    at: NDArray[np.int64]
    setting: NDArray[np.int32]
    key: NDArray[np.int32]
    reason: NDArray[np.int8]
    severity: NDArray[np.int8]
    begins: NDArray[np.bool_]
    page: NDArray[np.bool_]

    def where(self, chosen: NDArray[np.bool_]) -> "Said":
        """Give some of it."""
        return Said(*(getattr(self, column.name)[chosen] for column in fields(self)))

    def of(self, setting: int) -> "Said":
        """Give what one setting would have said."""
        return self.where(self.setting == setting)


_DTYPES = (np.int64, np.int32, np.int32, np.int8, np.int8, np.bool_, np.bool_)


@dataclass(frozen=True, slots=True)
class _Seen:
    """One window over the known keys: columns (k,); `judged` is what is compared with limits."""

    end: int
    values: NDArray[np.float64]
    counts: NDArray[np.int64]
    judged: NDArray[np.float64]
    level: NDArray[np.int8]  # -1 where limits decide


class Sweep:
    """Judges readings; the state goes on from one call to the next, and keys are learnt on the way."""

    def __init__(self, rules: Sequence[Rule], paging: Paging) -> None:
        """Take the rule in all its settings; they differ in limits, holds and times alone (`same_signal`)."""
        self._rules = list(rules)
        self._paging = paging
        self.keys: list[str] = []
        self._min_count = np.array([rule.options.min_count for rule in rules], np.int64)
        self._min_bad = np.array([rule.options.min_bad for rule in rules], np.int64)
        self._columns = AlertColumns()
        self._told = np.zeros(0, np.bool_)
        self._paged = np.zeros(0, np.bool_)
        self._held = np.zeros(0, np.int8)  # the severity last heard of what is withheld
        self._last_row = np.zeros(0, np.int64)
        self._open = np.zeros(0, np.int64)  # cells whose state is not inactive
        self._grow([])

    def run(self, readings: Readings) -> Said:
        """Judge windows, in the order of their ends."""
        self._learn(readings.keys)
        known = {key: place for place, key in enumerate(self.keys)}
        places = np.array([known[key] for key in readings.keys], np.int64)
        found: list[Said] = [said for number in range(len(readings.ends)) for said in self._window(readings, number, places)]
        if not found:
            return nothing_said()
        order = np.lexsort(tuple(np.concatenate([getattr(each, name) for each in found]) for name in ("key", "setting", "at")))
        columns: list[Any] = [np.concatenate([getattr(each, column.name) for each in found])[order] for column in fields(Said)]
        return Said(*columns)

    def _learn(self, keys: Sequence[str]) -> None:
        """Make new keys known, in order."""
        if not set(keys) <= set(self.keys):
            self._grow(sorted({*self.keys, *keys}))

    def _grow(self, keys: list[str]) -> None:
        old = {key: place for place, key in enumerate(self.keys)}
        places = np.array([old.get(key, -1) for key in keys], np.int64)
        cells = np.where(places < 0, -1, np.arange(len(self._rules))[:, None] * len(old) + places).ravel()
        self.keys = keys
        self._columns = self._columns.take(cells)
        self._told, self._paged = _taken(self._told, cells, fill=False), _taken(self._paged, cells, fill=False)
        self._held = _taken(self._held, cells, fill=_NOT_HELD)
        self._last_row = _taken(self._last_row, places, fill=_NEVER)
        self._open = np.flatnonzero(self._columns.state > 0)
        shape = len(self._rules), len(keys)
        self._limits = {name: np.concatenate([self._limit(rule, name) for rule in self._rules]) for name in _LIMITS}
        self._policy = _policy(self._rules, self._limits, len(keys))
        sign = self._rules[0].sign
        worst = np.fmin(self._limits["warning"] * sign, self._limits["critical"] * sign).reshape(shape)
        self._mildest = np.nan_to_num(worst, nan=np.inf).min(axis=0)
        self._rings = self._paging.rings(self._rules[0], keys)

    def _limit(self, rule: Rule, name: str) -> NDArray[np.float64]:
        which = [rule.choose(self._paging.labels.of(rule, key)) for key in self.keys] if rule.variants else None
        limits = rule.limits(name, None if which is None else np.array(which, np.int16))
        return np.array(np.broadcast_to(limits, len(self.keys)), np.float64)

    def _window(self, readings: Readings, number: int, places: NDArray[np.int64]) -> Iterator[Said]:
        end, size, rule = int(readings.ends[number]), len(self.keys), self._rules[0]
        present = np.zeros(size, np.bool_)
        present[places] = readings.present[number]
        gone = self._forget(end, present)
        if gone is not None:
            yield gone
        values, counts, level = np.full(size, np.nan), np.zeros(size, np.int64), np.full(size, -1, np.int8)
        values[places], counts[places] = readings.values[number], readings.counts[number]
        if readings.level is not None:
            level[places] = readings.level[number]
        judged = values if rule.options.guard == "none" else sure(values, counts, rule.sign)
        seen = _Seen(end, values, counts, judged, level)
        said = self._judge(seen)
        if said is not None:
            yield said

    def _judge(self, seen: _Seen) -> Said | None:
        """Step the cells that are not at rest; gives what is said of them."""
        bad = (seen.level > OK) & (seen.level < INSUFFICIENT)
        hot = np.flatnonzero((seen.judged * self._rules[0].sign > self._mildest) | bad)
        if not len(hot) and not len(self._open):
            return None
        chosen = np.zeros((len(self._rules), len(self.keys)), np.bool_)
        chosen[:, hot] = True
        chosen.reshape(-1)[self._open] = True
        cells = np.flatnonzero(chosen)
        level, clear = self._levels(seen, cells)
        moves = (self._columns.state[cells] > 0) | ((level > OK) & (level < INSUFFICIENT))
        cells, level, clear = cells[moves], level[moves], clear[moves]
        if not len(cells):
            return None
        old = self._columns.take(cells)
        after = step(old, _at(self._policy, cells), level, seen.values[cells % len(self.keys)], clear, seen.end)
        if not self._rules[0].options.notify:
            after = replace(after, notice=np.zeros_like(after.notice))
        after = self._settle(cells, old, after, seen.end)
        self._put(cells, after.columns)
        self._open = cells[after.columns.state > 0]
        return self._said(cells, after, seen.end)

    def _levels(self, seen: _Seen, cells: NDArray[np.int64]) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
        """Give level and clear of cells."""
        rule = self._rules[0]
        setting, key = np.divmod(cells, len(self.keys))
        value, count, judged, fixed = seen.values[key], seen.counts[key], seen.judged[key], seen.level[key]
        level = np.zeros(len(cells), np.int8)
        for name, code in (("warning", WARNING), ("critical", CRITICAL)):
            level[(judged - self._limits[name][cells]) * rule.sign > 0] = code
        clear = (value - self._limits["recover"][cells]) * rule.sign <= 0
        if self._min_bad.any():
            least = self._min_bad[setting]
            few = (np.rint((1 - value if rule.metric.good else value) * count) < least) & (least > 0)
            level[few] = OK
            clear |= few
        level[count < self._min_count[setting]] = INSUFFICIENT
        level[np.isnan(value)] = NO_DATA
        level = np.where(fixed >= 0, fixed, level)
        return level, clear & (level == OK)

    def _settle(self, cells: NDArray[np.int64], old: AlertColumns, after: Step, end: int) -> Step:
        """Withhold what is kept quiet, and make good what was: as `Hearing.settle`, over cells."""
        held, told = self._held[cells], self._told[cells]
        if not (after.notice > 0).any() and not (held >= 0).any():
            return after
        quiet = self._paging.quiet(self._rules[0], end, self.keys)
        if quiet is None and not (held >= 0).any():
            return after
        severity = np.where(after.severity > 0, after.severity, after.columns.said)
        why = np.zeros(len(cells), np.bool_) if quiet is None else quiet[severity, cells % len(self.keys)]
        notice, fires = after.notice, after.columns.state >= FIRING
        touched = ((notice > 0) & why) | (held >= 0)
        speaks = touched & fires & ~why & ((after.columns.state != RECOVERING) | (notice > 0))
        good = np.select(
            [held == 0, after.severity > held, after.severity < held],
            [_REASON["first"], _REASON["escalated"], _REASON["de-escalated"]],
            _REASON["repeat"],
        )
        said = np.where(speaks & (held >= 0), good, notice)
        said[touched & fires & ~speaks] = 0
        over = touched & ~fires
        said[over] = np.where(told, np.where(notice > 0, notice, _RESOLVED), 0)[over]
        begun = touched & fires & why & (notice > 0) & (held < 0)
        held = np.where(begun, np.where(told, old.said, 0), held)
        self._held[cells] = np.where(over | speaks, _NOT_HELD, held)
        extra = (said > 0) & (notice == 0)
        columns = replace(
            after.columns,
            count=after.columns.count + extra,
            said_at=np.where(extra, end, after.columns.said_at),
            repeats=np.where(extra, 0, after.columns.repeats),
        )
        last = np.where(after.severity > 0, after.severity, np.where(old.said > 0, old.said, WARNING))
        return replace(
            after, columns=columns, notice=said.astype(np.int8), severity=np.where(extra, last, after.severity).astype(np.int8)
        )

    def _forget(self, end: int, present: NDArray[np.bool_]) -> Said | None:
        """Forget keys without a row for too long; `forget_after` is one for all settings."""
        self._last_row[present] = end
        stale = (end - self._last_row > self._rules[0].options.forget_after_ms) & (self._last_row > _NEVER)
        if not stale.any():
            return None
        cells = np.flatnonzero(np.tile(stale, len(self._rules)))
        old = self._columns.take(cells)
        gone, told, held = forget(old), self._told[cells], self._held[cells] >= 0
        notice = np.where(held & ~told, 0, np.where(told & (gone.notice == 0), _FORGOTTEN, gone.notice)).astype(np.int8)
        severity = np.where(gone.severity > 0, gone.severity, np.where(old.said > 0, old.said, WARNING)).astype(np.int8)
        self._put(cells, AlertColumns().take(np.full(len(cells), -1)))
        self._held[cells] = _NOT_HELD
        self._last_row[stale] = _NEVER
        self._open = np.setdiff1d(self._open, cells)
        return self._said(cells, replace(gone, notice=notice, severity=severity), end)

    def _put(self, cells: NDArray[np.int64], columns: AlertColumns) -> None:
        for column in fields(AlertColumns):
            getattr(self._columns, column.name)[cells] = getattr(columns, column.name)

    def _said(self, cells: NDArray[np.int64], after: Step, end: int) -> Said | None:
        """Give what is said, and remember who has heard of what."""
        spoken = np.flatnonzero(after.notice > 0)
        if not len(spoken):
            return None
        cells, reason, severity = cells[spoken], after.notice[spoken], after.severity[spoken].astype(np.int8)
        setting, key = np.divmod(cells, len(self.keys))
        firing = (reason != _RESOLVED) & (reason != _FORGOTTEN)
        begins = firing & ~self._told[cells]
        page = firing & self._rings[severity, key] & ~self._paged[cells]
        self._told[cells] = firing
        self._paged[cells] = firing & (self._paged[cells] | page)
        at = np.full(len(cells), end, np.int64)
        return Said(at, setting.astype(np.int32), key.astype(np.int32), reason, severity, begins, page)


def nothing_said() -> Said:
    """Give no rows."""
    columns: list[Any] = [np.zeros(0, dtype) for dtype in _DTYPES]
    return Said(*columns)


def same_signal(rules: Sequence[Rule]) -> bool:
    """Tell whether rules differ only in what a sweep can vary without another signal."""
    free = ("above", "below", "recover", "min_count", "min_bad", "for_", "clear", "repeat_ms", "repeat_backoff", "max_repeats")
    fresh = dict.fromkeys((*free, "cooldown_ms", "overrides", "name", "runbook", "labels"))
    kept = [{c.name: getattr(rule.options, c.name) for c in fields(rule.options) if c.name not in fresh} for rule in rules]
    return all(each == kept[0] for each in kept) and len({rule.sign for rule in rules}) == 1


def _taken(values: NDArray[Any], places: NDArray[np.int64], *, fill: int) -> NDArray[Any]:
    out = np.full(len(places), fill, values.dtype)
    out[places >= 0] = values[places[places >= 0]]
    return out


def _policy(rules: Sequence[Rule], limits: dict[str, NDArray[np.float64]], keys: int) -> Policy:
    """Give the policy of every cell, flat."""

    def column(values: list[Any]) -> NDArray[Any]:
        return np.repeat(np.array(values), keys)

    options = [rule.options for rule in rules]
    remembers = any(each.hold.remembers for each in options)
    return Policy(
        hold_warning=column([each.hold.for_warning.times for each in options]),
        hold_critical=column([each.hold.for_critical.times for each in options]),
        among_warning=column([each.hold.for_warning.among for each in options]) if remembers else 0,
        among_critical=column([each.hold.for_critical.among for each in options]) if remembers else 0,
        has_warning=~np.isnan(limits["warning"]),
        has_critical=~np.isnan(limits["critical"]),
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
