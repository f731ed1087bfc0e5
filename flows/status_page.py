"""Status page: a page and a JSON file for everybody: how each component is, and its last days.

It names components and times, never hosts, rules or figures of alerts.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import orjson

from flows.config import Config
from flows.decision_log import quoted
from flows.output import rfc3339
from flows.report_alerts import stays
from flows.report_source import Range
from flows.report_tables import ReportTables
from flows.status_days import NO_DATA, Calendar, Component, Day, Heard, Spell, component, coverage
from sinks.clickhouse import Queries
from sinks.component_status import OPERATIONAL, STATUSES
from sinks.page import Cell, Column, DayBar, DayBars, Page, Section, Table, Tile, Tiles, Words, html

WORDS = {
    OPERATIONAL: "Operational",
    "degraded_performance": "Degraded performance",
    "partial_outage": "Partial outage",
    "major_outage": "Major outage",
    NO_DATA: "No data",
}
_TONES = {
    OPERATIONAL: "good",
    "degraded_performance": "warning",
    "partial_outage": "partial",
    "major_outage": "critical",
    NO_DATA: "muted",
}
_PAST = 14  # days of which outages are told
_DAY_S = 86_400
_STALE_WINDOWS = 4  # a page that hears nothing for so many windows says so


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What the page says; times in ms."""

    title: str
    made: int
    heard: int | None  # the end of the last window
    stale: bool
    zone: str
    components: tuple[Component, ...]

    @property
    def status(self) -> str:
        """The worst of all components; no data where nothing is heard."""
        if self.stale:
            return NO_DATA
        return max((each.status for each in self.components), key=STATUSES.index, default=OPERATIONAL)


def status_of(config: Config, client: Queries, *, now_ms: int, days: int, zone: ZoneInfo) -> Status:
    """Ask ClickHouse; raises DeliveryError."""
    length = config.window.length_ms
    source = ReportTables(client, "", length)
    edges = day_edges(now_ms, days, zone)
    over = Range(edges[0], edges[-1])
    fired = stays(source.held(over.start), source.transitions(over), over)
    span = source.span()
    starts = source.starts(sorted(source.metrics), over) if source.metrics else np.zeros(0, np.int64)
    calendar = Calendar(edges, coverage(starts, length, edges))
    keys = _heard(client, over)
    found = []
    for name, rules in config.status_page.rules_of(config.rules).items():
        own = [each for each in fired if each.rule in rules]
        found.append(component(name, own, config.status_page, keys, calendar))
    heard = span[1] if span else None
    late = _STALE_WINDOWS * length + config.window.allowed_lateness_ms
    return Status(
        title=config.status_page.title,
        made=now_ms,
        heard=heard,
        stale=heard is None or now_ms - heard > late,
        zone=str(zone),
        components=tuple(found),
    )


def day_edges(now_ms: int, days: int, zone: ZoneInfo) -> list[int]:
    """Give the starts of the last days in a zone, the last one begun, and now."""
    today = datetime.datetime.fromtimestamp(now_ms / 1000, zone).date()
    first = [today - datetime.timedelta(days=days - 1 - number) for number in range(days)]
    starts = [datetime.datetime.combine(day, datetime.time(), zone).timestamp() for day in first]
    return [*(int(start) * 1000 for start in starts), now_ms]


def as_json(status: Status) -> bytes:
    """Write the JSON file."""
    zone = ZoneInfo(status.zone)
    return orjson.dumps(
        {
            "title": status.title,
            "status": status.status,
            "made": rfc3339(status.made),
            "data_until": None if status.heard is None else rfc3339(status.heard),
            "zone": status.zone,
            "components": [_component(each, zone) for each in status.components],
        },
        option=orjson.OPT_INDENT_2,
    )


def page_of(status: Status) -> Page:
    """Make the page."""
    zone = ZoneInfo(status.zone)
    worst = status.status
    said = {OPERATIONAL: "All systems operational", NO_DATA: "Nothing is heard at present"}.get(worst, WORDS[worst])
    tile = Tile(name="All components", value=said, tone=_TONES[worst], note=_until(status, zone))
    length = len(status.components[0].days) if status.components else 0
    bars = [_bars(status, each, zone) for each in status.components]
    lead = f"Checked by machines, as of {_time(status.made, zone)}. Days are those of {status.zone}."
    sections = [
        Section("Now", [Tiles([tile])]),
        Section(f"The last {length} days", bars or [Words("No component is watched.")]),
        Section(f"Outages of the last {_PAST} days", [_past(status, zone)]),
    ]
    return Page(title=status.title, lead=lead, sections=sections, foot="The same for machines: status.json")


