"""Places: every channel that people read, the service behind it, and how to read what it said last."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from sinks.channels import CHANNELS
from sinks.notification import Channel
from tests.fakes import discord, slack, teams
from tests.fakes.discord import FakeDiscord
from tests.fakes.pagerduty import ROUTING_KEY, FakePagerDuty
from tests.fakes.sentry import FakeSentry
from tests.fakes.slack import TOKEN, FakeSlack
from tests.fakes.smtp import Certificate, FakeSmtp
from tests.fakes.statuspage import API_KEY, COMPONENTS, PAGE, FakeStatuspage
from tests.fakes.teams import FakeTeams

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
            shown = [event["contexts"].get(name, {}) for name in ("runbook", "evidence")]
            texts = [event["message"], event["contexts"]["alert"]["text"], *(text for each in shown for text in each.values())]
            return "\n".join(texts)

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
