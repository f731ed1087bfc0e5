"""Chats: Slack by webhook and as a bot with a token, Microsoft Teams, Discord."""

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import pytest

from sinks.discord import DiscordOptions
from sinks.slack import SlackOptions
from sinks.teams import TeamsOptions
from tests.fakes import discord, slack, teams
from tests.fakes.scripted import Answer, of_json
from tests.sinks.conformance.entry import Case, Entry, NotMeant, There, Told, to
from tests.sinks.conformance.over_http import AWAY, PASSING, answers, breaks, echoes, serving, waits

_READS = (
    "high_error_rate on api.example.com",
    "critical",
    "0.0731",
    "path /api/checkout contributes 71 %",
    "8f1a2b3c4d5e6f70",
)
_BY_STATUS = "it refuses by the status of its answer, never within a success"
_ONE_URL = "the URL is all there is to it: with another one the channel of that name is another place, which a person chose"


def _of_another(options: Any) -> Any:
    return replace(options, webhook_url=options.webhook_url.replace("planted", "planted-wrong"))


_ANOTHER_URL = Case(name="another URL", change=_of_another, retried=False)


def _told(text: str) -> Told:
    """Read a message as people see it: the rule behind its name, on the same line or the next."""
    lines = text.splitlines()
    place = next(n for n, line in enumerate(lines) if line.startswith("Rule"))
    rule = lines[place].removeprefix("Rule").removeprefix(": ") or lines[place + 1]
    return Told(rule, "resolved" if "resolved: " in lines[0] else "firing")


def _slack_webhook(request: pytest.FixtureRequest) -> AbstractContextManager[There]:
    del request
    server = slack.FakeSlack()
    return serving(
        server,
        SlackOptions(webhook_url=server.webhook_url),
        told=lambda: [_told(slack.shown(body)) for body in server.posted],
        shown=lambda: slack.shown(server.posted[-1]),
        wrong=lambda: server.wrong,
    )


def _slack_bot(request: pytest.FixtureRequest) -> AbstractContextManager[There]:
    del request
    server = slack.FakeSlack()
    channels = {"critical": "#alerts-critical", "warning": "#alerts-warning"}
    return serving(
        server,
        SlackOptions(token=slack.TOKEN, channels=channels, api_url=server.api_url),
        told=lambda: [_of_thread(server, body) for body in server.posted],
        shown=lambda: slack.shown(server.posted[-1]),
        wrong=lambda: server.wrong,
    )


def _of_thread(server: slack.FakeSlack, body: dict[str, Any]) -> Told:
    """Read a message of the bot: a reply does not name the rule, the message that it answers does."""
    channel = server.channels.get(body["channel"], body["channel"])
    root = server.messages[(channel, body["thread_ts"])] if "thread_ts" in body else body
    status = "resolved" if "resolved: " in slack.shown(body).splitlines()[0] else "firing"
    return Told(_told(slack.shown(root)).rule, status, channel)


def _teams(request: pytest.FixtureRequest) -> AbstractContextManager[There]:
    del request
    server = teams.FakeTeams()
    return serving(
        server,
        TeamsOptions(webhook_url=server.webhook_url),
        told=lambda: [_told(teams.shown(card)) for card in server.cards],
        shown=lambda: teams.shown(server.cards[-1]),
        wrong=lambda: server.wrong,
    )


def _discord(request: pytest.FixtureRequest) -> AbstractContextManager[There]:
    del request
    server = discord.FakeDiscord()
    return serving(
        server,
        DiscordOptions(webhook_url=server.webhook_url),
        told=lambda: [_told(discord.shown(message)) for message in server.messages],
        shown=lambda: discord.shown(server.messages[-1]),
        wrong=lambda: [*server.wrong, *(mark for message in server.messages for mark in discord.markup(message))],
    )


