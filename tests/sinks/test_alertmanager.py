"""Alertmanager: one alert at a time fires for an episode, whatever severity it has, and none after it."""

import dataclasses
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from sinks.alertmanager import Alertmanager, AlertmanagerOptions
from sinks.notification import DeliveryError
from sinks.prometheus_alert import label_name
from tests.fakes.alertmanager import FakeAlertmanager
from tests.fakes.notifications import notification, story
from tests.fakes.scripted import Answer

LATER = "2025-12-01T12:00:00Z"
SECRETS = ("planted-password", "cGxhbnRlZC11c2VyOnBsYW50ZWQtcGFzc3dvcmQ=", "planted-token")


@pytest.fixture
def server() -> Iterator[FakeAlertmanager]:
    """Give an Alertmanager."""
    with FakeAlertmanager() as running:
        yield running


@pytest.fixture
def second() -> Iterator[FakeAlertmanager]:
    """Give another one of the same cluster."""
    with FakeAlertmanager() as running:
        yield running


def channel(*servers: FakeAlertmanager, **changes: Any) -> Alertmanager:
    urls = tuple(f"{server.url}/prefix" for server in servers)
    return Alertmanager("am", AlertmanagerOptions(**{"urls": urls, **changes}))


def problems(**given: Any) -> list[str]:
    made = AlertmanagerOptions(**{"urls": ("http://am:9093",), **given})
    return [f"{key}: {problem}" for key, problem in made.problems()]


def tell(there: Alertmanager, *reasons: str, severities: tuple[str, ...] = ()) -> dict[str, str]:
    memory: dict[str, str] = {}
    for said in story(*reasons, severities=severities):
        memory = there.send(said, memory)
    return memory


def refused(there: Alertmanager) -> DeliveryError:
    with pytest.raises(DeliveryError) as raised:
        there.send(notification(), {})
    return raised.value


def severities(server: FakeAlertmanager, at: str = LATER) -> list[str]:
    return [labels["severity"] for labels in server.firing(at)]


def test_an_alert_fires_until_it_is_resolved(server: FakeAlertmanager) -> None:
    assert len(tell(channel(server), "first", "repeat")) == 1
    assert server.firing(LATER) == [
        {
            "alertname": "high_error_rate",
            "severity": "critical",
            "environment": "production",
            "ClientRequestHost": "api.example.com",
            "team": "edge",
        }
    ]
    assert tell(channel(server), "first", "repeat", "resolved") == {}
    assert (server.firing(LATER), server.wrong) == ([], [])


def test_an_alert_has_the_start_of_its_episode_and_an_end(server: FakeAlertmanager) -> None:
    there = channel(server, expires_after_ms=3_600_000)
    first, resolved = story("first", "resolved")
    there.send(resolved, there.send(first, {}))
    times = [(alert["startsAt"], alert["endsAt"]) for seen in server.seen for alert in list[Any](seen.json)]
    assert times == [
        ("2025-12-01T00:00:00Z", "2025-12-01T01:05:00Z"),
        ("2025-12-01T00:00:00Z", "2025-12-01T00:10:00Z"),
    ]


def test_an_alert_that_is_not_said_again_ends_by_itself(server: FakeAlertmanager) -> None:
    tell(channel(server), "first")
    assert (severities(server, "2025-12-02T00:04:59Z"), severities(server, "2025-12-02T00:05:00Z")) == (["critical"], [])


def test_a_change_of_severity_ends_the_old_alert_in_the_same_request(server: FakeAlertmanager) -> None:
    tell(channel(server), "first", "escalated", severities=("warning", "critical"))
    assert (severities(server), len(server.seen), len(server.alerts)) == (["critical"], 2, 2)
    tell(channel(server), "first", "escalated", "de-escalated", severities=("warning", "critical", "warning"))
    assert severities(server) == ["warning"]


def test_a_resolve_ends_all_that_was_sent(server: FakeAlertmanager) -> None:
    steps = ("first", "escalated", "de-escalated", "resolved")
    memory = tell(channel(server), *steps, severities=("warning", "critical", "warning", "warning"))
    assert (server.firing(LATER), memory, len(list[Any](server.seen[-1].json))) == ([], {}, 2)


def test_an_ended_severity_is_not_ended_again_by_a_repeat(server: FakeAlertmanager) -> None:
    tell(channel(server), "first", "escalated", "repeat", severities=("warning", "critical", "critical"))
    assert [len(list[Any](seen.json)) for seen in server.seen] == [1, 2, 1]


def test_what_a_lost_answer_may_have_sent_is_ended_too(server: FakeAlertmanager) -> None:
    there = channel(server)
    first, escalated, resolved = story("first", "escalated", "resolved", severities=("warning", "critical", "warning"))
    memory = there.send(first, {})
    server.script = [Answer(fault="reset")]
    with pytest.raises(DeliveryError):
        there.send(escalated, memory)
    server.alerts[frozenset({**server.firing(LATER)[0], "severity": "critical"}.items())] = next(iter(server.alerts.values()))
    there.send(resolved, memory)
    assert server.firing(LATER) == []


