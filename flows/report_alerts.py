"""Report alerts: which rules fired, for how long, who was told, what was kept quiet, and each episode.

How long an alert fired follows from its transitions; one that fired already when the range began is known by its last
transition before. A window without rows changes no state, so an alert goes on through it.
"""

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from flows.paging import Pages, pages
from flows.report_measures import Content
from flows.report_source import Range, Source

FIRING = frozenset({"firing", "recovering"})
_NIGHT = (22, 6)  # hours of the day
_WEEKEND = 5  # Saturday
_MOST_EPISODES = 200


@dataclass(frozen=True, slots=True)
class Stay:
    """An alert in one state over [start, end) ms."""

    rule: str
    key: str
    state: str
    episode: str
    severity: str | None
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Said:
    """What of a notification decides whether it rings somebody."""

    episode: str
    status: str
    severity: str
    channels: tuple[str, ...]


def stays(held: Sequence[Content], transitions: Sequence[Content], over: Range) -> list[Stay]:
    """Give what states alerts were in over the range, by rule, key and time; inactive is left out."""
    last: dict[tuple[str, str], Content] = {}
    out = []
    for row in [*held, *transitions]:
        place = row["rule"], row["key"]
        before = last.get(place)
        if before is not None:
            out.append(_stay(before, over.start, row["at"]))
        last[place] = row
    out += [_stay(row, over.start, over.end) for row in last.values()]
    return sorted(
        (each for each in out if each.state != "inactive" and each.end > each.start),
        key=lambda each: (each.rule, each.key, each.start),
    )


def _stay(row: Content, start: int, end: int) -> Stay:
    begun = max(start, row["at"])
    return Stay(row["rule"], row["key"], row["to"], row["episode"], row["severity"], begun, end)


def paged(notifications: Iterable[Content], pagers: frozenset[str]) -> list[bool]:
    """Tell of each notification whether it rings somebody."""
    counts = Pages(pagers)
    return [counts.is_page(Said(r["episode"], r["status"], r["severity"], tuple(r["channels"]))) for r in notifications]


def alerts(source: Source, over: Range, pagers: frozenset[str], zone: ZoneInfo) -> Content:
    """Give the section."""
    said = source.notifications(over)
    rings = paged(said, pagers)
    states = stays(source.held(over.start), source.transitions(over), over)
    rung = [row["at"] for row, rang in zip(said, rings, strict=True) if rang]
    episodes = _episodes(said, states, over)
    return {
        "notifications": len(said),
        "pages": pages(rung),
        "pages_at_night": pages(at for at in rung if _at_night(at, zone)),
        "pages_on_weekends": pages(at for at in rung if _moment(at, zone).weekday() >= _WEEKEND),
        "episodes": len(episodes),
        "pagers": sorted(pagers),
        "rules": _rules(said, rings, states, episodes),
        "channels": _channels(said),
        "kept_quiet": [{"rule": rule, "by": kept, "evaluations": count} for rule, kept, count in source.quiet(over)],
        "list": episodes[:_MOST_EPISODES],
    }


def _rules(said: list[Content], rings: list[bool], states: list[Stay], episodes: list[Content]) -> list[Content]:
    rows: dict[str, Content] = {}

    def row(rule: str) -> Content:
        fresh = {"episodes": 0, "pages": 0, "notifications": 0, "firing_ms": 0, "longest_ms": 0, "worst": None}
        return rows.setdefault(rule, {"rule": rule, **fresh})

    for each in episodes:
        found = row(each["rule"])
        found["episodes"] += 1
        found["longest_ms"] = max(found["longest_ms"], each["firing_ms"])
        found["worst"] = "critical" if "critical" in (found["worst"], each["severity"]) else each["severity"]
    for each, rang in zip(said, rings, strict=True):
        row(each["rule"])["notifications"] += 1
        row(each["rule"])["pages"] += rang
    for stay in states:
        if stay.state in FIRING:
            row(stay.rule)["firing_ms"] += stay.end - stay.start
    return sorted(rows.values(), key=lambda each: (-each["pages"], -each["firing_ms"], each["rule"]))


def _episodes(said: list[Content], states: list[Stay], over: Range) -> list[Content]:
    """Give each time that an alert fired, the newest first; one that fired before the range starts with its episode."""
    found: dict[str, Content] = {}
    for stay in states:
        if stay.state not in FIRING:
            continue
        fresh = {
            "rule": stay.rule,
            "key": orjson.loads(stay.key),
            "severity": stay.severity,
            "start": began(stay.episode, stay.start),
        }
        row = found.setdefault(stay.episode, fresh | {"end": None, "firing_ms": 0, "peak": None, "channels": [], "title": ""})
        row["firing_ms"] += stay.end - stay.start
        row["end"] = stay.end if stay.end < over.end else None
        row["severity"] = "critical" if "critical" in (row["severity"], stay.severity) else stay.severity
    for each in said:
        told = found.get(each["episode"])
        if told is None:
            continue
        told["channels"] = sorted({*told["channels"], *each["channels"]})
        if each["status"] == "firing":
            told["title"] = told["title"] or each["title"]
            told["peak"] = _worse(told["peak"], each["value"], each["threshold"])
    return sorted(found.values(), key=lambda row: (-row["start"], row["rule"], orjson.dumps(row["key"])))


def began(episode: str, otherwise: int) -> int:
    """Give when an episode began (ms), which its name ends with."""
    number = episode.rpartition(":")[2]
    return int(number) * 1000 if number.isdigit() else otherwise


def _worse(known: float | None, value: float | None, threshold: float | None) -> float | None:
    """Give the value farther beyond the threshold, of those that were said."""
    if value is None or known is None:
        return known if value is None else value
    if threshold is not None and value < threshold:
        return min(known, value)
    return max(known, value)


def _channels(said: list[Content]) -> list[Content]:
    counts: dict[str, list[int]] = {}
    for row in said:
        for channel in row["channels"]:
            pair = counts.setdefault(channel, [0, 0])
            pair[row["status"] == "resolved"] += 1
    nobody = sum(not row["channels"] for row in said)
    rows: list[Content] = [{"channel": name, "firing": n[0], "resolved": n[1]} for name, n in sorted(counts.items())]
    return rows + ([{"channel": None, "firing": nobody, "resolved": 0}] if nobody else [])


def _moment(ms: int, zone: ZoneInfo) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(ms / 1000, zone)


def _at_night(ms: int, zone: ZoneInfo) -> bool:
    hour = _moment(ms, zone).hour
    return hour >= _NIGHT[0] or hour < _NIGHT[1]


def by_stretch(said: Sequence[Any], edges: Sequence[int]) -> dict[str, list[int]]:
    """Count what was said firing, by severity, between neighbouring edges."""
    out = {severity: [0] * (len(edges) - 1) for severity in ("critical", "warning")}
    for row in said:
        place = sum(edge < row["at"] for edge in edges) - 1
        if row["status"] == "firing" and row["severity"] in out and 0 <= place < len(edges) - 1:
            out[row["severity"]][place] += 1
    return out
