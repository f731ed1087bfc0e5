"""App error: what a record of `workers_trace_events` or `app_logs` says of an error of the platform's own code."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from connectors.dataset import Dataset, DecodeError
from connectors.payload import inflate, rows
from connectors.record_path import Place
from connectors.trace_context import trace_of

OWN_SERVICE = "edgewatch"  # its own errors have another way to Sentry
_TRACES = Place.at(
    *("traceparent", "sentry-trace", "sentry_trace", "trace.traceparent", "trace.sentry-trace"),
    *(f"Event.Request.Headers.{name}" for name in ("traceparent", "Traceparent", "sentry-trace", "Sentry-Trace")),
)
_STACKS = {
    "workers_trace_events": Place.at("Exceptions[0].Stack", "Exceptions[0].stack"),
    "app_logs": Place.at("error.stack"),
}
_COLO = Place.at("Event.Request.CF.colo", "Event.Request.cf.colo", "cf.colo")
_USER = Place.at("userId", "user_id", "user.id", "context.userId")
_COUNTRY = Place.at("Event.Request.CF.country", "Event.Request.cf.country", "cf.country")


@dataclass(frozen=True, slots=True, kw_only=True)
class AppError:
    """An error; absent words are empty. `time` is as the record has it; `source` is the script or the service."""

    dataset: str
    source: str
    name: str
    message: str
    stack: str
    fingerprint: str
    critical: bool
    time: Any
    ray: str
    colo: str
    country: str
    user: str
    version: str
    environment: str
    outcome: str
    method: str
    url: str
    trace: tuple[str, str] | None

    @property
    def likeness(self) -> tuple[str, ...]:
        """What errors have in common that are told as one."""
        return self.dataset, self.source, self.name, self.fingerprint


def records_of(payload: bytes) -> list[Any]:
    """Give the records of a message as the line reads them: one object, an array, or lines; what is no JSON is left out."""
    try:
        plain = inflate(payload)
    except DecodeError:
        return []
    try:
        whole = orjson.loads(plain)
    except orjson.JSONDecodeError:
        return [found for line in rows(plain) if (found := _parsed(line)) is not None]
    return whole if isinstance(whole, list) else [whole]


def errors_of(dataset: Dataset, record: object) -> list[AppError]:
    """Give the errors that a record tells of: a line of a log of one at most, an invocation of each of its exceptions."""
    if not isinstance(record, dict):
        return []
    told, exceptions = [record], record.get("Exceptions")
    if dataset.kind == "workers_trace_events" and isinstance(exceptions, list):
        told = [record | {"Exceptions": [each]} for each in exceptions]
    return [error for each in told if (error := _KINDS[dataset.kind](dataset, each)) is not None]


def _of_worker(dataset: Dataset, record: Mapping[str, Any]) -> AppError | None:
    said = _said(dataset, record)
    if not said("ExceptionName") and not said("ExceptionMessage"):
        return None
    return AppError(
        dataset="workers_trace_events",
        source=said("ScriptName"),
        name=said("ExceptionName") or "Error",
        message=said("ExceptionMessage"),
        fingerprint=said("ExceptionFingerprint") or said("ExceptionName"),
        critical=False,
        ray=said("RayID"),
        version=said("ScriptVersionID"),
        environment="",
        outcome=said("Outcome"),
        method=said("Method"),
        url=said("URL").partition("?")[0],
        **_beside(dataset, record),
    )


def _of_log(dataset: Dataset, record: Mapping[str, Any]) -> AppError | None:
    said = _said(dataset, record)
    value = _first(dataset.places["levelValue"], record)
    number = value if isinstance(value, int | float) else 0
    level = said("level").lower()
    critical = number >= 50 or level in ("critical", "fatal")  # noqa: PLR2004 (the level's number)
    if not critical and number < 40 and level != "error":  # noqa: PLR2004 (as above)
        return None
    if said("service") == OWN_SERVICE:
        return None
    return AppError(
        dataset="app_logs",
        source=said("service"),
        name=said("error_name") or "Error",
        message=said("error_message") or said("message"),
        fingerprint=said("fingerprint") or said("error_name"),
        critical=critical,
        ray=said("ray"),
        version=said("version"),
        environment=said("environment"),
        outcome="",
        method="",
        url="",
        **_beside(dataset, record),
    )


def _beside(dataset: Dataset, record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "time": _first([place for name in dataset.event_time for place in dataset.places[name]], record),
        "stack": _text(_STACKS[dataset.kind].of(record)),
        "colo": _text(_COLO.of(record)),
        "country": _text(_COUNTRY.of(record)),
        "user": _named(_USER.of(record)),
        "trace": trace_of(_TRACES.of(record)),
    }


def _said(dataset: Dataset, record: Mapping[str, Any]) -> Callable[[str], str]:
    """Give what reads a column of a record, also a renamed one, with its fallback."""

    def said(name: str) -> str:
        return next((text for place in dataset.places[name] if (text := _text(place.of(record)))), "")

    return said


def _first(places: Iterable[Place], record: Mapping[str, Any]) -> Any:
    return next((found for place in places if (found := place.of(record)) is not None), None)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _named(value: object) -> str:
    """Give an id, which may be a number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value)


def _parsed(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None


_KINDS: dict[str, Callable[[Dataset, Mapping[str, Any]], AppError | None]] = {
    "workers_trace_events": _of_worker,
    "app_logs": _of_log,
}
KINDS = tuple(_KINDS)
