"""Recall: the alerts as they were at a moment, worked out again from the decision records up to there.

The state machine is run once more over the records: their values, levels, and what kept each alert quiet. An alert is followed
from the last moment at which it was certain to have no past: it had been calm for longer than its cooldown, or was new. So the
records of an open episode and little more are read, however long the history is. What a rule remembers besides (baselines,
budgets) comes from stored windows. Turned down: keeping snapshots of the state, which know only what the rules were then.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
import zstandard

from flows.alert import AlertConfig, books_of, signals_of
from flows.alert_state import INACTIVE, STATES
from flows.book import Book
from flows.decision_log import EVALUATIONS, NOTIFICATIONS, DecisionLog, Row, Wanted
from flows.evaluation import FLAPPING, SUPPRESSORS
from flows.history import History, wanted_of
from flows.judged import Window
from flows.kinds import remembers_ms
from flows.labels import SEVERITY_NAMES
from flows.metric import TOTAL
from flows.notify import ENDED
from flows.policy import PolicyOptions
from flows.rule import INSUFFICIENT, LEVELS, NO_DATA, Rule, RuleOptions
from flows.signal import Reading, Signal
from flows.snapshot import pack
from flows.window import WindowOptions, WindowResult

_NEVER = -(2**62)
_BY_COUNT = ("absence", "event")  # kinds whose keys are judged without a row
_FEW_KEYS = 20
_FURTHER = 4  # so many times as far back as before, until enough is known
_LEVEL = {name: code for code, name in enumerate(LEVELS)}
_QUIET = {name: code for code, name in enumerate(SUPPRESSORS) if code and code != FLAPPING}


@dataclass(frozen=True, slots=True)
class Recalled:
    """The state of all rules (as `Alerting.restore` takes it), and what of it is not certain, in sentences."""

    state: bytes
    doubts: list[str] = field(default_factory=list)


class _Records:
    """A signal that shows what was judged then."""

    hears_silence = True

    def __init__(self, rule: Rule, signal: Signal) -> None:
        self._by_count = rule.options.kind in _BY_COUNT
        self.identity = signal.identity
        self.rows: Sequence[Row] = ()
        self._seen: set[str] = set()

    def read(self, window: Window) -> Reading:  # noqa: ARG002 (a Signal)
        rows = self.rows
        keys = [row["key"] for row in rows]
        values = np.array([np.nan if row["value"] is None else row["value"] for row in rows], np.float64)
        counts = np.array([row["count"] for row in rows], np.int64)
        level = np.array([_LEVEL[row["level"]] for row in rows], np.int8)
        # A key that is met here first was known before: when it last had a row is looked for apart.
        present = [self.has_row(row) or row["key"] not in self._seen for row in rows]
        self._seen.update(keys)
        return Reading(keys, values, counts, present=np.array(present, np.bool_), level=level)

    def has_row(self, row: Row) -> bool:
        """Tell whether a key counts as heard of by a record."""
        if self._by_count:
            return bool(row["count"] > 0 or row["key"] == TOTAL)
        return bool(row["level"] != LEVELS[NO_DATA])

    def to_state(self) -> dict[str, Any]:
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        del state


class Recall:
    """Works out the state of a configuration's rules from a log of decisions and a history of windows."""

    def __init__(
        self,
        config: AlertConfig,
        policy: PolicyOptions,
        window: WindowOptions,
        log: DecisionLog,
        history: History | None,
    ) -> None:
        """Take where records and windows are read; without `history`, rules that look far back start afresh."""
        self._config, self._window, self._log, self._history = config, window, log, history
        make = signals_of(config)
        self._signals = {book.rule.options.name: make(book.rule) for book in books_of(config, policy, make)}
        self._books = books_of(config, policy, lambda rule: _Records(rule, self._signals[rule.options.name]))
        self._doubts: list[str] = []

    def before(self, until: Mapping[str, int], *, at_once: bool = False, guesses: bool = False) -> Recalled:
        """Give the state after the windows that end up to `until` (ms), by dataset.

        With `at_once` the log is read as a whole, as a file is best read, instead of as far back as it takes. With `guesses`
        contributions are worked out though it is not known what was usual; a replay says nothing where a live run said better.
        """
        lists: list[list[str]] = []
        rules = {}
        unsure: dict[str, list[Any]] = {}  # nothing tells what bad records usually said
        for book in self._books:
            end = until[book.rule.metric.dataset]
            rows = self._follow(book, end, at_once=at_once)
            last = self._last_rows(book.rule, rows)
            state = book.to_state(lists)
            name = book.rule.options.name
            lists[state["keys"]] = list(lists[state["keys"]])
            if not guesses:
                unsure.setdefault(book.rule.metric.name, [end, []])[1].extend(lists[state["keys"]])
            self._look_after(book.rule, state, lists[state["keys"]], (rows, last))
            remembered = self._remembered(book.rule, rows, end)
            rules[name] = state | ({"signal": remembered} if remembered else {})
        silent = {name: since for name, end in until.items() if (since := self._silent_since(name, end)) is not None}
        found = {"keys": lists, "rules": rules, "groups": [], "removed": [], "usual": {}, "unsure": unsure, "silent": silent}
        return Recalled(zstandard.compress(pack(found | {"early": {"through": {}, "words": []}}), 1), self._doubts)

    def _follow(self, book: Book, until: int, *, at_once: bool) -> list[Row]:
        """Move a book by the records up to `until`; gives those that were read."""
        options = book.rule.options
        span = self._log.span(options.name)
        if span is None or span[0] > until:
            return []
        reach = 2 * (options.cooldown_ms + (_needs(options) + 2) * self._window.pane_ms)
        while True:
            after = span[0] - 1 if at_once else max(until - reach, span[0] - 1)
            rows = self._log.rows(EVALUATIONS, Wanted(rule=options.name, after=after, until=until))
            whole = after < span[0]
            begins, open_ = _beginnings(rows, options, whole=whole)
            if not open_ or whole:
                break
            reach *= _FURTHER
        if open_:
            self._doubts.append(f"{options.name}: {len(open_)} alerts were open before the first record that there is")
        _replay(book, rows, begins, self._judged(book.rule, rows, until))
        return rows

    def _judged(self, rule: Rule, rows: list[Row], until: int) -> list[int]:
        """Give the ends up to `until` (ms) of the windows that a rule has judged, with records or without."""
        ends = {row["at"] for row in rows}
        if self._history is not None and rows:
            closed = self._history.starts(rule.metric.dataset) + self._window.length_ms
            ends |= set(closed[(closed > rows[0]["at"]) & (closed <= until)].tolist())
        return sorted(ends)

    def _look_after(
        self, rule: Rule, state: dict[str, Any], keys: list[str], read: tuple[list[Row], Mapping[str, int]]
    ) -> None:
        """Correct what following the records leaves open: last rows, who heard, and what other limits have decided."""
        rows, last = read
        columns = state["columns"]
        ends = rows[-1]["at"] if rows else 0
        now = {row["key"]: row for row in rows if row["at"] == ends}
        wrong = 0
        for place, key in enumerate(keys):
            columns["last_row"][place] = last[key]
            row = now[key]
            if STATES[columns["state"][place]] != row["state_after"]:
                wrong += 1
                columns["state"][place] = STATES.index(row["state_after"])
                columns["severity"][place] = _code(row["severity"])
                columns["recent"][place] *= columns["state"][place] != INACTIVE
        if wrong:
            self._doubts.append(f"{rule.options.name}: {wrong} alerts were decided by other limits; they go on as they were")
        self._who_heard(rule.options, state, keys, ends)

    def _last_rows(self, rule: Rule, rows: list[Row]) -> dict[str, int]:
        """Give when each key of the last records last had a row; further back than was read where it must be."""
        if not rows:
            return {}
        options, until = rule.options, rows[-1]["at"]
        signal = _Records(rule, self._signals[options.name])
        keys = [row["key"] for row in rows if row["at"] == until]
        last = {row["key"]: row["at"] for row in rows if signal.has_row(row)}
        missing = {key for key in keys if key not in last}
        after = until - options.forget_after_ms - 1
        chosen: Sequence[str | None] = sorted(missing) if len(missing) <= _FEW_KEYS else [None]
        for key in chosen:
            for row in self._log.rows(EVALUATIONS, Wanted(rule=options.name, key=key, after=after, until=until)):
                if row["key"] in missing and signal.has_row(row):
                    last[row["key"]] = row["at"]
        return {key: last.get(key, until - options.forget_after_ms) for key in keys}

    def _who_heard(self, options: RuleOptions, state: dict[str, Any], keys: list[str], until: int) -> None:
        """Take who heard of each open episode from what was said: routes may have been others then."""
        if not state["told"]:
            return
        start = {key: int(state["columns"]["start"][place]) for place, key in enumerate(keys)}
        first = min(start[key] for key in state["told"])
        heard: dict[str, set[str]] = {}
        for row in self._log.rows(NOTIFICATIONS, Wanted(rule=options.name, after=first - 1, until=until)):
            if row["reason"] in ENDED:
                heard.pop(row["key"], None)
            elif row["reason"] in ("first", "reopened"):
                heard[row["key"]] = set(row["channels"])
            elif row["reason"] != "de-escalated":
                heard.setdefault(row["key"], set()).update(row["channels"])
        state["told"] = {key: sorted(heard.get(key, told)) for key, told in state["told"].items()}

    def _remembered(self, rule: Rule, rows: list[Row], until: int) -> dict[str, Any]:
        """Give what a rule's signal remembers of the windows before."""
        options, signal = rule.options, self._signals[rule.options.name]
        if options.kind in _BY_COUNT:
            return self._heard(rule, rows, until)
        back = remembers_ms(rule, {slo.name: slo for slo in self._config.slos}, self._window.length_ms)
        if not back:
            return {}
        if self._history is None:
            self._doubts.append(f"{options.name}: starts without a memory, because there are no stored windows to read it from")
            return {}
        start = max(until - back - self._window.length_ms, 0)
        first = self._history.starts(rule.metric.dataset)
        if len(first) and first[0] > start:
            self._doubts.append(f"{options.name}: looks further back than the stored windows go")
        wanted = wanted_of([options], self._config.metrics)
        for result in self._history.windows(start, until - self._window.length_ms + 1, wanted):
            if result.dataset == rule.metric.dataset and options.metric in result.metrics:
                signal.read(Window(result, []))
        return signal.to_state()

    def _heard(self, rule: Rule, rows: list[Row], until: int) -> dict[str, Any]:
        """Give what an absence or an event remembers: of each key, when it was last heard of."""
        if not rows:
            return {}
        now = [row for row in rows if row["at"] == rows[-1]["at"]]
        heard: dict[str, int] = {row["key"]: row["at"] for row in rows if row["count"] > 0}
        missing = [row["key"] for row in now if row["key"] not in heard]
        after = until - rule.options.forget_after_ms - 1
        for key in missing:
            older = self._log.rows(EVALUATIONS, Wanted(rule=rule.options.name, key=key, after=after, until=until))
            heard |= {row["key"]: row["at"] for row in older if row["count"] > 0}
        keys = [row["key"] for row in now]
        times = np.array([heard.get(key, _NEVER) for key in keys], np.int64)
        if rule.options.kind == "event":
            return {"keys": keys, "seen": times}
        silent = np.array([int(row["value"] or 0) for row in now], np.int64)
        return {"keys": keys, "silent": silent, "heard": times}

    def _silent_since(self, dataset: str, until: int) -> int | None:
        """Give the end of the first window of a silence of a whole dataset that lasts; None where it is not silent."""
        if self._history is None:
            return None
        ends = self._history.starts(dataset) + self._window.length_ms
        ends = ends[ends <= until]
        return int(ends[-1]) + self._window.pane_ms if len(ends) and ends[-1] < until else None


