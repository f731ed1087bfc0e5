"""Alert: every rule over every known key at each closed window: decision records, transitions and notifications.

All keys of a rule are evaluated as columns; plain objects begin where something changes. State is kept by rule name: a
changed threshold keeps its episodes, a rule on another metric or other keys starts afresh, a removed rule is dropped.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from flows.alert_state import (
    FIRING,
    INACTIVE,
    MOVES,
    NOTICES,
    SEVERITIES,
    STATES,
    AlertColumns,
    Policy,
    Step,
    forget,
    step,
)
from flows.metric import MetricOptions
from flows.notify import Episode, Notifier, RouteOptions
from flows.output import canonical, rfc3339
from flows.rule import LEVELS, NO_DATA, OK, Rule, RuleOptions, compile_rule
from flows.snapshot import pack, unpack
from flows.window import MetricRows, WindowResult
from sinks.notification import Notification

_OTHER = ':"(other)"'
_VERSION = 1


class AlertConfig(Protocol):
    """What of a configuration the rules need."""

    @property
    def environment(self) -> str: ...
    @property
    def labels(self) -> dict[str, str]: ...
    @property
    def metrics(self) -> Sequence[MetricOptions]: ...
    @property
    def rules(self) -> Sequence[RuleOptions]: ...
    @property
    def routes(self) -> Sequence[RouteOptions]: ...


@dataclass(frozen=True, slots=True)
class Evaluations:
    """The decision records of one rule and window: columns (k,) over its known keys, sorted."""

    window_end: int
    rule: str
    metric: str
    statistic: str
    keys: list[str]
    values: NDArray[np.float64]  # NaN where there was no row
    counts: NDArray[np.int64]
    level: NDArray[np.int8]
    before: NDArray[np.int8]
    after: NDArray[np.int8]
    severity: NDArray[np.int8]

    def lines(self) -> bytes:
        """Give the lines of `evaluations.ndjson`: canonical JSON, one a key."""
        constant = f'"metric":{_json(self.metric)},"rule":{_json(self.rule)},"severity":'
        end = f',"window_end":"{rfc3339(self.window_end)}"}}\n'
        kinds = np.stack((self.level, self.before, self.after, self.severity))
        combos, places = np.unique(kinds, axis=1, return_inverse=True)
        heads = [f',"level":"{LEVELS[level]}",{constant}' for level in combos[0]]
        middles = [
            f'{_json(SEVERITIES[severity])},"state_after":"{STATES[after]}","state_before":"{STATES[before]}",'
            f'"statistic":"{self.statistic}","suppressed_by":null,"value":'
            for _, before, after, severity in combos.T
        ]
        mixed = [head + middle for head, middle in zip(heads, middles, strict=True)]
        counts = canonical(self.counts.tolist()).decode()[1:-1].split(",")
        values = canonical(self.values.tolist()).decode()[1:-1].split(",")  # NaN is written as null
        return "".join(
            [
                f'{{"count":{count},"key":{key}{mixed[place]}{value}{end}'
                for count, key, place, value in zip(counts, self.keys, places.reshape(-1).tolist(), values, strict=True)
            ]
            if self.keys
            else []
        ).encode()


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of state or severity of one alert."""

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
            "fingerprint": self.fingerprint,
            "episode": self.episode,
            "from": self.before,
            "to": self.after,
            "severity": self.severity,
            "reason": self.reason,
        }
        return canonical(record | {"key": _loads(self.key)}) + b"\n"


@dataclass(frozen=True, slots=True)
class Decisions:
    """What one window led to, each list sorted by rule and key."""

    evaluations: list[Evaluations]
    transitions: list[Transition]
    notifications: list[Notification]
    provenance: list[bytes]


