"""Page text: a page as Markdown, for a chat or a wiki: the same words, numbers and tables; a chart becomes a line of blocks.

What comes from logs is escaped, so that it is neither markup nor a mention.
"""

import re
from collections.abc import Sequence

import numpy as np

from sinks.chart import Floats, Scatter
from sinks.page import Block, Code, DayBars, Figure, Page, Table, Tile, Tiles, Words

_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDTH = 32
_MARKUP = re.compile(r"([\\`*_{}\[\]#|~])")
_ANGLES = {"<": "&lt;", ">": "&gt;", "&": "&amp;", "@": "@\u200b"}  # an @ with nothing behind it mentions nobody
_BREAKS = re.compile(r"\s+")


def markdown(page: Page) -> str:
    """Write the page."""
    parts = [f"# {escaped(page.title)}", escaped(page.lead)]
    for section in page.sections:
        parts.append(f"## {escaped(section.title)}")
        parts += [text for block in section.blocks if (text := _block(block))]
    if page.foot:
        parts.append(f"*{escaped(page.foot)}*")
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Escape what Markdown, HTML in it, or a chat would take for more than text; breaks become spaces."""
    plain = _BREAKS.sub(" ", text).strip()
    for mark, instead in {"&": _ANGLES["&"], **_ANGLES}.items():
        plain = plain.replace(mark, instead)
    return _MARKUP.sub(r"\\\1", plain)


def _block(block: Block) -> str:
    match block:
        case Words():
            return escaped(block.text)
        case Code():
            fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", block.text)), default=0))
            return f"**{escaped(block.title)}**\n\n{fence}\n{block.text}\n{fence}"
        case Tiles():
            return "\n".join(map(_tile, block.tiles))
        case Table():
            return _table(block)
        case Figure():
            return _figure(block)
        case DayBars():
            return f"- {escaped(block.title)}: **{escaped(block.state)}** ({escaped(block.note)})"


def _tile(tile: Tile) -> str:
    note = f" ({escaped(tile.note)})" if tile.note else ""
    return f"- {escaped(tile.name)}: **{escaped(tile.value)}**{note}"


def _table(table: Table) -> str:
    head = f"**{escaped(table.caption)}**" + (f" {escaped(table.note)}" if table.note else "")
    names = "| " + " | ".join(escaped(column.name) for column in table.columns) + " |"
    rule = "|" + "|".join("---:" if column.kind == "number" else "---" for column in table.columns) + "|"
    rows = ["| " + " | ".join(escaped(cell.text) for cell in row) + " |" for row in table.rows]
    return "\n".join([head, "", names, rule, *rows])


def _figure(figure: Figure) -> str:
    chart = figure.chart
    if isinstance(chart, Scatter):
        behind = figure.behind
        return _table(behind) if behind else ""
    lines = [(line.name, sparkline(line.values)) for line in chart.lines]
    drawn = [f"- {escaped(name)} `{text}`" for name, text in lines if text]
    return "\n".join([f"**{escaped(figure.title)}**", "", *drawn]) if drawn else ""


def sparkline(values: Floats | Sequence[float], width: int = _WIDTH) -> str:
    """Write values as blocks, each the greatest of its stretch; a blank is no data."""
    column = np.asarray(values, np.float64)
    if not len(column) or np.isnan(column).all():
        return ""
    low, high = min(float(np.nanmin(column)), 0.0), float(np.nanmax(column))
    out = []
    for part in np.array_split(column, min(width, len(column))):
        known = part[~np.isnan(part)]
        place = (float(known.max()) - low) / (high - low) if len(known) and high > low else 0.0
        out.append(_BLOCKS[min(int(place * len(_BLOCKS)), len(_BLOCKS) - 1)] if len(known) else " ")
    return "".join(out)
