"""Sentry's wire: a client of the real SDK, apart from any other in the process, that knows what Sentry took.

Why not the SDK's own transport: it sends from a queue in the background, drops what does not fit or what a rate limit
forbids, and tells nobody. Here an envelope is one request, and its answer an error like any other channel's.
"""

import gzip
import re
import time
from typing import Any

import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport
from sentry_sdk.utils import Dsn

from sinks.http import RETRY_AFTER_MAX_S, Answer, HttpClient
from sinks.notification import DeliveryError
from sinks.sentry_project import environment_name

_LIMIT = re.compile(r"(\d{1,9}):([a-z_;]*)(?::.*)?")
_SECRET_LENGTH = 8  # blotting out less would blot out words


class SentryWire(Transport):
    """Sends one envelope a request and raises `DeliveryError` where Sentry did not take it."""

    def __init__(self, name: str, dsn: str, *, timeout_ms: int) -> None:
        """Open no connection yet. Raises `BadDsn`."""
        super().__init__({"dsn": dsn})
        parsed = Dsn(dsn)
        auth = parsed.to_auth("edgewatch")
        self._url = auth.get_api_url()
        self._headers = {
            "Content-Type": "application/x-sentry-envelope",
            "Content-Encoding": "gzip",
            "X-Sentry-Auth": auth.to_header(),
        }
        keys = (each for each in (parsed.public_key, parsed.secret_key or "") if len(each) >= _SECRET_LENGTH)
        secrets = (dsn, *keys)
        self._http = HttpClient(name, secrets=secrets, total=timeout_ms / 1000)
        self._closed_until: dict[str, float] = {}

    def capture_envelope(self, envelope: Envelope) -> None:
        """Send it; a category that Sentry closed for a while is not tried before."""
        category = envelope.items[0].data_category
        wait = self._wait(category)
        if wait > 0:
            raise self._http.error("Sentry asked to wait", retryable=True, retry_after=wait, code="rate_limited")
        answer = self._http.request("POST", self._url, content=gzip.compress(envelope.serialize()), headers=self._headers)
        self._closed_until |= limits(answer.headers.get("x-sentry-rate-limits", ""), time.monotonic())
        if not answer.ok:
            raise self._refused(answer, category)

    def dropped(self) -> DeliveryError:
        """Make the error of an event that the SDK did not hand on."""
        return self._http.error("the SDK dropped the event", retryable=False, code="dropped")

    def _refused(self, answer: Answer, category: str) -> DeliveryError:
        error = self._http.refused(answer)
        if error.retryable and error.retry_after is None:
            error.retry_after = self._wait(category) or None
        return error

    def _wait(self, category: str) -> float:
        until = max(self._closed_until.get(each, 0.0) for each in (category, ""))
        return min(max(until - time.monotonic(), 0.0), RETRY_AFTER_MAX_S)


def client_of(wire: SentryWire, dsn: str, environment: str = "") -> sentry_sdk.Client:
    """Make a client with nothing of the process in it: no integrations, no global state, no thread."""
    return sentry_sdk.Client(
        dsn=dsn,
        transport=wire,
        environment=environment_name(environment),
        release="edgewatch",
        server_name="edgewatch",
        default_integrations=False,
        auto_enabling_integrations=False,
        auto_session_tracking=False,
        enable_backpressure_handling=False,
        send_client_reports=False,
        spotlight=False,
        debug=False,
        max_breadcrumbs=0,
        shutdown_timeout=0,
    )


def limits(header: str, now: float) -> dict[str, float]:
    """Read X-Sentry-Rate-Limits: until when each category is closed; the category "" is all of them.

    The form is `seconds:category;category:scope:...`, several of them behind commas.
    """
    found: dict[str, float] = {}
    for part in header.replace(" ", "").split(","):
        match = _LIMIT.fullmatch(part)
        if match is None:
            continue
        for category in match[2].split(";"):
            found[category] = now + float(match[1])
    return found


def event_of(fields: dict[str, Any]) -> Any:
    """Give the fields as the SDK's type: it is a dict at run time."""
    return fields
