"""Pages: one file with everything in it, and nothing from logs that is more than text."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import numpy as np
import orjson
import pytest

from sinks.chart import Line, Mark, Point, Scatter, Span, TimeChart
from sinks.page import Cell, Code, Column, Figure, Page, Section, Table, Tile, Tiles, Words, html, in_script
from sinks.page_text import escaped, markdown, sparkline

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'`${7*7}{{7*7}}<!--\u2028]]>|@here"
START, STEP, HOUR = 1_764_547_200_000, 300_000, 3_600_000


def chart(name=HOSTILE, **changes):
    values = np.array([1.0, 9.0, np.nan, 2.0])
    given = {
        "unit": name,
        "times": START + np.arange(4) * STEP,
        "lines": [Line(name=name, values=values)],
        "shown": (START, START + HOUR),
        "step": STEP,
        "states": [Span(start=START, end=START + STEP, name="firing")],
        "incidents": [Span(start=START, end=START + HOUR, name=name)],
        "marks": [Mark(at=START, text=name, kind="critical", pager=True)],
    }
    return TimeChart(**given | changes)


def page(text=HOSTILE):
    points = [Point(x=1.0, y=0.5, colour=None, text=text, front=True), Point(x=2.0, y=1.0, colour=3.0, text=text, front=True)]
    blocks = [
        Tiles([Tile(name=text, value=text, note=text, tone="critical")]),
        Words(text),
        Code(text, text),
        Table(caption=text, columns=[Column(text), Column(text, "number")], rows=[[Cell(text), Cell(text)]], note=text),
        Figure(title=text, chart=chart(text), note=text),
        Figure(title=text, chart=Scatter(x_name=text, y_name=text, colour_name=text, points=points)),
    ]
    return Page(title=text, lead=text, sections=[Section(text, blocks)], foot=text)


class Reader(HTMLParser):
    """Collects elements, attributes and texts by element."""

    def __init__(self):
        super().__init__()
        self.elements, self.attributes, self.texts, self.open = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        self.open.append(tag)

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass


def read(text):
    reader = Reader()
    reader.feed(text)
    return reader


def test_hostile_texts_make_no_element_and_no_attribute():
    hostile, tame = read(html(page())), read(html(page("tame")))
    assert hostile.elements == tame.elements
    assert [each[:2] for each in hostile.attributes] == [each[:2] for each in tame.attributes]
    assert not [each for each in hostile.attributes if each[1].startswith("on") or each[1] in ("style", "src")]


def test_the_json_of_a_chart_comes_back_as_it_was_and_holds_no_markup():
    written = str(in_script({"text": HOSTILE}))
    assert not re.search(r"[<>&\u2028]", written)
    assert orjson.loads(written) == {"text": HOSTILE}


def test_the_policy_allows_the_pages_own_script_and_style_and_nothing_else():
    reader = read(html(page()))
    (policy,) = [value for tag, name, value in reader.attributes if name == "content" and "default-src" in value]
    allowed = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    own = {
        tag: "".join(text for each, text in reader.texts if each == tag and not text.startswith("{"))
        for tag in ("script", "style")
    }
    hashes = {tag: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for tag, text in own.items()}
    assert allowed == {
        "default-src": "'none'",
        "script-src": f"'sha256-{hashes['script']}'",
        "style-src": f"'sha256-{hashes['style']}'",
        "img-src": "data:",
    }


def test_nothing_in_a_page_points_elsewhere():
    reader = read(html(page("tame")))
    links = [value for _, name, value in reader.attributes if name in ("href", "src", "action", "data")]
    assert [link for link in links if not link.startswith(("#", "data:,"))] == []
    style = "".join(text for tag, text in reader.texts if tag == "style")
    assert "url(" not in style
    assert "@import" not in style


def test_a_page_carries_the_licence_of_what_is_copied_into_it():
    text = html(page("tame"))
    assert "The MIT License (MIT)" in text
    assert "Leon Sorokin" in text


def test_our_own_part_of_a_page_is_small():
    empty = html(Page(title="t", lead="l", sections=[]))
    assert len(empty.encode()) < 51_081 + 1_857 + 80_000


def test_a_chart_has_its_values_as_a_table():
    (table,) = [Figure(title="t", chart=chart("v", unit="ms")).behind]
    assert [column.name for column in table.columns] == ["From (UTC)", "v (ms)"]
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["2025-12-01 00:00", "1"],
        ["2025-12-01 00:05", "9"],
        ["2025-12-01 00:10", "no data"],
        ["2025-12-01 00:15", "2"],
    ]


def test_the_table_of_a_long_chart_has_the_least_and_the_greatest_of_48_stretches():
    count = 960
    long = chart("v", unit="", times=START + np.arange(count) * STEP, lines=[Line(name="v", values=np.arange(float(count)))])
    table = Figure(title="t", chart=long).behind
    assert len(table.rows) == 48
    assert [cell.text for cell in table.rows[1]] == ["2025-12-01 01:40", "20 to 39"]


def test_a_legend_explains_only_what_is_drawn():
    assert [name for name, _ in Figure(title="t", chart=chart()).legend] == ["firing", "incident", "page"]
    assert Figure(title="t", chart=chart(states=[], incidents=[], marks=[])).legend == []


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("a|b", r"a\|b"),
        ("<b>&", "&lt;b&gt;&amp;"),
        ("[x](http://y)", r"\[x\](http://y)"),
        ("one\n# two", r"one \# two"),
        ("@here", "@\u200bhere"),
        ("`*_~", r"\`\*\_\~"),
    ],
)
def test_markdown_escapes_what_is_more_than_text(text, want):
    assert escaped(text) == want


def test_markdown_has_the_same_tables_and_numbers():
    text = markdown(page("tame"))
    assert "# tame" in text
    assert "| tame | tame |\n|---|---:|\n| tame | tame |" in text
    assert "- tame: **tame** (tame)" in text
    assert "- tame `▁█ ▂`" in text


def test_hostile_texts_make_no_markup_in_markdown_but_inside_a_fence():
    text, tame = markdown(page()), markdown(page("tame"))
    fenced = f"```\n{HOSTILE}\n```"
    assert fenced in text
    rest = text.replace(fenced, "")
    assert not re.search(r"[<>]|@here|(?<!\\)\{", rest)
    assert rest.count("\n|") == tame.count("\n|")


def test_a_sparkline_shows_the_greatest_of_each_stretch():
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7, 8, float("nan")]) == "▁▂▃▄▅▆▇██ "
    assert sparkline([float("nan")]) == ""
    assert len(sparkline(np.arange(1000.0))) == 32
