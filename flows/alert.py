"""Alert: every rule over every known key at each closed window: decision records, transitions and notifications.

All keys of a rule are evaluated as columns; plain objects begin where something changes. State is kept by rule name: a
changed threshold, hold or recovery keeps its episodes; a rule on another metric, statistic, side or other keys starts
afresh, without a word on what was open; the state of a rule that is no longer there is dropped.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Protocol

import numpy as np
import orjson
import zstandard
from numpy.typing import NDArray

from flows.alert_state import MOVES, NOTICES, SEVERITIES, STATES, AlertColumns, Policy, Step, forget, step
from flows.evaluation import Evaluations
from flows.metric import MetricOptions
from flows.notify import Notifier, RouteOptions, Saying
from flows.output import canonical, rfc3339
from flows.rule import LEVELS, NO_DATA, OK, Rule, RuleOptions, compile_rule
from flows.snapshot import pack, unpack
from flows.window import MetricRows, WindowResult
from sinks.clickhouse import ClickHouseOptions
from sinks.notification import Notification

_OTHER = ':"(other)"'  # what a value looks like in canonical JSON; inside a longer text its quotes were escaped


class AlertConfig(Protocol):
    """What of a configuration the rules need; it must be valid."""

    @property
    def environment(self) -> str:
        """Give the name of the environment, part of every fingerprint."""
        ...

    @property
    def labels(self) -> dict[str, str]:
        """Give the labels that go on every alert."""
        ...

    @property
    def metrics(self) -> Sequence[MetricOptions]:
        """Give the metrics, by which rules find their dataset, unit and groups."""
        ...

    @property
    def rules(self) -> Sequence[RuleOptions]:
        """Give the rules."""
        ...

    @property
    def routes(self) -> Sequence[RouteOptions]:
        """Give the routes, the first that fits first."""
        ...

    @property
    def clickhouse(self) -> ClickHouseOptions | None:
        """Give where rows go, if anywhere."""
        ...


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of state or severity of one alert; `key` is canonical JSON."""

    at: int
    rule: str
    key: str
    fingerprint: str
    episode: str
    before: str
    after: str
    severity: str | None
    reason: str

    def line(self) -> bytes:
        """Give the line of `transitions.ndjson`."""
        record = {
            "at": rfc3339(self.at),
            "rule": self.rule,
            "key": orjson.Fragment(self.key),
            "fingerprint": self.fingerprint,
            "episode": self.episode,
            "from": self.before,
            "to": self.after,
            "severity": self.severity,
            "reason": self.reason,
        }
        return canonical(record) + b"\n"


@dataclass(frozen=True, slots=True)
class Decisions:
    """What one window led to, each list sorted by rule and key."""

    evaluations: list[Evaluations]
    transitions: list[Transition]
    notifications: list[Notification]
    provenance: list[bytes]


class Alerting:
    """The state of all rules of all datasets; one call a closed window, in the order of their ends."""

    def __init__(self, config: AlertConfig) -> None:
        """Start without any known key."""
        metrics = {metric.name: metric for metric in config.metrics}
        database = config.clickhouse.database if config.clickhouse else ClickHouseOptions().database
        notifier = Notifier(config.environment, config.labels, config.routes, database)
        self._books = [
            _Book(compile_rule(options, metrics[options.metric]), config.environment, notifier)
            for options in sorted(config.rules, key=lambda rule: rule.name)
        ]
        self._snapshot: bytes | None = None

    def evaluate(self, result: WindowResult, partitions: Sequence[Mapping[str, Any]] = ()) -> Decisions:
        """Judge one window by the rules of its dataset; a window without any row is not judged.

        `partitions` says what the window was read from, for the provenance of its notifications.
        """
        out = Decisions([], [], [], [])
        if not any(rows.keys for rows in result.metrics.values()):
            return out
        self._snapshot = None
        window = _Window(result, partitions)
        for book in self._books:
            if book.rule.metric.dataset == result.dataset:
                book.evaluate(window, out)
        return out

    def snapshot(self) -> bytes:
        """Give the state of all rules, compressed."""
        if self._snapshot is None:
            lists: list[list[str]] = []
            rules = {book.rule.options.name: book.to_state(lists) for book in self._books}
            self._snapshot = zstandard.compress(pack({"keys": lists, "rules": rules}), 1)
        return self._snapshot

    def restore(self, state: bytes) -> None:
        """Take the state of a snapshot, rule by rule."""
        found = unpack(zstandard.decompress(state))
        for book in self._books:
            known = found["rules"].get(book.rule.options.name)
            if known is not None and known["identity"] == book.identity:
                book.load(known, found["keys"])
        self._snapshot = None


