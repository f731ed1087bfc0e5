"""Own words: every channel that people read takes the templates of its owner, and says its usual words where one fails."""

import io
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from flows.config import ConfigErrors, loads
from sinks.channels import CHANNELS
from sinks.console import Console, ConsoleOptions
from sinks.notification import Channel
from tests.fakes import discord, slack, teams
from tests.fakes.discord import FakeDiscord
from tests.fakes.notifications import notification, story
from tests.fakes.pagerduty import ROUTING_KEY, FakePagerDuty
from tests.fakes.sentry import FakeSentry
from tests.fakes.slack import TOKEN, FakeSlack
from tests.fakes.smtp import Certificate, FakeSmtp
from tests.fakes.statuspage import API_KEY, COMPONENTS, PAGE, FakeStatuspage
from tests.fakes.teams import FakeTeams

TITLE = "{{ rule|upper }} of {{ labels.team }}"
TEXT = "{{ value|percent }} is too much.\n\n{% for each in evidence.exemplars %}\nray {{ each.ray_id }}\n{% endfor %}"
SAID = ["7.31 % is too much.", "ray 8f1a2b3c4d5e6f70"]
NASTY = "<!channel> <@U123> [x](https://evil.example) *b* `c` {{DATE(1)}} <img src=x>\r\n\x1b[31m"
KINDS = ("console", "discord", "email", "pagerduty", "sentry", "slack", "slack token", "statuspage", "teams")


@dataclass
class Place:
    """A channel with templates, and how to read what it said last."""

    channel: Channel
    read: Callable[[], str]
    wrong: Callable[[], list[str]] = list


class Servers:
    """The services, started when they are asked for."""

    def __init__(self, stack: ExitStack, ca: Certificate, capsys: pytest.CaptureFixture[str]) -> None:
        self._stack, self._ca, self._capsys = stack, ca, capsys

    def place(self, kind: str, **words: str) -> Place:
        name = kind.replace(" ", "_")
        found: Place = getattr(self, f"_{name}")(words)
        return found

    def _build(self, kind: str, words: dict[str, str], **options: Any) -> Channel:
        made = CHANNELS[kind].options(**options, **words)
        assert list(made.problems()) == []
        return CHANNELS[kind].build(kind, made)

    def _console(self, words: dict[str, str]) -> Place:
        return Place(self._build("console", words), lambda: self._capsys.readouterr().out)

    def _discord(self, words: dict[str, str]) -> Place:
        server = self._stack.enter_context(FakeDiscord())
        channel = self._build("discord", words, webhook_url=server.webhook_url)
        return Place(channel, lambda: discord.shown(server.messages[-1]), lambda: server.wrong)

    def _email(self, words: dict[str, str]) -> Place:
        server = self._stack.enter_context(FakeSmtp(self._ca))
        where = {"host": "localhost", "port": server.port, "ca_file": str(self._ca.file)}
        channel = self._build("email", words, **where, from_="a@example.com", to=("b@example.com",))
        return Place(channel, lambda: server.received[-1].part("plain"))

    def _pagerduty(self, words: dict[str, str]) -> Place:
        server = self._stack.enter_context(FakePagerDuty())
        channel = self._build("pagerduty", words, routing_key=ROUTING_KEY, url=server.enqueue_url)

        def read() -> str:
            payload = server.seen[-1].json["payload"]
            return f"{payload['summary']}\n{payload['custom_details']['text']}"

        return Place(channel, read)

    def _sentry(self, words: dict[str, str]) -> Place:
        server = self._stack.enter_context(FakeSentry())

        def read() -> str:
            event = list(server.events.values())[-1]
            return f"{event['message']}\n{event['contexts']['alert']['text']}"

        return Place(self._build("sentry", words, dsn=server.dsn), read, lambda: server.wrong)

    def _slack(self, words: dict[str, str]) -> Place:
        server = self._stack.enter_context(FakeSlack())
        channel = self._build("slack", words, webhook_url=server.webhook_url)
        return Place(channel, lambda: slack.shown(server.posted[-1]), lambda: server.wrong)

    def _slack_token(self, words: dict[str, str]) -> Place:
        server = self._stack.enter_context(FakeSlack())
        where = {"token": TOKEN, "api_url": server.api_url, "channels": {"critical": "#alerts-critical"}}
        return Place(self._build("slack", words, **where), lambda: slack.shown(server.posted[-1]), lambda: server.wrong)

    def _statuspage(self, words: dict[str, str]) -> Place:
        server = self._stack.enter_context(FakeStatuspage())
        page = {"api_key": API_KEY, "page": PAGE, "components": COMPONENTS, "url": server.api_url, "incidents": "auto"}

        def read() -> str:
            incident = server.incidents[-1]
            return f"{incident['name']}\n{incident['updates'][-1]}"

        return Place(self._build("statuspage", words, **page), read)

    def _teams(self, words: dict[str, str]) -> Place:
        server = self._stack.enter_context(FakeTeams())
        channel = self._build("teams", words, webhook_url=server.webhook_url)
        return Place(channel, lambda: teams.shown(server.cards[-1]), lambda: server.wrong)


@pytest.fixture
def servers(localhost: Certificate, capsys: pytest.CaptureFixture[str]) -> Iterator[Servers]:
    """Give the services behind the channels."""
    with ExitStack() as stack:
        yield Servers(stack, localhost, capsys)


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
        return [f"    {SAID[0]}", f"    {SAID[1]} | path /api/checkout, share 0.71"]
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
