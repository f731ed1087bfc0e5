"""Book: one rule's alerts: the keys it knows, their state as columns, and who heard of what is open.

`judge` moves the state by one window; `decide` writes down what came of it and says what is to be said.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flows.acknowledge import Known
from flows.alert_state import FIRING, INACTIVE, MOVES, NEVER, SEVERITIES, STATES, AlertColumns, Policy, Step, forget, step
from flows.evaluation import Evaluations
from flows.event import Event
from flows.flap import FOREVER_MS, flapped
from flows.judged import Cells, Judged, Window, count_seen
from flows.labels import Labels
from flows.metric import TOTAL
from flows.notify import ENDED, Notifier, Saying, Told, provenance_line
from flows.rule import INSUFFICIENT, LEVELS, NO_DATA, OK, Rule
from flows.second_route import SecondRoute
from flows.signal import Reading, Signal
from flows.transition import Transition, episode_of, fingerprint_of
from flows.window import WindowResult
from flows.withhold import REASONS, UNACKNOWLEDGED, Hearing
from sinks.notification import Notification


@dataclass(slots=True)
class Decisions:
    """What one window led to, each list sorted by rule and key; `messages` are what goes out of what was told."""

    evaluations: list[Evaluations] = field(default_factory=list)
    transitions: list[Transition] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    provenance: list[bytes] = field(default_factory=list)
    messages: list[Notification] = field(default_factory=list)

    @property
    def notifications(self) -> list[Notification]:
        """Give the notification of each alert of which something is said."""
        return [each.notification for each in self.told]


_NO_COLUMNS, _NO_CODES = AlertColumns(), np.zeros(0, np.int8)
_NOBODY = Judged(
    [],
    Cells(np.zeros(0), np.zeros(0, np.int64), _NO_CODES),
    _NO_COLUMNS,
    Step(_NO_COLUMNS, _NO_CODES, _NO_CODES, _NO_CODES),
)


class _Change(NamedTuple):
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


def _facts(judged: Judged, places: NDArray[np.int64]) -> Iterable[_Fact]:
    """Take the alerts at `places` out of their columns."""
    after, keys = judged.after, [judged.keys[place] for place in places.tolist()]
    columns, cells = after.columns, judged.cells.take(places)
    codes = (after.move, after.notice, judged.before.state, columns.state, columns.severity)
    numbers = (after.severity, columns.start, columns.count, columns.peak, columns.breaches)
    rows = (cells.values, cells.counts, cells.level)
    taken = (column[places].tolist() for column in (*codes, *numbers))
    return map(_Fact._make, zip(keys, *taken, *(column.tolist() for column in rows), strict=True))


def _heard(judged: Judged) -> dict[str, int]:
    """Give as a fact how many keys the rule could see: those with a row, or whose alert is open though they have none."""
    number = judged.seen
    if number is None:
        seen = (judged.cells.level != NO_DATA) | (judged.after.columns.state >= FIRING)
        number = count_seen(judged.keys, seen)
    return {"keys_heard": number} if number else {}


class Book:
    """One rule's alerts: its known keys, sorted, and their columns."""

    def __init__(self, rule: Rule, signal: Signal, environment: str, labels: Labels, notifier: Notifier) -> None:
        """Start without any known key."""
        self.rule = rule
        self.signal = signal
        self._reading: tuple[int, Reading] | None = None  # of the window that ends at (ms)
        self._environment = environment
        self._labels = labels
        self._notifier = notifier
        options, metric = rule.options, rule.metric
        self.identity = [
            *(environment, metric.dataset, metric.name, options.statistic),
            *(rule.sign, rule.keys, list(metric.group_by)),
        ]
        if options.kind != "threshold":
            self.identity += [options.kind, signal.identity]
        self.policy = Policy(
            hold_warning=options.hold.for_warning.times,
            hold_critical=options.hold.for_critical.times,
            among_warning=options.hold.for_warning.among,
            among_critical=options.hold.for_critical.among,
            has_warning=options.thresholds.warning is not None,
            has_critical=options.thresholds.critical is not None,
            clear=options.clear,
            repeat_ms=options.repeat_ms,
            cooldown_ms=options.cooldown_ms,
            sign=rule.sign,
            repeat_backoff=options.repeat_backoff,
            max_repeats=options.max_repeats,
        )
        self._keys: list[str] = []
        self._columns = AlertColumns()
        self._which: NDArray[np.int16] | None = np.zeros(0, np.int16) if rule.variants else None
        self._hearing = Hearing()
        self._second = SecondRoute(rule, notifier.routes)

    @property
    def hears_silence(self) -> bool:
        """Tell whether windows without any record are judged too."""
        return self.signal.hears_silence

    @property
    def owes(self) -> bool:
        """Tell whether something may be said though nothing moves: what was withheld, or to those who hear second."""
        return self._hearing.owes or self._second.waits

    def still(self) -> Judged:
        """Give the alerts as they are, with nothing that moves: a window that is not judged keeps others quiet as before."""
        columns, size = self._columns, len(self._keys)
        if not size:
            return _NOBODY
        nothing = np.zeros(size, np.int8)
        cells = Cells(np.full(size, np.nan), np.zeros(size, np.int64), np.full(size, NO_DATA, np.int8))
        return Judged(self._keys, cells, columns, Step(columns, nothing, nothing, columns.severity))

    def judge(self, window: Window) -> Judged:
        """Move the state of all known keys by one window."""
        cells = self._cells(window)
        gone = self._forget(window.result.end, cells)
        if gone is not None:
            cells = cells.take(gone[1])
        before, flap = self._columns, self.rule.options.flap
        clear = (cells.level == OK) & self.rule.clears(cells.values, cells.counts, self._which)
        after = step(before, self._limited(), cells.level, cells.values, clear, window.result.end)
        if flap is not None or before.flapping.any():
            after = replace(after, columns=flapped(after, flap, cells.level < INSUFFICIENT))
        if not self.rule.options.notify:
            after = replace(after, notice=np.zeros_like(after.notice))
        self._columns = after.columns
        return Judged(self._keys, cells, before, after, gone[0] if gone else None)

    def decide(self, judged: Judged, quiet: NDArray[np.int8] | None, window: Window, out: Decisions) -> None:
        """Write down what a window did, and say what is to be said; `quiet` (k,) is what keeps each alert quiet."""
        gone = judged.gone and replace(judged.gone, after=self._hearing.forget(judged.gone))
        flaps = self.rule.options.flap is not None
        after, suppressed = self._hearing.settle(judged, quiet, window.result.end, flaps=flaps)
        after = self._unacknowledged(judged.keys, after, quiet, window.result.end)
        found = self._changes(replace(judged, after=after), window)
        if gone is not None:
            found = sorted(found + self._changes(gone, window), key=lambda change: change.key)
        if judged.keys:
            options = self.rule.options
            evaluations = Evaluations(
                window_end=window.result.end,
                rule=options.name,
                metric=options.metric,
                statistic=options.statistic,
                keys=judged.keys,
                values=judged.cells.values,
                counts=judged.cells.counts,
                level=judged.cells.level,
                before=judged.before.state,
                after=judged.after.columns.state,
                severity=judged.after.columns.severity,
                whole=options.is_whole,
                suppressed=suppressed,
            )
            out.evaluations.append(evaluations)
        self._write(found, window, out)

    def relive(self, window: Window, quiet_by: Mapping[str, int]) -> None:
        """Move the state as it was moved by a window before, where nothing is to be said again.

        `quiet_by` is what kept alerts quiet then, by key (SUPPRESSORS of evaluation).
        """
        judged = self.judge(window)
        if judged.gone is not None:
            self._hearing.forget(judged.gone)
            for key in judged.gone.keys:
                self._hearing.told.pop(key, None)
                self._second.end(key)
        quiet = np.array([quiet_by.get(key, 0) for key in judged.keys], np.int8) if quiet_by else None
        flaps = self.rule.options.flap is not None
        end = window.result.end
        after, _ = self._hearing.settle(judged, quiet, end, flaps=flaps)
        after = self._unacknowledged(judged.keys, after, quiet, end)
        for place in np.flatnonzero(after.notice > 0).tolist():
            key, notice, severity = judged.keys[place], int(after.notice[place]), int(after.severity[place])
            before = frozenset(self._hearing.told.pop(key, ()))
            if REASONS[notice] in ENDED:
                self._second.end(key)
                continue
            second = self._second.channels(key, severity, end) if notice == UNACKNOWLEDGED else None
            heard = self._notifier.heard((self.rule, key, severity), REASONS[notice], before, second)
            self._hearing.told[key] = sorted(heard)
            self._second.note(key, end, second)

    def hand_over(self) -> tuple[list[str], AlertColumns]:
        """Give the known keys and their state to who moves them from now on; who heard of what stays here."""
        handed = self._keys, self._columns
        self._keys, self._columns = [], AlertColumns()
        if self._which is not None:
            self._which = np.zeros(0, np.int16)
        return handed

    def know(self, keys: list[str]) -> None:
        """Know these keys (sorted) and no others; new ones have no past."""
        known = {key: place for place, key in enumerate(self._keys)}
        self._columns = self._columns.take(np.array([known.get(key, -1) for key in keys], np.int64))
        self._keys = list(keys)
        self._hearing.keep(frozenset(keys))
        if self._which is not None:
            self._which = np.array(self.choose(keys), np.int16)

    def _unacknowledged(self, keys: list[str], after: Step, quiet: NDArray[np.int8] | None, now: int) -> Step:
        """Give the step with what others are told of alerts that nobody has taken up; it delays no repeat."""
        due = self._second.due(keys, after, quiet, now)
        if not due:
            return after
        notice, severity = after.notice.copy(), after.severity.copy()
        notice[due], severity[due] = UNACKNOWLEDGED, after.columns.severity[due]
        after.columns.count[due] += 1
        return replace(after, notice=notice, severity=severity)

    def _limited(self) -> Policy:
        """Give the policy; where keys differ, as columns."""
        policy = self.policy
        if self._which is not None:
            warning, critical = (~np.isnan(self.rule.limits(name, self._which)) for name in ("warning", "critical"))
            policy = replace(policy, has_warning=warning, has_critical=critical)
        if self.rule.options.flap is not None:
            # While it is flapping, an alert goes on with its episode, however short the cooldown is.
            cooldown = np.where(self._columns.flapping, FOREVER_MS, policy.cooldown_ms)
            policy = replace(policy, cooldown_ms=cooldown)
        return policy

    def choose(self, keys: Iterable[str]) -> list[int]:
        """Give by which limits keys are judged."""
        return [self.rule.choose(self._labels.of(self.rule, key)) for key in keys]

    def _cells(self, window: Window) -> Cells:
        """Make new keys known, and lay the window's rows over the known ones."""
        reading = self._read(window)
        values, counts = reading.values, reading.counts
        places = self._learn(reading.keys)
        rows = places if reading.present is None else np.arange(len(self._keys))[places][reading.present]
        self._columns.last_row[rows] = window.result.end
        size = len(self._keys)
        cells = Cells(np.full(size, np.nan), np.zeros(size, np.int64), np.full(size, NO_DATA, np.int8))
        cells.values[places], cells.counts[places] = values, counts
        which = None if self._which is None else self._which[places]
        level = self.rule.levels(values, counts, which)
        cells.level[places] = level if reading.level is None else np.where(reading.level < 0, level, reading.level)
        return cells

    def _read(self, window: Window) -> Reading:
        """Give what a window shows, and keep it for what is said of it."""
        reading = self.signal.read(window)
        self._reading = window.result.end, reading
        return reading

    def _read_once(self, window: Window) -> Reading:
        """Give what a window shows; where its state was moved by other means, the window was not read yet."""
        known = self._reading
        return known[1] if known is not None and known[0] == window.result.end else self._read(window)

    def _learn(self, keys: list[str]) -> NDArray[np.int64] | slice:
        """Give the places of keys among the known ones, where new ones are put in order."""
        if keys == self._keys:
            return slice(None)
        known = {key: place for place, key in enumerate(self._keys)}
        if not all(key in known for key in keys):
            self._keys = sorted(known.keys() | keys)  # code points sort as UTF-8 bytes do
            places = np.array([known.get(key, -1) for key in self._keys], np.int64)
            self._columns = self._columns.take(places)
            if self._which is not None:
                self._which = np.concatenate([self._which, [0]])[places].astype(np.int16)
                self._which[places < 0] = self.choose(key for key in self._keys if key not in known)
            known = {key: place for place, key in enumerate(self._keys)}
        return np.array([known[key] for key in keys], np.int64)

    def _forget(self, now: int, cells: Cells) -> tuple[Judged, NDArray[np.int64]] | None:
        """Forget keys that had no row for too long; gives what that changes, and the places that stay."""
        stale = now - self._columns.last_row > self.rule.options.forget_after_ms
        if not stale.any():
            return None
        gone, kept = np.flatnonzero(stale), np.flatnonzero(~stale)
        keys, old = self._keys, self._columns.take(gone)
        self._keys, self._columns = [keys[place] for place in kept.tolist()], self._columns.take(kept)
        if self._which is not None:
            self._which = self._which[kept]
        return Judged([keys[place] for place in gone.tolist()], cells.take(gone), old, forget(old)), kept

    def would_begin(self, key: str, end: int) -> bool:
        """Tell whether a breach in the window that ends at `end` would begin an episode of a key."""
        place = bisect_left(self._keys, key)
        if place == len(self._keys) or self._keys[place] != key:
            return True
        columns = self._columns
        cools = columns.resolved_at[place] != NEVER and end - columns.resolved_at[place] <= self.rule.options.cooldown_ms
        return bool(columns.state[place] == INACTIVE and not cools and not columns.flapping[place])

    def began(self, key: str) -> int | None:
        """Give the window end (ms) at which the episode of a key that fires or recovers began; None where none does."""
        place = bisect_left(self._keys, key)
        known = place < len(self._keys) and self._keys[place] == key
        return int(self._columns.start[place]) if known and self._columns.state[place] >= FIRING else None

    def first(self, event: Event, severity: int) -> Notification:
        """Give what the window of an event will say of its key, as far as one record shows it."""
        fingerprint = fingerprint_of(self._environment, event.key, self.rule.options.name)
        saying = Saying(
            rule=self.rule,
            window_start=event.start,
            at=event.end,
            key=event.key,
            fingerprint=fingerprint,
            episode=episode_of(fingerprint, event.end),
            start=event.end,
            number=0,
            reason="first",
            severity=severity,
            value=self.rule.shown(1.0),
            count=1,
            level=SEVERITIES[severity] or "",
            peak=None,
            breaches=1,
            exemplars=(event.record,),
            limit=self.rule.threshold(severity),
            facts={"early": event.facts()},
        )
        return replace(self._notifier.build(saying, frozenset()).notification, at=event.record.event_time)

    def _changes(self, judged: Judged, window: Window) -> list[_Change]:
        """Make objects of what moved or is said, and of nothing else."""
        places = np.flatnonzero((judged.after.move > 0) | (judged.after.notice > 0))
        if not len(places):
            return []
        result, name, changes = window.result, self.rule.options.name, []
        reading, heard = self._read_once(window), _heard(judged)
        for fact in _facts(judged, places):
            fingerprint = fingerprint_of(self._environment, fact.key, name)
            episode = episode_of(fingerprint, fact.start)
            transition = saying = None
            if fact.move:
                moved = (STATES[fact.before], STATES[fact.after], SEVERITIES[fact.severity], MOVES[fact.move])
                transition = Transition(result.end, name, fact.key, fingerprint, episode, *moved)
            if fact.notice:
                known = reading.facts(fact.key) if fact.key == TOTAL else {**reading.facts(fact.key), **heard}
                saying = self._saying(fact, (fingerprint, episode), result, known)
            changes.append(_Change(fact.key, transition, saying))
        return changes

    def _saying(self, fact: "_Fact", named: tuple[str, str], result: WindowResult, known: Mapping[str, Any]) -> Saying:
        rule = self.rule
        if rule.variants:
            rule = rule.variant(rule.choose(self._labels.of(rule, fact.key)))
        facts = dict(known)
        fingerprint, episode = named
        return Saying(
            rule=rule,
            limit=facts.pop("limit", rule.threshold(fact.said)),
            facts=facts,
            window_start=result.start,
            at=result.end,
            key=fact.key,
            fingerprint=fingerprint,
            episode=episode,
            start=fact.start,
            number=fact.said_so_far - 1,
            reason=REASONS[fact.notice],
            severity=fact.said,
            value=self.rule.shown(fact.value),
            count=fact.records,
            level=LEVELS[fact.level],
            peak=None if math.isnan(fact.peak) else fact.peak,
            breaches=fact.breaches,
            exemplars=result.exemplars.get((self.rule.options.metric, fact.key), ()),
            second=self._second.channels(fact.key, fact.said, result.end) if fact.notice == UNACKNOWLEDGED else None,
        )

    def _write(self, changes: Sequence[_Change], window: Window, out: Decisions) -> None:
        begun = [change.key for change in changes if change.saying is not None and change.saying.reason not in ENDED]
        shares = window.explain(window.result, self.rule, begun) if begun else {}
        for change in changes:
            if change.transition is not None:
                out.transitions.append(change.transition)
            if change.saying is not None:
                heard = frozenset(self._hearing.told.pop(change.key, ()))
                share = None if change.saying.reason in ENDED else shares.get(change.key)
                told = self._notifier.build(change.saying, heard, window.partitions, share)
                if told.notification.status == "firing":
                    self._hearing.told[change.key] = sorted(told.heard)
                    self._second.note(change.key, window.result.end, change.saying.second)
                else:
                    self._second.end(change.key)
                out.told.append(told)
                out.provenance.append(provenance_line(change.saying, told.notification))

    def firing(self) -> Iterable[dict[str, Any]]:
        """Give the alerts that are firing or recovering, with the channels that have heard of each."""
        columns = self._columns
        for place in np.flatnonzero(columns.state >= FIRING).tolist():
            key, severity = self._keys[place], int(columns.severity[place])
            labels = self._labels.of(self.rule, key, severity)
            state = STATES[columns.state[place]]
            alert = {"rule": self.rule.options.name, "state": state, "start": int(columns.start[place]), "labels": labels}
            yield {**alert, "key": key, "heard": self._hearing.told.get(key, [])}

    def silenced(self, judged: Judged, quiet: NDArray[np.int8] | None) -> Iterable[Known]:
        """Give the alerts that somebody heard of and that a silence keeps quiet since this barrier, as `Hearing.silenced`."""
        columns = judged.after.columns
        for key in self._hearing.silenced(judged.keys, quiet):
            place = bisect_left(judged.keys, key)
            severity = int(columns.severity[place]) or int(columns.said[place])
            fingerprint = fingerprint_of(self._environment, key, self.rule.options.name)
            yield Known(
                rule=self.rule.options.name,
                key=key,
                fingerprint=fingerprint,
                episode=episode_of(fingerprint, int(columns.start[place])),
                severity=severity,
                heard=frozenset(self._hearing.told[key]),
            )

    def told(self) -> Iterable[str]:
        """Give the fingerprints of the alerts that somebody has heard of and that are not over."""
        return (fingerprint_of(self._environment, key, self.rule.options.name) for key in self._hearing.told)

    def to_state(self, lists: list[list[str]]) -> dict[str, Any]:
        """Give plain values; the keys go to `lists`, once for all rules that know the same."""
        if self._keys not in lists[-1:]:
            lists.append(self._keys)
        columns = {column.name: getattr(self._columns, column.name) for column in fields(AlertColumns)}
        heard = {**self._hearing.to_state(), **self._second.to_state()}
        state = {"identity": self.identity, "keys": len(lists) - 1, "columns": columns, **heard}
        remembered = self.signal.to_state()
        return state | {"signal": remembered} if remembered else state

    def load(self, state: dict[str, Any], lists: list[list[str]]) -> None:
        """Undo `to_state`; what the state does not have is as for a new key."""
        self._keys = lists[state["keys"]]
        fresh = AlertColumns().take(np.full(len(self._keys), -1))
        known = {column.name: state["columns"].get(column.name, getattr(fresh, column.name)) for column in fields(fresh)}
        if not self.policy.remembers:  # the rule did, with another `for`
            known["recent"] = fresh.recent
        self._columns = AlertColumns(**known)
        self._hearing.load(state)
        self._second.load(state)
        if "signal" in state:
            self.signal.load(state["signal"])
        if self._which is not None:
            self._which = np.array(self.choose(self._keys), np.int16)
