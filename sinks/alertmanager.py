"""Alertmanager: POST /api/v2/alerts, as Prometheus does it.

Guarantee: at-least-once until one of `urls` took it; a repeat is the same alert, since its labels are its identity.

Alertmanager ends an alert by itself when nobody says it again, so a firing one is sent with an end `expires_after`
later. The severity is a label, and with another one it is another alert: on a change the request also ends the alert
with the old labels. All that an episode sent is remembered, before it is sent, because an answer that got lost may
have been a success; the resolve ends all of it.
"""

import base64
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from sinks.http import HttpClient, place
from sinks.notification import DeliveryError, Notification, Pace, rfc3339
from sinks.prometheus_alert import annotations, label_name, labels, starts_at

PACE = Pace(per_second=20.0, burst=100)
_log = logging.getLogger("edgewatch.delivery")
_FIRING, _ENDED = "firing", "ended"
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertmanagerOptions:
    """Options of an Alertmanager channel: all members of one cluster."""

    urls: tuple[str, ...] = field(metadata={"help": "every member of the cluster; /api/v2/alerts is added"})
    user: str = field(default="", metadata={"help": "basic authentication"})
    password: str = field(default="", repr=False, metadata={"secret": True, "help": "its password"})
    token: str = field(default="", repr=False, metadata={"secret": True, "help": "bearer token instead"})
    expires_after_ms: int = field(
        default=_DAY_MS, metadata={"duration": True, "help": "an alert not said again ends; longer than any repeat"}
    )
    timeout_ms: int = field(default=10_000, metadata={"duration": True, "help": "how long one call may take"})

    def problems(self) -> Iterator[tuple[str, str]]:
        """Say what the types cannot."""
        if not self.urls:
            yield "urls", "is empty"
        if not all(re.fullmatch(r"https?://[^/\s@?#]+(/[^\s?#]*)?", url) for url in self.urls):
            yield "urls", "has what is not an http:// or https:// URL; user and password have keys of their own"
        if bool(self.user) != bool(self.password):
            yield "user", "give user and password, or neither"
        if self.user and self.token:
            yield "token", "give either user and password or token"
        if not (self.token.isascii() and self.token.isprintable()):
            yield "token", "is not printable ASCII"
        if self.expires_after_ms <= 0:
            yield "expires_after", "must be above 0"


class Alertmanager:
    """Remembers the labels it sent in an episode, as JSON, and which of them fire."""

    def __init__(self, name: str, options: AlertmanagerOptions) -> None:
        """Open no connection yet."""
        self.name = name
        self._expires_after_ms = options.expires_after_ms
        self._urls = [f"{url.rstrip('/')}/api/v2/alerts" for url in options.urls]
        basic = base64.b64encode(f"{options.user}:{options.password}".encode()).decode() if options.user else ""
        authorization = f"Basic {basic}" if basic else f"Bearer {options.token}" if options.token else ""
        self._headers = {"Content-Type": "application/json"} | ({"Authorization": authorization} if authorization else {})
        self._http = HttpClient(name, secrets=(basic, options.password, options.token), total=options.timeout_ms / 1000)

    def send(self, notification: Notification, memory: dict[str, str]) -> dict[str, str]:
        """Say what fires and what has ended, to every member."""
        now = orjson.dumps(labels(notification, label_name), option=orjson.OPT_SORT_KEYS).decode()
        if notification.status == "resolved":
            self._post([self._alert(notification, each, fires=False) for each in list(memory) or [now]])
            memory.clear()
            return memory
        old = [each for each, state in memory.items() if state == _FIRING and each != now]
        memory[now] = _FIRING
        ended = [self._alert(notification, each, fires=False) for each in old]
        self._post([self._alert(notification, now, fires=True), *ended])
        memory.update(dict.fromkeys(old, _ENDED))
        return memory

    def _alert(self, notification: Notification, named: str, *, fires: bool) -> dict[str, Any]:
        ends = notification.at + (self._expires_after_ms if fires else 0)
        return {
            "labels": orjson.loads(named),
            "annotations": annotations(notification),
            "startsAt": starts_at(notification),
            "endsAt": rfc3339(ends),
        }

    def _post(self, alerts: list[dict[str, Any]]) -> None:
        """Post to each member; raises where none took it."""
        content = orjson.dumps(alerts)
        errors = [error for url in self._urls if (error := self._one(url, content))]
        if len(errors) == len(self._urls):
            raise _of_all(errors)
        for error in errors:
            _log.warning("one Alertmanager of several did not take an alert: %s", error)

    def _one(self, url: str, content: bytes) -> DeliveryError | None:
        try:
            answer = self._http.request("POST", url, content=content, headers=self._headers)
        except DeliveryError as error:
            return error
        if answer.ok:
            return None
        return self._http.refused(answer, f"{answer.text or 'no reason given'}, {place(url)}")


def build(name: str, options: AlertmanagerOptions) -> Alertmanager:
    """Make the channel."""
    return Alertmanager(name, options)


def _of_all(errors: list[DeliveryError]) -> DeliveryError:
    """Give one error for several: worth a retry where any is, as soon as the first may be called again."""
    retryable = [error for error in errors if error.retryable]
    first = (retryable or errors)[0]
    waits = [error.retry_after for error in retryable]
    soonest = min((wait for wait in waits if wait is not None), default=None) if None not in waits else None
    message = "; ".join(dict.fromkeys(map(str, errors)))
    return DeliveryError(message, retryable=bool(retryable), retry_after=soonest, code=first.code)
