"""Templates: what they can say, what they cannot reach, and that none of them loses an alert."""

import re
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.notification import Notification
from sinks.own_words import OwnWords, template_problems
from sinks.template import page
from tests.fakes.notifications import notification

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "channels.md"
DEFAULT = notification().text
FIELDS = (
    "at channels dedup_key environment episode evidence fingerprint group id key labels reason rule severity status text"
    " threshold title value"
)


@dataclass(frozen=True)
class Words:
    """The options of a channel that takes templates."""

    title: str = ""
    text: str = ""


def reworded(said: Notification, words: Words) -> Notification:
    return OwnWords("chat", words).reworded(said)


def text(template: str, **changes: object) -> str:
    return reworded(notification(**changes), Words(text=template)).text


def problems(template: str) -> list[str]:
    return [problem for _, problem in template_problems(Words(text=template))]


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ title }} ({{ severity }})", "high_error_rate on api.example.com (critical)"),
        ("{{ value|percent }} of {{ threshold|percent }}", "7.31 % of 5 %"),
        ("{{ value|number }} {{ 1234567|number }}", "0.0731 1 234 567"),
        ("{{ 250|duration }}, {{ 61000|duration }}, {{ 1500.5|duration }}", "250 ms, 1 min 1 s, 1 s"),
        ("{{ at|rfc3339 }}", "2025-12-01T00:05:00Z"),
        ("{{ labels.team }} {{ labels['team'] }} {{ labels.get('owner', 'nobody') }}", "edge edge nobody"),
        ("{{ labels.owner|default('nobody') }}", "nobody"),
        ("{{ key.values()|join(', ')|upper }}", "API.EXAMPLE.COM"),
        ("{% for name, value in labels.items() %}{{ name }}={{ value }}{% endfor %}", "team=edge"),
        ("{% for each in evidence.exemplars %}{{ loop.index }}: {{ each.ray_id }}{% endfor %}", "1: 8f1a2b3c4d5e6f70"),
        ("{{ 'bad' if value > threshold else 'good' }} {{ rule.startswith('high') }}", "bad True"),
        ("{% set where = key.ClientRequestHost %}{{ where ~ ' is ' ~ 3 }}", "api.example.com is 3"),
        ("{{ (value * 100) + 1 - 1 }}", "7.31"),
        ("{{ rule.split('_')|first }} {{ rule|length }} {{ rule|truncate(7) }}", "high 15 high..."),
        ("a\n{% if status == 'firing' %}\nb\n{% endif %}\nc", "a\nb\nc"),
        ("<b>{{ labels.team }}</b> & {# nothing #}", "<b>edge</b> &"),
        ("{{ channels|join('+') }}", "console+pagerduty+slack"),
    ],
)
def test_what_a_template_can_say(template: str, said: str) -> None:
    assert (problems(template), text(template)) == ([], said)


def test_every_field_is_known_and_one_that_is_absent_is_a_dash() -> None:
    assert [name for name in FIELDS.split() if problems(f"{{{{ {name} is defined }}}}")] == []
    bare = {"value": None, "threshold": None, "group": None}
    assert text("{{ group }}{{ value }}{{ value|number }}{{ value|percent }}{{ value|duration }}", **bare) == "-----"


def test_a_channel_without_templates_says_what_it_always_said_on_one_line_or_on_its_own_lines() -> None:
    said = notification()
    assert reworded(said, Words()) is said
    assert reworded(notification(text="as\nit was"), Words()) == notification(text="as it was")
    listing = notification(text="as; it was", evidence={"lines": ["as\nit", "was"]})
    assert reworded(listing, Words()).text == "as it\nwas"


def test_each_template_stands_for_itself() -> None:
    got = reworded(notification(), Words(title="{{ rule }}\nfires"))
    assert (got.title, got.text) == ("high_error_rate fires", DEFAULT)


