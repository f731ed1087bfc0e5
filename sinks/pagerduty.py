"""PagerDuty: Events API v2.

Guarantee: at-least-once; the dedup key makes a repeat a log entry of the same incident. Accepted (202) is not
yet paged.

An episode is resolved with the routing key that triggered it: PagerDuty drops a resolve that comes by another
one. An escalation opens a second incident (`...:crit`) where the first was opened for a warning, because a
repeated trigger pages nobody. A de-escalation is not sent: after a person resolved the incident it would open
a new one.

An alert that a person silences is acknowledged, where it is open. PagerDuty drops what it has no open incident for, so an
acknowledgement opens none.

With `changes` a start with another configuration is a change event: PagerDuty shows it beside the incidents that follow.
It has no key there, so an answer that got lost shows it twice.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from sinks.http import Answer, HttpClient
from sinks.notification import Notification, Pace, evidence_lines, key_text, number, one_line, provenance_lines, rfc3339
from sinks.own_words import TEXT, TITLE, OwnWords, template_problems, text_lines
from sinks.runbook import dashboard_of, runbook_of

# 120 events a minute and integration key, looking 60 s back.
PACE = Pace(per_second=1.5, burst=20)
_SUMMARY = 1024
_BODY_BYTES = 512_000
_DEDUP_KEY = 255
_SEVERITY = {"critical": "critical", "warning": "warning"}
_CRITICAL = ":crit"
_ENQUEUE, _CHANGES = "/v2/enqueue", "/v2/change/enqueue"
_HEADERS = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PagerDutyOptions:
    """Options of a PagerDuty channel: one service's integration."""

    routing_key: str = field(repr=False, metadata={"secret": True, "help": "integration key (Events API v2)"})
    url: str = field(default="https://events.pagerduty.com/v2/enqueue", metadata={"help": "the EU has its own host"})
    changes: bool = field(default=False, metadata={"help": "a start with another configuration is a change event"})
    title: str = field(default="", metadata=TITLE)
    text: str = field(default="", metadata=TEXT)
    timeout_ms: int = field(default=10_000, metadata={"duration": True, "help": "how long one call may take"})

    def problems(self) -> Iterator[tuple[str, str]]:
        """Say what the types cannot."""
        if not self.routing_key:
            yield "routing_key", "is empty"
        if not re.match(r"https?://[^/\s]", self.url):
            yield "url", "is not an http:// or https:// URL"
        elif self.changes and not self.url.endswith(_ENQUEUE):
            yield "url", f"must end in {_ENQUEUE} with changes: from it follows where change events go"
        if self.changes and self.routing_key.startswith("R"):
            yield "changes", "PagerDuty takes none by a routing_key that begins with R; use the integration key of a service"
        yield from template_problems(self)


class PagerDuty:
    """Remembers for an episode which dedup keys were triggered, and by which routing key each."""

    def __init__(self, name: str, options: PagerDutyOptions) -> None:
        """Open no connection yet."""
        self.name = name
        self._options = options
        self._words = OwnWords(name, options)
        self._http = HttpClient(name, secrets=(options.routing_key,), total=options.timeout_ms / 1000)

    def send(self, notification: Notification, memory: dict[str, str]) -> dict[str, str]:
        """Trigger, or acknowledge or resolve all that the episode triggered; or say what changed."""
        if notification.reason == "changed":
            self._enqueue(change_event(notification, self._options.routing_key), self._options.routing_key, change=True)
            return memory
        if notification.reason == "acknowledged":
            for key, routing_key in _opened(memory).items():
                self._enqueue(_action("acknowledge", key, routing_key), routing_key)
            return memory
        if notification.status == "resolved":
            base = {_cut(notification.dedup_key): self._options.routing_key}
            for key, routing_key in list((_opened(memory) or base).items()):
                self._enqueue(_action("resolve", key, routing_key), routing_key)
                memory.pop(key, None)
            memory.pop("severity", None)
            return memory
        if notification.reason != "de-escalated":
            self._trigger(notification, memory)
        return memory

    def _trigger(self, notification: Notification, memory: dict[str, str]) -> None:
        base = _cut(notification.dedup_key)
        critical = notification.severity == "critical"
        if memory.get("severity", notification.evidence.get("began")) == "warning" and not _opened(memory):
            # The memory was lost with the spool: what was first said as a warning is an incident that pages nobody again.
            memory |= {base: self._options.routing_key, "severity": "warning"}
        opened = _opened(memory)
        key = base
        if base + _CRITICAL in opened or (base in opened and critical and memory.get("severity") == "warning"):
            key = base + _CRITICAL
        routing_key = opened.get(key, self._options.routing_key)
        self._enqueue(event(self._words.reworded(notification), key, routing_key), routing_key)
        memory[key] = routing_key
        memory.setdefault("severity", "critical" if critical else "warning")

    def _enqueue(self, body: bytes, routing_key: str, *, change: bool = False) -> None:
        url = self._options.url.removesuffix(_ENQUEUE) + _CHANGES if change else self._options.url
        answer = self._http.request("POST", url, content=body, headers=_HEADERS)
        if not answer.ok:
            said = answer.text.replace(routing_key, "***")
            raise self._http.refused(answer, _reason(answer).replace(routing_key, "***") or said)


