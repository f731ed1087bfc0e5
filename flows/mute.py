"""Mute: times that come again, in which some alerts are kept quiet: nights, weekends, the hour of a deployment.

Judged by the wall clock of a zone at the window's end, in event time, so a replay mutes what was muted. When clocks go
forward, an hour that does not exist mutes nothing; when they go back, an hour that comes twice mutes both times.
"""

import calendar
import datetime
import re
import zoneinfo
from collections.abc import Iterable
from dataclasses import dataclass, field

from flows.matcher import Match, Matchers, match_problems, parse_match

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SPAN = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)")
_DAY = 24 * 60
_DAYS, _MONTHS = 31, 12


@dataclass(frozen=True, slots=True, kw_only=True)
class MuteOptions:
    """One `[[mute]]` table; what is left out restricts nothing."""

    name: str = field(metadata={"help": "what it is for"})
    match: Match = field(default_factory=dict, metadata={"help": "labels of the alerts it mutes; empty: all"})
    times: tuple[str, ...] = field(
        default=(), metadata={"help": "from-to; beyond midnight they belong to the day they begin on"}
    )
    weekdays: tuple[str, ...] = field(default=(), metadata={"help": "mon to sun, or ranges of them"})
    days: tuple[int, ...] = field(
        default=(), metadata={"unit": "day of the month", "help": "days of the month; -1 is the last"}
    )
    months: tuple[int, ...] = field(default=(), metadata={"unit": "month", "help": "1 to 12"})
    zone: str = field(default="UTC", metadata={"help": "whose clock it is, such as Europe/Berlin"})
    except_critical: bool = field(default=False, metadata={"help": "critical alerts are not muted"})

    def problems(self) -> Iterable[tuple[str, str]]:
        """Yield (key, problem) for what the types cannot say."""
        yield from (("match", problem) for problem in match_problems(self.match))
        yield from self._time_problems()
        for text in self.weekdays:
            if _weekdays(text) is None:
                yield "weekdays", f"{text!r} is not one of {', '.join(WEEKDAYS)}, or a range such as mon-fri"
        yield from (("days", f"{day} is not 1 to 31, or -1 to -31") for day in self.days if not 1 <= abs(day) <= _DAYS)
        yield from (("months", f"{month} is not 1 to 12") for month in self.months if not 1 <= month <= _MONTHS)

    def _time_problems(self) -> Iterable[tuple[str, str]]:
        for text in self.times:
            span = _span(text)
            if span is None:
                yield "times", f'{text!r} is not a span of times such as "22:00-06:00" or "12:00-24:00"'
            elif span[0] == span[1]:
                yield "times", f"{text!r} is empty; leave times out for the whole day"
        try:
            _zone(self.zone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            yield "zone", f"{self.zone!r} is not a time zone of this machine; they are called like Europe/Berlin"


class Mute:
    """A mute made ready."""

    def __init__(self, options: MuteOptions) -> None:
        """Take valid options."""
        self.matchers: Matchers = parse_match(options.match)
        self.except_critical = options.except_critical
        self._zone = _zone(options.zone)
        self._spans = [span for text in options.times if (span := _span(text)) is not None] or [(0, _DAY)]
        self._weekdays = frozenset(day for text in options.weekdays for day in _weekdays(text) or ())
        self._days, self._months = frozenset(options.days), frozenset(options.months)

    def holds(self, at: int) -> bool:
        """Tell whether it mutes at a time (ms UTC)."""
        local = datetime.datetime.fromtimestamp(at / 1000, self._zone)
        minute = local.hour * 60 + local.minute
        today = local.date()
        for begin, end in self._spans:
            if begin < end:
                if begin <= minute < end and self._on(today):
                    return True
            elif (minute >= begin and self._on(today)) or (minute < end and self._on(today - datetime.timedelta(days=1))):
                return True
        return False

    def _on(self, day: datetime.date) -> bool:
        last = calendar.monthrange(day.year, day.month)[1]
        return (
            (not self._weekdays or day.weekday() in self._weekdays)
            and (not self._days or bool(self._days & {day.day, day.day - last - 1}))
            and (not self._months or day.month in self._months)
        )


def _zone(name: str) -> datetime.tzinfo:
    """Give a zone; UTC also on a machine without any."""
    return datetime.UTC if name == "UTC" else zoneinfo.ZoneInfo(name)


def _span(text: str) -> tuple[int, int] | None:
    """Read a span as minutes of the day, [begin, end)."""
    found = _SPAN.fullmatch(text)
    if found is None:
        return None
    hours, minutes, end_hours, end_minutes = map(int, found.groups())
    end = end_hours * 60 + end_minutes
    return (hours * 60 + minutes, end) if end <= _DAY else None


def _weekdays(text: str) -> list[int] | None:
    """Read a day or a range of days; a range may go over the end of the week."""
    first, dash, last = text.partition("-")
    last = last if dash else first
    if first not in WEEKDAYS or last not in WEEKDAYS:
        return None
    begin, end = WEEKDAYS.index(first), WEEKDAYS.index(last)
    return [day % 7 for day in range(begin, end + 1 if end >= begin else end + 8)]
