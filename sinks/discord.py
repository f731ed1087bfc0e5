"""Discord: an embed by a webhook.

Guarantee: at-least-once; an answer that got lost posts twice. The request waits for Discord to have the message
(`wait=true`): without that a message that was not saved is answered with success.

Limits are those of Discord's reference of embeds, counted in UTF-16 units, which is never less than what Discord
counts. Markdown in values is escaped, so that the logs cannot make a link or mention people.
"""

import math
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from sinks.chat_words import context, evidence, facts, headline, is_link
from sinks.http import TOO_MANY_REQUESTS, Answer, HttpClient, retry_after, url_secrets
from sinks.notification import DeliveryError, Notification, Pace, rfc3339
from sinks.own_words import TEXT, TITLE, OwnWords, template_problems, text_lines
from sinks.runbook import Runbook, dashboard_of, runbook_of

# 30 messages a minute and channel, 5 in 2 s.
PACE = Pace(per_second=0.5, burst=5)
# Of 6000 over all: title, description, 12 fields, evidence with the runbook, and footer together stay below.
_TITLE, _TEXT, _NAME, _VALUE, _FACTS, _EVIDENCE, _FOOTER = 256, 1200, 60, 200, 12, 1000, 200
_RUNBOOK = 700
_COLOURS = {"critical": 0xC62828, "warning": 0xF9A825}
_RESOLVED, _OTHER = 0x2E7D32, 0x607D8B
_PIECE = re.compile(r"(?P<markup>[\\*_~`|>#+\-\[\]()<@]|:(?=/))|.", re.DOTALL)
_ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
_HEADERS = {"Content-Type": "application/json"}
_HINTS = {10015: "the webhook was removed", 50027: "the webhook's token is refused", 10003: "the channel was removed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscordOptions:
    """Options of a Discord channel: one webhook."""

    webhook_url: str = field(
        repr=False, metadata={"secret": True, "help": "webhook of the channel, ?thread_id=... for a thread"}
    )
    title: str = field(default="", metadata=TITLE)
    text: str = field(default="", metadata=TEXT)
    timeout_ms: int = field(default=10_000, metadata={"duration": True, "help": "how long one call may take"})

    def problems(self) -> Iterator[tuple[str, str]]:
        """Say what the types cannot."""
        if not re.match(r"https?://[^/\s]", self.webhook_url):
            yield "webhook_url", "is not an http:// or https:// URL"
        yield from template_problems(self)


class Discord:
    """Every notification is a message of its own."""

    def __init__(self, name: str, options: DiscordOptions) -> None:
        """Open no connection yet."""
        self.name = name
        self._words = OwnWords(name, options)
        given = options.webhook_url
        self._url = f"{given}{'&' if '?' in given else '?'}wait=true"
        self._http = HttpClient(name, secrets=url_secrets(given), total=options.timeout_ms / 1000)

    def send(self, notification: Notification, memory: dict[str, str]) -> dict[str, str]:
        """Post it."""
        content = orjson.dumps(message(self._words.reworded(notification)))
        answer = self._http.request("POST", self._url, content=content, headers=_HEADERS)
        if not answer.ok:
            raise _refused(self._http, answer)
        return memory


def build(name: str, options: DiscordOptions) -> Discord:
    """Make the channel."""
    return Discord(name, options)


def message(notification: Notification) -> dict[str, Any]:
    """Give the message: one embed, and nobody is mentioned."""
    embed: dict[str, Any] = {
        "title": fit(headline(notification), _TITLE),
        "color": _RESOLVED if notification.status == "resolved" else _COLOURS.get(notification.severity, _OTHER),
        "fields": list(_fields(notification)),
        "footer": {"text": _within(context(notification), _FOOTER)},
        "timestamp": rfc3339(notification.at),
    }
    text = "\n".join(text_lines(notification.text))
    if text:
        embed["description"] = fit(text, _TEXT)
    return {"embeds": [embed], "allowed_mentions": {"parse": []}}


def fit(text: str, limit: int) -> str:
    """Escape a text and cut it to have at most `limit` UTF-16 units then; what is escaped stays whole."""
    return _within([rf"\{each[0]}" if each["markup"] else each[0] for each in _PIECE.finditer(text)], limit)


def _within(pieces: Sequence[str], limit: int) -> str:
    """Join pieces as long as there is room; nothing at all becomes a dash, since Discord refuses empty texts."""
    whole = "".join(pieces).strip()
    if _units(whole) <= limit:
        return whole or "-"
    kept, left = "", limit - 1  # for the ellipsis
    for piece in pieces:
        left -= _units(piece)
        if left < 0:
            break
        kept += piece
    return kept + _ELLIPSIS


def _units(text: str) -> int:
    return len(text) + sum(character > "\uffff" for character in text)


def _fields(notification: Notification) -> Iterator[dict[str, Any]]:
    found = list(facts(notification).items())[:_FACTS]
    for name, value in found:
        # Labels come from the configuration, not from the logs: an address stays one.
        link = len(value) <= _VALUE and is_link(value) and notification.labels.get(name) == value
        yield {"name": fit(name, _NAME), "value": value if link else fit(value, _VALUE), "inline": True}
    room, runbook = _EVIDENCE, runbook_of(notification)
    if runbook is not None:
        value = _runbook(runbook)
        room -= _units(value)
        yield {"name": "Runbook", "value": value, "inline": False}
    dashboard = dashboard_of(notification)
    if dashboard and len(dashboard) <= _RUNBOOK // 2:
        room -= len(dashboard)
        yield {"name": "Dashboard", "value": dashboard, "inline": False}
    lines = evidence(notification)
    if lines:
        yield {"name": "Evidence", "value": fit("\n".join(lines), room), "inline": False}


def _runbook(runbook: Runbook) -> str:
    """Give the link, an address as it is, and the first steps."""
    link = runbook.address if len(runbook.address) <= _RUNBOOK // 2 else ""
    link = link or fit(runbook.link, _RUNBOOK // 2)
    steps = "\n".join(runbook.numbered())
    return f"{link}\n{fit(steps, _RUNBOOK - _units(link) - 1)}" if steps else link


def _refused(http: HttpClient, answer: Answer) -> DeliveryError:
    said = answer.fields
    code = said.get("code")
    hint = _HINTS.get(code) if isinstance(code, int) else None
    words = f"{said['message']} (code {code})" if said.get("message") and code else str(said.get("message", ""))
    error = http.refused(answer, f"{hint}: {words}" if hint else words, code=str(code or ""))
    wait = said.get("retry_after")
    if answer.status == TOO_MANY_REQUESTS and isinstance(wait, int | float) and math.isfinite(wait):
        error.retry_after = retry_after(f"{max(wait, 0):.3f}", time.time())  # finer than the header's whole seconds
    return error