class Alerting:
    """The state of all rules; one call a closed window."""

    def __init__(self, config: AlertConfig) -> None:
        """Take the rules of a configuration, whose metrics and routes must be valid."""
        self._metrics = {metric.name: metric for metric in config.metrics}
        notifier = Notifier(config.environment, dict(config.labels), config.routes, self._metrics)
        self._books = [
            _Book(
                compile_rule(options, grouped=bool(self._metrics[options.metric].group_by)),
                config.environment,
                notifier,
            )
            for options in sorted(config.rules, key=lambda rule: rule.name)
        ]

    def evaluate(self, result: WindowResult) -> Decisions:
        """Judge one window by the rules of its dataset; a window without any row is not judged."""
        out = Decisions([], [], [], [])
        if result.metrics:
            for book in self._books:
                if self._metrics[book.rule.options.metric].dataset == result.dataset:
                    book.evaluate(result, out)
        return out

    def snapshot(self) -> bytes:
        """Give the state of all rules."""
        return pack({"version": _VERSION, "rules": {book.rule.options.name: book.to_state() for book in self._books}})

    def restore(self, state: bytes) -> None:
        """Take the state of a snapshot, rule by rule."""
        rules = unpack(state)["rules"]
        for book in self._books:
            known = rules.get(book.rule.options.name)
            if known is not None and known["identity"] == book.identity:
                book.load(known)


