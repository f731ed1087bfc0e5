"""Backtest page: what a configuration would have done, for people: timelines, incidents, episodes, counts, and a sweep's front.

It is made of what `backtest.json` holds and of timelines; every number of the page is in that file.
"""

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from flows.backtest_figures import days_figure, front_blocks, timeline_figure
from flows.history import History
from flows.incidents import Incident
from flows.report import DAY_MS
from flows.report_numbers import key_words, lasted, measured, when, whole
from flows.report_source import Range
from flows.timeline import Timeline, Timelines
from sinks.notification import Notification
from sinks.page import Block, Cell, Column, Page, Section, Table, Tile, Tiles, Words, html

PAGE = "backtest.html"
MOST_EPISODES = 500
_STATES = ("pending", "firing", "recovering")

Found = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a page is made of: `found` is what backtest.json holds, `source` says what was judged, `left_out` keys by rule.

    What was decided before `since` (ms) is not shown; None: all is.
    """

    found: Found
    timelines: Sequence[Timeline]
    over: Range
    zone: datetime.tzinfo
    source: str
    incidents: Sequence[Incident] = ()
    left_out: dict[str, int] | None = None
    since: int | None = None


def write_page(path: Path, timelines: Timelines, history: History, found: Found, zone: datetime.tzinfo) -> None:
    """Write the page of a backtest whose decisions `timelines` heard; the history is read once more."""
    lines = timelines.read(history)
    told = Told(found=found, timelines=lines, over=timelines.over, zone=zone, source=history.store.name)
    since = timelines.since if timelines.since > timelines.over.start else None
    told = replace(told, incidents=timelines.incidents, left_out=timelines.left_out, since=since)
    path.write_text(html(backtest_page(told)), encoding="utf-8")


def backtest_page(told: Told) -> Page:
    """Lay out a backtest."""
    found = told.found
    sections = [Section("At a glance", [*_glance(found), days_figure(told)])]
    if "labels" in found:
        sections.append(Section("Labelled incidents", list(_labels(found["labels"], told.zone))))
    if "sweep" in found:
        sections.append(Section("Settings that were tried", list(front_blocks(found["sweep"]))))
    sections += [
        Section("Timelines", list(_timelines(told))),
        Section("Episodes", [_episodes(told)]),
        Section("Rules", [_rules(found)]),
        Section("Noisiest keys", [_noisiest(found)]),
        Section("What was kept quiet", [_withheld(found)]),
    ]
    covered = found["covered"]
    length = told.over.length / DAY_MS
    part = f", of which {covered['days']:.3g} d have windows" if covered["days"] < length else ""
    span = f"{when(told.over.start, told.zone)} to {when(told.over.end, told.zone)} ({told.zone})"
    return Page(
        title="Backtest",
        lead=f"{span}, {lasted(told.over.length)}{part}: {whole(found['windows'])} windows of {told.source},"
        f" {whole(found['evaluations'])} evaluations. Nothing was sent.",
        sections=sections,
        foot="Written by edgewatch backtest; the numbers are in backtest.json.",
    )


def _glance(found: Found) -> Iterator[Block]:
    pages, said = found["pages"], found["notifications"]
    rung = f"to {', '.join(pages['pagers'])}" if pages["pagers"] else "critical alerts: no pager is configured"
    tiles = [
        Tile(name="Pages a week", value=f"{pages['per_week']:.3g}", note=f"{whole(pages['total'])} in all, {rung}"),
        Tile(name="Pages by night", value=whole(pages["by_night"]), note=f"22 to 6 h, {found['zone']}"),
        Tile(name="Pages at weekends", value=whole(pages["at_weekends"])),
        Tile(name="Messages a day", value=f"{said['per_day']:.3g}", note=f"{whole(said['total'])} in all"),
    ]
    labels = found.get("labels")
    if labels is not None:
        for name, part in (("Incidents paged for", "paged"), ("Incidents told of", "told")):
            recall = labels[part]["recall"]
            tiles.append(Tile(name=name, value=f"{recall['k']} of {recall['n']}", note=_interval(recall)))
        median = labels["told"]["time_to_detect_ms"]["median"]
        if median is not None:
            tiles.append(Tile(name="Time to detect, median", value=lasted(median)))
    yield Tiles(tiles)


def _interval(part: Found) -> str:
    if part.get("interval") is None:
        return ""
    low, high = part["interval"]
    return f"95 % interval {low * 100:.0f} to {high * 100:.0f} %"


def _labels(found: Found, zone: datetime.tzinfo) -> Iterator[Block]:
    rows = []
    for row in found["episodes"]:
        told, rang = row["told_after_ms"], row["paged_after_ms"]
        by = ", ".join(dict.fromkeys(each["rule"] for each in row["found_by"]))
        why = "; ".join(each["words"] for each in row.get("why_not", ()))
        rows.append(
            [
                Cell(row["name"]),
                Cell(_local(row["start"], zone)),
                Cell(_local(row["end"], zone)),
                Cell("missed", "critical") if told is None else Cell(lasted(told), "good"),
                Cell("no", "warning") if rang is None else Cell(lasted(rang), "good"),
                Cell(by or why),
            ]
        )
    columns = [
        Column("Incident"),
        *(Column(name, "plain") for name in ("Start", "End", "Told after", "Paged after")),
        Column("By, or why not"),
    ]
    note = f"An incident is found by what was said from its start to {lasted(found['grace_ms'])} after its end."
    yield Table(caption="Labelled incidents", columns=columns, rows=rows, note=note)
    precision = found["told"]["precision"]
    yield Words(
        f"{precision['k']} of {precision['n']} episodes are about a labelled incident"
        f" ({_interval(precision) or 'none to judge'}); the others by rule: "
        + (", ".join(f"{rule} {count}" for rule, count in found["false_alarms"].items()) or "none")
        + "."
    )
    if found["outside"]:
        yield Words(f"Outside of the range, not judged: {', '.join(found['outside'])}.")


def _local(text: str, zone: datetime.tzinfo) -> str:
    return when(int(datetime.datetime.fromisoformat(text).timestamp() * 1000), zone)


def _timelines(told: Told) -> Iterator[Block]:
    if not told.timelines:
        yield Words("No rule was judged.")
    if told.since is not None:
        before = (
            f"States, messages and episodes are shown from {when(told.since, told.zone)} on: there are too many for one page."
        )
        yield Words(f"{before} The files beside it have all of them.")
    for timeline in told.timelines:
        yield timeline_figure(timeline, told)
    for rule, count in sorted((told.left_out or {}).items()):
        yield Words(f"{rule}: {count} more keys have something to show; the files beside this page have all of them.")


def _episodes(told: Told) -> Block:
    found = list(episodes_of(told.timelines))
    if not found:
        return Words("No alert fired on the keys that are shown.")
    rows = []
    for each in sorted(found, key=lambda row: -row["start"])[:MOST_EPISODES]:
        matched = each["incident"]
        rows.append(
            [
                Cell(when(each["start"], told.zone)),
                Cell(when(each["end"], told.zone) if each["end"] < told.over.end else "goes on"),
                Cell(each["rule"]),
                Cell(key_words(each["key"])),
                Cell(each["severity"], each["severity"]),
                Cell(measured(each["peak"], each["unit"]) if each["peak"] is not None else ""),
                Cell(each["title"] or "nothing was said", "" if each["title"] else "muted"),
                Cell(matched.name if matched else "", "good" if matched else ""),
                Cell(lasted(each["start"] - matched.start) if matched and each["start"] > matched.start else ""),
            ]
        )
    columns = [
        *(Column(name, "plain") for name in ("Start", "End")),
        *(Column(name) for name in ("Rule", "On", "Severity")),
        Column("Peak", "number"),
        *(Column(name) for name in ("Worst that was said", "Incident")),
        Column("Detected after", "number"),
    ]
    more = len(found) - len(rows)
    note = "Of the keys that have a timeline." + (f" The newest {len(rows)}, {more} more are left out." if more else "")
    return Table(caption="Each time that an alert fired", columns=columns, rows=rows, note=note)


def episodes_of(timelines: Sequence[Timeline]) -> Iterator[Found]:
    """Give each time that an alert fired: start, end, severity, the worst that was said, and the incident that it matches."""
    for timeline in timelines:
        open_: dict[str, Found] = {}
        for stay in timeline.stays:
            if stay.state not in ("firing", "recovering"):
                continue
            key = _key_of(timeline.key)
            fresh = {"rule": stay.rule, "key": key, "start": stay.start, "severity": stay.severity or ""}
            row = open_.setdefault(stay.episode, fresh)
            row["end"] = stay.end
            row["severity"] = "critical" if "critical" in (row["severity"], stay.severity) else row["severity"]
        for episode, row in open_.items():
            said = [each for each in timeline.said if each.episode == episode and each.status == "firing"]
            worst = max(said, key=_beyond, default=None)
            matched = next((i for i in timeline.incidents if i.start < row["end"] and row["start"] <= i.end), None)
            peak = _peak(timeline, row["start"], row["end"])
            yield row | {"title": worst.title if worst else "", "incident": matched, "peak": peak, "unit": timeline.unit}


def _peak(timeline: Timeline, start: int, end: int) -> float | None:
    """Give the worst value of the windows that end from the time it fired to its end."""
    step = int(np.diff(timeline.starts).min()) if len(timeline.starts) > 1 else 0
    values = timeline.values[(timeline.starts + step >= start) & (timeline.starts + step <= end)]
    values = values[~np.isnan(values)]
    if not len(values):
        return None
    return float(values.min() if timeline.rule.below is not None else values.max())


def _beyond(said: Notification) -> float:
    """Give how far a value is beyond its threshold, so that the worst comes last."""
    if said.value is None or not said.threshold:
        return 0.0
    part = said.value / said.threshold
    return part if part >= 1 else 1 / max(part, 1e-9)


def _key_of(key: str) -> dict[str, str]:
    return dict(orjson.loads(key))


def _rules(found: Found) -> Table:
    rows = [
        [
            Cell(row["rule"]),
            Cell(row["kind"]),
            *(Cell(whole(row[name])) for name in ("pages", "pages_by_night", "episodes", "notifications", "flaps", "keys")),
            *(Cell(lasted(row["seconds"].get(state, 0) * 1000)) for state in _STATES),
        ]
        for row in found["rules"]
    ]
    names = ("Pages", "by night", "Episodes", "Messages", "Flaps", "Keys", *(f"Time {state}" for state in _STATES))
    columns = [Column("Rule"), Column("Kind"), *(Column(name, "number") for name in names)]
    return Table(caption="By rule", columns=columns, rows=rows, note="Times are added up over keys.")


def _noisiest(found: Found) -> Block:
    rows = [
        [
            Cell(row["rule"]),
            Cell(key_words(row["key"])),
            *(Cell(whole(row[name])) for name in ("pages", "episodes", "notifications", "flaps")),
            Cell(lasted(row["seconds"].get("firing", 0) * 1000)),
        ]
        for row in found["noisiest_keys"]
    ]
    if not rows:
        return Words("Nothing was said.")
    names = ("Pages", "Episodes", "Messages", "Flaps", "Time firing")
    columns = [Column("Rule"), Column("On"), *(Column(name, "number") for name in names)]
    return Table(caption="Keys of which most was said", columns=columns, rows=rows)


def _withheld(found: Found) -> Block:
    rows = [
        [Cell(row["rule"]), Cell(row["suppressed_by"]), Cell(str(row["why"])), Cell(whole(row["count"]))]
        for row in found["withheld"]
    ]
    if not rows:
        return Words("Nothing was kept quiet.")
    columns = [Column("Rule"), Column("By"), Column("Which"), Column("Messages", "number")]
    return Table(caption="Messages that were kept quiet", columns=columns, rows=rows)
