"""Records for benchmarks: Logpush-like lines of about 700 bytes in order of event time, the same for every contender."""

import random

import orjson

START = 1_764_547_200_000
CACHE = ["hit"] * 60 + ["miss"] * 12 + ["dynamic"] * 15 + ["expired", "revalidated", "stale", "updating", "bypass", "none"]
STATUSES = [200] * 980 + [304] * 10 + [404] * 6 + [500, 502, 503, 403]

UNREAD = [
    "ClientRequestUserAgent",
    "ClientRequestURI",
    "OriginResponseDurationMs",
    "WorkerSubrequestCount",
    "EdgeStartTimestamp",
]
UNREAD += ["OriginResponseStatus", "EdgeResponseBytes", "ClientRequestSource", "ClientRequestMethod", "WorkerStatus"]
UNREAD += ["ClientCountry", "EdgeColoCode", "ClientRequestPath"]


def lines(  # noqa: PLR0913 (what records can be like)
    count: int, *, hosts: int = 12, span_ms: int = 900_000, seed: int = 1, dirt: float = 0.0, size: int = 0
) -> list[bytes]:
    """Make `count` lines over `span_ms`; `dirt` is the share with a wrong type, a null or broken JSON.

    `size` (0: as they are) is about how many bytes a line has: fields that no metric reads are left out, or one is longer.
    """
    rng = random.Random(seed)
    agent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36"
    out = []
    for n in range(count):
        ms = START + span_ms * n // count
        host = f"h{min(int(rng.expovariate(1.0)), hosts - 1) if hosts < 100 else rng.randrange(hosts)}.example.com"
        status = rng.choice(STATUSES)
        ttfb = round(rng.lognormvariate(4.2, 0.9), 3)
        record = {
            "RayID": f"{n:016x}",
            "EdgeStartTimestamp": (ms - int(ttfb)) * 1_000_000,
            "EdgeEndTimestamp": ms * 1_000_000,
            "ClientRequestHost": host,
            "ClientRequestMethod": "GET",
            "ClientRequestURI": f"/api/pitches/{rng.randrange(5000)}?page={rng.randrange(9)}",
            "ClientRequestPath": f"/api/pitches/{rng.randrange(5000)}",
            "ClientRequestSource": "eyeball",
            "ClientIP": f"198.51.{rng.randrange(100)}.{rng.randrange(256)}",
            "ClientCountry": rng.choice(["us", "de", "ie", "fr", "sg"]),
            "ClientRequestUserAgent": agent,
            "EdgeColoCode": rng.choice(["FRA", "DUB", "SIN", "IAD"]),
            "EdgeResponseStatus": status,
            "EdgeResponseBytes": rng.randrange(200, 90_000),
            "EdgeTimeToFirstByteMs": ttfb,
            "OriginResponseStatus": status if rng.random() < 0.5 else 0,
            "OriginResponseDurationMs": int(ttfb * 0.8),
            "CacheCacheStatus": rng.choice(CACHE),
            "WorkerStatus": "ok",
            "WorkerSubrequestCount": rng.randrange(4),
        }
        if size:
            record = _sized(record, size)
        if rng.random() < dirt:
            out.append(_dirty(rng, record))
        else:
            # Copied, because the library leaves each result in a buffer ten times its size.
            out.append(bytes(bytearray(orjson.dumps(record))))
    return out


def _sized(record: dict, size: int) -> dict:
    spare = size - len(orjson.dumps(record))
    if spare > 0:
        return record | {"ClientRequestUserAgent": record["ClientRequestUserAgent"] + "x" * spare}
    for name in UNREAD:
        if len(orjson.dumps(record)) > size:
            record = {key: value for key, value in record.items() if key != name}
    return record


def _dirty(rng: random.Random, record: dict) -> bytes:
    kind = rng.randrange(4)
    if kind == 0:
        return orjson.dumps(record)[:-9]
    record["EdgeTimeToFirstByteMs" if kind == 1 else "EdgeResponseStatus"] = rng.choice([None, "12.5", [], 10**18])
    return orjson.dumps(record)
