"""Application logs: the structured JSON lines of the platform's own services: level, service, version, error, ray and colo.

`{"timestamp", "level", "levelValue", "message", "service", "version", "environment", "error": {"name", "message", "stack"},
"cf": {"ray", "colo"}}`; levels are debug 10, info 20, warn 30, error 40, critical 50. More fields may stand beside them.
"""

from typing import Literal

from connectors.error_text import fingerprint_of, message_of
from connectors.record_path import Place, RecordShape

_Kind = Literal["number", "string", "flag"]

EVENT_TIME = {"timestamp": Place.at("timestamp")}
IDENTITY = "ray"

FIELDS: dict[str, tuple[_Kind, Place]] = {
    **{name: ("string", Place.at(name)) for name in ("level", "service", "version", "environment")},
    "levelValue": ("number", Place.at("levelValue")),
    "message": ("string", Place.at("message", made=message_of)),
    "ray": ("string", Place.at("cf.ray")),
    "colo": ("string", Place.at("cf.colo")),
    "error_name": ("string", Place.at("error.name")),
    "error_message": ("string", Place.at("error.message", made=message_of)),
    "fingerprint": ("string", Place.at("error.message", "message", made=fingerprint_of)),
}

PREDICATES = {
    "is_warning": 'levelValue >= 30 or level in ("warn", "warning", "error", "critical", "fatal")',
    "is_error": 'levelValue >= 40 or level in ("error", "critical", "fatal")',
    "is_critical": 'levelValue >= 50 or level in ("critical", "fatal")',
}
FOLDED = frozenset({"level"})
DIMENSIONS = ("service", "error_name", "fingerprint", "version", "colo", "environment")

SHAPE = RecordShape(
    event_time=EVENT_TIME,
    fields=FIELDS,
    identity=IDENTITY,
    predicates=PREDICATES,
    folded=FOLDED,
    dimensions=DIMENSIONS,
)
