"""What goes to a channel: the notification, the contract of a channel, and the error of a delivery."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from operator import attrgetter
from typing import Any, Protocol

import msgspec
import orjson

_FIELDS = (
    "channels",
    "dedup_key",
    "episode",
    "evidence",
    "fingerprint",
    "group",
    "id",
    "key",
    "labels",
    "reason",
    "rule",
    "severity",
    "status",
    "text",
    "threshold",
    "title",
    "value",
)
_RANGES = 8  # partitions whose offsets people are shown
_values_of = attrgetter(*_FIELDS)
_SPANS = (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000))


@dataclass(slots=True, kw_only=True)  # frozen, each would take twice as long to make, and a storm makes 50 000
class Notification:
    """One thing said about one alert; `at` is the end of the window that made it, ms UTC. Only grouping writes into one.

    `provenance` tells where that window was read from ({partitions: [{partition, from, to}], sql}) and is empty where there is
    none. It depends on how the records were sent, so it is not part of `line`.
    """

    at: int
    id: str
    rule: str
    key: dict[str, str]
    fingerprint: str
    episode: str
    dedup_key: str
    status: str  # "firing" or "resolved"
    severity: str
    reason: str
    channels: tuple[str, ...]
    group: str | None
    title: str
    text: str
    value: float | None
    threshold: float | None
    labels: dict[str, str]
    evidence: dict[str, Any]
    environment: str
    provenance: dict[str, Any] = field(default_factory=dict)

    def line(self) -> bytes:
        """Give the line of `notifications.ndjson`: canonical JSON, ending in a newline."""
        record: dict[str, Any] = dict(zip(_FIELDS, _values_of(self), strict=True))
        record["at"] = rfc3339(self.at)
        return orjson.dumps(record, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)

    def document(self) -> bytes:
        """Give the same JSON with the provenance, where there is any, and without a newline: what machines are sent."""
        line = self.line().removesuffix(b"\n")
        return line[:-1] + b',"provenance":' + orjson.dumps(self.provenance) + b"}" if self.provenance else line

    def to_bytes(self) -> bytes:
        """Give the payload that the spool keeps."""
        return msgspec.json.encode(self)

    @staticmethod
    def from_bytes(payload: bytes) -> "Notification":
        """Undo `to_bytes`; raises `msgspec.DecodeError` on anything else."""
        return msgspec.json.decode(payload, type=Notification)


class DeliveryError(Exception):
    """Outside trouble at one attempt. The message never holds a secret; it is kept in the spool and shown.

    `retry_after` (seconds) is what the other end asked for; `code` is its own word for the error.
    """

    def __init__(self, message: str, *, retryable: bool, retry_after: float | None = None, code: str = "") -> None:
        """Keep what delivery decides on."""
        super().__init__(message)
        self.retryable = retryable
        self.retry_after = retry_after
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast a destination may be called: `burst` at once, then `per_second`."""

    per_second: float = 1000.0
    burst: int = 1000


UNLIMITED = Pace()


class Channel(Protocol):
    """One place that notifications go to.

    `send` makes one attempt and raises `DeliveryError`. `memory` is what the channel remembers of the
    episode; what is returned takes its place. A channel that needs several calls writes its progress into
    `memory` as it goes, which is kept also when the attempt fails, so that a retry goes on where it stopped.
    """

    name: str

    def send(self, notification: Notification, memory: dict[str, str]) -> dict[str, str]:
        """Say it once."""
        ...


@lru_cache(64)
def rfc3339(ms: int) -> str:
    """Give a time in ms UTC as RFC 3339, whole seconds without a fraction."""
    seconds, rest = divmod(ms, 1000)
    text = dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest:03d}Z" if rest else f"{text}Z"


def number(value: float | None) -> str:
    """Write a number for people: up to five significant digits, thousands apart by a space."""
    if value is None:
        return "-"
    if value == int(value) and abs(value) < 1e15:  # noqa: PLR2004  floats are whole beyond this anyway
        return f"{int(value):,}".replace(",", " ")
    if abs(value) >= 10_000:  # noqa: PLR2004  five digits before the point
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.5g}"


def duration(ms: int) -> str:
    """Write a length of time by its two largest units, e.g. `1 h 5 min`."""
    parts, rest = [], ms
    for name, size in _SPANS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {name}")
    return " ".join(parts[:2]) or "0 s"


def key_text(key: dict[str, str]) -> str:
    """Write a group key for people; the total is `all`."""
    return ", ".join(f"{name}={value}" for name, value in sorted(key.items())) or "all"


def one_line(text: str) -> str:
    """Replace control characters (line breaks, terminal escapes) by spaces: log data draws no lines."""
    clean = text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)
    return clean.strip()


def evidence_lines(evidence: dict[str, Any]) -> Iterable[str]:
    """Write the evidence for people, one fact a line; what has an unknown form is left out."""
    for each in _records(evidence.get("contribution")):
        yield from map(one_line, _contribution(each))
    runbook = evidence.get("runbook")
    if isinstance(runbook, dict):
        yield one_line(f"runbook: {runbook.get('link', '')}")
        for place, step in enumerate(runbook.get("steps") or (), 1):
            yield one_line(f"{place}. {step}")
    if isinstance(evidence.get("dashboard"), str):
        yield one_line(f"dashboard: {evidence['dashboard']}")
    for each in _records(evidence.get("exemplars")):
        yield one_line(_exemplar(each))


def provenance_lines(provenance: dict[str, Any]) -> Iterable[str]:
    """Write for people where a notification's window was read from: the offsets, and the query of its row."""
    ranges = [f"{each.get('partition')} {each.get('from')}-{each.get('to')}" for each in _records(provenance.get("partitions"))]
    if ranges:
        more = f", and {len(ranges) - _RANGES} more" if len(ranges) > _RANGES else ""
        yield one_line(f"offsets: {', '.join(ranges[:_RANGES])}{more}")
    if provenance.get("sql"):
        yield one_line(f"SQL: {provenance['sql']}")


def _records(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list | tuple) else []


def _contribution(each: dict[str, Any]) -> Iterable[str]:
    share, count, total, sample = (each.get(name) for name in ("share", "count", "total", "sample"))
    if not isinstance(share, int | float) or not isinstance(count, int) or not isinstance(total, int):
        return
    named = f"{each.get('dimension', '')} {each.get('value', '')} contributes {number(round(share * 100))} %"
    about, looked_at = ("about ", f", by a sample of {number(sample)}") if isinstance(sample, int) else ("", "")
    yield f"{named} of the {each.get('of', '')} ({about}{number(count)} of {number(total)}{looked_at})"


def _exemplar(each: dict[str, Any]) -> str:
    time = each.get("event_time")
    words = [
        str(each.get("reason", "record")),
        number(each["value"]) if isinstance(each.get("value"), int | float) else "",
        f"at {rfc3339(time) if isinstance(time, int) else time}" if time is not None else "",
        f"ray {each['ray_id']}" if each.get("ray_id") else "",
        f"trace {each.get('trace') or each['trace_id']}" if each.get("trace_id") else "",
    ]
    return " ".join(word for word in words if word)
