"""Microsoft Teams: an adaptive card by a workflow of Power Automate ("when a Teams webhook request is received").

Guarantee: at-least-once until the workflow: 202 says that it started, not that it posted.

Why rich text blocks: text blocks and fact sets read Markdown, and what the logs hold must not become a link or a
heading. Text runs are shown as they are.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from sinks.chat_words import context, cut, evidence, facts, headline, is_link
from sinks.http import HttpClient, url_secrets
from sinks.notification import Notification, Pace, one_line
from sinks.own_words import TEXT, TITLE, OwnWords, template_problems, text_lines
from sinks.runbook import dashboard_of, runbook_of

PACE = Pace(per_second=1.0, burst=4)
_CARD_BYTES = 27_000  # Teams refuses what is above 28 kB
_TITLE, _TEXT, _FACT, _LINE = 300, 3000, 250, 250
_FACTS, _LINKS, _LINES = 15, 6, 40
_COLOURS = {"critical": "Attention", "warning": "Warning"}
_BRACES = re.compile(r"\{(?=\{)")
_HEADERS = {"Content-Type": "application/json"}
_HINTS = {
    400: "the workflow does not take it; it has to begin with a Teams webhook request",
    401: "the URL is refused; copy it again from the workflow",
    403: "the URL is refused; copy it again from the workflow",
    404: "the workflow was removed or is turned off",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamsOptions:
    """Options of a Teams channel: one workflow."""

    webhook_url: str = field(repr=False, metadata={"secret": True, "help": "URL of the workflow"})
    title: str = field(default="", metadata=TITLE)
    text: str = field(default="", metadata=TEXT)
    timeout_ms: int = field(default=10_000, metadata={"duration": True, "help": "how long one call may take"})

    def problems(self) -> Iterator[tuple[str, str]]:
        """Say what the types cannot."""
        if not re.match(r"https?://[^/\s]", self.webhook_url):
            yield "webhook_url", "is not an http:// or https:// URL"
        yield from template_problems(self)


class Teams:
    """Every notification is a card of its own: a workflow gives nothing to edit."""

    def __init__(self, name: str, options: TeamsOptions) -> None:
        """Open no connection yet."""
        self.name = name
        self._url = options.webhook_url
        self._words = OwnWords(name, options)
        self._http = HttpClient(name, secrets=url_secrets(options.webhook_url), total=options.timeout_ms / 1000)

    def send(self, notification: Notification, memory: dict[str, str]) -> dict[str, str]:
        """Post it."""
        content = message(self._words.reworded(notification))
        answer = self._http.request("POST", self._url, content=content, headers=_HEADERS)
        if not answer.ok:
            hint = _HINTS.get(answer.status)
            raise self._http.refused(answer, f"{hint}: {answer.text}" if hint else "")
        return memory


def build(name: str, options: TeamsOptions) -> Teams:
    """Make the channel."""
    return Teams(name, options)


def message(notification: Notification) -> bytes:
    """Give the message with its card, its texts cut until it is small enough."""
    part = 1
    while _size(out := _message(notification, part)) > _CARD_BYTES:
        part *= 2
    return orjson.dumps(out)


def _size(message: dict[str, Any]) -> int:
    """Give the size with all letters beyond ASCII as escapes: whichever way the service counts, it is no more."""
    return len(json.dumps(message))


def _message(notification: Notification, part: int) -> dict[str, Any]:
    """Give the message; each text may have one `part`th of its room."""
    card: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "body": list(_blocks(notification, part)),
    }
    runbook = runbook_of(notification)
    links = [("Runbook", runbook.address)] if runbook is not None and runbook.address else []
    links += [("Dashboard", address)] if (address := dashboard_of(notification)) else []
    links = [*links, *((name, value) for name, value in notification.labels.items() if is_link(value))][:_LINKS]
    if links:
        card["actions"] = [{"type": "Action.OpenUrl", "title": _safe(name, 40), "url": url} for name, url in links]
    content_type = "application/vnd.microsoft.card.adaptive"
    return {"type": "message", "attachments": [{"contentType": content_type, "contentUrl": None, "content": card}]}


def _blocks(notification: Notification, part: int) -> Iterator[dict[str, Any]]:
    colour = "Good" if notification.status == "resolved" else _COLOURS.get(notification.severity, "Default")
    title = _run(headline(notification), _TITLE // part, size="Large", weight="Bolder", color=colour)
    yield _block(title)
    yield from _text(notification.text, _TEXT // part)
    yield from _runbook(notification, _LINE // part)
    for name, value in list(facts(notification).items())[:_FACTS]:
        named = _run(name, _FACT // part, weight="Bolder")
        named["text"] += ": "
        yield _block(named, _run(value or "-", _FACT // part), spacing="Small")
    for line in evidence(notification):
        yield _block(_run(line or "-", _LINE // part, fontType="Monospace", size="Small"), spacing="Small")
    yield _block(_run(context(notification), _FACT // part, size="Small", isSubtle=True))


def _runbook(notification: Notification, room: int) -> Iterator[dict[str, Any]]:
    """Give the first steps; an address is a button, a file is named."""
    runbook = runbook_of(notification)
    if runbook is None:
        return
    if not runbook.address:
        yield _block(_run(f"Runbook: {runbook.link}", room))
    if runbook.steps:
        yield _block(_run("First steps", room, weight="Bolder"))
    for step in runbook.numbered():
        yield _block(_run(step, room), spacing="None")


def _text(text: str, room: int) -> Iterator[dict[str, Any]]:
    """Give a block a line: what a line break within a run becomes is up to the reader's program."""
    looks: dict[str, str] = {}
    for line in text_lines(text)[:_LINES]:
        if line and room > 0:
            yield _block(_run(line, room), **looks)
            room -= len(line)
        looks = {"spacing": "None"} if line else {}


def _block(*runs: dict[str, Any], **looks: str) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": list(runs), **looks}


def _run(text: str, limit: int, **looks: Any) -> dict[str, Any]:
    return {"type": "TextRun", "text": _safe(text, limit), **looks}


def _safe(text: str, limit: int) -> str:
    """Cut a text; `{{DATE(...)}}` is the one thing that cards read in any text."""
    return _BRACES.sub("{ ", cut(one_line(text) if text.strip() else "-", limit))