SLACK_WEBHOOK = Entry(
    name="slack webhook",
    kind="slack",
    open=_slack_webhook,
    secrets=(slack.HOOK,),
    answers=answers(_ANOTHER_URL),
    waits=waits(),
    breaks=breaks(),
    away=AWAY,
    false_success=(
        Case(name="ok: false", fault=of_json(200, {"ok": False, "error": "no_service"}), retried=False, code="not_ok"),
        Case(name="a page of a proxy", fault=Answer(200, b"<html>log in</html>"), retried=False, code="not_ok"),
        Case(name="nothing", fault=Answer(200), retried=False, code="not_ok"),
    ),
    echoes=(*echoes(slack.HOOK), Case(name="echo in a success", fault=Answer(200, slack.HOOK.encode()), retried=False)),
    passing=PASSING,
    repeats=2,
    injections=("<!channel>", "<@U123>", "<https://evil.example|log in>", "&lt;!here&gt;", "*bold* `code`"),
    reads=_READS,
    moved=NotMeant(_ONE_URL),
)

SLACK_BOT = Entry(
    name="slack bot",
    kind="slack",
    open=_slack_bot,
    secrets=(slack.TOKEN,),
    answers=answers(
        Case(name="another token", change=to(token="xoxb-planted-wrong"), retried=False, code="invalid_auth"),
        Case(name="no such channel", change=to(channels={"critical": "#gone"}), retried=False, code="channel_not_found"),
    ),
    waits=waits(),
    breaks=breaks(),
    away=AWAY,
    false_success=(
        *(
            Case(name=error, fault=of_json(200, {"ok": False, "error": error}), retried=retried, code=error)
            for error, retried in (
                *((each, True) for each in ("ratelimited", "rate_limited", "internal_error", "fatal_error")),
                *((each, True) for each in ("service_unavailable", "request_timeout")),
                *((each, False) for each in ("channel_not_found", "not_in_channel", "is_archived", "invalid_auth")),
                *((each, False) for each in ("token_revoked", "missing_scope", "invalid_blocks", "what_nobody_knows")),
            )
        ),
        Case(name="a page of a proxy", fault=Answer(200, b"<html>log in</html>"), retried=True, code="no_json"),
        Case(name="nothing", fault=Answer(200), retried=True, code="no_json"),
    ),
    echoes=(
        *echoes(slack.TOKEN),
        Case(name="echo in a success", fault=of_json(200, {"ok": False, "error": f"bad {slack.TOKEN}"}), retried=False),
    ),
    passing=PASSING,
    repeats=2,
    injections=("<!channel>", "<@U123>", "<https://evil.example|log in>", "&lt;!here&gt;", "*bold* `code`"),
    reads=_READS,
    moved=to(channels={"critical": "#alerts-warning", "warning": "#alerts-warning"}),
)

TEAMS = Entry(
    name="teams",
    kind="teams",
    open=_teams,
    secrets=(teams.HOOK, "planted-signature"),
    answers=answers(_ANOTHER_URL),
    waits=waits(),
    breaks=breaks(),
    away=AWAY,
    false_success=NotMeant("a workflow answers before it posts: whether a card arrived is never told"),
    echoes=echoes(teams.HOOK, "planted-signature"),
    passing=PASSING,
    repeats=2,
    injections=(
        "[log in](https://evil.example)",
        "**bold**",
        "<at>everyone</at>",
        "{{DATE(2020-01-01T00:00:00Z)}}",
        "<b>x</b>",
    ),
    reads=_READS,
    moved=NotMeant(_ONE_URL),
)

DISCORD = Entry(
    name="discord",
    kind="discord",
    open=_discord,
    secrets=(discord.HOOK, "planted-discord-token"),
    answers=answers(_ANOTHER_URL),
    waits=waits(),
    breaks=breaks(),
    away=AWAY,
    false_success=NotMeant(_BY_STATUS),
    echoes=echoes(discord.HOOK, "planted-discord-token"),
    passing=PASSING,
    repeats=2,
    injections=("@everyone", "<@123>", "[log in](https://evil.example)", "**bold** ||x|| `c`", "<https://evil.example>"),
    reads=_READS,
    moved=NotMeant(_ONE_URL),
)
