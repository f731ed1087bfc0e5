"""Report alert page: what fired, for how long, who was told and what was kept quiet, for people."""

from collections.abc import Iterator
from zoneinfo import ZoneInfo

import numpy as np

from flows.report_figures import Figures
from flows.report_measures import Content
from flows.report_numbers import key_words, lasted, when, whole
from sinks.chart import Line, TimeChart
from sinks.page import Block, Cell, Column, Figure, Table, Tile, Tiles, Words

_LISTED = 50


def alert_blocks(content: Content, figures: Figures, zone: ZoneInfo) -> Iterator[Block]:  # noqa: ARG001
    """Give the section."""
    found = content["alerts"]
    rung = f"told to {', '.join(found['pagers'])}" if found["pagers"] else "no pager is configured: critical alerts are counted"
    tiles = [
        Tile(name="Pages", value=whole(found["pages"]), note=rung, tone="critical" if found["pages"] else ""),
        Tile(name="at night (22 to 6)", value=whole(found["pages_at_night"]), note=str(zone)),
        Tile(name="on weekends", value=whole(found["pages_on_weekends"])),
        Tile(name="Episodes", value=whole(found["episodes"])),
        Tile(name="Messages", value=whole(found["notifications"]), note="first words, repeats and ends"),
    ]
    yield Tiles(tiles)
    if not found["rules"]:
        yield Words("Nothing fired.")
    else:
        yield _days(content, zone)
        yield _rules(found)
        yield _channels(found)
        yield _episodes(found, zone)
    if found["kept_quiet"]:
        yield _quiet(found)


def _days(content: Content, zone: ZoneInfo) -> Figure:
    counts, edges = content["alerts"]["by_stretch"], content["edges"]
    lines = [
        Line(name=name, values=np.array(counts[name], np.float64), colour=colour)
        for name, colour in (("critical", 6), ("warning", 2))
    ]
    step = int(np.median(np.diff(edges)))
    chart = TimeChart(
        unit="",
        times=np.array(edges[:-1], np.int64),
        lines=lines,
        shown=(content["from"], content["to"]),
        step=step,
        bars=True,
        zone=str(zone),
        height=170,
    )
    return Figure(title=f"Messages that something fires, by {lasted(step)}", chart=chart)


def _rules(found: Content) -> Table:
    rows = [
        [
            Cell(row["rule"]),
            Cell(row["worst"] or "", row["worst"] or ""),
            *(Cell(whole(row[name])) for name in ("pages", "episodes", "notifications")),
            *(Cell(lasted(row[name])) for name in ("firing_ms", "longest_ms")),
        ]
        for row in found["rules"]
    ]
    names = ("Pages", "Episodes", "Messages", "Time firing", "Longest")
    columns = [Column("Rule"), Column("Worst"), *(Column(name, "number") for name in names)]
    note = "Time firing is added up over keys, with the time in which it recovered."
    return Table(caption="By rule", columns=columns, rows=rows, note=note)


def _channels(found: Content) -> Table:
    rows = [
        [Cell(row["channel"] or "nobody (no route takes it)"), Cell(whole(row["firing"])), Cell(whole(row["resolved"]))]
        for row in found["channels"]
    ]
    columns = [Column("Channel"), Column("that it fires", "number"), Column("that it is over", "number")]
    return Table(caption="Who was told", columns=columns, rows=rows)


def _episodes(found: Content, zone: ZoneInfo) -> Table:
    rows = [
        [
            Cell(when(row["start"], zone)),
            Cell(when(row["end"], zone) if row["end"] is not None else "goes on"),
            Cell(lasted(row["firing_ms"])),
            Cell(row["rule"]),
            Cell(key_words(row["key"])),
            Cell(row["severity"] or "", row["severity"] or ""),
            Cell(row["title"] or "nothing was said"),
            Cell(", ".join(row["channels"])),
        ]
        for row in found["list"][:_LISTED]
    ]
    columns = [
        *(Column(name, "plain") for name in ("Start", "End")),
        Column("Fired", "number"),
        *(Column(name) for name in ("Rule", "On", "Severity", "First word", "Told")),
    ]
    more = found["episodes"] - len(rows)
    note = f"The newest {len(rows)}; {more} more are in the JSON or in ClickHouse." if more > 0 else ""
    return Table(caption="Episodes", columns=columns, rows=rows, note=note)


def _quiet(found: Content) -> Table:
    rows = [[Cell(row["rule"]), Cell(row["by"]), Cell(whole(row["evaluations"]))] for row in found["kept_quiet"]]
    columns = [Column("Rule"), Column("Kept quiet by"), Column("Evaluations", "number")]
    return Table(caption="What was kept quiet", columns=columns, rows=rows)