class _Window:
    """One window's rows as rules want them: of some keys, never `(other)`."""

    def __init__(self, result: WindowResult, partitions: Sequence[Mapping[str, Any]]) -> None:
        self.result = result
        self.partitions = list(partitions)
        self._chosen: dict[tuple[str, str], tuple[list[str], NDArray[np.int64] | None]] = {}

    def rows(self, rule: Rule) -> tuple[list[str], NDArray[np.float64], NDArray[np.int64]]:
        """Give the keys that a rule judges, their values and counts."""
        rows = self.result.metrics.get(rule.options.metric)
        if rows is None:
            return [], np.zeros(0), np.zeros(0, np.int64)
        place = rule.options.metric, rule.keys
        if place not in self._chosen:
            self._chosen[place] = _choose(rows, rule.keys)
        keys, chosen = self._chosen[place]
        values = rows.statistics[rule.options.statistic]
        return (keys, values, rows.counts) if chosen is None else (keys, values[chosen], rows.counts[chosen])


def _choose(rows: MetricRows, kind: str) -> tuple[list[str], NDArray[np.int64] | None]:
    """Give the wanted keys, and their places where they are not all."""
    chosen = [
        place
        for place, key in enumerate(rows.keys)
        if (kind == "all" or (key == "{}") == (kind == "total")) and _OTHER not in key
    ]
    if len(chosen) == len(rows.keys):
        return rows.keys, None
    return [rows.keys[place] for place in chosen], np.array(chosen, np.int64)


@dataclass(frozen=True, slots=True)
class _Cells:
    """What a window has for the known keys of a rule: columns (k,), NaN and 0 where there is no row."""

    values: NDArray[np.float64]
    counts: NDArray[np.int64]
    level: NDArray[np.int8]

    def take(self, places: NDArray[np.int64]) -> "_Cells":
        return _Cells(self.values[places], self.counts[places], self.level[places])


@dataclass(frozen=True, slots=True)
class _Change:
    """One alert of which something moved or is said."""

    key: str
    transition: Transition | None
    saying: Saying | None


class _Fact(NamedTuple):
    """One changed alert as plain numbers; states, severities, move, notice and level are codes."""

    key: str
    move: int
    notice: int
    before: int
    after: int
    severity: int
    said: int
    start: int
    said_so_far: int
    peak: float
    breaches: int
    value: float
    records: int
    level: int


def _facts(keys: list[str], places: NDArray[np.int64], before: AlertColumns, after: Step, cells: _Cells) -> Iterable[_Fact]:
    """Take the alerts at `places`, called `keys`, out of their columns."""
    columns, cells = after.columns.take(places), cells.take(places)
    codes = (after.move[places], after.notice[places], before.state[places], columns.state, columns.severity)
    numbers = (after.severity[places], columns.start, columns.count, columns.peak, columns.breaches)
    rows = (cells.values, cells.counts, cells.level)
    return map(_Fact._make, zip(keys, *(column.tolist() for column in (*codes, *numbers, *rows)), strict=True))


