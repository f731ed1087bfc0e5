"""The answer that every contender has to give, and the check that it did: a faster way to another answer is no contender.

Rows are tuples (window start in ms UTC, host) -> Row. Windows, counts and error rates have to be the same numbers, means equal
within what the order of additions changes, and p99 is the one interpolated between the two nearest values, as numpy has it.
"""

import datetime
import json
import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

WINDOW_MS = 300_000
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of a host in a window; times in ms."""

    count: int
    error_rate: float
    mean: float
    p99: float


class DifferenceError(Exception):
    """A contender's rows are not the expected ones; the message names the first that differs."""


def expected(lines):
    """Compute the rows of NDJSON records, apart from all contenders."""
    times: dict[tuple[int, str], list[float]] = defaultdict(list)
    errors: dict[tuple[int, str], int] = defaultdict(int)
    for line in lines:
        record = orjson.loads(line)
        ms = record["EdgeEndTimestamp"] // 1_000_000
        key = ms - ms % WINDOW_MS, record["ClientRequestHost"]
        times[key].append(record["EdgeTimeToFirstByteMs"])
        errors[key] += record["EdgeResponseStatus"] >= 400
    return {
        key: Row(len(found), errors[key] / len(found), math.fsum(found) / len(found), float(np.percentile(found, 99)))
        for key, found in times.items()
    }


def answered(path):
    """Read the rows that a contender wrote: objects with start (ms), host, count, error_rate, mean and p99."""
    found = {}
    for line in path.read_bytes().splitlines():
        row = json.loads(line)
        key = row["start"], row["host"]
        if key in found:
            raise DifferenceError(f"{key} is there twice")
        found[key] = Row(row["count"], row["error_rate"], row["mean"], row["p99"])
    return found


def answered_by_edgewatch(path):
    """Read the same from the window file of edgewatch, which has a row a statistic, and totals that nobody else has."""
    found: dict[tuple[int, str], dict[tuple[str, str], Any]] = defaultdict(dict)
    for line in path.read_bytes().splitlines():
        row = orjson.loads(line)
        host = row["key"].get("ClientRequestHost")
        if host is None:
            continue
        start = datetime.datetime.fromisoformat(row["window_start"])
        found[int(start.timestamp() * 1000), host][row["metric"], row["statistic"]] = row["value"]
    wanted = (("requests", "count"), ("error_rate", "ratio"), ("response_time", "mean"), ("response_time", "p99"))
    return {key: Row(*(values[each] for each in wanted)) for key, values in found.items()}


def check(rows, wanted, *, p99_within=ROUNDING):
    """Raise DifferenceError unless the rows are the wanted ones; `p99_within` is the relative error of an approximation.

    Gives the largest relative error of a p99 that was found.
    """
    if missing := sorted(wanted.keys() - rows.keys()):
        raise DifferenceError(f"{len(missing)} of {len(wanted)} rows are missing, the first {missing[0]}")
    if more := sorted(rows.keys() - wanted.keys()):
        raise DifferenceError(f"{len(more)} rows are too many, the first {more[0]}")
    for key, right in sorted(wanted.items()):
        row = rows[key]
        for name, bound in (("count", 0.0), ("error_rate", 0.0), ("mean", ROUNDING), ("p99", p99_within)):
            given, due = getattr(row, name), getattr(right, name)
            if not abs(given - due) <= bound * abs(due):  # so a NaN differs
                raise DifferenceError(f"{name} of {key} is {given!r}, not {due!r}")
    return max(abs(rows[key].p99 - right.p99) / abs(right.p99) for key, right in wanted.items())
