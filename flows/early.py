"""Early: what is said of an event before its window closes, and what becomes of it when the window does.

An early message has the identity that the window's own first message will have, so the spool knows the two for one. It is said
only where that message is certain as far as is known now: the alert is at rest, no cooldown runs, nothing keeps it quiet.
Where the window decides otherwise after all (a silence was set meanwhile, an earlier window opened the episode), who heard
early hears that this message is over, and why. Live runs alone speak early; files and tables have what windows decide.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from flows.book import Book, Decisions
from flows.early_word import EarlyWords, Word
from flows.event import Event
from flows.labels import Subject
from flows.output import rfc3339
from flows.rule import CRITICAL, WARNING, RuleOptions
from flows.transition import episode_of
from sinks.notification import Notification

PER_WINDOW = 20  # early messages of a rule; what is beyond waits for the window
_WITHHELD = ("", "a silence keeps it quiet", "a mute time keeps it quiet", "another alert inhibits it", "it is flapping")

Quiet = Callable[[str, int, Subject], bool]  # (dataset, window end in ms, alert)


class Early:
    """What was said early and is not decided yet."""

    def __init__(self, books: Sequence[Book], quiet: Quiet, log: EarlyWords, datasets: Collection[str]) -> None:
        """Take all books, what tells whether an alert is kept quiet, where words are kept, and what has windows."""
        self._books = {book.rule.options.name: book for book in books if book.rule.options.kind == "event"}
        self._quiet = quiet
        self._log = log
        self._datasets = datasets
        self._said: dict[tuple[str, str], dict[int, Word]] = {}  # by rule and key, and by the window's end
        self._through: dict[str, int] = {}  # the end of the last window that was settled, by dataset
        self._hushed: set[tuple[str, str, int]] = set()  # found to be kept quiet: waits for the window
        self._again: set[str] = set()  # ids of words found in the log: whether they left is not known
        self._recall(None)

    def say(self, event: Event) -> list[Notification]:
        """Give what is said of an event at once."""
        out: list[Notification] = []
        fresh: list[Word] = []
        for name, book in self._books.items():
            if book.rule.options.metric != event.metric or not book.rule.judges(event.key):
                continue
            known = self._said.get((name, event.key))
            if known:
                word = known.get(event.end)
                if word is not None and word.said.id in self._again:
                    self._again.discard(word.said.id)
                    out.append(word.said)
            elif self._may(name, book, event):
                said = book.first(event, early_severity(book.rule.options))
                if said.channels:
                    fresh.append(Word(dataset=book.rule.metric.dataset, end=event.end, key=event.key, said=said))
        if fresh:
            self._log.add(fresh)
            for word in fresh:
                self._keep(word)
        return [*out, *(word.said for word in fresh)]

    def settle(self, dataset: str, end: int, decided: Decisions) -> list[Notification]:
        """Give the ends of what was said early of the windows up to `end` and is not said by `decided`, the last of them."""
        self._through[dataset] = end
        self._hushed = {each for each in self._hushed if each[2] > end}
        due = [word for word in self._words() if word.end <= end and word.dataset == dataset]
        due += [word for word in self._words() if word.dataset not in self._datasets]
        out = []
        for word in due:
            self._forget(word)
            said = {channel for each in decided.messages if each.id == word.said.id for channel in each.channels}
            left = tuple(channel for channel in word.said.channels if channel not in said)
            if left:
                out.append(_over(word, left, end, self._why(word, decided)))
        return out

    def episodes(self) -> frozenset[str]:
        """Give the episodes that were said early and are not decided yet."""
        return frozenset(word.said.episode for word in self._words())

    def to_state(self) -> dict[str, Any]:
        """Give plain values; `load` undoes it. What was found in the log and did not come again yet stays there alone."""
        words = [word for word in self._words() if word.said.id not in self._again]
        return {"through": self._through, "words": [msgspec.json.encode(word) for word in words]}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take what a snapshot has, and what was said after it."""
        self._said, self._again = {}, set()
        self._through = dict(state["through"])
        for word in state["words"]:
            self._keep(msgspec.json.decode(word, type=Word))
        self._recall(self._through)

    def _recall(self, through: Mapping[str, int] | None) -> None:
        for word in self._log.since(through):
            if word.end not in self._said.get((word.said.rule, word.key), {}):
                self._keep(word)
                self._again.add(word.said.id)

    def _may(self, name: str, book: Book, event: Event) -> bool:
        """Tell whether the window of an event would say it first, as far as is known."""
        options, place = book.rule.options, (name, event.key, event.end)
        severity = early_severity(options)
        if not severity or place in self._hushed or not book.would_begin(event.key, event.end):
            return False
        if sum(word.said.rule == name and word.end == event.end for word in self._words()) >= PER_WINDOW:
            return False
        if self._quiet(book.rule.metric.dataset, event.end, Subject(name, event.key, severity)):
            self._hushed.add(place)
            return False
        return True

    def _words(self) -> Iterable[Word]:
        return [word for words in self._said.values() for word in words.values()]

    def _keep(self, word: Word) -> None:
        self._said.setdefault((word.said.rule, word.key), {})[word.end] = word

    def _forget(self, word: Word) -> None:
        self._again.discard(word.said.id)
        words = self._said[word.said.rule, word.key]
        del words[word.end]
        if not words:
            del self._said[word.said.rule, word.key]

    def _why(self, word: Word, decided: Decisions) -> tuple[str, str]:
        """Give why a window does not say what was said early, for the title and for the text."""
        book = self._books.get(word.said.rule)
        if book is None:
            return "not watched any more", "The rule was taken out of the configuration, or judges something else now."
        why = _suppressor(word, decided)
        if why:
            return "kept quiet", f"Its window closed, and {_WITHHELD[why]}. If it still fires after that, it is said again."
        began = book.began(word.key)
        if began is not None and began != word.end:
            episode = episode_of(word.said.fingerprint, began)
            since = rfc3339(began)
            return f"goes on as the episode of {since}", f"An earlier window had it too: it goes on as episode {episode}."
        return "not confirmed", "Its window closed without saying it: limits or routes have changed, or keys were too many."


