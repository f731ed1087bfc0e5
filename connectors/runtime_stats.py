"""Runtime statistics: the state of caches and connection pools, as the platform reports it from time to time.

`{"timestamp", "cache": {"hits", "misses", "hitRate", "size", "evictions"}, "database": {"activeConnections",
"idleConnections", "waitingRequests", "latency"}}`; or what the two are made of: the cache's statistics and `poolStats`.
"""

from typing import Literal

from connectors.record_path import Place, RecordShape

_Kind = Literal["number", "string", "flag"]

EVENT_TIME = {"timestamp": Place.at("timestamp")}

FIELDS: dict[str, tuple[_Kind, Place]] = {
    **{name: ("string", Place.at(name)) for name in ("service", "environment", "colo", "name")},
    "cache_hits": ("number", Place.at("cache.hits", "hits")),
    "cache_misses": ("number", Place.at("cache.misses", "misses")),
    "cache_hit_ratio": ("number", Place.at("cache.hitRate", "hitRate")),
    "cache_size": ("number", Place.at("cache.size", "size")),
    "cache_evictions": ("number", Place.at("cache.evictions", "evictions")),
    "pool_active": ("number", Place.at("database.activeConnections", "poolStats.active", "activeConnections")),
    "pool_idle": ("number", Place.at("database.idleConnections", "poolStats.idle", "idleConnections")),
    "pool_waiting": ("number", Place.at("database.waitingRequests", "poolStats.waiting", "waitingRequests")),
    "pool_latency_ms": ("number", Place.at("database.latency", "latencyMs", "latency")),
}
DIMENSIONS = ("service", "name", "environment", "colo")

SHAPE = RecordShape(
    event_time=EVENT_TIME,
    fields=FIELDS,
    dimensions=DIMENSIONS,
)
