"""Backtest: what a configuration would have done with windows that are there already, by the evaluator that runs live.

Rules that judge each window for itself (thresholds, capacities, budgets) are judged a chunk at a time (`resting`); rules that
remember windows (changes, objectives, absences, events), composites and what these are made of are judged window by window.
What is decided is the same, byte for byte, as if every window had gone through every rule.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from flows.alert import AlertConfig, Alerting, in_order
from flows.alert_state import STATES
from flows.book import Book, Decisions
from flows.evaluation import SUPPRESSORS, Evaluations
from flows.history import Chunk, Wanted, wanted_of
from flows.judged import Judged, Window
from flows.labels import Labels
from flows.notify import ENDED
from flows.policy import NO_SILENCES, PolicyOptions
from flows.resting import KINDS, Resting
from flows.route import Routes
from flows.silence import Silences
from flows.transition import Transition
from flows.window import WindowOptions, WindowResult
from flows.withhold import REASONS
from sinks.notification import Notification

_WORDED = frozenset(KINDS) - {"threshold"}  # say more than the value, which they take from the window's rows


class BacktestConfig(AlertConfig, Protocol):
    """What of a configuration a backtest needs."""

    @property
    def policy(self) -> PolicyOptions:
        """Give what keeps alerts quiet."""
        ...

    @property
    def window(self) -> WindowOptions:
        """Give how windows are cut."""
        ...


class Windows(Protocol):
    """What of a history a backtest needs."""

    def starts(self, dataset: str) -> NDArray[np.int64]:
        """Give the starts (ms) of the windows of a dataset that left rows."""
        ...

    def chunks(self, start: int, end: int, wanted: Wanted | None = None) -> Iterator[tuple[Chunk, ...]]:
        """Give the windows that start in [start, end) ms, in time order: for each span of time a chunk a dataset."""
        ...


class Withheld(NamedTuple):
    """Something that would have been said of an alert that fires, and what kept it quiet (SUPPRESSORS of evaluation)."""

    at: int
    rule: str
    key: str
    severity: int
    reason: str
    suppressed_by: str


@dataclass(slots=True)
class Decided:
    """What all windows that end at `end` (ms) led to, each list sorted by rule and key; `messages` are what channels get.

    `firing` are the alerts that kept others quiet or could have (rule, key, state, severity as codes), where that can be.
    """

    end: int
    transitions: list[Transition] = field(default_factory=list)
    notifications: list[Notification] = field(default_factory=list)
    messages: list[Notification] = field(default_factory=list)
    withheld: list[Withheld] = field(default_factory=list)
    evaluations: list[Evaluations] = field(default_factory=list)


class StateTimes:
    """In how many windows each alert of a rule was in which state; a key counts from its first row until it is forgotten."""

    def __init__(self) -> None:
        """Start with none."""
        self.counts: dict[str, NDArray[np.int64]] = {}  # (states,) by key

    def add(self, keys: Sequence[str], counts: NDArray[np.int64]) -> None:
        """Add counts (states, k) of keys."""
        for place, key in enumerate(keys):
            known = self.counts.get(key)
            self.counts[key] = counts[:, place].copy() if known is None else known + counts[:, place]


class _Tally:
    """States of one rule that is judged window by window, as columns while its keys stay the same."""

    def __init__(self) -> None:
        self._keys: list[str] = []
        self._counts = np.zeros((len(STATES), 0), np.int64)

    def add(self, judged: Judged, times: StateTimes) -> None:
        if judged.keys != self._keys:
            self.flush(times)
            self._keys, self._counts = list(judged.keys), np.zeros((len(STATES), len(judged.keys)), np.int64)
        self._counts[judged.after.columns.state, np.arange(len(judged.keys))] += 1

    def flush(self, times: StateTimes) -> None:
        times.add(self._keys, self._counts)
        self._counts = np.zeros_like(self._counts)


class Backtest:
    """Judges a history by a configuration; the alerts go on from one call to the next."""

    def __init__(self, config: BacktestConfig, silences: Silences = NO_SILENCES, *, one_by_one: bool = False) -> None:
        """Start without any alert; with `one_by_one` every rule is judged window by window, and each leaves its evaluations."""
        self._config = config
        self.one_by_one = one_by_one
        self.alerting = Alerting(config, config.policy, silences)
        self.bonds = self.alerting.bonds
        self._hushes = bool(config.policy.inhibits or config.policy.mutes or silences is not NO_SILENCES)
        names = sorted({metric.dataset for metric in config.metrics})
        slow = {name for rule in config.rules for name in (rule.members if not one_by_one else (rule.name, *rule.members))}
        alone = not (self._hushes or Routes(config.routes, Labels(config.environment, config.labels)).has_second)
        self._lanes = {name: _Lane(self.alerting.books(name), slow, alone=alone) for name in names}
        self._through: dict[str, int] = {}  # start of the last window that was judged, by dataset
        self._wanted = wanted_of(config.rules, config.metrics)
        self.times: dict[str, StateTimes] = {rule.name: StateTimes() for rule in config.rules}
        self.windows = 0  # judged

    @property
    def slow_rules(self) -> list[str]:
        """Give the rules that are judged window by window."""
        return sorted(book.rule.options.name for lane in self._lanes.values() for book in lane.slow)

    def warm(self, history: Windows, start: int, end: int) -> None:
        """Judge the windows that start in [start, end) ms for the state that they leave alone."""
        for _ in self.run(history, start, end):
            pass
        self.times = {name: StateTimes() for name in self.times}
        self.windows = 0

    def restore(self, state: bytes) -> None:
        """Go on from alerts as they were (`Alerting.snapshot`, `Recalled`) before the first window."""
        self.alerting.restore(state)
        for lane in self._lanes.values():
            lane.take_over()

    def run(self, history: Windows, start: int, end: int) -> Iterator[Decided]:
        """Judge the windows that start in [start, end) ms; gives what came of them, where something did, by their ends."""
        for chunks in history.chunks(start, end, self._wanted):
            for chunk in chunks:
                self._lanes[chunk.dataset].load(chunk)
            last: Decided | None = None
            for at, chunk, number in self._turns(history, chunks):
                found = self._judge(at, chunk, number)
                if found is None:
                    continue
                if last is not None and last.end == found.end:
                    last = _joined(last, found)
                    continue
                if last is not None:
                    yield last
                last = found
            if last is not None:
                yield last
            for chunk in chunks:
                self._lanes[chunk.dataset].unload(self.times)

    def _turns(self, history: Windows, chunks: Sequence[Chunk]) -> Iterator[tuple[int, Chunk, int]]:
        """Give the windows of a span that are judged: start, chunk and number in it, -1 where there was no record."""
        found: list[tuple[int, int, int]] = []
        for rank, chunk in enumerate(chunks):
            starts = chunk.starts.tolist()
            self.windows += len(starts)
            found += [(at, rank, number) for number, at in enumerate(starts)]
            if self.alerting.hears_silence(chunk.dataset):
                found += [(at, rank, -1) for at in self._silent(history, chunk)]
        return ((at, chunks[rank], number) for at, rank, number in sorted(found))

    def _silent(self, history: Windows, chunk: Chunk) -> list[int]:
        """Give the starts of the windows without a record, from the dataset's first window to its last."""
        every, pane = history.starts(chunk.dataset), self._config.window.pane_ms
        if not len(every):
            return []
        first, last = max(chunk.start, int(every[0])), min(chunk.end - 1, int(every[-1]))
        grid = np.arange(-(-first // pane) * pane, last + 1, pane)
        silent: list[int] = np.setdiff1d(grid, chunk.starts).tolist()
        return silent

    def _judge(self, at: int, chunk: Chunk, number: int) -> Decided | None:
        """Judge one window; gives what came of it, None where nothing did."""
        lane = self._lanes[chunk.dataset]
        if number >= 0 and not lane.slow and lane.quick.is_idle(number):
            return None
        silent, lane.was_silent = number < 0 or lane.was_silent, number < 0
        if number < 0:
            result = WindowResult(chunk.dataset, at, at + chunk.length_ms, {}, {})
        else:
            result = chunk.window(number, lane.metrics)
        window = self.alerting.window(result)
        beside = next((bond for bond in self.bonds if chunk.dataset in bond), ())
        others = [self._lanes[name] for name in beside if name != chunk.dataset and name in self._lanes]
        for other in others:
            window.judged |= other.still()
        due = lane.judge(window, number, every=self._hushes, times=self.times)
        news = [window.judged[book.rule.options.name] for book in due]
        if not (self.one_by_one or silent or self._hushes or any(map(_matters, news)) or any(book.owes for book in due)):
            lane.settle()
            return None
        decisions = self.alerting.decide(window, due, [book for other in others for book in other.books])
        lane.settle()
        return _decided(window, decisions)


class _Lane:
    """The rules of one dataset: those judged a chunk at a time, and those judged window by window."""

    def __init__(self, books: list[Book], slow: Collection[str], *, alone: bool) -> None:
        """Take the rules, and the names of those that have to be judged window by window whatever their kind.

        `alone` says that nothing that is said changes a state, where no alert may flap.
        """
        self.books = books
        quick = [book for book in books if book.rule.options.kind in KINDS and book.rule.options.name not in slow]
        self.slow = in_order(book for book in self.books if book not in quick)
        # Those whose rows a window has to have: to be judged, or for what is said of it besides the value.
        self.metrics = {book.rule.options.metric for book in books if book in self.slow or book.rule.options.kind in _WORDED}
        self.quick = Resting(quick, alone=alone and all(book.rule.options.flap is None for book in quick))
        self.was_silent = False  # the window before, which the next one has to end
        self._tallies = {book.rule.options.name: _Tally() for book in self.slow}

    def take_over(self) -> None:
        """Go on from the state that the books were given, of which the window before may have been silent."""
        self.quick.take_over()
        self.was_silent = True

    def load(self, chunk: Chunk) -> None:
        """Take the next windows."""
        self.quick.load(chunk)

    def unload(self, times: dict[str, StateTimes]) -> None:
        """Add up what became of them."""
        for name, keys, counts in self.quick.unload():
            times[name].add(keys, counts)
        for name, tally in self._tallies.items():
            tally.flush(times[name])

    def judge(self, window: Window, number: int, *, every: bool, times: dict[str, StateTimes]) -> list[Book]:
        """Move the state by a window, into `window.judged`; gives the rules that are due."""
        found = self.quick.judge(number, every=every) if number >= 0 else {}
        # In a window without a record they keep others quiet as before.
        window.judged |= found if number >= 0 else self.still()
        slow = [book for book in self.slow if book.hears_silence or not window.is_silent]
        for book in slow:
            name = book.rule.options.name
            window.judged[name] = judged = book.judge(window)
            self._tallies[name].add(judged, times[name])
        return [book for book in self.books if book.rule.options.name in found or book in slow]

    def settle(self) -> None:
        """Keep what the last window left."""
        self.quick.settle()

    def still(self) -> dict[str, Judged]:
        """Give the alerts as they are, by rule."""
        return self.quick.still() | {book.rule.options.name: book.still() for book in self.slow}


def _matters(judged: Judged) -> bool:
    """Tell whether something moved, is said, or is held because it flaps."""
    flaps = judged.before.flapping | judged.after.columns.flapping
    return judged.gone is not None or bool(((judged.after.move > 0) | (judged.after.notice > 0) | flaps).any())


def _decided(window: Window, decisions: Decisions) -> Decided:
    withheld = []
    for each in decisions.evaluations:
        if each.suppressed is None:
            continue
        judged = window.judged[each.rule]
        for place in np.flatnonzero((judged.after.notice > 0) & (each.suppressed > 0)).tolist():
            reason = REASONS[int(judged.after.notice[place])]
            why = SUPPRESSORS[int(each.suppressed[place])] or ""
            if reason not in ENDED:
                severity = int(judged.after.severity[place])
                withheld.append(Withheld(window.result.end, each.rule, each.keys[place], severity, reason, why))
    return Decided(
        window.result.end,
        decisions.transitions,
        decisions.notifications,
        decisions.messages,
        withheld,
        decisions.evaluations,
    )


def _joined(first: Decided, second: Decided) -> Decided:
    """Join what two datasets' windows of one end led to; both sorts are stable, keys are in order within a rule."""
    return Decided(
        first.end,
        sorted([*first.transitions, *second.transitions], key=lambda each: each.rule),
        sorted([*first.notifications, *second.notifications], key=lambda each: each.rule),
        [*first.messages, *second.messages],
        sorted([*first.withheld, *second.withheld], key=lambda each: each.rule),
        sorted([*first.evaluations, *second.evaluations], key=lambda each: each.rule),
    )