def build(name: str, options: PagerDutyOptions) -> PagerDuty:
    """Make the channel."""
    return PagerDuty(name, options)


def event(notification: Notification, dedup_key: str, routing_key: str) -> bytes:
    """Give the trigger event; details that do not fit are replaced by a note."""
    payload: dict[str, Any] = {
        "summary": _summary(notification),
        "source": f"edgewatch {notification.environment}",
        "severity": _SEVERITY.get(notification.severity, "error"),
        "timestamp": rfc3339(notification.at),
        "component": one_line(key_text(notification.key))[:_SUMMARY],
        "class": notification.rule,
        "custom_details": _details(notification),
    }
    body = {"routing_key": routing_key, "event_action": "trigger", "dedup_key": dedup_key}
    return _within({**body, "client": "edgewatch", "payload": payload, **_links(notification)})


def change_event(notification: Notification, routing_key: str) -> bytes:
    """Give the change event; details that do not fit are replaced by a note."""
    payload = {
        "summary": _summary(notification),
        "source": f"edgewatch {notification.environment}",
        "timestamp": rfc3339(notification.at),
        "custom_details": notification.evidence,
    }
    return _within({"routing_key": routing_key, "payload": payload})


def _summary(notification: Notification) -> str:
    title = one_line(notification.title) or one_line(notification.rule)
    return title if len(title) <= _SUMMARY else title[: _SUMMARY - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _within(body: dict[str, Any]) -> bytes:
    out = orjson.dumps(body)
    if len(out) > _BODY_BYTES:
        body["payload"]["custom_details"] = {"error": f"left out: the event had {len(out)} bytes, {_BODY_BYTES} are allowed"}
        out = orjson.dumps(body)
    return out


def _links(notification: Notification) -> dict[str, Any]:
    """Give runbook and dashboard as links, where they are addresses."""
    runbook = runbook_of(notification)
    found = {"Runbook": "" if runbook is None else runbook.link, "Dashboard": dashboard_of(notification)}
    links = [{"href": link, "text": name} for name, link in found.items() if re.fullmatch(r"https?://\S+", link)]
    return {"links": links} if links else {}


def _action(action: str, dedup_key: str, routing_key: str) -> bytes:
    return orjson.dumps({"routing_key": routing_key, "event_action": action, "dedup_key": dedup_key})


def _details(notification: Notification) -> dict[str, Any]:
    return {
        "text": "\n".join(text_lines(notification.text)),
        "reason": notification.reason,
        "value": number(notification.value),
        "threshold": number(notification.threshold),
        "key": notification.key,
        "labels": notification.labels,
        "evidence": list(evidence_lines(notification.evidence)),
        **({"provenance": lines} if (lines := list(provenance_lines(notification.provenance))) else {}),
        "episode": notification.episode,
    }


def _opened(memory: dict[str, str]) -> dict[str, str]:
    return {key: routing_key for key, routing_key in memory.items() if key != "severity"}


def _cut(dedup_key: str) -> str:
    """Keep room for the suffix; a key that long ends in the episode, so the end is what stays."""
    return dedup_key[-(_DEDUP_KEY - len(_CRITICAL)) :]


def _reason(answer: Answer) -> str:
    said = answer.fields
    errors = said.get("errors")
    words = [str(said.get("message", "")), *(map(str, errors) if isinstance(errors, list) else ())]
    return one_line(", ".join(word for word in words if word))
