"""What every channel does alike: what is retried, what errors may show, and what log data cannot do."""

import dataclasses
import email.utils
import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from sinks.channels import CHANNELS, destinations, kind_of
from sinks.notification import Channel, DeliveryError
from tests.fakes.alertmanager import FakeAlertmanager
from tests.fakes.discord import HOOK as DISCORD_PATH
from tests.fakes.discord import FakeDiscord
from tests.fakes.notifications import notification, story
from tests.fakes.pagerduty import ROUTING_KEY, FakePagerDuty
from tests.fakes.scripted import Answer, ScriptedServer, of_json
from tests.fakes.slack import HOOK, TOKEN, FakeSlack
from tests.fakes.teams import HOOK as TEAMS_PATH
from tests.fakes.teams import FakeTeams
from tests.fakes.webhook import HOOK as WEBHOOK_PATH
from tests.fakes.webhook import SECRET as WEBHOOK_SECRET
from tests.fakes.webhook import FakeWebhook

RETRIED = {429, 500, 502, 503, 504, 529}
STATUSES = [
    *range(300, 309),
    400,
    401,
    402,
    403,
    404,
    405,
    408,
    409,
    410,
    413,
    422,
    423,
    425,
    429,
    451,
    *sorted(RETRIED - {429}),
]
REMOTE = ("alertmanager", "discord", "pagerduty", "slack token", "slack webhook", "teams", "webhook")
# What a server may hold against us: everything secret that is planted, in one answer.
PLANTED = (
    f"{TOKEN} {ROUTING_KEY} {HOOK} {WEBHOOK_SECRET} {WEBHOOK_PATH} {DISCORD_PATH} {TEAMS_PATH}"
    " Basic planted-header planted-bearer"
)

Servers = dict[str, ScriptedServer]


@dataclass
class Place:
    """A channel, its options and the server behind it."""

    channel: Channel
    options: Any
    server: ScriptedServer

    @property
    def wrong(self) -> list[str]:
        """What the server found wrong."""
        found: list[str] = getattr(self.server, "wrong", [])
        return found


@pytest.fixture
def servers(slack: FakeSlack, pagerduty: FakePagerDuty) -> Iterator[Servers]:
    """Give the service behind each kind."""
    with ExitStack() as stack:
        own: Servers = {
            "alertmanager": FakeAlertmanager(authorization="Bearer planted-bearer"),
            "discord": FakeDiscord(),
            "teams": FakeTeams(),
            "webhook": FakeWebhook(),
        }
        for server in own.values():
            stack.enter_context(server)
        yield {**own, "slack": slack, "pagerduty": pagerduty}


def place(kind: str, servers: Servers, *, timeout_ms: int = 10_000) -> Place:
    server = servers[kind.partition(" ")[0]]
    options: dict[str, dict[str, Any]] = {
        "alertmanager": {"urls": (f"{server.url}/prefix",), "token": "planted-bearer"},
        "discord": {"webhook_url": f"{server.url}{DISCORD_PATH}"},
        "teams": {"webhook_url": f"{server.url}{TEAMS_PATH}"},
        "pagerduty": {"routing_key": ROUTING_KEY, "url": f"{server.url}/v2/enqueue"},
        "slack token": {
            "token": TOKEN,
            "api_url": f"{server.url}/api",
            "channels": {"critical": "#alerts-critical"},
        },
        "slack webhook": {"webhook_url": f"{server.url}{HOOK}"},
        "webhook": {
            "url": f"{server.url}{WEBHOOK_PATH}",
            "secrets": (WEBHOOK_SECRET,),
            "headers": {"Authorization": "Basic planted-header"},
            "allow_private": True,
        },
    }
    known = CHANNELS[kind.partition(" ")[0]]
    made = known.options(**options[kind], timeout_ms=timeout_ms)
    assert list(made.problems()) == []
    return Place(known.build("pager", made), made, server)


@pytest.fixture(params=REMOTE)
def remote(request: pytest.FixtureRequest, servers: Servers) -> Place:
    """Give each channel that calls a service."""
    return place(request.param, servers)


def refused(there: Place) -> DeliveryError:
    with pytest.raises(DeliveryError) as raised:
        there.channel.send(notification(), {})
    return raised.value


def test_every_kind_is_registered_with_its_options() -> None:
    assert {name: kind.options.__name__ for name, kind in CHANNELS.items()} == {
        "alertmanager": "AlertmanagerOptions",
        "console": "ConsoleOptions",
        "discord": "DiscordOptions",
        "email": "EmailOptions",
        "kafka": "KafkaTopicOptions",
        "pagerduty": "PagerDutyOptions",
        "sentry": "SentryOptions",
        "slack": "SlackOptions",
        "statuspage": "StatuspageOptions",
        "teams": "TeamsOptions",
        "webhook": "WebhookOptions",
    }


def test_configured_channels_become_destinations_under_their_names() -> None:
    console = CHANNELS["console"].options()
    made = destinations({"console": console, "pager": console})
    assert ([each.name for each in made], kind_of(console)) == (["console", "pager"], CHANNELS["console"])


