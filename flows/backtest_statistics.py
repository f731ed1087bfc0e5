"""Backtest statistics: what a configuration would have meant for people: notifications, pages by night, time in each state.

A page is the first word of an episode that reaches a pager (`paging`). Night is 22:00 to 06:00 and the weekend Saturday and
Sunday, by the clock of a zone. A flap is an alert that fires again within an hour of its end.
"""

import datetime
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from flows.alert_state import STATES
from flows.backtest import Decided, StateTimes, Withheld
from flows.labels import SEVERITY_NAMES
from flows.output import canonical, rfc3339
from flows.paging import Pages, pages
from flows.rule import RuleOptions

NIGHT = (22, 6)  # hours
FLAP_MS = 3_600_000
LISTED = 20
_DAY_MS = 86_400_000
_SATURDAY = 5
_BEGINS = ("firing", "reopened")
_ENDS = ("resolved", "forgotten")

Why = Callable[[Withheld, Decided], str]  # which silence, mute time or alert it was


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What was judged: windows that start in [start, end) ms, of which there are some in [first, last)."""

    start: int
    end: int
    first: int
    last: int
    windows: int
    pane_ms: int

    @property
    def days(self) -> float:
        """Give how many days of windows there are."""
        return (self.last - self.first) / _DAY_MS


@dataclass(slots=True)
class _Counts:
    """What was said of one rule, or of one of its keys."""

    notifications: int = 0
    pages: int = 0
    night: int = 0
    weekend: int = 0
    episodes: int = 0
    flaps: int = 0

    def as_dict(self) -> dict[str, int]:
        return {
            "notifications": self.notifications,
            "pages": self.pages,
            "pages_by_night": self.night,
            "pages_at_weekends": self.weekend,
            "episodes": self.episodes,
            "flaps": self.flaps,
        }


@dataclass(slots=True)
class _Days:
    """What was said on one day."""

    notifications: int = 0
    barriers: list[int] = field(default_factory=list)  # of what rang


class Statistics:
    """Adds up what a backtest decided."""

    def __init__(self, rules: Iterable[RuleOptions], pagers: frozenset[str], zone: datetime.tzinfo, why: Why) -> None:
        """Take the rules, the channels that are pagers, whose clock it is, and what says what kept an alert quiet."""
        self._rules = sorted(rules, key=lambda rule: rule.name)
        self._pagers = pagers
        self._zone = zone
        self.why = why
        self._pages = Pages(pagers)
        self._by_rule: dict[str, _Counts] = {rule.name: _Counts() for rule in self._rules}
        self._by_key: dict[tuple[str, str], _Counts] = {}
        self._days: dict[str, _Days] = {}
        self._rings: dict[str, list[int]] = {"all": [], "night": [], "weekend": []}
        self._reasons: Counter[str] = Counter()
        self._severities: Counter[str] = Counter()
        self._moves: Counter[str] = Counter()
        self._withheld: Counter[tuple[str, str, str]] = Counter()
        self._ended: dict[str, int] = {}  # by fingerprint

    def add(self, decided: Decided) -> None:
        """Take what the windows of one end led to."""
        for moved in decided.transitions:
            self._moves[moved.reason] += 1
            if moved.reason in _BEGINS and decided.end - self._ended.get(moved.fingerprint, -FLAP_MS - 1) <= FLAP_MS:
                for counts in self._counts(moved.rule, moved.key):
                    counts.flaps += 1
            if moved.reason in _ENDS:
                self._ended[moved.fingerprint] = decided.end
        local = datetime.datetime.fromtimestamp(decided.end / 1000, self._zone)
        night = local.hour >= NIGHT[0] or local.hour < NIGHT[1]
        weekend = local.weekday() >= _SATURDAY
        for said in decided.notifications:
            day = self._days.setdefault(local.date().isoformat(), _Days())
            rings = self._pages.is_page(said)
            day.notifications += 1
            self._reasons[said.reason] += 1
            self._severities[said.severity] += 1
            for name, holds in (("all", True), ("night", night), ("weekend", weekend)):
                self._rings[name] += [decided.end] if rings and holds else []
            day.barriers += [decided.end] if rings else []
            for counts in self._counts(said.rule, canonical(said.key).decode()):
                counts.notifications += 1
                counts.episodes += said.reason == "first"
                counts.pages += rings
                counts.night += rings and night
                counts.weekend += rings and weekend
        for each in decided.withheld:
            self._withheld[each.rule, each.suppressed_by, self.why(each, decided)] += 1

    def _counts(self, rule: str, key: str) -> Sequence[_Counts]:
        """Give the counts of a rule and of its key."""
        return self._by_rule.setdefault(rule, _Counts()), self._by_key.setdefault((rule, key), _Counts())

    def as_dict(self, judged: Judged, times: Mapping[str, StateTimes]) -> dict[str, Any]:
        """Give all of it as JSON has it (docs/backtest.md says what each number means)."""
        days = judged.days or 1.0
        total = sum(self._reasons.values())
        rung = pages(self._rings["all"])
        return {
            "from": rfc3339(judged.start),
            "to": rfc3339(judged.end),
            "covered": {"from": rfc3339(judged.first), "to": rfc3339(judged.last), "days": round(judged.days, 3)},
            "windows": judged.windows,
            "evaluations": int(sum(counts.sum() for each in times.values() for counts in each.counts.values())),
            "notifications": {
                "total": total,
                "per_day": round(total / days, 3),
                "by_reason": dict(sorted(self._reasons.items())),
                "by_severity": dict(sorted(self._severities.items())),
            },
            "pages": {
                "total": rung,
                "per_week": round(7 * rung / days, 3),
                "by_night": pages(self._rings["night"]),
                "at_weekends": pages(self._rings["weekend"]),
                "pagers": sorted(self._pagers),
            },
            "zone": str(self._zone),
            "transitions": {"total": sum(self._moves.values()), "by_reason": dict(sorted(self._moves.items()))},
            "days": [
                {"day": day, "notifications": each.notifications, "pages": pages(each.barriers)}
                for day, each in sorted(self._days.items())
            ],
            "rules": [self._rule(rule, times[rule.name], judged, days) for rule in self._rules],
            "noisiest_keys": self._noisiest(times, judged.pane_ms),
            "states": [each for rule in self._rules for each in _states(rule.name, times[rule.name], judged.pane_ms)],
            "withheld": [
                {"rule": rule, "suppressed_by": by, "why": why, "count": count}
                for (rule, by, why), count in sorted(self._withheld.items(), key=lambda each: (-each[1], each[0]))
            ],
        }

    def _rule(self, rule: RuleOptions, times: StateTimes, judged: Judged, days: float) -> dict[str, Any]:
        counts = self._by_rule[rule.name]
        withheld: Counter[str] = Counter()
        for (name, by, _), count in self._withheld.items():
            if name == rule.name:
                withheld[by] += count
        every = sum(times.counts.values(), np.zeros(len(STATES), np.int64))
        return {
            "rule": rule.name,
            "kind": rule.kind,
            "keys": len(times.counts),
            **counts.as_dict(),
            "notifications_per_day": round(counts.notifications / days, 3),
            "pages_per_week": round(7 * counts.pages / days, 3),
            "withheld": dict(sorted(withheld.items())),
            "evaluations": int(every.sum()),
            "seconds": _seconds(every.tolist(), judged.pane_ms),
        }

    def _noisiest(self, times: Mapping[str, StateTimes], pane_ms: int) -> list[dict[str, Any]]:
        """Give the keys of which most is said, the noisiest first."""
        found = [each for each in self._by_key.items() if each[1].notifications]
        found.sort(key=lambda each: (-each[1].notifications, each[0]))
        out = []
        for (rule, key), counts in found[:LISTED]:
            states = times[rule].counts.get(key) if rule in times else None
            seconds = {} if states is None else _seconds(states.tolist(), pane_ms)
            out.append({"rule": rule, "key": orjson.loads(key), **counts.as_dict(), "seconds": seconds})
        return out


def _states(rule: str, times: StateTimes, pane_ms: int) -> Iterable[dict[str, Any]]:
    """Give how long each key was in each state; keys that were inactive all the time are left out."""
    for key, counts in sorted(times.counts.items()):
        if counts[1:].any():
            yield {"rule": rule, "key": orjson.loads(key), "seconds": _seconds(counts.tolist(), pane_ms)}


def _seconds(counts: Sequence[int], pane_ms: int) -> dict[str, int]:
    return {name: count * pane_ms // 1000 for name, count in zip(STATES, counts, strict=True)}


def withheld_line(withheld: Withheld, why: str) -> bytes:
    """Give the line of `withheld.ndjson`."""
    record = {
        "at": rfc3339(withheld.at),
        "rule": withheld.rule,
        "key": orjson.Fragment(withheld.key),
        "severity": SEVERITY_NAMES[withheld.severity],
        "reason": withheld.reason,
        "suppressed_by": withheld.suppressed_by,
        "why": why,
    }
    return canonical(record) + b"\n"