class _Book:
    """One rule's alerts: its known keys, sorted, and their columns."""

    def __init__(self, rule: Rule, environment: str, notifier: Notifier) -> None:
        self.rule = rule
        self._environment = environment
        self._notifier = notifier
        options, limits = rule.options, rule.options.thresholds
        self.identity = [options.metric, options.statistic, rule.keys]
        self._policy = Policy(
            hold_warning=rule.hold[0],
            hold_critical=rule.hold[1],
            has_warning=limits.warning is not None,
            has_critical=limits.critical is not None,
            clear=options.clear,
            repeat_ms=options.repeat_ms,
            cooldown_ms=options.cooldown_ms,
            sign=rule.sign,
        )
        self._keys: list[str] = []
        self._columns = AlertColumns()
        self._told: dict[str, list[str]] = {}

    def evaluate(self, result: WindowResult, out: Decisions) -> None:
        rows = result.metrics.get(self.rule.options.metric)
        keys, values, counts = self._wanted(rows)
        places = self._learn(keys)
        now = result.end
        last = self._columns.last_row
        last[places] = now
        self._drop(now - last > self.rule.options.forget_after_ms, result, out)
        places = self._places(keys)
        self._judge(places, values, counts, result, out)

    def _wanted(self, rows: MetricRows | None) -> tuple[list[str], NDArray[np.float64], NDArray[np.int64]]:
        """Give the rows that this rule judges."""
        if rows is None:
            return [], np.zeros(0), np.zeros(0, np.int64)
        values = rows.statistics[self.rule.options.statistic]
        kind = self.rule.keys
        chosen = [
            i for i, key in enumerate(rows.keys) if (kind == "all" or (key == "{}") == (kind == "total")) and _OTHER not in key
        ]
        if len(chosen) == len(rows.keys):
            return rows.keys, values, rows.counts
        return [rows.keys[i] for i in chosen], values[chosen], rows.counts[chosen]

    def _places(self, keys: list[str]) -> NDArray[np.int64]:
        if keys == self._keys:
            return np.arange(len(keys))
        place = {key: i for i, key in enumerate(self._keys)}
        return np.array([place[key] for key in keys], np.int64)

    def _learn(self, keys: list[str]) -> NDArray[np.int64]:
        """Make new keys known; gives the places of `keys`."""
        if keys != self._keys:
            known = {key: i for i, key in enumerate(self._keys)}
            if not all(key in known for key in keys):
                self._keys = sorted({*self._keys, *keys})  # code points sort as UTF-8 bytes do
                self._columns = self._columns.take(np.array([known.get(key, -1) for key in self._keys], np.int64))
        return self._places(keys)

    def _drop(self, stale: NDArray[np.bool_], result: WindowResult, out: Decisions) -> None:
        """Forget keys that had no row for too long, resolving what still fires."""
        if not stale.any():
            return
        places = np.flatnonzero(stale)
        move, notice = forget(self._columns, places)
        columns = self._columns
        for i, moved, said in zip(places.tolist(), move.tolist(), notice.tolist(), strict=True):
            if moved:
                self._say_and_move(i, columns, (moved, said), (STATES[columns.state[i]], "inactive"), result, out)
            self._told.pop(self._keys[i], None)
        kept = np.flatnonzero(~stale)
        self._keys = [self._keys[i] for i in kept.tolist()]
        self._columns = columns.take(kept)

    def _judge(
        self,
        places: NDArray[np.int64],
        row_values: NDArray[np.float64],
        row_counts: NDArray[np.int64],
        result: WindowResult,
        out: Decisions,
    ) -> None:
        if not self._keys:
            return
        size = len(self._keys)
        values, counts = np.full(size, np.nan), np.zeros(size, np.int64)
        level = np.full(size, NO_DATA, np.int8)
        values[places], counts[places] = row_values, row_counts
        level[places] = self.rule.levels(row_values, row_counts)
        before = self._columns
        after = step(before, self._policy, level, values, (level == OK) & self.rule.clears(values), result.end)
        self._columns = after.columns
        options = self.rule.options
        columns = (values, counts, level, before.state, after.columns.state, after.columns.severity)
        out.evaluations.append(Evaluations(result.end, options.name, options.metric, options.statistic, self._keys, *columns))
        self._tell(after, before, result, out)

    def _tell(self, after: Step, before: AlertColumns, result: WindowResult, out: Decisions) -> None:
        changed = np.flatnonzero((after.move > 0) | (after.notice > 0)).tolist()
        rows = result.metrics.get(self.rule.options.metric)
        for i in changed:
            states = (STATES[before.state[i]], STATES[after.columns.state[i]])
            severity = int(after.severity[i])
            self._say_and_move(
                i, after.columns, (int(after.move[i]), int(after.notice[i])), states, result, out, severity, rows
            )

    def _say_and_move(  # noqa: PLR0913
        self,
        i: int,
        columns: AlertColumns,
        what: tuple[int, int],
        states: tuple[str, str],
        result: WindowResult,
        out: Decisions,
        severity: int | None = None,
        rows: MetricRows | None = None,
    ) -> None:
        """Write what moved and what is said of one key; a forgotten key is said with the severity that it had."""
        key = self._keys[i]
        fingerprint = fingerprint_of(self._environment, key, self.rule.options.name)
        moved, said = what
        episode = f"{fingerprint}:{int(columns.start[i]) // 1000}"
        shown = None if states[1] in ("inactive", "pending") else SEVERITIES[columns.severity[i]]
        if moved:
            name = self.rule.options.name
            out.transitions.append(
                Transition(result.end, name, key, fingerprint, episode, *states, severity=shown, reason=MOVES[moved])
            )
        if said:
            told = Episode(
                fingerprint=fingerprint,
                episode=episode,
                key=key,
                start=int(columns.start[i]),
                number=int(columns.count[i]) - (MOVES[moved] != "forgotten"),
                severity=int(columns.severity[i]) if severity is None else severity,
                peak=float(columns.peak[i]),
                breaches=int(columns.breaches[i]),
            )
            self._notify(told, NOTICES[said], result, rows, out)

    def _notify(self, told: Episode, reason: str, result: WindowResult, rows: MetricRows | None, out: Decisions) -> None:
        heard = frozenset() if reason in ("first", "reopened") else frozenset(self._told.get(told.key, ()))
        notification, heard, provenance = self._notifier.build(self.rule, told, reason, result, rows, heard)
        self._told[told.key] = sorted(heard)
        out.notifications.append(notification)
        out.provenance.append(provenance)

    def to_state(self) -> dict[str, Any]:
        columns = {column.name: getattr(self._columns, column.name) for column in fields(AlertColumns)}
        told = {key: channels for key, channels in self._told.items() if channels}
        return {"identity": self.identity, "keys": self._keys, "columns": columns, "told": told}

    def load(self, state: dict[str, Any]) -> None:
        self._keys = state["keys"]
        self._columns = AlertColumns(**state["columns"])
        self._told = state["told"]


def fingerprint_of(environment: str, key: str, rule: str) -> str:
    """Give the identity of an alert: 16 hex digits of the sha256 of canonical {environment, key, rule}."""
    text = f'{{"environment":{_json(environment)},"key":{key},"rule":{_json(rule)}}}'
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def rules_of(rules: Iterable[RuleOptions], metrics: Iterable[MetricOptions]) -> dict[str, Rule]:
    """Make rules ready, by name."""
    grouped = {metric.name: bool(metric.group_by) for metric in metrics}
    return {rule.name: compile_rule(rule, grouped=grouped[rule.metric]) for rule in rules}


def _json(value: object) -> str:
    return canonical(value).decode()


def _loads(key: str) -> dict[str, str]:
    import orjson  # noqa: PLC0415

    loaded: dict[str, str] = orjson.loads(key)
    return loaded


__all__ = ["FIRING", "INACTIVE", "Alerting", "Decisions", "Evaluations", "Transition", "fingerprint_of", "rules_of"]