def test_a_repeated_change_after_a_failure_still_ends_the_old_one(server: FakeAlertmanager) -> None:
    there = channel(server)
    first, escalated = story("first", "escalated", severities=("warning", "critical"))
    memory = there.send(first, {})
    server.script = [Answer(503)]
    with pytest.raises(DeliveryError):
        there.send(escalated, memory)
    there.send(escalated, memory)
    assert severities(server) == ["critical"]


def test_a_reopened_episode_fires_again(server: FakeAlertmanager) -> None:
    tell(channel(server), "first", "resolved", "reopened")
    assert severities(server) == ["critical"]


def test_every_member_is_told(server: FakeAlertmanager, second: FakeAlertmanager) -> None:
    tell(channel(server, second), "first")
    assert (severities(server), severities(second)) == (["critical"], ["critical"])


@pytest.mark.parametrize("answer", [Answer(400, b"no"), Answer(503, b"no"), Answer(fault="reset")])
def test_one_member_is_enough(
    server: FakeAlertmanager, second: FakeAlertmanager, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    server.script = [answer]
    tell(channel(server, second), "first")
    assert (severities(second), "did not take an alert: am: " in caplog.text) == (["critical"], True)


def test_where_no_member_takes_it_one_that_may_later_decides(server: FakeAlertmanager, second: FakeAlertmanager) -> None:
    server.script = [Answer(400, b"no"), Answer(400, b"no")]
    second.script = [Answer(429, b"", {"Retry-After": "7"}), Answer(404, b"nothing here")]
    error = refused(channel(server, second))
    assert (error.retryable, error.retry_after) == (True, 7.0)
    error = refused(channel(server, second))
    want = f"am: HTTP 400: no, {server.url}; am: HTTP 404: nothing here, {second.url}"
    assert (error.retryable, str(error)) == (False, want)


def test_a_member_that_may_be_called_at_once_is_not_waited_for(server: FakeAlertmanager, second: FakeAlertmanager) -> None:
    server.script, second.script = [Answer(429, b"", {"Retry-After": "700"})], [Answer(503)]
    assert refused(channel(server, second)).retry_after is None


@pytest.mark.parametrize(
    ("changes", "authorization"),
    [
        ({"user": "planted-user", "password": "planted-password"}, f"Basic {SECRETS[1]}"),
        ({"token": "planted-token"}, "Bearer planted-token"),
    ],
)
def test_it_authenticates_and_shows_it_nowhere(
    changes: dict[str, str], authorization: str, caplog: pytest.LogCaptureFixture
) -> None:
    with FakeAlertmanager(authorization=authorization) as server, caplog.at_level(logging.DEBUG):
        there = channel(server, **changes)
        there.send(notification(), {})
        server.script = [Answer(401, f"{authorization} {' '.join(SECRETS)}".encode())]
        error = refused(there)
    options = AlertmanagerOptions(urls=("http://am",), **changes)
    shown = f"{error} {error!r} {options!r} {there!r} {caplog.text}"
    own = [each for each in SECRETS if each in f"{authorization} {changes}"]
    assert ([each for each in own if each in shown], error.retryable) == ([], False)


def test_names_of_labels_are_made_ones_that_prometheus_allows(server: FakeAlertmanager) -> None:
    assert [label_name(name) for name in ("a-b.c", "1st", "", "ünï", "ok_9")] == ["a_b_c", "_1st", "_", "_n_", "ok_9"]
    key = {"a-b": "1", "a_b": "2", "severity": "3", "ü": ""}
    channel(server).send(notification(key=key, labels={"a.b": "4"}), {})
    (labels,) = server.firing(LATER)
    names = ("a_b", "exported_a_b", "exported_severity", "exported_exported_a_b")
    assert ([labels.get(name) for name in names], server.wrong) == (["1", "2", "3", "4"], [])


def test_an_episode_without_a_start_in_its_name_starts_now(server: FakeAlertmanager) -> None:
    said = notification(episode="by hand")
    channel(server).send(dataclasses.replace(said, status="resolved"), {})
    (alert,) = list[Any](server.seen[0].json)
    assert (alert["startsAt"], server.wrong) == ("2025-12-01T00:05:00Z", [])


def test_options_that_cannot_work_are_named() -> None:
    assert problems() == []
    url = "urls: has what is not an http:// or https:// URL; user and password have keys of their own"
    assert problems(urls=()) == ["urls: is empty"]
    for wrong in ("am:9093", "http://user:word@am", "http://am/?x=1", "http://"):
        assert problems(urls=(wrong,)) == [url]
    assert problems(user="x") == problems(password="x") == ["user: give user and password, or neither"]
    assert problems(user="x", password="y", token="z") == ["token: give either user and password or token"]
    assert problems(token="a\r\nb") == ["token: is not printable ASCII"]
    assert problems(expires_after_ms=0) == ["expires_after: must be above 0"]
