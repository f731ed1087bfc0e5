"""Early: what is said of an event before its window closes, and what becomes of it when the window does.

An early message has the identity that the window's own first message will have, so the spool knows the two for one. It is said
only where that message is certain as far as is known now: the alert is at rest, no cooldown runs, nothing keeps it quiet. Where
the window decides otherwise after all (a silence was set meanwhile, another window opened the episode), who heard early hears
that this message is over. Live runs alone speak early; files and tables have what the windows decide.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from flows.book import Book
from flows.event import Event
from flows.labels import Subject
from flows.rule import CRITICAL, WARNING
from sinks.notification import Notification, duration

PER_WINDOW = 20  # early messages of a rule; what is beyond waits for the window

Quiet = Callable[[str, int, Subject], bool]


class Early:
    """What was said early and is not decided yet, by rule and key."""

    def __init__(self, books: Sequence[Book], quiet: Quiet) -> None:
        """Take the books of event rules, and what tells whether an alert is kept quiet at a window's end."""
        self._books = {book.rule.options.name: book for book in books if book.rule.options.kind == "event"}
        self._quiet = quiet
        self._said: dict[tuple[str, str], dict[str, Any]] = {}

    @property
    def metrics(self) -> frozenset[str]:
        """Give the metrics whose records may speak early."""
        return frozenset(book.rule.options.metric for book in self._books.values())

    def say(self, event: Event) -> list[Notification]:
        """Give what is said of an event at once."""
        out = []
        for name, book in self._books.items():
            options = book.rule.options
            if options.metric != event.metric or (name, event.key) in self._said or not book.rule.judges(event.key):
                continue
            severity = early_severity(book)
            full = sum(1 for rule, _ in self._said if rule == name) >= PER_WINDOW
            if not severity or full or not book.would_begin(event.key, event.end):
                continue
            if self._quiet(book.rule.metric.dataset, event.end, Subject(name, event.key, severity)):
                continue
            said = _worded(book.first(event, severity), event)
            if said.channels and options.notify:
                line = {"end": event.end, "dataset": book.rule.metric.dataset, "payload": said.to_bytes()}
                self._said[name, event.key] = line
                out.append(said)
        return out

    def settle(self, dataset: str, end: int, said: Sequence[Notification]) -> list[Notification]:
        """Give the ends of what was said early of a window that ends at `end` (or before) and that it did not say itself."""
        due = [place for place, each in self._said.items() if each["dataset"] == dataset and each["end"] <= end]
        known = {each.id for each in said}
        over = [Notification.from_bytes(self._said.pop(place)["payload"]) for place in due]
        return [_over(each, end) for each in over if each.id not in known]

    def episodes(self) -> frozenset[str]:
        """Give the episodes that were said early and are not decided yet."""
        return frozenset(Notification.from_bytes(each["payload"]).episode for each in self._said.values())

    def to_state(self) -> list[list[Any]]:
        """Give plain values; `load` undoes it."""
        return [[*place, each] for place, each in self._said.items()]

    def load(self, state: list[list[Any]]) -> None:
        """Take what a snapshot has."""
        self._said = {(rule, key): each for rule, key, each in state}


def early_severity(book: Book) -> int:
    """Give the severity that one record is enough for, if it is the worst that the rule has; 0 where it takes more."""
    rule = book.rule
    limits, hold = rule.options.thresholds, rule.options.hold
    if limits.critical is not None:
        return CRITICAL if limits.critical < 1 and hold.critical == 1 else 0
    return WARNING if limits.warning is not None and limits.warning < 1 and hold.warning == 1 else 0


def _worded(notification: Notification, event: Event) -> Notification:
    ray = f", ray {event.record.ray_id}" if event.record.ray_id else ""
    text = f"Said at the first record, before the window closes{ray}. {notification.text}"
    return replace(notification, at=event.record.event_time, text=text)


def _over(notification: Notification, end: int) -> Notification:
    """Give the end of an early message that its window did not confirm."""
    words = (
        "The window that it belongs to says nothing of it: it was silenced meanwhile, or belongs to an episode that is open."
    )
    return replace(
        notification,
        at=end,
        id=hashlib.sha256(f"{notification.episode}|early".encode()).hexdigest()[:32],
        status="resolved",
        reason="resolved",
        title=f"{notification.title.split(': ')[0]}: goes on elsewhere",
        text=f"{words} It was said {duration(max(end - notification.at, 0))} before.",
        value=None,
    )
