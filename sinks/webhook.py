"""Webhook: Alertmanager's webhook body (version 4), signed as Standard Webhooks says (standardwebhooks.com).

Guarantee: at-least-once; `webhook-id` is the notification's and the same on every attempt, so a receiver that keeps the
ids of the last day drops repeats. What edgewatch knows beyond version 4 is under `x_edgewatch`.

Unless `allow_private` says so, only public addresses are called: who may write a URL here cannot reach what this
process can.
"""

import base64
import binascii
import hashlib
import hmac
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from sinks.http import HttpClient, url_secrets
from sinks.notification import Notification, Pace, rfc3339
from sinks.prometheus_alert import NEVER, annotations, group_key, group_labels, labels, starts_at
from sinks.runbook import dashboard_of

PACE = Pace(per_second=10.0, burst=50)
_PREFIX = "whsec_"
_KEY_BYTES = 24  # Standard Webhooks: 192 bits at least
_SECRET_LENGTH = 6  # shorter words of a header's value are in every text
_OURS = re.compile(r"(?i)webhook-.*|content-.*|host|transfer-encoding|connection")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookOptions:
    """Options of a webhook channel: one URL."""

    url: str = field(repr=False, metadata={"secret": True, "help": "called for each notification"})
    secrets: tuple[str, ...] = field(
        default=(),
        repr=False,
        metadata={"secret": True, "help": "whsec_BASE64, several while they are changed; none: unsigned"},
    )
    headers: dict[str, str] = field(
        default_factory=dict, repr=False, metadata={"secret": True, "help": "more headers, e.g. Authorization"}
    )
    allow_private: bool = field(default=False, metadata={"help": "call addresses of the own network too"})
    timeout_ms: int = field(default=10_000, metadata={"duration": True, "help": "how long one call may take"})

    def problems(self) -> Iterator[tuple[str, str]]:
        """Say what the types cannot; no problem shows a secret."""
        if not re.match(r"https?://[^/\s]", self.url):
            yield "url", "is not an http:// or https:// URL"
        for place, secret in enumerate(self.secrets):
            if len(_key(secret)) < _KEY_BYTES:
                yield "secrets", f"number {place + 1} is not {_PREFIX} and the base64 of {_KEY_BYTES} bytes or more"
        for name, value in self.headers.items():
            if not _NAME.fullmatch(name) or _OURS.fullmatch(name):
                yield "headers", f"{name!r} cannot be set here"
            if not (value.isascii() and value.isprintable()):
                yield "headers", f"the value of {name!r} is not printable ASCII"


class Webhook:
    """Every notification is one request; nothing is remembered."""

    def __init__(self, name: str, options: WebhookOptions) -> None:
        """Open no connection yet."""
        self.name = name
        self._options = options
        self._keys = [_key(secret) for secret in options.secrets]
        bare = [secret.removeprefix(_PREFIX) for secret in options.secrets]
        words = [w for value in options.headers.values() for w in (value, *value.split()) if len(w) >= _SECRET_LENGTH]
        secrets = (*url_secrets(options.url), *options.secrets, *bare, *words)
        self._http = HttpClient(name, secrets=secrets, total=options.timeout_ms / 1000, public_only=not options.allow_private)

    def send(self, notification: Notification, memory: dict[str, str]) -> dict[str, str]:
        """Post it."""
        content = body(notification, self.name)
        signed = signature_headers(notification.id, int(time.time()), content, self._keys)
        headers = {**self._options.headers, "Content-Type": "application/json", **signed}
        answer = self._http.request("POST", self._options.url, content=content, headers=headers)
        if not answer.ok:
            raise self._http.refused(answer)
        return memory


def build(name: str, options: WebhookOptions) -> Webhook:
    """Make the channel."""
    return Webhook(name, options)


def body(notification: Notification, receiver: str) -> bytes:
    """Give the body: one group with one alert."""
    alert = _alert(notification)
    return orjson.dumps(
        {
            "version": "4",
            "groupKey": group_key(notification),
            "truncatedAlerts": 0,
            "status": notification.status,
            "receiver": receiver,
            "groupLabels": group_labels(notification),
            "commonLabels": alert["labels"],
            "commonAnnotations": alert["annotations"],
            "externalURL": "",
            "alerts": [alert],
            "x_edgewatch": orjson.Fragment(notification.document()),
        }
    )


def signature_headers(identity: str, timestamp: int, content: bytes, keys: list[bytes]) -> dict[str, str]:
    """Give the headers of Standard Webhooks; without a key all but the signature."""
    signed = f"{identity}.{timestamp}.".encode() + content
    digests = (base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in keys)
    headers = {"webhook-id": identity, "webhook-timestamp": str(timestamp)}
    signatures = " ".join(f"v1,{digest}" for digest in digests)
    return headers | ({"webhook-signature": signatures} if signatures else {})


def _alert(notification: Notification) -> dict[str, Any]:
    return {
        "status": notification.status,
        "labels": labels(notification),
        "annotations": annotations(notification),
        "startsAt": starts_at(notification),
        "endsAt": rfc3339(notification.at) if notification.status == "resolved" else NEVER,
        "generatorURL": dashboard_of(notification),
        "fingerprint": notification.fingerprint,
    }


def _key(secret: str) -> bytes:
    """Give the key of a secret, empty where it is none."""
    if not secret.startswith(_PREFIX):
        return b""
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        return b""
