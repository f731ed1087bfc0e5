"""Wording: the title and text of a notification, in words that are read at three in the morning.

A title says what is wrong, where, how bad, and against which limit; a text what happened, the facts, and the limits.
"""

from functools import lru_cache
from typing import TYPE_CHECKING

from flows.amount import amount, measured
from flows.kind_words import (
    clear_words,
    evidence_words,
    limit_words,
    over_words,
    rule_words,
    shown_as,
    state_words,
    worst_words,
)
from flows.output import rfc3339
from flows.rule import CRITICAL, WARNING
from sinks.notification import duration, one_line

if TYPE_CHECKING:
    from flows.notify import Saying

_NAMES = {WARNING: "warning", CRITICAL: "critical"}
_DIGITS = (3, 4, 5, 7, 9, 12, 17)


def words_of(saying: "Saying", key: dict[str, str]) -> tuple[str, str]:
    """Give title and text; a title is like `High error rate on a.example.com: 12.4 % (critical above 5 %)`."""
    now = _measured(saying, saying.value)
    text = " ".join(filter(None, (_event(saying), _facts(saying, now), _limits(saying), _worst(saying))))
    return _title(saying, key, now), one_line(text)


def _title(saying: "Saying", key: dict[str, str], now: str) -> str:
    where = f" on {', '.join(key.values())}" if key else ""
    name = rule_words(saying.rule)
    head = f"{name[:1].upper()}{name[1:]}{where}"
    if saying.reason == "forgotten":
        return f"{head}: no data any more"
    if saying.reason == "resolved":
        return f"{head}: {over_words(saying, now)}"
    if saying.reason == "flapping":
        # The value of the moment may well be a good one.
        worst = worst_words(saying.rule, _measured(saying, saying.peak)) if _has_worst(saying) else ""
        return f"{head}: fires and clears again and again{f', worst {worst}' if worst else ''}"
    if _at_all(saying):
        return f"{head}: {_times(saying, now)}"
    limit = _limit(saying, saying.severity)
    return f"{head}: {state_words(saying, now)} ({limit})" if limit else f"{head}: {state_words(saying, now)}"


def _event(saying: "Saying") -> str:
    if saying.reason == "first":
        return ""
    lasted = duration(saying.at - saying.start)
    match saying.reason:
        case "escalated":
            said = f"Up from warning to critical, {lasted} after it began."
        case "de-escalated":
            said = f"Down from critical to warning, {lasted} after it began."
        case "reopened":
            said = f"Back within the cooldown: the episode of {_minute(saying.start)} UTC goes on."
        case "repeat":
            said = f"Not over after {lasted}."
        case "unacknowledged":
            said = f"Nobody has silenced it, and it is not over after {lasted}."
        case "flapping":
            said = "Held as firing, without more words until it settles."
        case "resolved":
            said = f"Over after {lasted}."
        case "forgotten":
            said = f"Closed after {lasted}: no data for more than {duration(saying.rule.options.forget_after_ms)}."
        case _:
            said = ""
    return said


def _facts(saying: "Saying", now: str) -> str:
    options = saying.rule.options
    plain = options.statistic in ("ratio", "count", "distinct")
    what = options.metric if plain else f"{options.metric} {options.statistic}"
    if saying.reason == "forgotten":
        return ""
    if "early" in saying.facts:
        return _early(saying)
    span = f"{_minute(saying.window_start)} to {_minute(saying.at)[11:]} UTC"
    if saying.rule.options.kind not in ("threshold", "event"):
        return f"{evidence_words(saying, now)}, {span}."
    if saying.value is None:
        return f"{what}: no data, {span}."
    if _at_all(saying):
        return f"{now} of {what}, {span}."
    records = f"{saying.count:,} record{'' if saying.count == 1 else 's'}".replace(",", " ")
    few = ", too few to judge" if saying.level == "insufficient" else ""
    return f"{what} was {now} ({records}{few}), {span}."


def _at_all(saying: "Saying") -> bool:
    """Tell whether it is an event of which one is too many: there are no limits to speak of."""
    return saying.rule.options.kind == "event" and not saying.limit and saying.value is not None


