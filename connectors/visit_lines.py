"""Visit lines: what is logged about visits: requests, subrequests, cache look-ups, data points.

A visit to a host that a Worker answers leaves more lines than one: its own (no cache status, no origin),
subrequests with the cache status and the origin's answer, cache look-ups that found nothing (504, but nobody
asked the origin: no error at all), and data points of the application. ClientRequestSource tells them apart.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from connectors.scenario import Scenario
from connectors.visit import (
    CACHE_STATUSES,
    DYNAMIC,
    Stretch,
    Visits,
    draw_rays,
    draw_times,
    origin_status,
    sizes,
)

HTTP_REQUESTS, PERFORMANCE = "http_requests", "performance"

_TIMES = '"EdgeStartTimestamp":%d000000,"EdgeEndTimestamp":%d000000'
_PATH = "%s%s%s%s%s,%s"  # head id middle id tail, client
_OUTCOME = (
    '"CacheCacheStatus":"%s","EdgeResponseStatus":%d,"OriginResponseStatus":%d,"OriginResponseDurationMs":%d,'
    '"EdgeTimeToFirstByteMs":%d,"EdgeResponseBytes":%d'
)
_VISIT = (
    '{"RayID":"%016x","ParentRayID":"00","ClientRequestSource":"eyeball",'
    f'{_TIMES},{_PATH},{_OUTCOME},"WorkerSubrequest":false,%s}}'
)
_SUBREQUEST = (
    '{"RayID":"%016x","ParentRayID":"%016x","ClientRequestSource":"edgeWorkerFetch",'
    f'{_TIMES},{_PATH},{_OUTCOME},"WorkerSubrequest":true,"WorkerStatus":"unknown"}}'
)
_LOOK_UP = (
    '{"RayID":"%016x","ParentRayID":"%016x","ClientRequestSource":"edgeWorkerCacheAPI",'
    f'{_TIMES},{_PATH},"CacheCacheStatus":"unknown","EdgeResponseStatus":504,"OriginResponseStatus":0,'
    '"OriginResponseDurationMs":0,"EdgeTimeToFirstByteMs":1,"EdgeResponseBytes":0,"WorkerSubrequest":true,'
    '"WorkerStatus":"unknown"}'
)
_HEALTH_CHECK = (
    '{"RayID":"%016x","ParentRayID":"00","ClientRequestSource":"healthcheck",'
    f'{_TIMES},%s,"CacheCacheStatus":"dynamic","EdgeResponseStatus":200,"OriginResponseStatus":200,'
    '"OriginResponseDurationMs":%d,"EdgeTimeToFirstByteMs":%d,"EdgeResponseBytes":64,'
    '"WorkerSubrequest":false,"WorkerStatus":"unknown"}'
)
_POINT = '{"timestamp":"%sZ","blobs":["%s%s%s","%s","%d","%016x"],"doubles":[%.2f,%.2f,%.3f],"indexes":["production"]}'
_BY_WORKER = '"WorkerStatus":"ok","WorkerSubrequestCount":%d,"WorkerCPUTime":%d,"WorkerWallTimeUs":%d'
_NO_WORKER = '"WorkerStatus":"unknown","WorkerSubrequestCount":0,"WorkerCPUTime":0,"WorkerWallTimeUs":0'
_TIMED_OUT = 522
_ASKED = 0.85  # of a Worker's time to first byte is spent on its subrequests


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of one dataset as columns (n,): when produced, event time, ray id, rank of the host, the JSON."""

    produced: NDArray[np.int64]
    events: NDArray[np.int64]
    ray: NDArray[np.uint64]
    host: NDArray[np.int64]
    texts: list[str]