@pytest.mark.parametrize("status", STATUSES)
def test_only_429_and_5xx_are_retried(remote: Place, status: int) -> None:
    remote.server.script = [Answer(status, b"no", {"Location": "http://127.0.0.1:1/elsewhere"})]
    error = refused(remote)
    assert (error.retryable, len(remote.server.seen)) == (status in RETRIED, 1)
    assert f"HTTP {status}" in str(error)


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [
        ("7", 7.0, 7.0),
        ("0", 0.0, 0.0),
        ("86400", 900.0, 900.0),
        (email.utils.formatdate(time.time() + 1e6, usegmt=True), 900.0, 900.0),
        (email.utils.formatdate(time.time() - 100, usegmt=True), 0.0, 0.0),
        (email.utils.formatdate(time.time() + 600, usegmt=True), 1.0, 601.0),
        ("soon", None, None),
        ("-5", None, None),
        ("1e9", None, None),
        ("", None, None),
        ("Mon, 99 Foo 2026", None, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_date_and_capped(
    remote: Place, header: str, low: float | None, high: float | None
) -> None:
    remote.server.script = [Answer(429, b"", {"rEtRy-AfTeR": header})]
    got = refused(remote).retry_after
    assert got is None if low is None or high is None else got is not None and low <= got <= high


@pytest.mark.parametrize("fault", ["reset", "silent", "stall"])
@pytest.mark.parametrize("kind", REMOTE)
def test_a_broken_connection_or_a_time_out_is_retried(kind: str, fault: str, servers: Servers) -> None:
    there = place(kind, servers, timeout_ms=200)
    there.server.script = [Answer(202, b"{}" * 10, fault=fault)]
    error = refused(there)
    assert (error.retryable, error.code) == (True, "network" if fault == "reset" else "timeout")


@pytest.mark.parametrize("kind", REMOTE)
def test_a_server_that_is_not_there_is_retried(kind: str, servers: Servers) -> None:
    there = place(kind, servers)
    there.server.__exit__(None, None, None)
    error = refused(there)
    there.server.__enter__ = lambda: there.server  # type: ignore[method-assign]
    assert (error.retryable, "cannot connect" in str(error)) == (True, True)


def _everything(there: Place, error: BaseException, log: str) -> str:
    chain: list[BaseException | None] = [error, error.__cause__]
    if not error.__suppress_context__:
        chain.append(error.__context__)
    shown = [repr(there.channel), repr(there.options), str(there.options), log]
    return " ".join([*shown, *(f"{each!r} {each} {getattr(each, 'code', '')}" for each in chain)])


@pytest.mark.parametrize(
    "answer",
    [
        Answer(404, b"no_service"),
        Answer(500, f"at {PLANTED}".encode()),
        Answer(400, f"Authorization: Bearer {TOKEN} https://hooks.slack.com{HOOK} {ROUTING_KEY}".encode()),
        of_json(400, {"message": f"bad key {PLANTED}", "errors": [ROUTING_KEY, TOKEN]}),
        of_json(200, {"ok": False, "error": f"bad {TOKEN}"}),
        of_json(503, {"ok": False, "error": f"bad {PLANTED}"}),
        Answer(fault="reset"),
    ],
)
def test_no_error_log_or_repr_holds_a_secret(remote: Place, answer: Answer, caplog: pytest.LogCaptureFixture) -> None:
    error: BaseException = ValueError()
    with caplog.at_level(logging.DEBUG):
        remote.server.script = [answer]
        try:
            remote.channel.send(notification(), {})
        except DeliveryError as raised:
            error = raised
        remote.channel.send(notification(), {})
    shown = _everything(remote, error, caplog.text)
    assert [secret for secret in PLANTED.split() if secret in shown and _belongs(secret, remote)] == []


def _belongs(secret: str, there: Place) -> bool:
    """Tell whether a secret is of this channel: another's text is unknown to it."""
    return secret in str(dataclasses.asdict(there.options))


NASTY = (
    "<!channel> <@U123> <https://evil.example|login> & &amp; `code` *bold* _it_\r\n"
    "Subject: x\r\n\x1b[31mred\x1b[0m \u202etxet | \x00 \U0001f600 " + "é" * 50
)


@pytest.mark.parametrize("kind", REMOTE)
def test_log_data_injects_nothing(kind: str, servers: Servers) -> None:
    there = place(kind, servers)
    said = notification(
        title=NASTY,
        text=NASTY,
        key={"path": NASTY, NASTY: "x"},
        labels={NASTY: NASTY},
        evidence={"exemplars": [{"reason": NASTY, "ray_id": NASTY, "event_time": NASTY}]},
    )
    there.channel.send(said, {})
    assert there.wrong == []
    assert len(there.server.seen) == 1


@pytest.mark.parametrize("size", [1, 150, 151, 1024, 3001, 200_000])
@pytest.mark.parametrize("letter", ["x", "<", "é"])
@pytest.mark.parametrize("kind", REMOTE)
def test_any_size_is_taken(kind: str, size: int, letter: str, servers: Servers) -> None:
    there = place(kind, servers)
    long = letter * size
    said = notification(
        title=long,
        text=long,
        rule=long[:200],
        key={f"{n}{long[:50]}": long for n in range(3)},
        labels={f"{n}": long for n in range(20)},
        evidence={"exemplars": [{"reason": long, "ray_id": long} for _ in range(40)]},
        dedup_key=f"edgewatch/{long[:500]}/episode",
    )
    there.channel.send(said, {})
    assert there.wrong == []


@pytest.mark.parametrize("kind", REMOTE)
def test_a_whole_episode_goes_through(kind: str, servers: Servers, pagerduty: FakePagerDuty) -> None:
    there = place(kind, servers)
    memory: dict[str, str] = {}
    for said in story("first", "repeat", "escalated", "de-escalated", "resolved", "reopened", "forgotten"):
        memory = there.channel.send(said, memory)
    assert (there.wrong, pagerduty.open, pagerduty.dropped) == ([], {}, [])
