"""Probe: one check of an address (a request, or several that need each other) and the records that say how it went.

A record is of dataset `health`: what the endpoint said of itself, and what the probe saw. What the endpoint says of caches and
connection pools is a record of dataset `runtime_stats` besides. Guarantee: a check gives one record whatever happens to it.
"""

import datetime
import math
import ssl
import time
import zlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx

from connectors.probe_answer import Answer, CheckFailed, blot, extracted, fill, judge, refuse_unhealthy
from connectors.probe_options import ProbeOptions, StepOptions
from connectors.probe_wire import Ask, Timing, ask, connection, limited
from connectors.record_path import Place

_DAY_MS = 86_400_000
_LONGEST = 64  # characters of a word that an endpoint says
_SAID = 300

_STATUSES = {
    "overall": ("overall",),
    "checks.database.status": ("checks.database.status",),
    "checks.worker.status": ("checks.worker.status",),
}
_NUMBERS = {
    "checks.database.latencyMs": ("checks.database.latencyMs", "latencyMs"),
    "poolStats.active": ("poolStats.active", "checks.database.poolStats.active"),
    "poolStats.idle": ("poolStats.idle", "checks.database.poolStats.idle"),
    "poolStats.waiting": ("poolStats.waiting", "checks.database.poolStats.waiting"),
}
_FLAGS = {
    "checks.integration.services.redis": ("checks.integration.services.redis",),
    "checks.integration.services.websocket": ("checks.integration.services.websocket",),
}
_CACHE = {name: (f"cache.{name}", f"checks.cache.{name}") for name in ("hits", "misses", "hitRate", "size", "evictions")}
_POOL = {
    "activeConnections": ("database.activeConnections", *_NUMBERS["poolStats.active"]),
    "idleConnections": ("database.idleConnections", *_NUMBERS["poolStats.idle"]),
    "waitingRequests": ("database.waitingRequests", *_NUMBERS["poolStats.waiting"]),
    "latency": ("database.latency", *_NUMBERS["checks.database.latencyMs"]),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a check went; `status` is the last answer's, 0 where none came."""

    started_ms: int
    elapsed_ms: float
    status: int
    failure: str  # a kind of CheckFailed; empty where all is well
    words: str
    step: str
    steps: tuple[tuple[str, float], ...]  # (name, ms) of those that were well
    timing: Timing = field(repr=False)
    content: Mapping[str, Any] = field(repr=False)

    @property
    def ok(self) -> bool:
        """Whether every step was as it has to be, and the endpoint does not call itself unhealthy."""
        return not self.failure


class Probe:
    """One `[[probe]]` table, and what its last attempts gave."""

    def __init__(self, options: ProbeOptions, *, location: str, environment: str) -> None:
        """Read what authorities are trusted; raises OSError."""
        self.options = options
        self.location = options.location or location
        self._environment = environment
        self._last: deque[bool] = deque(maxlen=options.of)
        self._trust = ssl.create_default_context()
        if options.ca_file:
            self._trust.load_verify_locations(options.ca_file)

    @property
    def down(self) -> bool:
        """Tell whether so many of the last attempts failed that it is no accident."""
        return sum(not ok for ok in self._last) >= self.options.failed

    @property
    def undecided(self) -> bool:
        """Tell whether the last attempt failed and the next ones say whether it is down."""
        return bool(self._last) and not self._last[-1] and not self.down

    def next_ms(self, now_ms: int) -> int:
        """Give when the next check starts: each probe has its place within the interval, the same after every start."""
        interval = self.options.interval_ms
        place = zlib.crc32(f"{self.options.name}|{self.location}".encode()) % interval
        return now_ms + interval - (now_ms - place) % interval

    async def check(self) -> Outcome:
        """Make all requests; gives how it went."""
        timing, seen = Timing(), _Seen()
        begun, started_ms = time.monotonic(), time.time_ns() // 1_000_000
        failure, words = "", ""
        try:
            await limited(self._steps(timing, seen), self.options.timeout_ms / 1000)
        except CheckFailed as error:
            failure, words = error.kind, blot(str(error), seen.secrets)[:_SAID]
        elapsed = (time.monotonic() - begun) * 1000
        self._last.append(not failure)
        step = seen.step if failure else ""
        return Outcome(started_ms, elapsed, seen.status, failure, words, step, tuple(seen.steps), timing, seen.content)

    def health(self, outcome: Outcome) -> dict[str, Any]:
        """Give the record of dataset `health`."""
        timing = outcome.timing
        record: dict[str, Any] = {
            "timestamp": _rfc3339(outcome.started_ms),
            "probe": self.options.name,
            "location": self.location,
            "environment": self._environment,
            "url": _shown(self.options.url),
            "http_status": outcome.status,
            "ok": outcome.ok,
            "down": self.down,
            "latency_ms": round(outcome.elapsed_ms, 1),
            **{name: round(ms, 1) for name, ms in timing.parts.items()},
        }
        if timing.certificate_end_ms is not None:
            record["certificate_days_left"] = math.floor((timing.certificate_end_ms - outcome.started_ms) / _DAY_MS * 10) / 10
        if outcome.failure:
            record |= {"failure": outcome.failure, "error": outcome.words, "step": outcome.step}
        if self.options.step:
            record["steps"] = [{"name": name, "ms": round(ms, 1)} for name, ms in outcome.steps]
            return record
        said: dict[str, object] = {path: _word(outcome.content, places) for path, places in _STATUSES.items()}
        said |= {path: _number(outcome.content, places) for path, places in _NUMBERS.items()}
        said |= {path: _flag(outcome.content, places) for path, places in _FLAGS.items()}
        for path, value in said.items():
            _put(record, path, value)
        return record

    def runtime(self, outcome: Outcome) -> dict[str, Any] | None:
        """Give the record of dataset `runtime_stats`; none where the endpoint says nothing of the kind."""
        cache = {name: _number(outcome.content, places) for name, places in _CACHE.items()}
        if cache["hitRate"] is None and (cache["hits"] or cache["misses"]):
            hits, misses = cache["hits"] or 0, cache["misses"] or 0
            cache["hitRate"] = hits / (hits + misses) if hits + misses > 0 else None
        database = {name: _number(outcome.content, places) for name, places in _POOL.items()}
        found = {"cache": _present(cache), "database": _present(database)}
        if not found["cache"] and found["database"].keys() <= {"latency"}:
            return None
        base = {"timestamp": _rfc3339(outcome.started_ms), "name": self.options.name, "environment": self._environment}
        return base | {name: values for name, values in found.items() if values}

    async def _steps(self, timing: Timing, seen: "_Seen") -> None:
        variables = dict(self.options.variables)
        seen.secrets = [*variables.values(), *self.options.headers.values()]
        async with connection(self._trust) as line:
            for step in self.options.steps():
                seen.step = step.name
                seen.secrets += step.headers.values()
                request = self._request(step, variables)
                answer = await ask(line, request, timing, redirects=self.options.redirects)
                seen.take(answer, keep=not self.options.step)
                judge(step, answer)
                refuse_unhealthy(seen.content)
                found = extracted(step, answer)
                variables |= found
                seen.secrets += found.values()
                seen.steps.append((step.name, answer.elapsed_ms))

    def _request(self, step: StepOptions, variables: Mapping[str, str]) -> Ask:
        """Fill a step's request in; the probe's own headers go to its own host alone."""
        own = httpx.URL(fill(self.options.url, variables, within="url"))
        url = own.join(fill(step.url, variables, within="url"))
        mine = self.options.headers if (url.scheme, url.netloc) == (own.scheme, own.netloc) else {}
        headers = {name: fill(value, variables) for name, value in {**mine, **step.headers}.items()}
        content = b""
        if step.form:
            content = urlencode({name: fill(value, variables) for name, value in step.form.items()}).encode()
            headers = _typed(headers, "application/x-www-form-urlencoded")
        elif step.body:
            is_json = step.body.lstrip()[:1] in ("{", "[")
            content = fill(step.body, variables, within="json" if is_json else "").encode()
            headers = _typed(headers, "application/json") if is_json else headers
        return Ask(step.method, url, headers, content)


@dataclass(slots=True)
class _Seen:
    """What a check has come to, also where it is cut off."""

    step: str = ""
    status: int = 0
    steps: list[tuple[str, float]] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    content: Mapping[str, Any] = field(default_factory=dict)

    def take(self, answer: Answer, *, keep: bool) -> None:
        self.status = answer.status
        self.content = answer.content if keep else {}


def _typed(headers: dict[str, str], kind: str) -> dict[str, str]:
    given = any(name.lower() == "content-type" for name in headers)
    return headers if given else {**headers, "Content-Type": kind}


def _shown(url: str) -> str:
    """Give an address without its query, which may hold what is secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def _rfc3339(ms: int) -> str:
    at = datetime.datetime.fromtimestamp(ms // 1000, datetime.UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}Z"


def _put(record: dict[str, Any], path: str, value: object) -> None:
    if value is None:
        return
    *way, name = path.split(".")
    for each in way:
        record = record.setdefault(each, {})
    record[name] = value


def _word(content: Mapping[str, Any], places: tuple[str, ...]) -> str | None:
    found = Place.at(*places).of(content)
    return found[:_LONGEST] if isinstance(found, str) else None


def _number(content: Mapping[str, Any], places: tuple[str, ...]) -> float | None:
    found = Place.at(*places).of(content)
    return found if isinstance(found, int | float) and not isinstance(found, bool) else None


def _flag(content: Mapping[str, Any], places: tuple[str, ...]) -> bool | None:
    found = Place.at(*places).of(content)
    return found if isinstance(found, bool) else None


def _present(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}