def early_severity(options: RuleOptions) -> int:
    """Give the severity that one record is enough for, if it is the worst that the rule has; 0 where it takes more."""
    limits, hold = options.thresholds, options.hold
    if options.kind != "event" or not options.notify:
        return 0
    if limits.critical is not None:
        return CRITICAL if limits.critical < 1 and hold.for_critical.times == 1 else 0
    return WARNING if limits.warning is not None and limits.warning < 1 and hold.for_warning.times == 1 else 0


def _suppressor(word: Word, decided: Decisions) -> int:
    """Give what keeps the alert of a word quiet at this window (SUPPRESSORS of evaluation), or 0."""
    for each in decided.evaluations:
        if each.rule == word.said.rule and each.suppressed is not None:
            place = bisect_left(each.keys, word.key)
            if place < len(each.keys) and each.keys[place] == word.key:
                return int(each.suppressed[place])
    return 0


def _over(word: Word, channels: tuple[str, ...], at: int, why: tuple[str, str]) -> Notification:
    """Give the end of an early message that its window did not confirm."""
    said = word.said
    name = said.rule.replace("_", " ")
    where = f" on {', '.join(said.key.values())}" if said.key else ""
    return replace(
        said,
        at=at,
        id=hashlib.sha256(f"{said.episode}|early".encode()).hexdigest()[:32],
        status="resolved",
        reason="resolved",
        channels=channels,
        title=f"{name[:1].upper()}{name[1:]}{where}: {why[0]}",
        text=f"What was said at once, before its window closed, ends here; that does not mean that it is over. {why[1]}",
        value=None,
    )
