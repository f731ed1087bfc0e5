"""Report numbers: counts, shares, amounts, times and changes as a report writes them."""

import datetime
from collections.abc import Callable, Mapping
from functools import lru_cache

from flows.amount import amount
from sinks.notification import duration

NO_DATA = "no data"
_DIGITS = 4
_SAME, _TENFOLD = 0.0005, 10  # changes that would be written as 0.0 %, and that need no digits


def whole(value: float | None) -> str:
    """Write a count."""
    return NO_DATA if value is None else f"{round(value):,}".replace(",", " ")


def share(value: float | None) -> str:
    """Write a share as per cent."""
    return NO_DATA if value is None else amount(value, "ratio", "", _DIGITS)


def measured(value: float | None, unit: str) -> str:
    """Write a value with its unit."""
    return NO_DATA if value is None else amount(value, "mean", unit, _DIGITS)


def rate(value: float | None) -> str:
    """Write a rate."""
    return NO_DATA if value is None else f"{amount(value, 'mean', '', _DIGITS)}/s"


def lasted(ms: int) -> str:
    """Write a length of time."""
    return duration(ms) if ms else "0 min"


def key_words(key: Mapping[str, str]) -> str:
    """Write a key: its values alone, `all` for the total."""
    return ", ".join(key.values()) or "all"


@lru_cache(65_536)
def when(ms: int, zone: datetime.tzinfo) -> str:
    """Write a time to the minute, with seconds where there are any."""
    at = datetime.datetime.fromtimestamp(ms / 1000, zone)
    return f"{at:%Y-%m-%d %H:%M:%S}" if at.second else f"{at:%Y-%m-%d %H:%M}"


def change(now: float | None, before: float | None, write: Callable[[float], str]) -> str:
    """Say what a number was in the period before, and by how much it differs."""
    if now is None or before is None:
        return ""
    part = now / before - 1 if before else 0.0
    if abs(part) < _SAME:
        return f"{write(before)} before"
    shown = f"{abs(part) * 100:.1f}" if abs(part) < _TENFOLD else f"{abs(part) * 100:.0f}"
    return f"{write(before)} before, {'up' if part > 0 else 'down'} {shown} %"