class _Book:
    """One rule's alerts: its known keys, sorted, and their columns."""

    def __init__(self, rule: Rule, environment: str, notifier: Notifier) -> None:
        self.rule = rule
        self._environment = environment
        self._notifier = notifier
        metric, limits = rule.metric, rule.options.thresholds
        statistic, groups = rule.options.statistic, list(metric.group_by)
        self.identity = [environment, metric.dataset, metric.name, statistic, rule.sign, rule.keys, groups]
        self._policy = Policy(
            hold_warning=rule.options.hold.warning,
            hold_critical=rule.options.hold.critical,
            has_warning=limits.warning is not None,
            has_critical=limits.critical is not None,
            clear=rule.options.clear,
            repeat_ms=rule.options.repeat_ms,
            cooldown_ms=rule.options.cooldown_ms,
            sign=rule.sign,
        )
        self._keys: list[str] = []
        self._columns = AlertColumns()
        self._told: dict[str, list[str]] = {}  # who heard of an open episode, by key

    def evaluate(self, window: _Window, out: Decisions) -> None:
        cells = self._cells(window)
        changes = self._forget(window, cells)
        if changes is not None:
            cells = cells.take(changes[1])
        options, before = self.rule.options, self._columns
        clear = (cells.level == OK) & self.rule.clears(cells.values)
        after = step(before, self._policy, cells.level, cells.values, clear, window.result.end)
        self._columns = after.columns
        found = self._changes(self._keys, before, after, cells, window)
        if changes is not None:
            found = sorted(found + changes[0], key=lambda change: change.key)
        if self._keys:
            evaluations = Evaluations(
                window_end=window.result.end,
                rule=options.name,
                metric=options.metric,
                statistic=options.statistic,
                keys=self._keys,
                values=cells.values,
                counts=cells.counts,
                level=cells.level,
                before=before.state,
                after=after.columns.state,
                severity=after.columns.severity,
            )
            out.evaluations.append(evaluations)
        self._write(found, window, out)

    def _cells(self, window: _Window) -> _Cells:
        """Make new keys known, and lay the window's rows over the known ones."""
        keys, values, counts = window.rows(self.rule)
        places = self._learn(keys)
        self._columns.last_row[places] = window.result.end
        size = len(self._keys)
        cells = _Cells(np.full(size, np.nan), np.zeros(size, np.int64), np.full(size, NO_DATA, np.int8))
        cells.values[places], cells.counts[places] = values, counts
        cells.level[places] = self.rule.levels(values, counts)
        return cells

    def _learn(self, keys: list[str]) -> NDArray[np.int64] | slice:
        """Give the places of keys among the known ones, where new ones are put in order."""
        if keys == self._keys:
            return slice(None)
        known = {key: place for place, key in enumerate(self._keys)}
        if not all(key in known for key in keys):
            self._keys = sorted(known.keys() | keys)  # code points sort as UTF-8 bytes do
            self._columns = self._columns.take(np.array([known.get(key, -1) for key in self._keys], np.int64))
            known = {key: place for place, key in enumerate(self._keys)}
        return np.array([known[key] for key in keys], np.int64)

    def _forget(self, window: _Window, cells: _Cells) -> tuple[list[_Change], NDArray[np.int64]] | None:
        """Forget keys that had no row for too long; gives what that changes, and the places that stay."""
        stale = window.result.end - self._columns.last_row > self.rule.options.forget_after_ms
        if not stale.any():
            return None
        gone, kept = np.flatnonzero(stale), np.flatnonzero(~stale)
        keys, old = self._keys, self._columns.take(gone)
        self._keys, self._columns = [keys[place] for place in kept.tolist()], self._columns.take(kept)
        return self._changes([keys[place] for place in gone.tolist()], old, forget(old), cells.take(gone), window), kept

    def _changes(self, keys: list[str], before: AlertColumns, after: Step, cells: _Cells, window: _Window) -> list[_Change]:
        """Make objects of what moved or is said, and of nothing else."""
        places = np.flatnonzero((after.move > 0) | (after.notice > 0))
        if not len(places):
            return []
        result, name, changes = window.result, self.rule.options.name, []
        for fact in _facts([keys[place] for place in places.tolist()], places, before, after, cells):
            fingerprint = fingerprint_of(self._environment, fact.key, name)
            episode = f"{fingerprint}:{fact.start // 1000}"
            transition = saying = None
            if fact.move:
                moved = (STATES[fact.before], STATES[fact.after], SEVERITIES[fact.severity], MOVES[fact.move])
                transition = Transition(result.end, name, fact.key, fingerprint, episode, *moved)
            if fact.notice:
                saying = self._saying(fact, fingerprint, episode, result)
            changes.append(_Change(fact.key, transition, saying))
        return changes

    def _saying(self, fact: "_Fact", fingerprint: str, episode: str, result: WindowResult) -> Saying:
        return Saying(
            rule=self.rule,
            window_start=result.start,
            at=result.end,
            key=fact.key,
            fingerprint=fingerprint,
            episode=episode,
            start=fact.start,
            number=fact.said_so_far - 1,
            reason=NOTICES[fact.notice],
            severity=fact.said,
            value=self.rule.shown(fact.value),
            count=fact.records,
            level=LEVELS[fact.level],
            peak=None if math.isnan(fact.peak) else fact.peak,
            breaches=fact.breaches,
            exemplars=result.exemplars.get((self.rule.options.metric, fact.key), ()),
        )

    def _write(self, changes: Iterable[_Change], window: _Window, out: Decisions) -> None:
        for change in changes:
            if change.transition is not None:
                out.transitions.append(change.transition)
            if change.saying is not None:
                heard = frozenset(self._told.pop(change.key, ()))
                notification, heard = self._notifier.build(change.saying, heard)
                if notification.status == "firing":
                    self._told[change.key] = sorted(heard)
                out.notifications.append(notification)
                out.provenance.append(self._notifier.provenance(change.saying, notification.id, window.partitions))

    def to_state(self, lists: list[list[str]]) -> dict[str, Any]:
        """Give plain values; the keys go to `lists`, once for all rules that know the same."""
        if self._keys not in lists[-1:]:
            lists.append(self._keys)
        columns = {column.name: getattr(self._columns, column.name) for column in fields(AlertColumns)}
        return {"identity": self.identity, "keys": len(lists) - 1, "columns": columns, "told": self._told}

    def load(self, state: dict[str, Any], lists: list[list[str]]) -> None:
        self._keys = lists[state["keys"]]
        fresh = AlertColumns().take(np.full(len(self._keys), -1))
        known = {column.name: state["columns"].get(column.name, getattr(fresh, column.name)) for column in fields(fresh)}
        self._columns = AlertColumns(**known)
        self._told = state["told"]


def fingerprint_of(environment: str, key: str, rule: str) -> str:
    """Give the identity of an alert: 16 hex digits of the sha256 of canonical {environment, key, rule}."""
    text = b'{"environment":%b,"key":%b,"rule":%b}' % (canonical(environment), key.encode(), canonical(rule))
    return hashlib.sha256(text).hexdigest()[:16]
