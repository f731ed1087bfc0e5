"""Own words: a channel's `title` and `text`, templates of its owner in place of what edgewatch says.

A channel takes part by two options, `title` and `text`, by `template_problems(self)` among its problems, and by an `OwnWords`
that rewords what it sends. What a template gives is cut and escaped by the channel as its usual words are.

A template that does not compile, or that cannot work whatever the alert is, is a problem of the configuration. One that fails
on an alert gives way to edgewatch's own words, with a note, and is logged once: no alert is lost to a template. Jinja is only
imported where there is a template: most configurations have none, and it takes a tenth of a start.
"""

import dataclasses
import logging
from collections.abc import Iterator
from typing import Any, Protocol

from sinks.notification import Notification, one_line

TITLE = {"help": "template (Jinja) of the title; empty: edgewatch's own"}
TEXT = {"help": "template (Jinja) of the text; empty: edgewatch's own"}
_KEYS = ("title", "text")
_NOTE = 200
_log = logging.getLogger("edgewatch.delivery")


class Templated(Protocol):
    """Options of a channel that takes templates."""

    @property
    def title(self) -> str:
        """The title's template, or empty."""
        ...

    @property
    def text(self) -> str:
        """The text's template, or empty."""
        ...


def template_problems(options: Templated, **more: Any) -> Iterator[tuple[str, str]]:
    """Yield (key, problem) for each template that cannot be used; `more` are names beside a notification's fields."""
    sources = {key: source for key in _KEYS if (source := getattr(options, key))}
    if not sources:
        return
    from sinks.own_template import problem_of  # noqa: PLC0415

    for key, source in sources.items():
        problem = problem_of(source, key, more)
        if problem:
            yield key, f"is not a usable template: {problem}"


class OwnWords:
    """The words of one channel; says in the log once of each template that it failed."""

    def __init__(self, name: str, options: Templated) -> None:
        """Take the channel's name, for the log, and its valid options."""
        self._name = name
        self._sources = {key: source for key in _KEYS if (source := str(getattr(options, key)))}
        self._failed: set[str] = set()

    def reworded(self, notification: Notification) -> Notification:
        """Give the notification in the channel's words, without control characters in any line of its text."""
        said, notes = self.parts(notification)
        text = said.get("text", own_text(notification))
        text = " ".join([text, *(f"(edgewatch: {one_line(note)[:_NOTE]})" for note in notes)])
        title = said.get("title", notification.title)
        if (title, text) == (notification.title, notification.text):
            return notification
        return dataclasses.replace(notification, title=title, text=text)

    def parts(self, notification: Notification, **more: Any) -> tuple[dict[str, str], list[str]]:
        """Give what the templates say, by `title` and `text` where there is one that works, and what failed."""
        said: dict[str, str] = {}
        notes: list[str] = []
        if not self._sources:
            return said, notes
        from sinks.own_template import words_of  # noqa: PLC0415
        from sinks.template import TemplateError  # noqa: PLC0415

        for key, source in self._sources.items():
            try:
                said[key] = words_of(source, key, notification, more)
            except TemplateError as error:
                notes.append(f"the template of the {key} failed: {error}")
                self._note(key, error)
        return said, notes

    def _note(self, key: str, error: Exception) -> None:
        if key not in self._failed:
            self._failed.add(key)
            problem = one_line(str(error))[:_NOTE]
            _log.warning("%s: the template of the %s failed, edgewatch's own words are sent: %s", self._name, key, problem)


def own_text(notification: Notification) -> str:
    """Give edgewatch's own text: one line, unless its evidence has it as `lines`. A line break in a value makes no line."""
    lines = notification.evidence.get("lines")
    return "\n".join(one_line(str(line)) for line in lines) if isinstance(lines, list) else one_line(notification.text)


def text_lines(text: str) -> list[str]:
    """Give the lines of a text in a channel's words, without control characters; empty where it says nothing."""
    lines = [one_line(line) for line in text.strip().split("\n")]
    return lines if any(lines) else []