def visit_lines(visits: Visits, scenario: Scenario) -> Lines:
    """Write the line of each visit itself."""
    by_worker = scenario.worker[visits.host]
    first_byte = visits.first_byte_ms
    origin = np.where(by_worker, 0, origin_status(visits))
    spent = np.where(origin > 0, first_byte * 4 // 5, 0)
    cache = np.where(by_worker, len(CACHE_STATUSES), visits.cache)
    names = (*CACHE_STATUSES, "unknown")
    rows = zip(
        visits.ray.tolist(),
        (visits.events - first_byte - 2).tolist(),
        visits.events.tolist(),
        *_paths(visits, scenario),
        [names[place] for place in cache.tolist()],
        visits.status.tolist(),
        origin.tolist(),
        spent.tolist(),
        first_byte.tolist(),
        sizes(visits, scenario).tolist(),
        _worker_parts(visits, by_worker),
        strict=True,
    )
    return Lines(visits.produced, visits.events, visits.ray, visits.host, [_VISIT % row for row in rows])


def subrequest_lines(rng: np.random.Generator, parents: Visits, scenario: Scenario) -> Lines:
    """Write one line of a Worker's fetch a parent: the cache status and the origin's answer stand here.

    It ends with its parent: a Worker streams what it fetches.
    """
    ray = draw_rays(rng, len(parents.ray))
    # Half of what an API fetches may not be cached at all.
    cache = np.where(rng.random(len(ray)) < 0.4, DYNAMIC, parents.cache)  # noqa: PLR2004
    origin = np.where(cache == parents.cache, origin_status(parents), parents.status)
    spent = (parents.first_byte_ms * _ASKED).astype(np.int64)
    rows = zip(
        ray.tolist(),
        parents.ray.tolist(),
        (parents.events - spent).tolist(),
        parents.events.tolist(),
        *_paths(parents, scenario),
        [CACHE_STATUSES[place] for place in cache.tolist()],
        parents.status.tolist(),
        origin.tolist(),
        np.where(origin > 0, spent, 0).tolist(),
        spent.tolist(),
        sizes(parents, scenario).tolist(),
        strict=True,
    )
    return Lines(parents.produced, parents.events, ray, parents.host, [_SUBREQUEST % row for row in rows])


def look_up_lines(rng: np.random.Generator, parents: Visits, scenario: Scenario, *, first_ms: int) -> Lines:
    """Write one failed cache look-up a parent: at the Worker's beginning, but not before `first_ms`."""
    ray = draw_rays(rng, len(parents.ray))
    events = np.maximum(parents.events - parents.first_byte_ms, first_ms)
    rows = zip(
        ray.tolist(),
        parents.ray.tolist(),
        (events - 1).tolist(),
        events.tolist(),
        *_paths(parents, scenario),
        strict=True,
    )
    return Lines(parents.produced, events, ray, parents.host, [_LOOK_UP % row for row in rows])


def health_check_lines(rng: np.random.Generator, scenario: Scenario, stretch: Stretch, n: int) -> Lines:
    """Write n health checks, spread over all hosts."""
    produced, events = draw_times(rng, stretch, n)
    ray, host = draw_rays(rng, n), rng.integers(0, len(scenario.hosts), n)
    took = rng.integers(8, 40, n)
    rows = zip(
        ray.tolist(),
        (events - took).tolist(),
        events.tolist(),
        [scenario.checkers[rank] for rank in host.tolist()],
        took.tolist(),
        took.tolist(),
        strict=True,
    )
    return Lines(produced, events, ray, host, [_HEALTH_CHECK % row for row in rows])


def point_lines(rng: np.random.Generator, parents: Visits, scenario: Scenario) -> Lines:
    """Write one data point a parent: total, database, cache time; a slow answer has a slow database."""
    n, urls = len(parents.ray), scenario.pieces.urls
    methods = scenario.pieces.methods
    total = parents.first_byte_ms.astype(np.float64)
    database = total * np.where(parents.slow, 0.85, rng.uniform(0.15, 0.5, n))
    database = np.where(parents.status == _TIMED_OUT, 5.0, database)  # the origin never answered, the database was not to blame
    endpoint = parents.endpoint.tolist()
    rows = zip(
        np.datetime_as_string(parents.events.astype("datetime64[ms]")).tolist(),
        [urls[place][0] for place in endpoint],
        parents.ids,
        [urls[place][1] for place in endpoint],
        [methods[place] for place in endpoint],
        parents.status.tolist(),
        parents.ray.tolist(),
        total.tolist(),
        database.tolist(),
        rng.exponential(1.5, n).tolist(),
        strict=True,
    )
    return Lines(parents.produced, parents.events, parents.ray, parents.host, [_POINT % row for row in rows])


def merge_lines(parts: list[Lines]) -> Lines:
    """Bring lines of several sources into the order in which they are produced."""
    produced = np.concatenate([part.produced for part in parts])
    order = np.argsort(produced, kind="stable")
    texts = [text for part in parts for text in part.texts]
    return Lines(
        produced[order],
        np.concatenate([part.events for part in parts])[order],
        np.concatenate([part.ray for part in parts])[order],
        np.concatenate([part.host for part in parts])[order],
        [texts[place] for place in order.tolist()],
    )


def _paths(visits: Visits, scenario: Scenario) -> tuple[list[str], ...]:
    pieces, clients = scenario.pieces, scenario.clients
    endpoint = visits.endpoint.tolist()
    return (
        [pieces.heads[place] for place in endpoint],
        visits.ids,
        [pieces.middles[place] for place in endpoint],
        visits.ids,
        [pieces.tails[place] for place in endpoint],
        [clients[place] for place in visits.client.tolist()],
    )


def _worker_parts(visits: Visits, by_worker: NDArray[np.bool_]) -> list[str]:
    spent = (visits.ray >> np.uint64(52)).tolist()  # 12 bits that nothing else uses
    waited = visits.first_byte_ms.tolist()
    columns = zip(by_worker.tolist(), spent, waited, strict=True)
    return [_BY_WORKER % (1 + cpu % 3, 400 + cpu, ms * 1000) if ok else _NO_WORKER for ok, cpu, ms in columns]
