"""A Sentry: takes envelopes, gzipped or plain, and keeps their items, as Relay does at its door."""

import gzip
import json
import re
from typing import Any

from tests.fakes.scripted import Answer, ScriptedServer, Seen, of_json

KEY = "0123456789abcdef0123456789abcdef"
PROJECT = "42"
_LARGEST = 1_000_000
_LEVELS = {"fatal", "error", "warning", "info", "debug"}


class FakeSentry(ScriptedServer):
    """`events` by id, so that a repeat counts once; `check_ins` as they came; `wrong` lists what Sentry would mend."""

    def __init__(self, port: int = 0) -> None:
        """Start empty."""
        super().__init__(port)
        self.events: dict[str, dict[str, Any]] = {}
        self.check_ins: list[dict[str, Any]] = []
        self.wrong: list[str] = []

    @property
    def dsn(self) -> str:
        """The DSN of its one project."""
        return f"http://{KEY}@127.0.0.1:{self.port}/{PROJECT}"

    def reply(self, seen: Seen) -> Answer:
        """Answer as Relay does."""
        if seen.path != f"/api/{PROJECT}/envelope/":
            return of_json(404, {"detail": "not found"})
        if f"sentry_key={KEY}" not in seen.headers.get("x-sentry-auth", ""):
            return of_json(403, {"detail": "bad sentry DSN public key"})
        body = gzip.decompress(seen.body) if seen.headers.get("content-encoding") == "gzip" else seen.body
        if len(body) > _LARGEST:
            return of_json(413, {"detail": "envelope exceeded size limits"})
        try:
            head, items = read_envelope(body)
        except (ValueError, KeyError):
            return of_json(400, {"detail": "invalid envelope"})
        for kind, item in items:
            if kind == "event":
                self.wrong += _wrong(item)
                self.events[item["event_id"]] = item
            elif kind == "check_in":
                self.check_ins.append(item)
        return of_json(200, {"id": head.get("event_id", "")})


def read_envelope(body: bytes) -> tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]:
    """Give the head and the (type, payload) of each item; raises ValueError or KeyError."""
    first, _, rest = body.partition(b"\n")
    items = []
    while rest.strip():
        line, _, rest = rest.partition(b"\n")
        head = json.loads(line)
        payload, rest = rest[: head["length"]], rest[head["length"] + 1 :]
        items.append((head["type"], json.loads(payload)))
    return json.loads(first), items


def envelope_in(seen: Seen) -> tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]:
    """Read the envelope in a request, which may be compressed."""
    packed = seen.headers.get("content-encoding") == "gzip"
    return read_envelope(gzip.decompress(seen.body) if packed else seen.body)


def _wrong(event: dict[str, Any]) -> list[str]:
    wrong = [f"tag key {key}" for key in event["tags"] if not re.fullmatch(r"[a-zA-Z0-9_.:-]{1,32}", key)]
    wrong += [f"tag {key}" for key, value in event["tags"].items() if not 0 < len(value) <= 200 or "\n" in value]
    wrong += [f"context {key}" for key, value in event["contexts"].items() if _size(value) > 8192]
    if event["level"] not in _LEVELS or not re.fullmatch(r"[0-9a-f]{32}", event["event_id"]):
        wrong.append("level or id")
    if re.search(r"[\s/]", event["environment"]) or len(event["environment"]) > 64:
        wrong.append("environment")
    if len(event.get("message", "")) > 8192:
        wrong.append("message")
    return wrong


def _size(value: object) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode())
