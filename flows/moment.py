"""Moment: a time as people give it to a command: RFC 3339 with its zone, or so long ago, as in -2h."""

import datetime
import re

_RELATIVE = re.compile(r"-(\d+)(s|m|h|d)")
_DURATION = re.compile(r"(\d+)(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def moment(text: str, now: float) -> int:
    """Give ms UTC; `now` (seconds) is what a relative time counts from. Raises ValueError with what is wrong."""
    relative = _RELATIVE.fullmatch(text)
    if relative:
        return (int(now) - int(relative[1]) * _SECONDS[relative[2]]) * 1000
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("give a time such as 2025-12-01T00:00:00Z, or -2h") from None
    if found.tzinfo is None:
        raise ValueError(f"say the zone, as in {text}Z")
    return int(found.timestamp() * 1000)


def duration(text: str) -> int:
    """Give ms of a duration such as 90s, 5m, 1h or 1d. Raises ValueError with what is wrong."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError("give a duration such as 90s, 5m, 1h or 1d")
    return int(found[1]) * _SECONDS[found[2]] * 1000


def day_words(ms: int) -> str:
    """Write a time in ms UTC to the minute, without what a day's start does not need."""
    found = datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC)
    return found.strftime("%Y-%m-%d" if not ms % 86_400_000 else "%Y-%m-%d %H:%M")
