"""Logpush `workers_trace_events`: what an invocation of a Worker did: outcome, processor and wall time, exceptions, logs.

Source: Cloudflare's documentation of the dataset, and records published by others: the keys of exceptions and logs come in
either case, a message as a string or as an array. Columns are named after the documented fields, without the nesting.
"""

from typing import Literal
from urllib.parse import urlsplit

from connectors.error_text import fingerprint_of, message_of, name_of
from connectors.record_path import Place, RecordShape

_Kind = Literal["number", "string", "flag"]

EVENT_TIME = {"EventTimestampMs": Place.at("EventTimestampMs")}
IDENTITY = "RayID"


def _path(url: object) -> str | None:
    return _split(url)[1]


def _host(url: object) -> str | None:
    return _split(url)[0]


def _split(url: object) -> tuple[str | None, str | None]:
    if not isinstance(url, str):
        return None, None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None, None
    return parts.netloc or None, parts.path or "/"


_MESSAGE = ("Exceptions[0].Message", "Exceptions[0].message")

FIELDS: dict[str, tuple[_Kind, Place]] = {
    **{name: ("string", Place.at(name)) for name in ("EventType", "Outcome", "ScriptName", "Entrypoint", "DispatchNamespace")},
    **{name: ("number", Place.at(name)) for name in ("CPUTimeMs", "WallTimeMs")},
    "ScriptVersionID": ("string", Place.at("ScriptVersion.ID", "ScriptVersion.id")),
    "RayID": ("string", Place.at("Event.RayID")),
    "Method": ("string", Place.at("Event.Request.Method")),
    "URL": ("string", Place.at("Event.Request.URL")),
    "Path": ("string", Place.at("Event.Request.URL", made=_path)),
    "Host": ("string", Place.at("Event.Request.URL", made=_host)),
    "Status": ("number", Place.at("Event.Response.Status")),  # absent where the Worker threw
    "Cron": ("string", Place.at("Event.Cron")),
    "Queue": ("string", Place.at("Event.Queue")),
    "BatchSize": ("number", Place.at("Event.BatchSize")),
    "ExceptionName": ("string", Place.at("Exceptions[0].Name", "Exceptions[0].name")),
    "ExceptionMessage": ("string", Place.at(*_MESSAGE, made=message_of)),
    "ExceptionFingerprint": ("string", Place.at(*_MESSAGE, made=fingerprint_of)),
    "Exceptions": ("number", Place.at("Exceptions[#]")),
    "Logs": ("number", Place.at("Logs[#]")),
}
# A record without a name says it in its message.
FALLBACKS = {"ExceptionName": Place.at(*_MESSAGE, made=name_of)}

# `canceled` and `responseStreamDisconnected` are clients that went away, `unknown` says nothing.
PREDICATES = {
    "failed": (
        'Outcome in ("exception", "exceededCpu", "exceededMemory", "loadShed", "scriptNotFound",'
        ' "internalError", "killSwitch", "daemonDown")'
    ),
    "is_request": 'EventType == "fetch"',
}
PATHS = frozenset({"Path", "URL"})
DIMENSIONS = ("ScriptName", "ExceptionFingerprint", "Path", "Outcome", "EventType", "ScriptVersionID")

SHAPE = RecordShape(
    event_time=EVENT_TIME,
    fields=FIELDS,
    identity=IDENTITY,
    fallbacks=FALLBACKS,
    predicates=PREDICATES,
    paths=PATHS,
    dimensions=DIMENSIONS,
)