ESCAPES = [
    "{{ ''.__class__ }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__'] }}",
    "{{ ''['__cl' ~ 'ass__'] }}",
    "{{ ''|attr('__class__') }}",
    "{{ labels|map(attribute='__class__')|join }}",
    "{{ labels._private }}",
    "{{ labels.get.__self__ }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ range.__doc__ }}",
    "{{ loop.__class__ }}",
    "{{ cycler.__init__ }}",
    "{{ lipsum.__globals__ }}",
    "{{ namespace }}",
    "{{ dict(a=1) }}",
    "{{ joiner }}",
    "{{ config }}",
    "{{ '{0.__class__}'.format(title) }}",
    "{{ '{a.__class__}'.format_map(labels) }}",
    "{{ '%s' % title }}",
    "{{ labels.update(key) }}",
    "{{ labels.pop('team') }}",
    "{{ evidence.exemplars.append(1) }}",
    "{{ title.encode() }}",
    "{{ title.join }}",
    "{% for f in [title.center] %}{{ f(10) }}{% endfor %}",
    "{% for range in [1] %}{{ range() }}{% endfor %}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{% extends 'x' %}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{% block b %}{% endblock %}",
    "{% filter upper %}x{% endfilter %}",
    "{% call x() %}{% endcall %}",
    "{% autoescape false %}{% endautoescape %}",
    "{% set labels.team = 1 %}",
]


@pytest.mark.parametrize("template", ESCAPES)
def test_nothing_is_reached_but_the_notification(template: str) -> None:
    got = text(template)
    assert got.startswith(f"{DEFAULT} (edgewatch: the template of the text failed: ")


RUNAWAYS = [
    "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}",
    "{% for a in range(999999999999) %}{{ a }}{% endfor %}{% for a in range(999) %}{{ text }}{% endfor %}",
    "{% for a in range(1000) %}{% for b in range(1000) %}x{% endfor %}{% endfor %}",
    "{% for a in title %}" * 15 + "{% endfor %}" * 15,
    "{% for a in title recursive %}{{ loop(title) }}{% endfor %}",
    "{{ 'x' * 1000000000 }}",
    "{{ [1] * 1000000000 }}",
    "{{ 9 ** 9 ** 9 }}",
    "{{ 1e10 * 1e10 }}",
    "{{ '%999999999d' % 1 }}",
    "{{ '{:>999999999}'.format(1) }}",
    "{{ title.center(999999999) }}",
    "{{ title|center(999999999) }}",
    "{{ title.ljust(999999999) }}",
    "{{ title.replace('', title * 9) }}",
    "{{ title|replace('', title) }}",
    "{{ title|indent(999999999) }}",
    "{{ 1|round(999999999) }}",
    "{{ title|tojson|tojson }}",
    "{{ lipsum(n=100000) }}",
    "{% set x = title %}" + "{% set x = x ~ x %}" * 60 + "{{ x }}",
    "{% set x = title %}" + "{% set x = x + x %}" * 60 + "{{ x }}",
    "{% set x = [1, 2] %}" + "{% set x = [x, x] %}" * 60 + "{{ x }}",
    "{% set x = [1, 2] %}" + "{% set x = x + x %}" * 60 + "{{ x|join }}",
    "{% set x = 10 %}" + "{% set x = x * x %}" * 60 + "{{ x }}",
    "".join(f"{{% for x{n} in [x{n - 1} ~ x{n - 1}] %}}" for n in range(1, 15)),
    "{{ title }}" * 200,
    "x" * 20_000,
    "(" * 3000,
    "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    "{{ " + "-" * 4000 + "1 }}",
    "{% if 1 %}" * 400 + "{% endif %}" * 400,
]


@pytest.mark.parametrize("template", RUNAWAYS, ids=range(len(RUNAWAYS)))
def test_a_template_that_runs_away_is_left(template: str) -> None:
    start = time.thread_time()
    got = text(template)
    assert time.thread_time() - start < 3
    assert got.startswith(f"{DEFAULT} (edgewatch: the template of the text failed: ") or len(got) <= 5000


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{{ titel }}", "line 1: unknown name 'titel'; did you mean 'title'?"),
        ("one\n{% if title %}\n{{ zzz }}{% endif %}", "line 3: unknown name 'zzz'; known: at, id, rule"),
        ("one\n\n{{ labels }}", "line 3: a list or table cannot be written"),
        ("one\n{{ title|percent }}", "line 2: type str doesn't define"),
        ("{{ value < 'x' }}", "line 1: '<' not supported between"),
        ("{{ title.encode() }}", "line 1: access to attribute 'encode' of 'str' object is unsafe."),
        ("one\n{{ title|upercase }}", "line 2: No filter named 'upercase'."),
        ("{% for x in 'a' or for %}{{ x }}{% endfor %}", "line 1: unknown name 'for'; known: at"),
        ("{{ title", "line 1: unexpected end of template"),
        ("{% if value %}", "line 1: Unexpected end of template"),
        ("{{ a.__class__ }}", "line 1: access to '__class__' is not allowed"),
        ("{{ value ** 2 }}", "line 1: Pow is not available in templates"),
        ("{% macro m() %}{% endmacro %}", "line 1: Macro is not available in templates"),
        ("{{ [title] }}", "line 1: a list holds constants only"),
        ("x" * 20_000, "it is longer than 10000 characters"),
        ("{% for a in title %}" * 30 + "{% endfor %}" * 30, "it is too complicated (SyntaxError)"),
    ],
)
def test_a_template_that_cannot_work_is_a_problem_of_the_configuration(template: str, problem: str) -> None:
    (found,) = problems(template)
    assert found.startswith(f"is not a usable template: {problem}")


