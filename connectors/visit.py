"""Visits: user requests of a stretch of synthetic traffic as columns, with what the incidents do to them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from connectors.incident import Incident
from connectors.scenario import Scenario, pick_clients, pick_endpoints, pick_ids

LATEST_MS = 60_000  # no record is later than this behind its event time

_USUAL_DELAY_MS, _LATE_FROM_MS, _LATE_SHARE = 1_200.0, 8_000, 0.01
_SPREAD = 0.6  # of latencies: sigma of the logarithm
_SURGE_SHARE, _SLOW_SHARE, _COLD_SHARE = 0.30, 0.50, 0.80
_SLOW_MS = (2_500.0, 9_000.0)
_MISS_FACTOR = 2.2

# What happens on a healthy day: 0.15 % of the answers are errors.
_STATUSES = np.array([200, 304, 301, 404, 403, 401, 429, 500, 502, 503])
_STATUS_SHARES = np.cumsum([0.9685, 0.02, 0.01, 0.0007, 0.0002, 0.0001, 0.0001, 0.0002, 0.0001, 0.0001])
_SURGE_STATUSES = np.array([500, 502, 503, 503])
_OK, _NOT_MODIFIED, _ERROR = 200, 304, 400

CACHE_STATUSES = ("hit", "revalidated", "updating", "stale", "miss", "expired", "dynamic", "bypass")
MISS, DYNAMIC = CACHE_STATUSES.index("miss"), CACHE_STATUSES.index("dynamic")
_CACHE_SHARES = np.cumsum([0.72, 0.03, 0.015, 0.005, 0.06, 0.015, 0.14, 0.015])  # a warm cache hits 91 %


@dataclass(frozen=True, slots=True)
class Visits:
    """User requests as columns, each (n,), in the order in which they are produced."""

    produced: NDArray[np.int64]  # ms: when the line leaves the edge
    events: NDArray[np.int64]  # ms: when the answer ended
    endpoint: NDArray[np.int64]
    host: NDArray[np.int64]
    ids: list[str]
    client: NDArray[np.int64]
    ray: NDArray[np.uint64]
    status: NDArray[np.int64]
    cache: NDArray[np.int64]  # place in CACHE_STATUSES: of the request itself, or of its subrequest where a Worker answers
    first_byte_ms: NDArray[np.int64]
    slow: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Where visits are drawn: [start_ms, end_ms) of producing, and no event before `first_ms`."""

    start_ms: int
    end_ms: int
    first_ms: int


def draw_visits(
    rng: np.random.Generator, scenario: Scenario, incidents: Iterable[Incident], stretch: Stretch, n: int
) -> Visits:
    """Draw n visits; the same generator state gives the same visits."""
    pieces = scenario.pieces
    produced, events = draw_times(rng, stretch, n)
    endpoint = pick_endpoints(rng, pieces, n)
    host = pieces.host[endpoint]
    status = _STATUSES[np.searchsorted(_STATUS_SHARES[:-1], rng.random(n), side="right")]
    cache = np.searchsorted(_CACHE_SHARES[:-1], rng.random(n), side="right")
    cache = np.where(pieces.cacheable[endpoint], cache, DYNAMIC)
    first_byte = pieces.latency_ms[endpoint] * np.exp(rng.normal(0.0, _SPREAD, n))
    chance = rng.random(n)
    slow = np.zeros(n, np.bool_)
    for incident in incidents:
        struck = (events >= incident.start_ms) & (events < incident.end_ms) & (host == incident.host)
        if incident.name == "error-surge":
            status = np.where(struck & (chance < _SURGE_SHARE), _SURGE_STATUSES[rng.integers(0, 4, n)], status)
        elif incident.name == "slow-answers":
            slow |= struck & (chance < _SLOW_SHARE)
        elif incident.name == "cold-cache":
            cache = np.where(struck & (cache < MISS) & (chance < _COLD_SHARE), MISS, cache)
    first_byte *= np.where(cache == MISS, _MISS_FACTOR, 1.0)
    first_byte += np.where(slow, rng.uniform(*_SLOW_MS, n), 0.0)
    return Visits(
        produced=produced,
        events=events,
        endpoint=endpoint,
        host=host,
        ids=pick_ids(rng, pieces.with_id[endpoint]),
        client=pick_clients(rng, scenario, n),
        ray=draw_rays(rng, n),
        status=status,
        cache=cache,
        first_byte_ms=first_byte.astype(np.int64) + 1,
        slow=slow,
    )


def taken(visits: Visits, places: NDArray[np.int64]) -> Visits:
    """Give the visits at `places`."""
    return Visits(
        produced=visits.produced[places],
        events=visits.events[places],
        endpoint=visits.endpoint[places],
        host=visits.host[places],
        ids=[visits.ids[place] for place in places.tolist()],
        client=visits.client[places],
        ray=visits.ray[places],
        status=visits.status[places],
        cache=visits.cache[places],
        first_byte_ms=visits.first_byte_ms[places],
        slow=visits.slow[places],
    )


def together(parts: Sequence[Visits]) -> Visits:
    """Put visits in the order in which they are produced."""
    columns = [name for name in Visits.__slots__ if name != "ids"]
    whole = {name: np.concatenate([getattr(part, name) for part in parts]) for name in columns}
    joined = Visits(**whole, ids=[each for part in parts for each in part.ids])
    return taken(joined, np.argsort(joined.produced, kind="stable"))


def draw_times(rng: np.random.Generator, stretch: Stretch, n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw (n,) ascending times of producing and the event times, most a second before, some up to 60 s."""
    produced = np.sort(rng.integers(stretch.start_ms, stretch.end_ms, n))
    delay = np.minimum(rng.exponential(_USUAL_DELAY_MS, n), _LATE_FROM_MS)
    late = rng.random(n) < _LATE_SHARE
    delay[late] = rng.integers(_LATE_FROM_MS, LATEST_MS, np.count_nonzero(late))
    return produced, np.maximum(produced - delay.astype(np.int64), stretch.first_ms)


def draw_rays(rng: np.random.Generator, n: int) -> NDArray[np.uint64]:
    """Draw (n,) ray ids; written as 16 hex digits."""
    return rng.integers(0, 2**64, n, dtype=np.uint64)


def origin_status(visits: Visits) -> NDArray[np.int64]:
    """Give what the origin answered: 0 where the cache did, so that nobody asked it."""
    return np.where((visits.cache < MISS) & (visits.status < _ERROR), 0, visits.status)


def sizes(visits: Visits, scenario: Scenario) -> NDArray[np.int64]:
    """Give the bytes of each answer, without a draw: the ray id spreads them."""
    usual = scenario.pieces.sizes[visits.endpoint] * (0.7 + (visits.ray & np.uint64(1023)).astype(np.float64) / 1706.0)
    short = (visits.status >= _ERROR) | (visits.status == _NOT_MODIFIED)
    return np.where(short, 420.0, usual).astype(np.int64)
