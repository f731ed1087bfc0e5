"""Timeline: what one rule saw and did on one key over a range: values, limits, states, and what was said.

A backtest is asked for the decisions as they are made; values are read from the history afterwards, of the few keys that are
shown: those of labelled incidents, then those of which most was said. However long the range: of decisions the newest are
kept that fit into DECIDED_BYTES, and of values those of the newest MOST_WINDOWS windows.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from flows.alert_state import STATES
from flows.history import History, keys_of
from flows.incidents import Incident
from flows.labels import Labels
from flows.metric import TOTAL, MetricOptions
from flows.report_alerts import FIRING, Stay, stays
from flows.report_source import Range
from flows.rule import Rule, RuleOptions, compile_rule
from flows.transition import Transition
from sinks.notification import Notification

MOST_KEYS, MOST_IN_ALL = 6, 60
MOST_WINDOWS = 120_000  # over a year of five minutes; 8 bytes each and key
DECIDED_BYTES = 128_000_000
_MOVED_BYTES, _SAID_BYTES = 450, 3_000  # of a change of state and of a message, about, as Python keeps them
_LIMITED = ("threshold", "capacity", "budget")  # what these judge is in the window, and their limits do not move
_COUNTED = {"event": "count", "absence": "count", "slo": "ratio"}  # what is shown of those that judge something else

Place = tuple[str, str]  # rule and key


class Decided(Protocol):
    """What the windows of one end led to."""

    @property
    def transitions(self) -> list[Transition]:
        """Give what moved."""
        ...

    @property
    def notifications(self) -> list[Notification]:
        """Give what was said."""
        ...


class TimelineConfig(Protocol):
    """What of a configuration timelines need."""

    @property
    def environment(self) -> str:
        """Give the name of the environment."""
        ...

    @property
    def labels(self) -> dict[str, str]:
        """Give the labels that go on every alert."""
        ...

    @property
    def metrics(self) -> Sequence[MetricOptions]:
        """Give the metrics."""
        ...

    @property
    def rules(self) -> Sequence[RuleOptions]:
        """Give the rules."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """One rule on one key: columns (n,) of window starts (ms) and values, NaN where there was no row.

    `limits` are (severity, value); `shows` is the statistic, which is not what the rule judges where `judged` is false.
    """

    rule: RuleOptions
    key: str
    shows: str
    judged: bool
    unit: str
    starts: NDArray[np.int64]
    values: NDArray[np.float64]
    limits: tuple[tuple[str, float], ...]
    stays: tuple[Stay, ...]
    said: tuple[Notification, ...]
    incidents: tuple[Incident, ...]


@dataclass(slots=True)
class Timelines:
    """Collects decisions as a backtest makes them; `over` are the windows that are judged.

    What was decided before `since` (ms) is not kept; it is `over.start` unless there was too much.
    """

    config: TimelineConfig
    over: Range
    incidents: Sequence[Incident] = ()
    most_bytes: int = DECIDED_BYTES
    since: int = 0
    left_out: dict[str, int] = field(default_factory=dict)  # keys of a rule with something to show that have no timeline
    _kept: deque[tuple[list[dict[str, Any]], list[Notification]]] = field(default_factory=deque)
    _bytes: int = 0
    _held: dict[Place, dict[str, Any]] = field(default_factory=dict)
    _count: Counter[Place] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Begin with the range."""
        self.since = self.over.start

    def add(self, decided: Decided) -> None:
        """Take what the windows of one end led to."""
        if not decided.transitions and not decided.notifications:
            return
        moved = []
        for each in decided.transitions:
            row = {"at": each.at, "rule": each.rule, "key": each.key, "to": each.after, "episode": each.episode}
            moved.append(row | {"severity": each.severity})
            first = row | {"at": self.over.start, "to": each.before, "severity": each.severity}
            self._held.setdefault((each.rule, each.key), first)
        self._count.update(map(_place, decided.notifications))
        self._kept.append((moved, list(decided.notifications)))
        self._bytes += _size(moved, decided.notifications)
        while self._bytes > self.most_bytes and len(self._kept) > 1:
            self._forget()

    def _forget(self) -> None:
        """Give up the oldest decisions; the states that they led to are what the others begin with."""
        moved, said = self._kept.popleft()
        self._bytes -= _size(moved, said)
        for row in moved:
            self._held[row["rule"], row["key"]] = row
        later, spoken = self._kept[0]
        self.since = min([*(row["at"] for row in later), *(each.at for each in spoken)])

    def stays(self) -> list[Stay]:
        """Give what states alerts were in, by rule, key and time."""
        held = [row for row in self._held.values() if row["to"] != STATES[0]]
        return stays(held, [row for moved, _ in self._kept for row in moved], Range(self.since, self.over.end))

    def read(self, history: History) -> list[Timeline]:
        """Read the values of the keys that are shown; gives timelines by rule, those with most to show first."""
        found: dict[Place, list[Stay]] = {}
        for stay in self.stays():
            found.setdefault((stay.rule, stay.key), []).append(stay)
        metrics = {metric.name: metric for metric in self.config.metrics}
        rules = {rule.name: compile_rule(rule, metrics[rule.metric]) for rule in self.config.rules}
        chosen = {name: self._keys(rule, history, found) for name, rule in rules.items()}
        places = [(name, key) for name, keys in chosen.items() for key in keys]
        drawn = Range(max(self.over.start, self.over.end - MOST_WINDOWS * history.length_ms), self.over.end)
        columns = _columns(history, drawn, [(rules[name], key) for name, key in places])
        said: dict[Place, list[Notification]] = {place: [] for place in places}
        for each in (each for _, spoken in self._kept for each in spoken):
            if (place := _place(each)) in said:
                said[place].append(each)
        return [
            self._timeline(rules[name], key, tuple(found.get((name, key), ())), tuple(said[name, key]), columns)
            for name, key in places
        ]

    def _keys(self, rule: Rule, history: History, found: Mapping[Place, Sequence[Stay]]) -> list[str]:
        name = rule.options.name
        judged = keys_of(rule, history.keys(rule.options.metric))
        known = set(judged)
        labelled = [each.key for each in self.incidents if each.rule == name and each.key in known]
        moved = [key for key in judged if (name, key) in found or (name, key) in self._count]
        moved.sort(key=lambda key: (-self._count[name, key], -_lasted(found.get((name, key), ())), key))
        busy = [key for key in moved if (name, key) in self._count or any(map(_fires, found[name, key]))]
        keys = list(dict.fromkeys([*labelled, *busy])) or moved[:1]  # of those that were pending alone, one
        most = max(1, min(MOST_KEYS, MOST_IN_ALL // max(len(self.config.rules), 1)))
        if len(keys) > most:
            self.left_out[name] = len(keys) - most
        if not keys:
            keys = [TOTAL] if TOTAL in known else judged[:1]
        return [key for key in keys[:most] if key is not None]

    def _timeline(
        self, rule: Rule, key: str, own: tuple[Stay, ...], said: tuple[Notification, ...], columns: "_Columns"
    ) -> Timeline:
        shows = shown_statistic(rule.options, rule.metric)
        starts, values = columns.get((rule.options.metric, shows, key), (np.zeros(0, np.int64), np.zeros(0)))
        if rule.options.kind == "capacity":
            values = values / rule.options.capacity
        ratio = rule.options.kind == "capacity" or shows == "ratio"
        return Timeline(
            rule=rule.options,
            key=key,
            shows=shows,
            judged=rule.options.kind in _LIMITED,
            unit="%" if ratio else rule.metric.unit,
            starts=starts,
            values=values * 100 if ratio else values,
            limits=tuple(self._limits(rule, key, 100.0 if ratio else 1.0)),
            stays=own,
            said=said,
            incidents=tuple(each for each in self.incidents if each.concerns(rule.options.name, key)),
        )

    def _limits(self, rule: Rule, key: str, scale: float) -> Iterator[tuple[str, float]]:
        if rule.options.kind not in _LIMITED:
            return
        labels = Labels(self.config.environment, self.config.labels)
        mine = rule.variant(rule.choose(labels.of(rule, key))) if rule.variants else rule
        for severity in ("critical", "warning"):
            value = float(getattr(mine, severity))
            if not np.isnan(value):
                yield severity, value * scale


_Columns = Mapping[tuple[str, str, str], tuple[NDArray[np.int64], NDArray[np.float64]]]


def _place(said: Notification) -> Place:
    return said.rule, orjson.dumps(said.key, option=orjson.OPT_SORT_KEYS).decode()


def _size(moved: Sequence[object], said: Sequence[object]) -> int:
    return _MOVED_BYTES * len(moved) + _SAID_BYTES * len(said)


def _lasted(found: Iterable[Stay]) -> int:
    return sum(each.end - each.start for each in found)


def _fires(stay: Stay) -> bool:
    return stay.state in FIRING


def shown_statistic(options: RuleOptions, metric: MetricOptions) -> str:
    """Give the statistic of the metric that is shown of a rule; "" where there is none (composites)."""
    known = metric.statistics()
    wanted = options.statistic if options.statistic in known else _COUNTED.get(options.kind, "")
    if wanted in known:
        return wanted
    return "" if options.kind == "composite" or not known else known[0]


def _columns(history: History, over: Range, places: Sequence[tuple[Rule, str]]) -> _Columns:
    """Read the values of some keys."""
    wanted: dict[str, set[str]] = {}
    keys: dict[tuple[str, str], set[str]] = {}
    for rule, key in places:
        shows = shown_statistic(rule.options, rule.metric)
        if shows:
            wanted.setdefault(rule.options.metric, set()).add(shows)
            keys.setdefault((rule.options.metric, shows), set()).add(key)
    parts: dict[tuple[str, str, str], list[tuple[NDArray[np.int64], NDArray[np.float64]]]] = {}
    matter = {metric: {key for (name, _), found in keys.items() if name == metric for key in found} for metric in wanted}
    for chunks in history.chunks(over.start, over.end, wanted, matter):
        for chunk in chunks:
            for metric, table in chunk.tables.items():
                known = {key: place for place, key in enumerate(table.keys)}
                for statistic, column in table.values.items():
                    for key in keys.get((metric, statistic), set()) & known.keys():
                        here = column[:, known[key]].copy()  # a view would hold every key of the span
                        parts.setdefault((metric, statistic, key), []).append((chunk.starts, here))
    shared: dict[tuple[int, ...], NDArray[np.int64]] = {}  # times of windows, which most keys have alike
    out = {}
    for place, found in parts.items():
        spans = tuple(id(starts) for starts, _ in found)
        if spans not in shared:
            shared[spans] = np.concatenate([starts for starts, _ in found])
        out[place] = shared[spans], np.concatenate([values for _, values in found])
        found.clear()
    return out
