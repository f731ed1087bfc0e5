"""A Slack: incoming webhooks, and what of the Web API posts and edits, with Slack's checks and limits."""

import json
import re
from typing import Any

from tests.fakes.scripted import Answer, ScriptedServer, Seen, of_json

TOKEN = "xoxb-1111-planted-token"
HOOK = "/services/T0000/B0000/planted-webhook-secret"
_TOTAL = 13_200
_LINK = re.compile(r"<(https?://[^\s<>|]+)\|([^<>|]+)>")
_MARKUP = re.compile(r"[<>]|&(?!amp;|lt;|gt;)")


class FakeSlack(ScriptedServer):
    """Keeps the messages of its channels; `wrong` lists what no client should send."""

    def __init__(self, port: int = 0) -> None:
        """Start with two channels."""
        super().__init__(port)
        self.channels = {"#alerts-critical": "C0CRIT", "#alerts-warning": "C0WARN"}
        self.messages: dict[tuple[str, str], dict[str, Any]] = {}
        self.posted: list[dict[str, Any]] = []
        self.edits: list[dict[str, Any]] = []
        self.wrong: list[str] = []
        self._ts = 1_503_435_956

    @property
    def webhook_url(self) -> str:
        """The secret URL of the webhook."""
        return f"{self.url}{HOOK}"

    @property
    def api_url(self) -> str:
        """The Web API."""
        return f"{self.url}/api"

    def reply(self, seen: Seen) -> Answer:
        """Answer as Slack does."""
        try:
            body = seen.json
        except json.JSONDecodeError:
            return Answer(400, b"invalid_payload")
        problem = self._problem(body)
        if problem:
            self.wrong.append(problem)
        if seen.path == HOOK:
            self.posted.append(body)
            return Answer(400, b"invalid_payload") if problem else Answer(200, b"ok")
        if not seen.path.startswith("/api/"):
            return Answer(404, b"no_service")
        if seen.headers.get("authorization") != f"Bearer {TOKEN}":
            return of_json(200, {"ok": False, "error": "invalid_auth"})
        if problem:
            return of_json(200, {"ok": False, "error": problem})
        return self._call(seen.path.removeprefix("/api/"), body)

    def _call(self, method: str, body: dict[str, Any]) -> Answer:
        if method == "chat.postMessage":
            return self._post(body)
        if method == "chat.update":
            return self._update(body)
        return of_json(200, {"ok": False, "error": "unknown_method"})

    def _post(self, body: dict[str, Any]) -> Answer:
        channel = self.channels.get(body["channel"], body["channel"])
        if channel not in self.channels.values():
            return of_json(200, {"ok": False, "error": "channel_not_found"})
        if "thread_ts" in body and (channel, body["thread_ts"]) not in self.messages:
            return of_json(200, {"ok": False, "error": "thread_not_found"})
        self._ts += 1
        ts = f"{self._ts}.000247"
        self.messages[(channel, ts)] = body
        self.posted.append(body)
        return of_json(200, {"ok": True, "channel": channel, "ts": ts})

    def _update(self, body: dict[str, Any]) -> Answer:
        if (body["channel"], body["ts"]) not in self.messages:
            return of_json(200, {"ok": False, "error": "message_not_found"})
        self.messages[(body["channel"], body["ts"])] = body
        self.edits.append(body)
        return of_json(200, {"ok": True, "channel": body["channel"], "ts": body["ts"]})

    def _problem(self, body: dict[str, Any]) -> str:
        blocks = body.get("blocks", [])
        texts = [text for block in blocks for text in _texts(block)]
        marked = [text for block in blocks for text in _texts(block, markup=False)]
        if not body.get("text"):
            return "no_text"
        if len(body["text"]) > 40_000 or any(_MARKUP.search(text) for text in [*marked, body["text"]]):
            return "unescaped"
        if body.get("unfurl_links") is not False:
            return "unfurls"
        if len(blocks) > 50 or not all(_fits(block) for block in blocks):
            return "invalid_blocks"
        return "msg_blocks_too_long" if sum(map(len, texts)) > _TOTAL else ""


def shown(body: dict[str, Any]) -> str:
    """Give a message as people see it."""
    texts = [text for block in body.get("blocks", []) for text in _texts(block)] or [body["text"]]
    plain = _LINK.sub(r"[\2] \1", "\n".join(texts))
    return plain.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _texts(block: dict[str, Any], *, markup: bool = True) -> list[str]:
    """Give the texts of a block, without markup each less its links, where it may have any."""
    parts = [block.get("text"), *block.get("fields", []), *block.get("elements", [])]
    links = re.compile("(?!)") if markup else _LINK
    return [links.sub("", part["text"]) if part["type"] == "mrkdwn" else part["text"] for part in parts if part]


def _fits(block: dict[str, Any]) -> bool:
    sizes = [len(text) for text in _texts(block)]
    if not sizes or min(sizes) < 1:
        return False
    if block["type"] == "header":
        return max(sizes) <= 150 and block["text"]["type"] == "plain_text"
    if block["type"] == "context":
        return len(block["elements"]) <= 10
    fields = [len(part["text"]) for part in block.get("fields", [])]
    return max(sizes) <= 3000 and len(fields) <= 10 and max(fields, default=0) <= 2000
