"""Side lines: what a platform says beside its requests: health checks, log lines and business events that agree with them."""

from collections.abc import Sequence

import numpy as np
import orjson
from numpy.typing import NDArray

from connectors.incident import Incident
from connectors.scenario import Scenario
from connectors.visit import Stretch, Visits, draw_rays
from connectors.visit_lines import Lines

HEALTH, APP_LOGS, BUSINESS = "health", "app_logs", "business"
LOCATIONS = ("IAD", "FRA")

_EVERY_MS = 60_000
_CALM, _SPOKEN, _EVENTS = 0.1, 0.5, 0.06  # shares: of visits with an info line, of slow ones with a warning, of writes
_KINDS = ("pitch_created", "nda_signed", "investment_made")
_KIND_SHARES = np.array([0.6, 0.9])  # cumulative, but for the last
_PORTALS = ("creator", "investor", "production")
_OLD, _NEW = "2.4.0", "2.4.1"
_FAILED = 500
_ERRORS = {
    500: ("TypeError", "Cannot read properties of undefined (reading 'amount') of pitch %d"),
    502: ("BadGateway", "upstream closed the connection of request %d"),
    503: ("ServiceUnavailable", "no origin took request %d"),
    522: ("TimeoutError", "the origin did not answer request %d within 15000 ms"),
}


def health_lines(rng: np.random.Generator, incidents: Sequence[Incident], stretch: Stretch) -> Lines:
    """Write what two locations found at each full minute of a stretch."""
    first = -(-stretch.start_ms // _EVERY_MS) * _EVERY_MS
    times = [at for at in range(first, stretch.end_ms, _EVERY_MS) for _ in LOCATIONS]
    texts = [_health(rng, incidents, at, LOCATIONS[n % len(LOCATIONS)]) for n, at in enumerate(times)]
    produced = np.array(times, np.int64)
    return Lines(produced, produced, draw_rays(rng, len(times)), np.zeros(len(times), np.int64), texts)


def _health(rng: np.random.Generator, incidents: Sequence[Incident], at: int, location: str) -> str:
    now = {each.name: each for each in incidents if each.start_ms <= at < each.end_ms}
    out = {"timestamp": at, "location": location, "url": "https://api.example.com/api/health/all"}
    latency = int(rng.integers(8, 40))
    if "regional_outage" in now and now["regional_outage"].place == location:
        return _text(out | {"http_status": 0})
    slow, broken = "database_slowdown" in now, "deploy_regression" in now
    latency += int(rng.integers(600, 2500)) if slow else 0
    database = {"status": "degraded" if slow else "healthy", "latencyMs": latency}
    checks = {
        "database": database,
        "worker": {"status": "degraded" if broken else "healthy"},
        "integration": {"services": {"redis": True, "websocket": True}},
    }
    pool = {"active": 20 if slow else int(rng.integers(3, 9)), "idle": 0 if slow else 10, "waiting": 14 if slow else 0}
    return _text(
        out | {"http_status": 200, "overall": "degraded" if slow or broken else "healthy", "checks": checks, "poolStats": pool}
    )


def log_lines(rng: np.random.Generator, scenario: Scenario, incidents: Sequence[Incident], visits: Visits) -> Lines:
    """Write what Workers log: every failure, half of the slow answers, and now and then that all is well."""
    worker = scenario.worker[visits.host]
    failed = worker & (visits.status >= _FAILED)
    slow = worker & ~failed & visits.slow & (rng.random(len(worker)) < _SPOKEN)
    calm = worker & ~failed & ~slow & (rng.random(len(worker)) < _CALM)
    places = np.flatnonzero(failed | slow | calm)
    deploys = [each for each in incidents if each.name == "deploy_regression"]
    texts = []
    for place in places.tolist():
        at, host = int(visits.events[place]), int(visits.host[place])
        is_new = any(each.host == host and each.start_ms <= at < each.end_ms for each in deploys)
        line = {
            "timestamp": at,
            "service": scenario.hosts[host].split(".")[0],
            "version": _NEW if is_new else _OLD,
            "environment": "production",
            "cf": {"ray": f"{int(visits.ray[place]):016x}", "colo": str(scenario.colos[visits.client[place]])},
        }
        if failed[place]:
            name, words = _ERRORS.get(int(visits.status[place]), _ERRORS[500])
            error = {"name": name, "message": words % (int(visits.ray[place]) % 5000)}
            line |= {"level": "error", "levelValue": 40, "message": "request failed", "error": error}
        elif slow[place]:
            line |= {"level": "warn", "levelValue": 30, "message": f"slow query: {int(visits.first_byte_ms[place])} ms"}
        else:
            line |= {"level": "info", "levelValue": 20, "message": "request done"}
        texts.append(_text(line))
    return _lines(visits, places, texts)


def business_lines(rng: np.random.Generator, scenario: Scenario, visits: Visits) -> Lines:
    """Write data points of what users did: some of the writes that went well."""
    writes = np.array([method in ("POST", "PUT") for method in scenario.pieces.methods])[visits.endpoint]
    places = np.flatnonzero(writes & (visits.status < 400) & (rng.random(len(writes)) < _EVENTS))  # noqa: PLR2004
    kinds = np.searchsorted(_KIND_SHARES, rng.random(len(places)), side="right").tolist()
    amounts = np.round(rng.lognormal(9.2, 1.1, len(places)), 2).tolist()
    texts = []
    for place, kind, amount in zip(places.tolist(), kinds, amounts, strict=True):
        client = int(visits.client[place])
        blobs = [_KINDS[kind], f"user-{client}", _PORTALS[client % len(_PORTALS)]]
        paid = amount if _KINDS[kind] == "investment_made" else 0.0
        at = int(visits.events[place])
        stamp = f"{np.datetime_as_string(np.datetime64(at, 'ms'))}Z"
        texts.append(_text({"timestamp": at, "blobs": blobs, "doubles": [paid, 1], "indexes": [stamp, "production"]}))
    return _lines(visits, places, texts)


def _lines(visits: Visits, places: NDArray[np.int64], texts: list[str]) -> Lines:
    return Lines(visits.produced[places], visits.events[places], visits.ray[places], visits.host[places], texts)


def _text(line: object) -> str:
    return orjson.dumps(line).decode()