def _times(saying: "Saying", now: str) -> str:
    if "early" in saying.facts:
        return "happened just now"
    return "happened once" if saying.value == 1 else f"happened {now} times"


def _early(saying: "Saying") -> str:
    """Say of an event that is said at once by which record, and what is not known yet."""
    record = saying.exemplars[0]
    ray = f"ray {record.ray_id}, " if record.ray_id else ""
    place = f"{ray}{record.partition} offset {record.offset}"
    happened = f"{rfc3339(record.event_time)[:19].replace('T', ' ')} UTC"
    return (
        f"Said at once, by one record of {saying.rule.options.metric} at {happened} ({place})."
        f" Its window is open until {_minute(saying.at)[11:]} UTC, so how many there are is not known yet."
    )


def _limits(saying: "Saying") -> str:
    rule = saying.rule
    if _at_all(saying):
        return ""
    if rule.options.kind in ("threshold", "event"):  # the same for all its alerts
        warning, critical = rule.threshold(WARNING), rule.threshold(CRITICAL)
        return _plain_limits(rule.sign, warning, critical, rule.recover, *shown_as(rule))
    limits = ", ".join(limit for severity in (CRITICAL, WARNING) if (limit := _limit(saying, severity)))
    clear = clear_words(saying) or f"clear at {_amount(saying, saying.rule.recover)}"
    return f"Limits: {limits}; {clear}." if limits else f"{clear[:1].upper()}{clear[1:]}."


@lru_cache(1024)
def _plain_limits(  # noqa: PLR0913 (what is remembered is known by these)
    sign: int, warning: float | None, critical: float | None, recover: float, statistic: str, unit: str
) -> str:
    pairs = [(severity, limit) for severity, limit in ((CRITICAL, critical), (WARNING, warning)) if limit is not None]
    limits = ", ".join(_beyond(severity, sign, limit, statistic, unit) for severity, limit in pairs)
    clear = f"clear at {amount(recover, statistic, unit)}"
    return f"Limits: {limits}; {clear}." if limits else f"{clear[:1].upper()}{clear[1:]}."


def _worst(saying: "Saying") -> str:
    if not _has_worst(saying) or saying.reason in ("first", "escalated"):
        return ""
    plural = "" if saying.breaches == 1 else "s"
    return f"Worst {worst_words(saying.rule, _measured(saying, saying.peak))}, {saying.breaches} window{plural} beyond a limit."


def _has_worst(saying: "Saying") -> bool:
    return saying.peak is not None and saying.rule.options.kind not in ("absence", "composite")


def _limit(saying: "Saying", severity: int) -> str:
    own = limit_words(saying, severity)
    if own is not None:
        return own
    limit = saying.rule.threshold(severity)
    return "" if limit is None else _beyond(severity, saying.rule.sign, limit, *shown_as(saying.rule))


@lru_cache(4096)
def _beyond(severity: int, sign: int, limit: float, statistic: str, unit: str) -> str:
    return f"{_NAMES[severity]} {'above' if sign > 0 else 'below'} {amount(limit, statistic, unit)}"


def _measured(saying: "Saying", value: float | None) -> str:
    """Write a measured value with as many digits as it takes to tell it from the limits."""
    if value is None:
        return "no data"
    statistic, unit = shown_as(saying.rule)
    limits = saying.rule.options.thresholds
    written = _written(limits.warning, limits.critical, statistic, unit)
    others = [text for limit, text in written if limit != value]
    for digits in _DIGITS:
        text = measured(value, statistic, unit, digits)
        if text not in others:
            break
    return text


@lru_cache(1024)
def _written(warning: float | None, critical: float | None, statistic: str, unit: str) -> list[tuple[float, str]]:
    """Give limits with how they are written."""
    return [(limit, amount(limit, statistic, unit)) for limit in (warning, critical) if limit is not None]


def _amount(saying: "Saying", value: float) -> str:
    return amount(value, *shown_as(saying.rule))


@lru_cache(4096)
def _minute(ms: int) -> str:
    """Write a time (UTC) as `2025-12-01 00:05`, with seconds where there are any."""
    return rfc3339(ms)[: 19 if ms % 60_000 else 16].replace("T", " ")
