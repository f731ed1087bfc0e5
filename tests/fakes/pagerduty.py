"""A PagerDuty: Events API v2, with incidents that open, log and close."""

import json
from typing import Any

from tests.fakes.scripted import Answer, ScriptedServer, Seen, of_json

ROUTING_KEY = "0123456789abcdef0123456789abcdef"
_SEVERITIES = {"critical", "error", "warning", "info"}


class FakePagerDuty(ScriptedServer):
    """`pages` lists the incidents that were opened, `open` those that are, by (routing key, dedup key).

    `acknowledged` are those of the open ones that somebody took, `changes` the change events.
    `log` says of each incident that was opened or closed: routing key, dedup key and event, in order.
    """

    def __init__(self, port: int = 0) -> None:
        """Start without incidents."""
        super().__init__(port)
        self.pages: list[tuple[str, str]] = []
        self.open: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self.acknowledged: set[tuple[str, str]] = set()
        self.changes: list[dict[str, Any]] = []
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
        change = seen.path == "/v2/change/enqueue"
        errors = (_change_errors if change else _errors)(event, len(seen.body))
        if event.get("routing_key") not in self.routing_keys:
            errors.append("Invalid routing key")
        if errors:
            return _refusal(*errors)
        if change:
            self.changes.append(event)
            return of_json(202, {"status": "success", "message": "Change event processed"})
        key = (event["routing_key"], event.get("dedup_key", ""))
        if event["event_action"] == "trigger":
            if key not in self.open:
                self.pages.append(key)
                self.log.append((*key, "trigger"))
            self.open.setdefault(key, []).append(event)
        elif key not in self.open:
            self.dropped.append(key)
        elif event["event_action"] == "acknowledge":
            self.acknowledged.add(key)
        else:
            self.acknowledged.discard(key)
            self.log.append((*key, "resolve"))
            del self.open[key]
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


def _change_errors(event: dict[str, Any], size: int) -> list[str]:
    errors = ["the body is larger than 512 KB"] if size > 512_000 else []
    if event.get("routing_key", "").startswith("R"):
        errors.append("this integration takes no change events")
    errors += [f"'{name}' is not of a change event" for name in sorted(event.keys() - {"routing_key", "payload", "links"})]
    payload = event.get("payload", {})
    if not 0 < len(payload.get("summary", "")) <= 1024:
        errors.append("'summary' is missing or longer than 1024")
    errors += [f"'{name}' is unknown" for name in sorted(payload.keys() - {"summary", "source", "timestamp", "custom_details"})]
    return errors


def _refusal(*errors: str) -> Answer:
    return of_json(400, {"status": "invalid event", "message": "Event object is invalid", "errors": list(errors)})
