"""Counterparts: for each kind of channel what stands at the other end, and what of it has arrived there."""

import contextlib
import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from tests.fakes import alertmanager, discord, pagerduty, sentry, slack, smtp, statuspage, teams, webhook
from tests.fakes.smtp import PASSWORD, USER, FakeSmtp
from tests.fakes.wire import Wire


@dataclass
class Counterpart:
    """One other end, reached over a wire.

    `arrived` gives the text of each message that it took, repeats too; `apart` of those that differ by what the API knows
    messages by, None where it knows nothing.
    """

    kind: str
    wire: Wire
    options: dict[str, Any]
    arrived: Callable[[], list[str]]
    apart: Callable[[], list[str]] | None = None


@contextlib.contextmanager
def _http(
    kind: str,
    server: Any,
    made: Callable[[str], dict[str, Any]],
    arrived: Callable[[], list[Any]],
    apart: Callable[[], list[Any]] | None = None,
) -> Iterator[Counterpart]:
    with server, Wire(server.port) as wire:
        known = None if apart is None else lambda: _texts(apart())
        yield Counterpart(kind, wire, made(f"http://127.0.0.1:{wire.port}"), lambda: _texts(arrived()), known)


def _texts(found: list[Any]) -> list[str]:
    return [each if isinstance(each, str) else json.dumps(each, default=str) for each in found]


def _bodies(server: Any) -> list[str]:
    return [gzip.decompress(s.body).decode() if s.body[:2] == b"\x1f\x8b" else s.body.decode() for s in server.seen]


def _alertmanager(_: Path) -> contextlib.AbstractContextManager[Counterpart]:
    server = alertmanager.FakeAlertmanager()
    known = lambda: [dict(labels) for labels in server.alerts]  # noqa: E731
    return _http("alertmanager", server, lambda url: {"urls": [f"{url}/prefix"]}, lambda: _bodies(server), known)


def _discord(_: Path) -> contextlib.AbstractContextManager[Counterpart]:
    server = discord.FakeDiscord()
    return _http("discord", server, lambda url: {"webhook_url": f"{url}{discord.HOOK}"}, lambda: server.messages)


def _pagerduty(_: Path) -> contextlib.AbstractContextManager[Counterpart]:
    server = pagerduty.FakePagerDuty()
    made = lambda url: {"routing_key": pagerduty.ROUTING_KEY, "url": f"{url}/v2/enqueue"}  # noqa: E731
    return _http("pagerduty", server, made, lambda: _bodies(server), lambda: [key for _, key in server.pages])


def _sentry(_: Path) -> contextlib.AbstractContextManager[Counterpart]:
    server = sentry.FakeSentry()
    made = lambda url: {"dsn": f"{url.replace('//', f'//{sentry.KEY}@')}/{sentry.PROJECT}"}  # noqa: E731
    return _http("sentry", server, made, lambda: _bodies(server), lambda: list(server.events.values()))


def _slack_webhook(_: Path) -> contextlib.AbstractContextManager[Counterpart]:
    server = slack.FakeSlack()
    return _http("slack", server, lambda url: {"webhook_url": f"{url}{slack.HOOK}"}, lambda: server.posted)


def _slack_bot(_: Path) -> contextlib.AbstractContextManager[Counterpart]:
    server = slack.FakeSlack()
    made = lambda url: {"token": slack.TOKEN, "api_url": f"{url}/api", "channels": {"critical": "#alerts-critical"}}  # noqa: E731
    return _http("slack", server, made, lambda: server.posted)


def _statuspage(_: Path) -> contextlib.AbstractContextManager[Counterpart]:
    server = statuspage.FakeStatuspage()
    own = {"api_key": statuspage.API_KEY, "page": statuspage.PAGE, "components": statuspage.COMPONENTS}
    made = lambda url: {**own, "url": f"{url}/v1", "incidents": "auto", "details": True}  # noqa: E731
    return _http("statuspage", server, made, lambda: server.incidents, lambda: server.incidents)


def _teams(_: Path) -> contextlib.AbstractContextManager[Counterpart]:
    server = teams.FakeTeams()
    return _http("teams", server, lambda url: {"webhook_url": f"{url}{teams.HOOK}"}, lambda: server.cards)


def _webhook(_: Path) -> contextlib.AbstractContextManager[Counterpart]:
    server = webhook.FakeWebhook()
    made = lambda url: {"url": f"{url}{webhook.HOOK}", "secrets": [webhook.SECRET], "allow_private": True}  # noqa: E731
    return _http("webhook", server, made, lambda: _bodies(server), lambda: list(server.received.values()))


@contextlib.contextmanager
def _email(folder: Path) -> Iterator[Counterpart]:
    known = smtp.certificate(folder, "localhost")
    with FakeSmtp(known) as server, Wire(server.port) as wire:
        login = {"user": USER, "password": PASSWORD, "ca_file": str(known.file)}
        made = {"host": "localhost", "port": wire.port, "from_": "alerts@example.com", "to": ["ann@example.com"], **login}
        arrived = lambda: [each.part("plain") for each in server.received]  # noqa: E731
        apart = lambda: list({each.mail["Message-ID"]: each.part("plain") for each in server.received}.values())  # noqa: E731
        yield Counterpart("email", wire, made, arrived, apart)


# By the name of the test's case; a kind may have more than one.
OVER_A_WIRE: dict[str, Callable[[Path], contextlib.AbstractContextManager[Counterpart]]] = {
    "alertmanager": _alertmanager,
    "discord": _discord,
    "email": _email,
    "pagerduty": _pagerduty,
    "sentry": _sentry,
    "slack": _slack_webhook,
    "slack bot": _slack_bot,
    "statuspage": _statuspage,
    "teams": _teams,
    "webhook": _webhook,
}


@contextlib.contextmanager
def kafka_topic(brokers: str, topic: str) -> Iterator[Counterpart]:
    """Give a topic of one partition on a real broker."""
    with Wire(int(brokers.rpartition(":")[2])) as wire:
        made = {"brokers": [f"127.0.0.1:{wire.port}"], "topic": topic}
        yield Counterpart(
            "kafka",
            wire,
            made,
            lambda: [text for _, text in _held(brokers, topic)],
            lambda: list(dict(_held(brokers, topic)).values()),
        )


def _held(brokers: str, topic: str) -> list[tuple[str, str]]:
    """Give the id (of the header) and text of each message."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "test", "log_level": 0})
    _, high = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=30)
    consumer.assign([TopicPartition(topic, 0, 0)])
    found: list[tuple[str, str]] = []
    while len(found) < high:
        for message in consumer.consume(100, 0.2):
            assert message.error() is None
            found.append((str(dict(message.headers() or [])["id"]), (message.value() or b"").decode()))
    consumer.close()
    return found