def test_the_key_of_the_template_is_named() -> None:
    assert [key for key, _ in template_problems(Words(title="{{", text="{{"))] == ["title", "text"]


@pytest.mark.parametrize("template", ["{{ labels.nothing }}", "", " \n ", "{{ labels }}", "{{ rule * 2 }}", "{{ text * 'x' }}"])
def test_a_title_that_fails_or_is_empty_is_the_one_it_was_with_a_note(template: str) -> None:
    got = reworded(notification(), Words(title=template or "{# #}"))
    assert got.title == notification().title
    assert got.text.startswith(f"{DEFAULT} (edgewatch: the template of the title failed: ")


def test_both_templates_may_fail() -> None:
    got = reworded(notification(), Words(title="{{ labels.a }}", text="{{ value < 'x' }}"))
    assert (got.title, got.text.count("(edgewatch: the template of the ")) == (notification().title, 2)


def test_values_draw_no_lines_and_hold_no_control_characters() -> None:
    nasty = "a\r\nb\x1b[31m\u202e\u2028"
    got = reworded(
        notification(title=nasty, text=nasty, labels={nasty: nasty}, evidence={"exemplars": [{"ray_id": nasty}]}),
        Words(
            title="{{ title }}",
            text="{{ text }}|{{ labels.keys()|join }}|{{ labels.values()|join }}|{{ evidence.exemplars[0].ray_id }}",
        ),
    )
    assert "\n" not in got.title + got.text
    assert (got.title + got.text).isprintable()


def test_values_are_no_templates_themselves() -> None:
    assert text("{{ labels.x }}", labels={"x": "{{ 7 * 7 }}{% if %}"}) == "{{ 7 * 7 }}{% if %}"


def test_the_notification_is_left_as_it_was() -> None:
    said = notification()
    reworded(said, Words(title="{{ labels.team }}", text="{% set labels = 1 %}{{ labels }}"))
    assert said == notification()


def test_in_a_page_values_are_escaped_and_the_template_is_not() -> None:
    assert page('<p title="{{ x }}">{{ x ~ x }}</p>', {"x": "<\"'&>"}) == (
        '<p title="&lt;&#34;&#39;&amp;&gt;">&lt;&#34;&#39;&amp;&gt;&lt;&#34;&#39;&amp;&gt;</p>'
    )


PIECES = (  # of no use, and of every kind
    "{{ }} {% %} {# #} {%- -%} for if in else endfor endif set = x title labels evidence.exemplars value loop range ( ) [ ]"
    " . , | ~ + - * / % ** == < not and or is defined 'a' 1 1e9 0 None 99999999999 |join |upper |sort |list |map |default"
    " |first |length |number |percent |duration |rfc3339 .items() .get( .__class__ self :"
)


@pytest.mark.slow
@given(st.lists(st.sampled_from(PIECES.split()), max_size=25), st.integers(0, 2))
@settings(max_examples=400, deadline=None)
def test_no_template_loses_an_alert(pieces: list[str], wrap: int) -> None:
    body = " ".join(pieces)
    template = (body, "{{ " + body + " }}", "{% for x in " + body + " %}{{ x }}{% endfor %}")[wrap]
    got = reworded(notification(), Words(title=template, text=template))
    assert got.title.strip()
    assert len(got.text) <= 5000 + len(DEFAULT) + 600


def test_the_templates_of_the_documentation_work() -> None:
    blocks = re.findall(r"```toml\n(.*?)```", DOCUMENTATION.read_text(encoding="utf-8"), re.DOTALL)
    shown = [table for block in blocks for table in tomllib.loads(block).get("channel", {}).values() if "title" in table]
    words = Words(title=shown[0]["title"], text=shown[0]["text"])
    assert list(template_problems(words)) == []
    got = reworded(notification(), words)
    assert got.title == "CRITICAL high_error_rate on api.example.com: 7.31 %"
    assert got.text.splitlines() == [DEFAULT, "Team edge.", "error at 1764547312000, ray 8f1a2b3c4d5e6f70"]