def _needs(options: RuleOptions) -> int:
    """Give so many judged records of calm after which nothing of before matters, besides the cooldown."""
    return max(options.flap.windows if options.flap else 0, 1)


def _beginnings(rows: Iterable[Row], options: RuleOptions, *, whole: bool) -> tuple[dict[str, int], list[str]]:
    """Give for each key from which record on (ms) it has to be followed, and the keys of which that is not known.

    `whole` says that there are no earlier records: a key that is met first is new, if it was inactive then.
    """
    needs, begins, calm = _needs(options), dict[str, int](), dict[str, tuple[int, int]]()
    first: int | None = None
    for row in rows:  # by time
        key, at = row["key"], row["at"]
        first = at if first is None else first
        if key not in calm and key not in begins and row["state_before"] == STATES[0] and (whole or at > first):
            begins[key] = at
        if row["state_before"] == row["state_after"] == STATES[0]:
            since, count = calm.get(key, (at, 0))
            count += _LEVEL[row["level"]] < INSUFFICIENT
            calm[key] = since, count
            if at - since > options.cooldown_ms and count >= needs:
                begins[key] = at + 1  # from the next one on
        else:
            calm[key] = (2**62, 0)
        if row["state_after"] == STATES[0] and row["state_before"] != STATES[0]:
            calm.pop(key, None)
            calm[key] = at, 0
    known = {row["key"] for row in rows}
    return begins, sorted(known - begins.keys())