def write(status: Status, folder: Path) -> list[Path]:
    """Write index.html and status.json, each at once: whoever reads meanwhile has the old or the new one. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for name, content in (("index.html", html(page_of(status)).encode()), ("status.json", as_json(status) + b"\n")):
        draft = folder / f".{name}.draft"
        draft.write_bytes(content)
        made.append(draft.replace(folder / name))
    return made


def _heard(client: Queries, over: Range) -> Heard:
    """Give how many keys rules heard on a day; on a day that does not say, as many as on another, at most."""
    first, last = (f"toDateTime({moment // 1000}, 'UTC')" for moment in (over.start, over.end))
    rows = client.query(
        "SELECT rule, toFloat64(intDiv(toUnixTimestamp(window_end), 86400)) AS day,"  # noqa: S608
        " toFloat64(uniqExact(toJSONString(key))) AS n"
        f" FROM evaluations WHERE run = {quoted('')} AND window_end > {first} AND window_end <= {last} AND notEmpty(key)"
        " AND (level != 'no_data' OR state_after IN ('firing', 'recovering')) GROUP BY rule, day"
    )
    days: dict[tuple[str, int], int] = {}
    most: dict[str, int] = {}
    for row in rows:
        rule, number = row["rule"], int(row["n"])
        days[rule, int(row["day"])] = number
        most[rule] = max(number, most.get(rule, 0))
    return lambda rule, at: days.get((rule, at // 1000 // _DAY_S), most.get(rule, 0))


def _component(each: Component, zone: ZoneInfo) -> dict[str, Any]:
    return {
        "name": each.name,
        "status": each.status,
        "uptime": each.uptime,
        "days": [
            {"date": _date(day, zone), "status": day.status, "lasted_s": {n: ms // 1000 for n, ms in day.lasted.items()}}
            for day in each.days
        ],
        "outages": [{"status": spell.status, "from": rfc3339(spell.start), "to": rfc3339(spell.end)} for spell in each.outages],
    }


def _bars(status: Status, each: Component, zone: ZoneInfo) -> DayBars:
    days = [DayBar(_TONES[day.status], f"{_date(day, zone)}: {_day_words(day)}") for day in each.days]
    bad = [day for day in each.days if day.status not in (OPERATIONAL, NO_DATA)]
    table = Table(
        caption=f"{each.name}: days that were not well",
        columns=[Column("Day", "plain"), Column("Worst"), Column("For")],
        rows=[[Cell(_date(d, zone)), Cell(WORDS[d.status], _TONES[d.status]), Cell(_day_words(d))] for d in reversed(bad)],
    )
    now = _now(status, each)
    return DayBars(
        title=each.name,
        state=WORDS[now],
        tone=_TONES[now],
        note=_percent(each.uptime),
        days=days,
        first=f"{len(days) - 1} days ago",
        last="today",
        behind=table if bad else None,
    )


def _past(status: Status, zone: ZoneInfo) -> Table | Words:
    since = status.made - _PAST * 86_400_000
    found = [(each.name, spell) for each in status.components for spell in each.outages if spell.end > since]
    if not found:
        return Words(f"None in the last {_PAST} days.")
    columns = [Column("From", "plain"), Column("Component"), Column("What"), Column("For", "plain")]
    ordered = sorted(found, key=lambda pair: (-pair[1].start, pair[0]))
    rows = [
        [Cell(_time(s.start, zone)), Cell(name), Cell(WORDS[s.status], _TONES[s.status]), Cell(_lasted(status, s))]
        for name, s in ordered
    ]
    return Table(caption="What was not well", columns=columns, rows=rows)


def _lasted(status: Status, spell: Spell) -> str:
    return f"{_duration(spell.end - spell.start)}" + (", still" if spell.end >= status.made else "")


def _now(status: Status, each: Component) -> str:
    return NO_DATA if status.stale else each.status


def _until(status: Status, zone: ZoneInfo) -> str:
    return "no data yet" if status.heard is None else f"data until {_time(status.heard, zone)}"


def _day_words(day: Day) -> str:
    if day.status in (OPERATIONAL, NO_DATA):
        return WORDS[day.status].lower()
    order: Sequence[str] = sorted(day.lasted, key=STATUSES.index, reverse=True)
    return ", ".join(f"{WORDS[name].lower()} {_duration(day.lasted[name])}" for name in order)


def _duration(ms: int) -> str:
    minutes = max(round(ms / 60_000), 1)
    hours, minutes = divmod(minutes, 60)
    return " ".join([*([f"{hours} h"] if hours else []), *([f"{minutes} min"] if minutes or not hours else [])])


def _percent(share: float | None) -> str:
    """Write an uptime; what is below 1 is never shown as 100 %."""
    if share is None:
        return "no data"
    shown = 100.0 if share == 1 else min(share * 100, 99.99)
    return f"{shown:.2f} % up" if shown < 100 else "100 % up"  # noqa: PLR2004


def _date(day: Day, zone: ZoneInfo) -> str:
    return f"{datetime.datetime.fromtimestamp(day.start / 1000, zone):%Y-%m-%d}"


def _time(ms: int, zone: ZoneInfo) -> str:
    return f"{datetime.datetime.fromtimestamp(ms / 1000, zone):%Y-%m-%d %H:%M}"
