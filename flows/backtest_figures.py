"""Backtest figures: a rule's timeline on a key, what was said by day, and the front of a sweep."""

import datetime
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from flows.amount import amount
from flows.paging import Pages
from flows.report_numbers import key_words, lasted, whole
from flows.timeline import Timeline
from sinks.chart import Limit, Line, Mark, Point, Scatter, Span, TimeChart, thin, with_gaps
from sinks.notification import one_line
from sinks.page import Block, Cell, Code, Column, Figure, Table, Tile, Tiles, Words

if TYPE_CHECKING:
    from flows.backtest_page import Told

_MOST_MARKS = 2000
_POINTS = 400_000  # of all timelines of a page together
_MINUTE_MS = 60_000


def timeline_figure(timeline: Timeline, told: "Told") -> Figure:
    """Draw one rule on one key: value, limits, states, incidents, and what was said."""
    most = max(1000, min(20_000, _POINTS // len(told.timelines)))
    made = thin(timeline.starts, [timeline.values], most)
    step = int(np.diff(timeline.starts).min()) if len(timeline.starts) > 1 else told.over.length
    times, columns = with_gaps(made.times, made.columns, step if made.each == 1 else made.each * step // 2)
    pagers = Pages(frozenset(told.found["pages"]["pagers"]))
    marks = [
        Mark(
            at=each.at,
            text=each.title,
            kind="resolved" if each.status == "resolved" else each.severity,
            pager=pagers.is_page(each),
        )
        for each in timeline.said
    ]
    chart = TimeChart(
        unit=timeline.unit,
        times=times,
        lines=[Line(name=_named(timeline), values=columns[0])],
        shown=(told.over.start, told.over.end),
        step=step if made.each == 1 else made.each * step // 2,
        limits=[_limit(timeline, *limit) for limit in timeline.limits],
        states=[Span(start=each.start, end=each.end, name=each.state) for each in timeline.stays],
        incidents=[Span(start=each.start, end=each.end, name=each.name) for each in timeline.incidents],
        marks=marks[:_MOST_MARKS],
        zone=str(told.zone),
    )
    return Figure(title=_title(timeline), chart=chart, note=_note(timeline, made.each, max(len(marks) - _MOST_MARKS, 0)))


def _title(timeline: Timeline) -> str:
    return f"{timeline.rule.name} on {one_line(key_words(orjson.loads(timeline.key)))}"


def _named(timeline: Timeline) -> str:
    rule = timeline.rule
    if not timeline.shows:
        return f"no value: {rule.kind} of {', '.join(rule.members)}"
    return f"{rule.metric} {timeline.shows}"


def _limit(timeline: Timeline, severity: str, value: float) -> Limit:
    low = timeline.rule.below is not None
    words = f"{severity} {'below' if low else 'above'} {amount(value, 'mean', timeline.unit, 6)}"
    return Limit(name=words, value=value, tone=severity, low=low)


def _note(timeline: Timeline, each: int, more: int) -> str:
    words = []
    if not timeline.judged and timeline.shows:
        words.append(f"A rule of kind {timeline.rule.kind} judges more than this value, so no limit is drawn.")
    if each > 1:
        words.append(f"The least and the greatest of {each} windows at a time.")
    if more:
        words.append(f"{more} more messages are not marked.")
    if not len(timeline.starts) and timeline.shows:
        words.append("There was no row.")
    return " ".join(words)


def days_figure(told: "Told") -> Figure:
    """Draw pages and other messages a day."""
    edges = _midnights(told)
    rows = {row["day"]: row for row in told.found["days"]}
    names = [f"{datetime.datetime.fromtimestamp(edge / 1000, told.zone):%Y-%m-%d}" for edge in edges]
    pages = np.array([rows.get(name, {}).get("pages", 0) for name in names], np.float64)
    said = np.array([rows.get(name, {}).get("notifications", 0) for name in names], np.float64)
    chart = TimeChart(
        unit="",
        times=np.array(edges, np.int64),
        lines=[Line(name="pages", values=pages, colour=6), Line(name="other messages", values=said - pages, colour=7)],
        shown=(edges[0], max(told.over.end, edges[-1] + 24 * 60 * _MINUTE_MS)),
        step=24 * 60 * _MINUTE_MS,
        bars=True,
        zone=str(told.zone),
        height=170,
    )
    return Figure(title="Pages and messages a day", chart=chart)


def _midnights(told: "Told") -> list[int]:
    """Give the beginning of each day of the range."""
    day = datetime.datetime.fromtimestamp(told.over.start / 1000, told.zone).date()
    out: list[int] = []
    while True:
        midnight = int(datetime.datetime.combine(day, datetime.time(), told.zone).timestamp() * 1000)
        if midnight >= told.over.end:
            return out
        out.append(midnight)
        day += datetime.timedelta(days=1)


def front_blocks(found: dict[str, Any]) -> Iterator[Block]:
    """Give a sweep: what is recommended, the front as a chart and as a table, and the TOML to paste."""
    advice = found["recommendation"]
    names = [axis["name"] for axis in found["axes"]]
    yield Tiles(list(_sweep_tiles(found)))
    for words in advice["words"]:
        yield Words(words)
    if advice.get("toml"):
        yield Code("To paste", advice["toml"])
    for rule, why in found["left_out"].items():
        yield Words(f"Not judged in the sweep: {rule} {why}.")
    for words in found["not_judged"]:
        yield Words(f"Not judged in the sweep: {words}.")
    incidents = found["incidents"]["fit"]
    if found["points"] and incidents:
        yield _front(found, incidents)
    if found["front"]:
        yield _front_table(found, names)


def _sweep_tiles(found: dict[str, Any]) -> Iterator[Tile]:
    fitted = found["incidents"]
    yield Tile(name="Settings tried", value=whole(found["settings"]), note=", ".join(axis["name"] for axis in found["axes"]))
    yield Tile(name="Incidents to fit on", value=whole(fitted["fit"]), note=f"{whole(fitted['held_out'])} held out")
    if found["budget"]:
        keeps = found["recommendation"].get("keeps_budget")
        word = {True: "kept", False: "not kept", None: "nothing recommended"}[keeps]
        yield Tile(name="Budget", value=found["budget"]["text"], note=word, tone="" if keeps else "warning")


def _front(found: dict[str, Any], incidents: int) -> Figure:
    front = iter(found["front"])
    points = []
    for each in found["points"]:
        row = next(front, None) if each["on_front"] else None
        alike = f"{whole(each['settings'])} settings alike" if each["settings"] > 1 else "1 setting"
        delay = each["time_to_detect_ms"]
        points.append(
            Point(
                x=each["pages_a_week"],
                y=each["found"] / incidents,
                colour=None if delay is None else delay / _MINUTE_MS,
                text=_values(row) if row else alike,
                front=each["on_front"],
                mark="recommended" if each["recommended"] else "",
            )
        )
    now = found["current"]
    if now is not None and now["fit"]["recall"]["n"]:
        delay = now["fit"]["time_to_detect_ms"]["median"]
        points.append(
            Point(
                x=now["fit"]["pages_a_week"]["value"] or 0.0,
                y=now["fit"]["recall"]["value"],
                colour=None if delay is None else delay / _MINUTE_MS,
                text=f"as configured now: {_values(now)}",
                mark="now",
            )
        )
    scatter = Scatter(x_name="pages a week", y_name="recall", colour_name="minutes to detect", points=points)
    note = "On the part that settings are fitted on. The line joins settings that no other beats."
    return Figure(title="Recall against pages a week", chart=scatter, note=note)


def _values(row: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in row["values"].items())


def _front_table(found: dict[str, Any], names: list[str]) -> Table:
    current, chosen = found["current"], found["recommendation"].get("values")
    rows = [_front_row(row, names, "recommended" if row["values"] == chosen else "") for row in found["front"]]
    if current is not None:
        rows.append(_front_row(current, names, "as configured now"))
    columns = [Column(name) for name in names]
    for part in ("fitted", "held out"):
        columns += [Column(f"{name}, {part}", "number") for name in ("Found", "Pages a week", "Detected")]
    return Table(caption="The front", columns=[*columns, Column("")], rows=rows)


def _front_row(row: dict[str, Any], names: list[str], word: str) -> list[Cell]:
    tone = "good" if word == "recommended" else ""
    cells = [Cell(str(row["values"].get(name, "")), tone) for name in names]
    return [*cells, *_part(row["fit"]), *_part(row["held_out"]), Cell(word, tone)]


def _part(part: dict[str, Any] | None) -> list[Cell]:
    if part is None:
        return [Cell("")] * 3
    recall, rate, delay = part["recall"], part["pages_a_week"]["value"], part["time_to_detect_ms"]["median"]
    found = f"{recall['k']} of {recall['n']}" if recall["n"] else "none"
    return [Cell(found), Cell("" if rate is None else f"{rate:.3g}"), Cell("" if delay is None else lasted(delay))]
