"""App error event: an error of the platform's own code as an event for Sentry; pure.

What may not leave is taken out by the scrubber of edgewatch's own errors.
"""

import datetime as dt
import hashlib
import re
from dataclasses import dataclass
from typing import Any

from connectors.app_error import AppError
from sinks.sentry_project import environment_name

_FRAME = re.compile(r"\s*at (?:(?P<name>.+?) \()?(?P<file>[^()]+?):(?P<line>\d+)(?::(?P<column>\d+))?\)?\s*")
_TAG, _NAME, _MESSAGE, _FRAMES, _RELEASE = 200, 200, 4_000, 50, 200


@dataclass(frozen=True, slots=True)
class Found:
    """An error with the place of its record, its time (ms), and how many alike were not sent since the last one.

    It is the `nth` error of its record.
    """

    error: AppError
    topic: str
    partition: int
    offset: int
    index: int
    time: int
    alike: int
    nth: int = 0


def event_of_error(found: Found, environment: str, alert: dict[str, Any] | None) -> dict[str, Any]:
    """Give the event; `alert` is the one that is open on the same script or service (rule, episode)."""
    error = found.error
    exception: dict[str, Any] = {"type": error.name[:_NAME], "value": error.message[:_MESSAGE]}
    if frames := frames_of(error.stack):
        exception["stacktrace"] = {"frames": frames}
    contexts: dict[str, Any] = {
        "cloudflare": _given(ray=error.ray, colo=error.colo, country=error.country),
        "edgewatch": {
            "topic": found.topic,
            "partition": found.partition,
            "offset": found.offset,
            "index": found.index,
            "alike_not_sent": found.alike,
            **(alert or {}),
        },
    }
    if error.trace is not None:
        contexts["trace"] = {"trace_id": error.trace[0], "span_id": error.trace[1], "type": "trace"}
    kind = "script" if error.dataset == "workers_trace_events" else "service"
    tags = _given(ray=error.ray, colo=error.colo, outcome=error.outcome, dataset=error.dataset, **{kind: error.source})
    place = f"{found.topic}|{found.partition}|{found.offset}|{found.index}" + (f"|{found.nth}" if found.nth else "")
    event = {
        "event_id": hashlib.sha256(place.encode()).hexdigest()[:32],
        "timestamp": dt.datetime.fromtimestamp(found.time / 1000, dt.UTC),
        "level": "fatal" if error.critical else "error",
        "logger": error.dataset,
        "platform": "javascript" if kind == "script" else "other",
        "exception": {"values": [exception]},
        "fingerprint": [error.dataset, error.source, error.name, error.fingerprint],
        "environment": environment_name(error.environment or environment),
        "tags": {name: " ".join(text.split())[:_TAG] for name, text in (tags | (alert or {})).items()},
        "contexts": {name: values for name, values in contexts.items() if values},
    }
    if error.version:
        event["release"] = " ".join(error.version.split()).replace("/", "-")[:_RELEASE]
    if error.user:
        event["user"] = {"id": error.user[:_TAG]}
    if error.url:
        event["request"] = _given(url=error.url, method=error.method)
    return event


def frames_of(stack: str) -> list[dict[str, Any]]:
    """Give the frames of a JavaScript stack, the innermost last, as Sentry wants them."""
    out = []
    for line in stack.splitlines()[: 2 * _FRAMES]:
        found = _FRAME.fullmatch(line)
        if found is not None:
            frame = {"filename": found["file"], "function": found["name"] or "?", "lineno": int(found["line"])}
            out.append(frame | ({"colno": int(found["column"])} if found["column"] else {}))
    return out[:_FRAMES][::-1]


def _given(**words: str) -> dict[str, str]:
    return {name: text for name, text in words.items() if text}