def _replay(book: Book, rows: Iterable[Row], begins: Mapping[str, int], judged: Sequence[int]) -> None:
    """Move a book by records; a key is followed from where it begins, and those of the last judged window are known at the end.

    `judged` are the ends (ms, ascending) of the windows that the rule has judged: each left a record of every key that was
    known, so a key without one had been forgotten.
    """
    signal = book.signal
    assert isinstance(signal, _Records)  # noqa: S101 (narrows the type)
    place = {end: number for number, end in enumerate(judged)}
    last: list[str] = []
    before = -1
    for end, group in groupby(rows, key=lambda row: row["at"]):
        found = list(group)
        _keep(book, last if place[end] == before + 1 else [])
        last, before = [row["key"] for row in found], place[end]
        chosen = [row for row in found if begins.get(row["key"], end) <= end]
        if not chosen:
            continue
        signal.rows = chosen
        quiet = {row["key"]: _QUIET[row["suppressed_by"]] for row in chosen if row["suppressed_by"] in _QUIET}
        book.relive(Window(WindowResult(book.rule.metric.dataset, end, end, {}, {}), []), quiet)
    book.know(last if before == len(judged) - 1 else [])


def _keep(book: Book, keys: Sequence[str]) -> None:
    """Forget the keys that are not among `keys`."""
    known = book.still().keys
    kept = set(known).intersection(keys)
    if len(kept) < len(known):
        book.know(sorted(kept))


def _code(severity: str | None) -> int:
    return 0 if severity is None else SEVERITY_NAMES.index(severity)
