"""Health: what a health endpoint answered: `{"overall", "checks": {"database", "worker", "integration"}}` with a time.

Whoever asks the endpoint adds `timestamp`, and `http_status` (0 where nothing came), `url` and `location`, if there are some. A
check's `status` is healthy, degraded or unhealthy; services are true or false. edgewatch's own probes add what they saw.
"""

from typing import Literal

from connectors.record_path import Place, RecordShape

_Kind = Literal["number", "string", "flag"]

EVENT_TIME = {"timestamp": Place.at("timestamp")}

FIELDS: dict[str, tuple[_Kind, Place]] = {
    **{name: ("string", Place.at(name)) for name in ("overall", "url", "location", "environment")},
    **{name: ("string", Place.at(name)) for name in ("probe", "failure", "error", "step")},
    **{name: ("number", Place.at(name)) for name in ("latency_ms", "dns_ms", "connect_ms", "tls_ms", "first_byte_ms")},
    **{name: ("flag", Place.at(name)) for name in ("ok", "down")},
    "certificate_days_left": ("number", Place.at("certificate_days_left")),
    "http_status": ("number", Place.at("http_status")),
    "database_status": ("string", Place.at("checks.database.status")),
    "database_latency_ms": ("number", Place.at("checks.database.latencyMs", "latencyMs")),
    "worker_status": ("string", Place.at("checks.worker.status")),
    "redis": ("flag", Place.at("checks.integration.services.redis")),
    "websocket": ("flag", Place.at("checks.integration.services.websocket")),
    "pool_active": ("number", Place.at("poolStats.active", "checks.database.poolStats.active")),
    "pool_idle": ("number", Place.at("poolStats.idle", "checks.database.poolStats.idle")),
    "pool_waiting": ("number", Place.at("poolStats.waiting", "checks.database.poolStats.waiting")),
}

# A comparison with an absent value is false, so an endpoint that does not say something is not unwell for it.
PREDICATES = {
    "check_failed": "http_status < 200 or http_status >= 300",
    "unhealthy": 'overall == "unhealthy" or http_status < 200 or http_status >= 300',
    "degraded": 'overall in ("degraded", "unhealthy")',
    "database_unwell": 'database_status in ("degraded", "unhealthy")',
    "worker_unwell": 'worker_status in ("degraded", "unhealthy")',
    "redis_down": "redis == false",
    "websocket_down": "websocket == false",
    "is_probe": 'probe != ""',
    "probe_failed": "ok == false",
}
FOLDED = frozenset({"overall", "database_status", "worker_status"})
DIMENSIONS = ("probe", "location", "failure", "overall", "database_status", "worker_status")

SHAPE = RecordShape(
    event_time=EVENT_TIME,
    fields=FIELDS,
    predicates=PREDICATES,
    folded=FOLDED,
    dimensions=DIMENSIONS,
)
