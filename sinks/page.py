"""Page: one HTML file that stands alone: sections of words, figures, tables and charts, with script and style inside it.

Whatever comes from logs is text: Jinja escapes it in markup, JSON for charts has no `<`, the script puts it in as text, and a
content security policy with the hashes of the page's own script and style forbids everything else, all requests included.
"""

import base64
import datetime
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import ClassVar
from zoneinfo import ZoneInfo

import jinja2
import numpy as np
import orjson
from markupsafe import Markup

from sinks.chart import Chart, Scatter, TimeChart

_TABLE_ROWS = 48  # of a chart's values as a table
_KEY = {
    "pending": "pending",
    "firing": "firing",
    "recovering": "recovering",
    "incident": "labelled incident",
    "page": "a page",
    "told": "another message",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table; `tone` is good, warning, critical, muted or nothing."""

    text: str
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; `kind` is number (to the right), plain (not wrapped), or text."""

    name: str
    kind: str = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table; the first cell of a row names it."""

    kind: ClassVar[str] = "table"
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One number that is read first."""

    name: str
    value: str
    note: str = ""
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Tiles:
    """A row of numbers."""

    kind: ClassVar[str] = "tiles"
    tiles: Sequence[Tile]


@dataclass(frozen=True, slots=True)
class Words:
    """A paragraph."""

    kind: ClassVar[str] = "words"
    text: str


@dataclass(frozen=True, slots=True)
class Code:
    """Text to be copied as it is."""

    kind: ClassVar[str] = "code"
    title: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A chart with its title, and its values as a table behind it."""

    kind: ClassVar[str] = "figure"
    title: str
    chart: Chart
    note: str = ""

    @property
    def json(self) -> Markup:
        """Give the chart as JSON that can stand in a script element."""
        return in_script(self.chart.as_dict())

    @property
    def legend(self) -> list[tuple[str, str]]:
        """Give what the marks of this chart mean."""
        if isinstance(self.chart, Scatter):
            return []
        used = {each.name for each in self.chart.states} | ({"incident"} if self.chart.incidents else set())
        used |= {"page" if each.pager else "told" for each in self.chart.marks}
        return [(name, words) for name, words in _KEY.items() if name in used]

    @property
    def behind(self) -> Table | None:
        """Give the values as a table of at most 48 rows."""
        return behind(self.title, self.chart)


@dataclass(frozen=True, slots=True)
class DayBar:
    """A day in a row of bars; `tone` is good, warning, partial, critical or muted."""

    tone: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DayBars:
    """A thing and a bar for each of its days; drawn without a script."""

    kind: ClassVar[str] = "days"
    title: str
    state: str
    tone: str
    note: str
    days: Sequence[DayBar]
    first: str
    last: str
    behind: Table | None = None


Block = Table | Tiles | Words | Code | Figure | DayBars


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: Sequence[Block] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page: what it is, of when, and its sections."""

    title: str
    lead: str
    sections: Sequence[Section]
    foot: str = ""


def html(page: Page) -> str:
    """Write the file."""
    style = _asset("uplot.min.css") + _asset("page.css")
    # A page is a copy of uPlot, whose licence wants its notice in every copy.
    drawn = any(isinstance(block, Figure) for section in page.sections for block in section.blocks)
    script = (
        "\n".join([f"/*!\n{_asset('uplot.LICENSE').strip()}\n*/", _asset("uplot.min.js"), _asset("charts.js")]) if drawn else ""
    )
    policy = f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src data:"
    return _template().render(page=page, policy=policy, style=Markup(style), script=Markup(script))  # noqa: S704 (our own files)


def in_script(value: Mapping[str, object]) -> Markup:
    """Write JSON so that no text in it can end a script element or begin a comment."""
    text = orjson.dumps(value).decode()
    for mark in "<>&\u2028\u2029":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return Markup(text)  # noqa: S704 (what could be markup is escaped)


def behind(title: str, chart: Chart) -> Table | None:
    """Give a chart's values as a table: as they are where they are few, else the least and greatest by stretch of time."""
    if isinstance(chart, Scatter):
        columns = [Column("Setting"), *(Column(name, "number") for name in (chart.x_name, chart.y_name, chart.colour_name))]
        best = [each for each in chart.points if each.front][:_TABLE_ROWS]
        rows = [
            [Cell(p.text), Cell(_text(p.x)), Cell(_text(p.y)), Cell("" if p.colour is None else _text(p.colour))] for p in best
        ]
        return Table(caption=f"{title}: the front", columns=columns, rows=rows) if rows else None
    if not len(chart.times):
        return None
    return _over_time(title, chart)


def _over_time(title: str, chart: TimeChart) -> Table:
    count = len(chart.times)
    each = -(-count // _TABLE_ROWS)
    named = [f"{line.name} ({chart.unit})" if chart.unit else line.name for line in chart.lines]
    zone, rows = ZoneInfo(chart.zone), []
    for first in range(0, count, each):
        at = datetime.datetime.fromtimestamp(int(chart.times[first]) / 1000, zone)
        cells = [Cell(f"{at:%Y-%m-%d}" if chart.bars and each == 1 else f"{at:%Y-%m-%d %H:%M}")]
        for line in chart.lines:
            part = line.values[first : first + each]
            part = part[~np.isnan(part)]
            if not len(part):
                cells.append(Cell("no data", "muted"))
                continue
            low, high = _text(float(part.min())), _text(float(part.max()))
            cells.append(Cell(low if low == high else f"{low} to {high}"))
        rows.append(cells)
    note = "" if each == 1 else "Least and greatest of the stretch that begins at the time."
    columns = [Column(f"From ({chart.zone})", "plain"), *(Column(name, "number") for name in named)]
    return Table(caption=title, columns=columns, rows=rows, note=note)


def _text(value: float) -> str:
    shown = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"  # noqa: PLR2004
    return shown.replace(",", " ")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _asset(name: str) -> str:
    return resources.files("sinks").joinpath("web", name).read_text("utf-8")


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(_asset("page.html"))
