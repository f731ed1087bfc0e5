"""A PagerDuty: Events API v2, with incidents that open, log and close."""

import json
from typing import Any

from tests.fakes.scripted import Answer, ScriptedServer, Seen, of_json

ROUTING_KEY = "0123456789abcdef0123456789abcdef"
_SEVERITIES = {"critical", "error", "warning", "info"}


class FakePagerDuty(ScriptedServer):
    """`pages` lists the incidents that were opened, `open` those that are, by (routing key, dedup key).

    `log` says of each incident that was opened or closed: routing key, dedup key and event, in order.
    """

    def __init__(self, port: int = 0) -> None:
        """Start without incidents."""
        super().__init__(port)
        self.pages: list[tuple[str, str]] = []
        self.open: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self.dropped: list[tuple[str, str]] = []
        self.log: list[tuple[str, str, str]] = []
        self.routing_keys = {ROUTING_KEY}

    @property
    def enqueue_url(self) -> str:
        """Where events go."""
        return f"{self.url}/v2/enqueue"

    def reply(self, seen: Seen) -> Answer:
        """Answer as PagerDuty does."""
        try:
            event = seen.json
        except json.JSONDecodeError:
            return _refusal("the body is not JSON")
        errors = _errors(event, len(seen.body))
        if event.get("routing_key") not in self.routing_keys:
            errors.append("Invalid routing key")
        if errors:
            return _refusal(*errors)
        key = (event["routing_key"], event.get("dedup_key", ""))
        if event["event_action"] == "trigger":
            if key not in self.open:
                self.pages.append(key)
                self.log.append((*key, "trigger"))
            self.open.setdefault(key, []).append(event)
        elif self.open.pop(key, None) is None:
            self.dropped.append(key)
        else:
            self.log.append((*key, "resolve"))
        return of_json(202, {"status": "success", "message": "Event processed", "dedup_key": key[1]})


def _errors(event: dict[str, Any], size: int) -> list[str]:
    errors = []
    if size > 512_000:
        errors.append("the body is larger than 512 KB")
    if len(event.get("dedup_key", "")) > 255:
        errors.append("'dedup_key' is longer than 255")
    if event.get("event_action") not in {"trigger", "acknowledge", "resolve"}:
        errors.append("'event_action' is invalid")
    if event.get("event_action") == "trigger":
        payload = event.get("payload", {})
        errors += [f"'{name}' is missing" for name in ("summary", "source", "severity") if not payload.get(name)]
        if len(payload.get("summary", "")) > 1024:
            errors.append("'summary' is longer than 1024")
        if payload.get("severity") not in _SEVERITIES:
            errors.append("'severity' is invalid")
    return errors


def _refusal(*errors: str) -> Answer:
    return of_json(400, {"status": "invalid event", "message": "Event object is invalid", "errors": list(errors)})
