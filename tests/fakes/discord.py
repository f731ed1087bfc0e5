"""A Discord: one webhook, with the limits of embeds and a renderer of its Markdown."""

import json
import re
from typing import Any

from tests.fakes.scripted import Answer, ScriptedServer, Seen, of_json

HOOK = "/api/webhooks/1180000000000000000/planted-discord-token"
_LIMITS = {"title": 256, "description": 4096}
_TOTAL = 6000
_ESCAPED = re.compile(r"\\([^0-9A-Za-z\s])")
_ACTIVE = re.compile(r"[*_~`|<>@#\[\]()\\]|https?://|^\s*[-+] ", re.MULTILINE)


class FakeDiscord(ScriptedServer):
    """Keeps the messages; `wrong` lists what no client should send."""

    def __init__(self, port: int = 0) -> None:
        """Start without messages."""
        super().__init__(port)
        self.messages: list[dict[str, Any]] = []
        self.wrong: list[str] = []

    @property
    def webhook_url(self) -> str:
        """The secret URL of the webhook."""
        return f"{self.url}{HOOK}"

    def reply(self, seen: Seen) -> Answer:
        """Answer as Discord does: the message with `wait`, else 204 whatever becomes of it."""
        path, _, query = seen.path.partition("?")
        if path != HOOK:
            return of_json(404, {"message": "Unknown Webhook", "code": 10015})
        try:
            problems = _problems(seen.json)
        except json.JSONDecodeError:
            return of_json(400, {"message": "The request body contains invalid JSON.", "code": 50109})
        self.wrong += problems
        waits = "wait=true" in query.split("&")
        if problems:
            return of_json(400, {"message": "Invalid Form Body", "code": 50035, "errors": problems}) if waits else Answer(204)
        self.messages.append(seen.json)
        return of_json(200, {"id": "1", "embeds": seen.json["embeds"]}) if waits else Answer(204)


def shown(message: dict[str, Any]) -> str:
    """Give a message as people see it."""
    (embed,) = message["embeds"]
    fields = [f"{each['name']}: {each['value']}" for each in embed["fields"]]
    texts = [embed["title"], embed.get("description", ""), *fields]
    return "\n".join([*(_ESCAPED.sub(r"\1", text) for text in texts if text), embed["footer"]["text"]])


def active(text: str) -> list[str]:
    """Give what Discord would take for markup: what is left once the escaped characters are gone."""
    return _ACTIVE.findall(_ESCAPED.sub("", text))


def markup(message: dict[str, Any]) -> list[str]:
    """Give what Discord would take for markup where it reads any: in the title, the description and the fields."""
    (embed,) = message["embeds"]
    texts = [embed["title"], embed.get("description", "")]
    texts += [text for each in embed["fields"] for text in (each["name"], each["value"])]
    return [found for text in texts for found in active(text)]


def _problems(message: dict[str, Any]) -> list[str]:
    problems = []
    if message.get("allowed_mentions") != {"parse": []}:
        problems.append("may mention people")
    if len(message.get("content", "")) > 2000 or len(message["embeds"]) != 1:
        problems.append("content or embeds")
    (embed,) = message["embeds"]
    fields = embed.get("fields", [])
    named = [(embed.get(name, "x"), limit) for name, limit in _LIMITS.items()]
    named += [(each["name"], 256) for each in fields] + [(each["value"], 1024) for each in fields]
    named += [(embed["footer"]["text"], 2048)]
    problems += [f"{len(text)} of {limit}" for text, limit in named if not len(text.strip()) > 0 or _units(text) > limit]
    if len(fields) > 25 or sum(_units(text) for text, _ in named) > _TOTAL:
        problems.append("too much")
    if not 0 <= embed["color"] <= 0xFFFFFF:
        problems.append("no colour")
    return problems


def _units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2
