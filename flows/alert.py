"""Alert: every rule over every known key at each closed window: decision records, transitions and notifications.

All keys of a rule are evaluated as columns; plain objects begin where something changes. State is kept by rule name: a
changed threshold, hold or recovery keeps its episodes; a rule on another metric, statistic, side or other keys starts
afresh, and what was open of it ends, as it does for a rule that is no longer there (`removed`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import zstandard

from flows.acknowledge import Known, acknowledgements
from flows.blame import Blame
from flows.bonds import bonds_of
from flows.book import Book, Decisions
from flows.early import Early
from flows.early_word import NO_WORDS, EarlyWords
from flows.event import Event
from flows.grouping import Grouping
from flows.judged import Window
from flows.kinds import signal_of
from flows.labels import Labels, Subject
from flows.metric import MetricOptions
from flows.notify import Notifier
from flows.output import canonical
from flows.policy import NO_POLICY, NO_SILENCES, PolicyOptions, Standing, Suppression
from flows.removed import Removed
from flows.route import RouteOptions, Routes
from flows.rule import Rule, RuleOptions, compile_rule
from flows.shown import shown_of
from flows.signal import Signal
from flows.silence import Silences
from flows.silent_source import SilentSource
from flows.slo import SloOptions
from flows.snapshot import pack, unpack
from flows.transition import fingerprint_of
from flows.window import WindowResult
from sinks.clickhouse import ClickHouseOptions
from sinks.notification import Notification


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
    def slos(self) -> Sequence[SloOptions]:
        """Give the objectives whose alerts are among the rules."""
        ...

    @property
    def routes(self) -> Sequence[RouteOptions]:
        """Give the routes, the first that fits first."""
        ...

    @property
    def clickhouse(self) -> ClickHouseOptions | None:
        """Give where rows go, if anywhere."""
        ...


def signals_of(config: AlertConfig) -> Callable[[Rule], Signal]:
    """Give what makes the signal of a rule of a configuration."""
    slos = {slo.name: slo for slo in config.slos}
    kinds = {rule.name: rule.kind for rule in config.rules}
    return lambda rule: signal_of(rule, slos, kinds)


def books_of(config: AlertConfig, policy: PolicyOptions, make_signal: Callable[[Rule], Signal]) -> list[Book]:
    """Give a book for each rule of a configuration, by their names; what each judges is what `make_signal` gives."""
    metrics = {metric.name: metric for metric in config.metrics}
    labels = Labels(config.environment, config.labels)
    notifier = Notifier(config.environment, labels, Routes(config.routes, labels), shown_of(config, policy))
    compiled = [compile_rule(each, metrics[each.metric]) for each in sorted(config.rules, key=lambda rule: rule.name)]
    return [Book(rule, make_signal(rule), config.environment, labels, notifier) for rule in compiled]


class Alerting:
    """The state of all rules of all datasets; one call a closed window, in the order of their ends."""

    def __init__(
        self,
        config: AlertConfig,
        policy: PolicyOptions = NO_POLICY,
        silences: Silences = NO_SILENCES,
        words: EarlyWords = NO_WORDS,
    ) -> None:
        """Start without any known key; `words` keeps what is said before windows close."""
        metrics = {metric.name: metric for metric in config.metrics}
        labels = Labels(config.environment, config.labels)
        general = {**config.labels, "environment": config.environment}
        self.bonds = bonds_of(config.rules, metrics, policy.inhibits, general)
        self._books = books_of(config, policy, signals_of(config))
        rules = [book.rule for book in self._books]
        self._blame = Blame(rules)
        self._suppression = Suppression(policy, labels, rules, silences)
        self._silent = SilentSource(Routes(config.routes, labels))
        self._grouping = Grouping(config.environment, config.routes, policy.modes)
        self._environment, self._pagers = config.environment, policy.pagers
        datasets = frozenset(metric.dataset for metric in config.metrics)
        self._removed = Removed(config.labels, datasets)
        self._early = Early(self._books, self._quiet, words, datasets)
        self._standing: dict[str, Standing] = {}  # by dataset, since its last window
        self._snapshot: bytes | None = None

    def early(self, event: Event) -> list[Notification]:
        """Give what is said of an event before its window closes."""
        said = self._early.say(event)
        if said:
            self._snapshot = None
        return said

    def evaluate(
        self, result: WindowResult, partitions: Sequence[Mapping[str, Any]] = (), beside: Sequence[str] = ()
    ) -> Decisions:
        """Judge one window by the rules of its dataset; one without any row only by those that hear silence.

        `partitions` says what the window was read from, for the provenance of its notifications; `beside` are other datasets
        whose alerts, as they are, count for inhibitions and composites.
        """
        window = self.window(result, partitions)
        books = self.books(result.dataset)
        due = [book for book in books if book.hears_silence or not window.is_silent]
        if not due and window.is_silent:
            return Decisions()  # without a rule there may still be alerts of rules that are gone
        others = [book for book in self._books if book.rule.metric.dataset in beside]
        still = [*others, *(book for book in books if book not in due)]
        window.judged |= {book.rule.options.name: book.still() for book in still}
        for book in in_order(due):
            window.judged[book.rule.options.name] = book.judge(window)
        return self.decide(window, due, others)

    def window(self, result: WindowResult, partitions: Sequence[Mapping[str, Any]] = ()) -> Window:
        """Give a window as the rules want it."""
        return Window(result, partitions, self._blame.explain)

    def books(self, dataset: str) -> list[Book]:
        """Give the rules of a dataset, by name."""
        return [book for book in self._books if book.rule.metric.dataset == dataset]

    def decide(self, window: Window, due: Sequence[Book], others: Sequence[Book]) -> Decisions:
        """Write down what a window did to the rules that are due, and say what is to be said.

        `window.judged` has what it did; a rule of its dataset, or one of the bonded ones in `others`, that is missing there is
        taken as it is.
        """
        out, result = Decisions(), window.result
        self._snapshot = None
        self._standing.clear()
        judged = [
            (book, window.judged.get(book.rule.options.name) or book.still()) for book in [*self.books(result.dataset), *others]
        ]
        steps = [(book.rule.options.name, each.keys, each.after) for book, each in judged]
        quiet = self._suppression.at(result.dataset, result.end, steps)
        quiet = self._silent.quiet(result, [(book.rule, each) for book, each in judged], quiet, silent=window.is_silent)
        silenced: list[Known] = []
        for number, (book, each) in enumerate(judged):
            if book in due:
                hushed = quiet[number] if quiet else None
                book.decide(each, hushed, window, out)
                silenced += book.silenced(each, hushed)
        self._blame.settle(result, window.judged)
        transitions, told = self._removed.end(result)
        if transitions or told:
            # Before what a rule of the same name says now: both sorts are stable.
            out.transitions = sorted([*transitions, *out.transitions], key=lambda each: (each.rule, each.key))
            out.told = sorted([*told, *out.told], key=lambda each: (each.notification.rule, canonical(each.notification.key)))
        ahead = self._early.episodes()  # was said alone, so it stays alone
        out.told = self._grouping.grouped(out.told)
        out.messages = self._grouping.messages(out.told, ahead)
        out.messages += self._early.settle(result.dataset, result.end, out)
        known = acknowledgements(silenced, self._pagers, self._environment, result.end)
        out.messages += self._grouping.acknowledged(known)
        return out

    def _quiet(self, dataset: str, end: int, subject: Subject) -> bool:
        """Tell whether an alert would be kept quiet at a window's end, as far as is known before it closes."""
        if dataset not in self._standing:
            beside = next((bond for bond in self.bonds if dataset in bond), (dataset,))
            books = [(book.rule.options.name, book.still()) for book in self._books if book.rule.metric.dataset in beside]
            self._standing[dataset] = self._suppression.standing([(name, each.keys, each.after) for name, each in books])
        return self._suppression.holds_back(dataset, end, subject, self._standing[dataset])

    def hears_silence(self, dataset: str) -> bool:
        """Tell whether windows of a dataset without any record are to be judged too."""
        return any(book.hears_silence for book in self._books if book.rule.metric.dataset == dataset)

    def firing(self, dataset: str) -> list[dict[str, Any]]:
        """Give the alerts of a dataset that are firing or recovering, with the labels that matchers see.

        `heard` has the channels that were told of an alert, `bundles` the episode that is told by those that hear of several.
        """
        found = [alert for book in self._books if book.rule.metric.dataset == dataset for alert in book.firing()]
        if self._grouping.has_bundles:
            for alert in found:
                fingerprint = fingerprint_of(self._environment, alert["key"], alert["rule"])
                alert["bundles"] = self._grouping.bundles(fingerprint, alert["heard"])
        return found

    def snapshot(self) -> bytes:
        """Give the state of all rules, compressed."""
        if self._snapshot is None:
            lists: list[list[str]] = []
            rules = {book.rule.options.name: book.to_state(lists) for book in self._books}
            state = {"keys": lists, "rules": rules, "groups": self._grouping.to_state(), "removed": self._removed.open}
            state |= {
                "early": self._early.to_state(),
                "usual": self._blame.to_state(),
                "unsure": self._blame.unsure_state(),
                "silent": self._silent.since,
                "silent_for": self._silent.windows,
            }
            self._snapshot = zstandard.compress(pack(state), 1)
        return self._snapshot

    def restore(self, state: bytes) -> None:
        """Take the state of a snapshot, rule by rule."""
        found = unpack(zstandard.decompress(state))
        books = {book.rule.options.name: book for book in self._books}
        self._removed.open = list(found.get("removed", []))
        self._early.load(found.get("early", {"through": {}, "words": []}))
        self._blame.load(found.get("usual", {}), found.get("unsure", {}))
        self._silent.since = dict(found.get("silent", {}))
        self._silent.windows = dict(found.get("silent_for", {}))
        for name, known in found["rules"].items():
            if name in books and known["identity"] == books[name].identity:
                books[name].load(known, found["keys"])
            else:
                self._removed.take(name, known, found["keys"][known["keys"]])
        told = frozenset(fingerprint for book in self._books for fingerprint in book.told())
        self._grouping.load(found.get("groups", []), told | self._removed.fingerprints())
        self._standing.clear()
        self._snapshot = None


def in_order(books: Iterable[Book]) -> list[Book]:
    """Give books in the order in which they judge: a composite after the rules that it is made of."""
    return sorted(books, key=lambda book: book.rule.options.kind == "composite")
