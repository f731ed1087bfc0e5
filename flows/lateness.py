"""Lateness: from how late records come to what is recommended for `allowed_lateness`, in words; pure."""

from collections.abc import Mapping
from typing import Any

from connectors.lateness import Delays
from flows.output import rfc3339
from sinks.notification import duration, number

SHARE = 0.999  # of the records that an allowed lateness should cover
RESERVE = 1.5
FAR_MORE = 4
ENOUGH = 1000  # records from which on the share can be told
MOST_LATE = 0.01
_SECOND = 1000
_STEPS_S = (10, 20, 30, 45, 60, 90, 120, 180, 300, 600, 900, 1200, 1800, 2700, 3600, 5400, 7200, 10_800, 21_600, 43_200, 86_400)


def recommended(delays: Delays) -> int:
    """Give what covers nearly all records, with some reserve, rounded up to what people write (ms)."""
    needed = delays.at(SHARE) * RESERVE
    return next((step * _SECOND for step in _STEPS_S if step * _SECOND >= needed), _STEPS_S[-1] * _SECOND)


def late_share(delays: Delays) -> float:
    """Give the share of records that are late as it is configured."""
    return delays.late / len(delays.delays) if len(delays.delays) else 0.0


def is_fine(delays: Delays) -> bool:
    """Tell whether few enough records are late."""
    return late_share(delays) <= MOST_LATE


def words(delays: Delays) -> str:
    """Say what was measured and what is recommended, and why."""
    count = len(delays.delays)
    if not count or delays.first is None or delays.last is None:
        return "no records to measure lateness on"
    span = f"{rfc3339(delays.first // _SECOND * _SECOND)} to {rfc3339(delays.last // _SECOND * _SECOND)}"
    figures = ", ".join(f"{_length(delays.at(share))} {name}" for name, share in _SHARES)
    allowed = written(delays.allowed_ms)
    measured = f"{number(count)} records, {span}, come behind the newest by {figures}"
    return f"{measured}; with allowed_lateness {allowed} {late_share(delays):.2%} are late. {_advice(delays)}"


def _advice(delays: Delays) -> str:
    best, allowed = recommended(delays), delays.allowed_ms
    reason = f"99.9% come within {_length(delays.at(SHARE))}, and half as much again is kept in reserve"
    few = "" if len(delays.delays) >= ENOUGH else "; so few records are a guess only"
    if allowed < delays.at(SHARE) or not is_fine(delays):
        return f'Recommended: allowed_lateness = "{written(best)}" ({reason}{few}).'
    if allowed > FAR_MORE * best:
        waits = f"every window closes {duration(allowed - best)} later than it could"
        return f'That is far more than needed, and {waits}; allowed_lateness = "{written(best)}" would do ({reason}{few}).'
    return f"That fits: 99.9% come within {_length(delays.at(SHARE))}{few}."


def facts(delays: Delays) -> Mapping[str, Any]:
    """Give the same for machines; lengths in ms."""
    return {
        "topic": delays.topic,
        "partitions": delays.partitions,
        "messages": delays.messages,
        "records": len(delays.delays),
        "delay_ms": {name: delays.at(share) for name, share in _KEYS},
        "allowed_lateness_ms": delays.allowed_ms,
        "late_share": late_share(delays),
        "recommended_ms": recommended(delays) if len(delays.delays) else None,
        "recommended": written(recommended(delays)) if len(delays.delays) else None,
    }


_SHARES = (("(p50)", 0.5), ("(p99)", 0.99), ("(p99.9)", SHARE), ("at most", 1.0))
_KEYS = (("p50", 0.5), ("p99", 0.99), ("p999", SHARE), ("max", 1.0))


def written(ms: int) -> str:
    """Give a length as the configuration has it."""
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if ms and ms % size == 0:
            return f"{ms // size}{unit}"
    return f"{ms}ms" if ms else "0s"


def _length(ms: int) -> str:
    return duration(ms) if ms >= _SECOND else f"{number(ms / _SECOND)} s"
