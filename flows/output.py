"""Block: a run of NDJSON lines that leave the line together; files and tables take the same bytes."""

import datetime
from dataclasses import dataclass
from functools import lru_cache

import orjson


@dataclass(frozen=True, slots=True)
class Block:
    """Lines of one file or table (`kind`) at one time (`at`, ms) and of one metric, rule or dataset (`name`).

    Within a kind, blocks sort by (at, name as bytes); the lines in `data` (NDJSON, each ending in a newline) are sorted.
    """

    kind: str
    at: int
    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Closed:
    """All windows of a dataset that end up to `end` (ms) are closed, with rows or without: a sign of life."""

    dataset: str
    end: int


@dataclass(frozen=True, slots=True)
class About:
    """The notifications behind this one are of a dataset's windows."""

    dataset: str


def canonical(value: object) -> bytes:
    """Give canonical JSON: keys sorted, no spaces, raw UTF-8, shortest floats."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


@lru_cache(64)
def rfc3339(ms: int) -> str:
    """Give a time in ms UTC as RFC 3339, whole seconds without a fraction."""
    seconds, rest = divmod(ms, 1000)
    text = datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest:03d}Z" if rest else f"{text}Z"
