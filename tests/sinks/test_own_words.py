"""Own words: every channel that people read takes the templates of its owner, and says its usual words where one fails."""

import io
import logging
from dataclasses import fields
from pathlib import Path

import pytest

from flows.config import ConfigErrors, loads
from sinks.channels import CHANNELS
from sinks.console import Console, ConsoleOptions
from tests.fakes.notifications import notification, story
from tests.sinks.places import KINDS, Servers

TITLE = "{{ rule|upper }} of {{ labels.team }}"
TEXT = "{{ value|percent }} is too much.\n\n{% for each in evidence.exemplars %}\nray {{ each.ray_id }}\n{% endfor %}"
SAID = ["7.31 % is too much.", "ray 8f1a2b3c4d5e6f70"]
NASTY = "<!channel> <@U123> [x](https://evil.example) *b* `c` {{DATE(1)}} <img src=x>\r\n\x1b[31m"


def test_what_people_read_takes_templates_and_what_machines_read_does_not() -> None:
    taking = {name for name, kind in CHANNELS.items() if {"title", "text"} <= {each.name for each in fields(kind.options)}}
    assert taking == {kind.split()[0] for kind in KINDS}
    assert CHANNELS.keys() - taking == {"alertmanager", "kafka", "webhook"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_channel_speaks_in_the_words_of_its_owner(kind: str, servers: Servers) -> None:
    there = servers.place(kind, title=TITLE, text=TEXT)
    there.channel.send(notification(), {})
    said = there.read()
    assert "HIGH_ERROR_RATE of edge" in said
    assert [line for line in said.splitlines() if any(part in line for part in SAID)][:2] == _lines(kind)
    assert ("12345 records" in said, there.wrong()) == (False, [])


def _lines(kind: str) -> list[str]:
    """Give the lines as the kind shows them."""
    if kind == "console":
        return [f"    {SAID[0]}", f"    {SAID[1]} | path /api/checkout contributes 71 % of the excess errors (640 of 902)"]
    return SAID


@pytest.mark.parametrize("kind", KINDS)
def test_a_template_that_fails_gives_way_to_the_usual_words_and_is_logged_once(
    kind: str, servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    usual, there = servers.place(kind), servers.place(kind, title="{{ labels.owner }}")
    usual.channel.send(notification(), {})
    want = usual.read()
    memory: dict[str, str] = {}
    with caplog.at_level(logging.WARNING):
        there.channel.send(notification(), memory)
        got = there.read()
        there.channel.send(story("first", "repeat")[1], memory)
    (logged,) = [each for each in caplog.messages if "the template of the title failed" in each]
    assert logged.startswith(
        f"{kind.split(maxsplit=1)[0]}: the template of the title failed, edgewatch's own words are sent: line 1: "
    )
    if kind == "statuspage":
        assert got == want  # nothing of it in public
    elif kind not in {"console", "email"}:  # a console has no title of its own, and a mail's subject none that changes
        assert want.splitlines()[0] == got.splitlines()[0]
    assert ("the template of the title failed" in got) == (kind != "statuspage")


@pytest.mark.parametrize("kind", KINDS)
def test_what_templates_take_from_the_logs_injects_nothing(kind: str, servers: Servers) -> None:
    there = servers.place(kind, title="{{ labels.x }}", text="{{ labels.x }}\n{{ title }} <!here> {{ '{{' }}DATE(1)}}")
    there.channel.send(notification(title=NASTY, labels={"x": NASTY}), {})
    assert there.wrong() == []
    assert "\x1b" not in there.read()


def test_a_page_speaks_of_its_components_and_escapes_what_it_is_told(servers: Servers) -> None:
    title, text = "Störung: {{ components|join(', ') }}", "{{ components|join }} {{ reason }} <{{ labels.team }}>"
    there = servers.place("statuspage", title=title, text=text)
    there.channel.send(notification(), {})
    assert there.read() == "Störung: api\napi first &lt;edge&gt;"


def test_an_update_of_an_incident_and_its_end_are_in_own_words_too(servers: Servers) -> None:
    there = servers.place("statuspage", text="{{ 'Vorbei' if status == 'resolved' else reason }}")
    memory: dict[str, str] = {}
    said = []
    for each in story("first", "escalated", "repeat", "resolved"):
        memory = there.channel.send(each, memory)
        said.append(there.read().splitlines())
    assert said == [["Problems with api", each] for each in ("first", "escalated", "escalated", "Vorbei")]


def test_a_text_without_words_is_left_out_or_as_it_was(servers: Servers) -> None:
    for kind in KINDS:
        there = servers.place(kind, text="{% if severity == 'warning' %}Look.{% endif %}")
        there.channel.send(notification(), {})
        assert ("12345 records" in there.read(), there.wrong()) == (False, [])


def test_the_title_on_a_console_takes_the_place_of_rule_key_and_values() -> None:
    out = io.StringIO()
    Console("console", ConsoleOptions(title="{{ rule }} again"), out).send(notification(), {})
    assert out.getvalue().splitlines()[0] == "2025-12-01 00:05:00Z  FIRING   critical  high_error_rate again"


def test_a_check_names_the_key_the_line_and_the_reason(tmp_path: Path) -> None:
    text = '[channel.chat]\nkind = "console"\ntitle = "{{ titel }}"\ntext = """\nlook:\n{{ text|upercase }}\n"""\n'
    with pytest.raises(ConfigErrors) as raised:
        loads(text, tmp_path / "monitor.toml")
    assert [str(each) for each in raised.value.errors] == [
        "channel.chat.title: is not a usable template: line 1: unknown name 'titel'; did you mean 'title'?",
        "channel.chat.text: is not a usable template: line 2: No filter named 'upercase'.",
    ]
