"""Heartbeat: a sign of life to a monitor outside, given whenever windows close: an alerter cannot report its own death.

Two kinds of monitor: a URL that is pinged (healthchecks and its like), and a Sentry cron monitor that is checked in
with. At most one ping per `every`; what closes windows never waits for it. A ping that fails is logged once an outage
and not repeated: the next window brings the next one, and the monitor allows for some to be missing.
"""

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from sinks.http import HttpClient, url_secrets
from sinks.notification import DeliveryError
from sinks.sentry_project import dsn_problem

_MINUTE_MS = 60_000
_JOIN_S = 2.0
_UNKNOWN = "OK (not found)"
_log = logging.getLogger("edgewatch.heartbeat")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatOptions:
    """The `[heartbeat]` table: a URL, a Sentry monitor, or both."""

    url: str = field(default="", repr=False, metadata={"secret": True, "help": "pinged, as https://hc-ping.com/UUID"})
    method: str = field(default="GET", metadata={"help": "GET or POST"})
    sentry_dsn: str = field(default="", repr=False, metadata={"secret": True, "help": "DSN of the project of the monitor"})
    monitor: str = field(default="edgewatch", metadata={"help": "slug of the Sentry monitor; made by the first check-in"})
    every_ms: int = field(default=_MINUTE_MS, metadata={"duration": True, "help": "one ping per this at most"})
    expect_ms: int = field(
        default=5 * _MINUTE_MS,
        metadata={"duration": True, "help": "Sentry expects a check-in this often: the window's hop, or `every` if longer"},
    )
    margin_ms: int = field(
        default=5 * _MINUTE_MS, metadata={"duration": True, "help": "how late a check-in may be before Sentry counts it missed"}
    )
    timeout_ms: int = field(default=10_000, metadata={"duration": True, "help": "how long one ping may take"})

    def problems(self) -> Iterator[tuple[str, str]]:
        """Say what the types cannot."""
        if not self.url and not self.sentry_dsn:
            yield "url", "give url, sentry_dsn or both"
        if self.url and not re.match(r"https?://[^/\s]", self.url):
            yield "url", "is not an http:// or https:// URL"
        if self.method not in {"GET", "POST"}:
            yield "method", f"{self.method!r} is not one of GET, POST"
        if self.sentry_dsn and (problem := dsn_problem(self.sentry_dsn)):
            yield "sentry_dsn", problem
        if not re.fullmatch(r"[a-z0-9_-]{1,50}", self.monitor):
            yield "monitor", f"{self.monitor!r} is not a slug: a to z, 0 to 9, - and _, 50 at most"
        for key in ("expect", "margin"):
            value = getattr(self, f"{key}_ms")
            if value < _MINUTE_MS or value % _MINUTE_MS:
                yield key, "must be whole minutes: Sentry knows no seconds"


class Rhythm:
    """Says which of many beats is a ping; told the time (seconds), holds no clock."""

    def __init__(self, every_s: float) -> None:
        """Let the first beat through."""
        self._every_s = every_s
        self._last: float | None = None

    def due(self, now: float) -> bool:
        """Tell whether the beat at `now` is a ping; it counts as made."""
        if self._last is not None and now - self._last < self._every_s:
            return False
        self._last = now
        return True


class Monitor(Protocol):
    """Someone outside who misses us; `ping` raises `DeliveryError`."""

    name: str

    def ping(self) -> None:
        """Say that we live."""
        ...


class Heartbeat:
    """Pings from a thread of its own; `beat` returns at once."""

    def __init__(self, options: HeartbeatOptions, *, environment: str = "", now: Callable[[], float] = time.monotonic) -> None:
        """Start the thread; nothing is pinged before the first beat."""
        self._rhythm = Rhythm(options.every_ms / 1000)
        self._now = now
        self._monitors = _monitors(options, environment)
        self._down: set[str] = set()
        self._due, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    def beat(self) -> None:
        """Say that a window closed. Beats that come while a ping is under way make one more."""
        if self._rhythm.due(self._now()):
            self._due.set()

    def close(self) -> None:
        """End the thread; a ping under way has two seconds to end."""
        self._closing.set()
        self._due.set()
        self._thread.join(_JOIN_S)

    def _run(self) -> None:
        while True:
            self._due.wait()
            if self._closing.is_set():
                return
            self._due.clear()
            for monitor in self._monitors:
                self._ping(monitor)

    def _ping(self, monitor: Monitor) -> None:
        try:
            monitor.ping()
        except DeliveryError as error:
            self._failed(monitor.name, str(error))
        except Exception as error:  # noqa: BLE001  a bug here must not end the sign of life
            self._failed(monitor.name, f"{type(error).__name__}; this is a bug")
        else:
            if monitor.name in self._down:
                self._down.discard(monitor.name)
                _log.warning("%s takes the heartbeat again", monitor.name)

    def _failed(self, name: str, problem: str) -> None:
        if name not in self._down:
            self._down.add(name)
            _log.error("the heartbeat did not arrive, trying with the next window: %s", problem)


class Url:
    """A URL that is called to say that all is well."""

    name = "heartbeat url"

    def __init__(self, options: HeartbeatOptions) -> None:
        """Open no connection yet."""
        self._url, self._method = options.url, options.method
        self._http = HttpClient(self.name, secrets=url_secrets(options.url), total=options.timeout_ms / 1000)

    def ping(self) -> None:
        """Call it; healthchecks answers 200 also where it knows no such check."""
        answer = self._http.request(self._method, self._url)
        if not answer.ok:
            raise self._http.refused(answer)
        if answer.text == _UNKNOWN:
            raise self._http.error(f"HTTP {answer.status}: {answer.text}", retryable=False, code="not_found")


class Cron:
    """A Sentry cron monitor."""

    name = "heartbeat sentry"

    def __init__(self, options: HeartbeatOptions, environment: str) -> None:
        """Open no connection yet."""
        import sentry_sdk  # noqa: PLC0415  (who has no such monitor is spared the import)
        from sentry_sdk.crons import capture_checkin  # noqa: PLC0415

        from sinks.sentry_wire import SentryWire, client_of  # noqa: PLC0415

        self._slug = options.monitor
        self._config: Any = {
            "schedule": {"type": "interval", "value": options.expect_ms // _MINUTE_MS, "unit": "minute"},
            "checkin_margin": options.margin_ms // _MINUTE_MS,
            "max_runtime": options.expect_ms // _MINUTE_MS,
            "failure_issue_threshold": 2,
            "recovery_threshold": 1,
            "timezone": "UTC",
        }
        self._wire = SentryWire(self.name, options.sentry_dsn, timeout_ms=options.timeout_ms)
        self._scope = sentry_sdk.Scope(client=client_of(self._wire, options.sentry_dsn, environment))
        self._within, self._check_in = sentry_sdk.scope.use_scope, capture_checkin

    def ping(self) -> None:
        """Check in; the monitor is made or changed as it says."""
        with self._within(self._scope):
            sent = self._check_in(monitor_slug=self._slug, status="ok", monitor_config=self._config)
        if sent is None:
            raise self._wire.dropped()


def _monitors(options: HeartbeatOptions, environment: str) -> list[Monitor]:
    monitors: list[Monitor] = []
    if options.url:
        monitors.append(Url(options))
    if options.sentry_dsn:
        monitors.append(Cron(options, environment))
    return monitors
