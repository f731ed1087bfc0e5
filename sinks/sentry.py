"""Sentry: each alert an issue, each notification an event of it, by the real SDK.

Guarantee: at-least-once until Sentry's door: an event was answered with success. What Sentry filters or samples behind
it is not told. The event's id is the notification's, so Sentry drops a repeat itself.

An issue is an alert's fingerprint: repeats, the resolve and later episodes are events of the one issue. The resolve has
the level info; it does not resolve the issue, the SDK cannot.
"""

import datetime as dt
import hashlib
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sinks.notification import Notification, Pace, key_text, one_line, provenance_lines, rfc3339
from sinks.own_words import TEXT, TITLE, OwnWords, template_problems, text_lines
from sinks.runbook import dashboard_of, evidence_beside, runbook_of
from sinks.sentry_project import dsn_problem, environment_name

PACE = Pace(per_second=5.0, burst=20)
_LEVELS = {"critical": "fatal", "warning": "warning"}
# A context may hold 8 kB: these stay below, whatever the alphabet.
_TITLE, _TEXT, _KEY, _LINE, _LINES, _LINK = 1000, 1400, 300, 190, 10, 500
_TAG_KEY, _TAG_VALUE, _TAGS = 32, 200, 50
_NOT_IN_A_TAG = re.compile(r"[^a-zA-Z0-9_.:-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class SentryOptions:
    """Options of a Sentry channel: one project."""

    dsn: str = field(repr=False, metadata={"secret": True, "help": "DSN of the project that takes the alerts"})
    title: str = field(default="", metadata=TITLE)
    text: str = field(default="", metadata=TEXT)
    timeout_ms: int = field(default=10_000, metadata={"duration": True, "help": "how long one call may take"})

    def problems(self) -> Iterator[tuple[str, str]]:
        """Say what the types cannot."""
        problem = dsn_problem(self.dsn)
        if problem:
            yield "dsn", problem
        yield from template_problems(self)


class Sentry:
    """Says each notification as an event, by a client that shares nothing with edgewatch's own error reports."""

    def __init__(self, name: str, options: SentryOptions) -> None:
        """Open no connection yet."""
        import sentry_sdk  # noqa: PLC0415  (who has no such channel is spared the import)

        from sinks.sentry_wire import SentryWire, client_of  # noqa: PLC0415

        self.name = name
        self._words = OwnWords(name, options)
        self._wire = SentryWire(name, options.dsn, timeout_ms=options.timeout_ms)
        self._client = client_of(self._wire, options.dsn)
        self._scope = sentry_sdk.Scope(client=self._client)
        self._within = sentry_sdk.scope.use_scope

    def send(self, notification: Notification, memory: dict[str, str]) -> dict[str, str]:
        """Send the event; what raises in the transport comes through the SDK."""
        said = self._words.reworded(notification)
        # Processors that integrations of another client left in the process ask for the current scope's client: ours.
        with self._within(self._scope):
            found: Any = event(said)  # of the SDK's type, which is a dict at run time
            sent = self._client.capture_event(found, scope=self._scope)
        if sent is None:
            raise self._wire.dropped()
        return memory


def build(name: str, options: SentryOptions) -> Sentry:
    """Make the channel."""
    return Sentry(name, options)


def event(notification: Notification) -> dict[str, Any]:
    """Give the event; what Sentry would cut or refuse is cut here."""
    resolved = notification.status == "resolved"
    title = one_line(notification.title) or one_line(notification.rule)
    return {
        "event_id": _event_id(notification.id),
        "timestamp": dt.datetime.fromtimestamp(notification.at / 1000, dt.UTC),
        "level": "info" if resolved else _LEVELS.get(notification.severity, "error"),
        "logger": "edgewatch",
        "platform": "other",
        "message": (f"Resolved: {title}" if resolved else title)[:_TITLE],
        "fingerprint": ["edgewatch", notification.rule, notification.fingerprint],
        "environment": environment_name(notification.environment),
        "tags": _tags(notification),
        "contexts": {
            "alert": _alert(notification),
            "evidence": _evidence(notification),
            **_runbook(notification),
            **_provenance(notification),
        },
    }


def _event_id(identity: str) -> str:
    if re.fullmatch(r"[0-9a-f]{32}", identity):
        return identity
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


def _tags(notification: Notification) -> dict[str, str]:
    own = {"rule": notification.rule, "severity": notification.severity, "environment": notification.environment}
    labels = itertools.islice(notification.labels.items(), _TAGS - len(own))
    tags = {_NOT_IN_A_TAG.sub("_", name)[:_TAG_KEY]: value for name, value in {**dict(labels), **own}.items()}
    return {name: cut for name, value in tags.items() if name and (cut := one_line(value)[:_TAG_VALUE])}


def _alert(notification: Notification) -> dict[str, Any]:
    return {
        "status": notification.status,
        "reason": notification.reason,
        "value": notification.value,
        "threshold": notification.threshold,
        "key": one_line(key_text(notification.key))[:_KEY],
        "window_end": rfc3339(notification.at),
        "episode": notification.episode,
        "text": "\n".join(text_lines(notification.text))[:_TEXT],
    }


def _evidence(notification: Notification) -> dict[str, str]:
    """Give the evidence line by line: Sentry shows a context's entries one a row, and keeps ten of a list."""
    lines = itertools.islice(evidence_beside(notification), _LINES)
    return {f"{number:02d}": line[:_LINE] for number, line in enumerate(lines, 1)}


def _provenance(notification: Notification) -> dict[str, dict[str, str]]:
    found = dict(line.split(": ", 1) for line in provenance_lines(notification.provenance))
    found |= {"dashboard": address} if (address := dashboard_of(notification)) else {}
    return {"provenance": {name: value[:_LINK] for name, value in found.items()}} if found else {}


def _runbook(notification: Notification) -> dict[str, dict[str, str]]:
    runbook = runbook_of(notification)
    if runbook is None:
        return {}
    steps = {f"step {number}": step[:_LINE] for number, step in enumerate(runbook.steps[:_LINES], 1)}
    return {"runbook": {"link": runbook.link[:_LINK], **steps}}
