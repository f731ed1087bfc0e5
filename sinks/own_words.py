"""Own words: a channel's `title` and `text`, templates of its owner in place of what edgewatch says.

A channel takes part by two options, `title` and `text`, by `template_problems(self)` among its problems, and by an `OwnWords`
that rewords what it sends. What a template gives is cut and escaped by the channel as its usual words are.

A template that does not compile, or that cannot work whatever the alert is, is a problem of the configuration. One that fails
on an alert gives way to edgewatch's own words, with a note, and is logged once: no alert is lost to a template.
"""

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from sinks.notification import Notification, one_line
from sinks.template import AbsentError, TemplateError, absent, cleaned, compiled, rendered

TITLE = {"help": "template (Jinja) of the title; empty: edgewatch's own"}
TEXT = {"help": "template (Jinja) of the text; empty: edgewatch's own"}
_LIMITS = {"title": 300, "text": 5000}  # characters
_NOTE = 200
_FIELDS = tuple(each.name for each in dataclasses.fields(Notification))
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
    for key in _LIMITS:
        source = getattr(options, key)
        try:
            compiled(source, (*_FIELDS, *more))
            _try(source, key, more)
        except TemplateError as error:
            yield key, f"is not a usable template: {error}"


class OwnWords:
    """The words of one channel; says in the log once of each template that it failed."""

    def __init__(self, name: str, options: Templated) -> None:
        """Take the channel's name, for the log, and its valid options."""
        self._name = name
        self._sources = {key: str(getattr(options, key)) for key in _LIMITS}
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
        sources = {key: source for key, source in self._sources.items() if source}
        told = _told(notification, more) if sources else {}
        for key, source in sources.items():
            try:
                said[key] = _render(source, key, told)
            except TemplateError as error:
                notes.append(f"the template of the {key} failed: {error}")
                self._note(key, error)
        return said, notes

    def _note(self, key: str, error: TemplateError) -> None:
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


def _told(notification: Notification, more: Mapping[str, Any]) -> dict[str, Any]:
    return {name: cleaned(getattr(notification, name)) for name in _FIELDS} | {name: cleaned(v) for name, v in more.items()}


def _render(source: str, key: str, told: Mapping[str, Any]) -> str:
    said = rendered(source, told, limit=_LIMITS[key])
    if key == "text":
        return said
    title = one_line(said)
    if not title:
        raise TemplateError("it gives no text")
    return title


def _try(source: str, key: str, more: Mapping[str, Any]) -> None:
    """Render for an alert without labels, key and evidence; that these are not there says nothing, all else does."""
    empty = dict.fromkeys(("key", "labels", "evidence"), _Nothing())
    with contextlib.suppress(AbsentError):
        rendered(source, _told(_ANY, more) | empty, limit=_LIMITS[key])


class _Nothing(dict[str, Any]):
    """A table of which every entry is absent."""

    def get(self, key: str, default: Any = None) -> Any:
        """Give the default, and what is absent where there is none."""
        return absent(key) if default is None else default


_ANY = Notification(
    at=1_764_547_500_000,
    id="0" * 32,
    rule="rule",
    key={},
    fingerprint="0" * 16,
    episode=f"{'0' * 16}:1764547200",
    dedup_key=f"edgewatch/production/rule/{'0' * 16}:1764547200",
    status="firing",
    severity="critical",
    reason="first",
    channels=("channel",),
    group="0" * 16,
    title="Rule: 7 % (critical above 5 %)",
    text="metric was 7 %.",
    value=0.07,
    threshold=0.05,
    labels={},
    evidence={},
    environment="production",
)
