"""Heartbeat: a ping per stretch of time at most, never waited for; the real SDK and real HTTP."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sentry_sdk

from sinks.heartbeat import Heartbeat, HeartbeatOptions, Rhythm
from tests.fakes.clock import ManualClock
from tests.fakes.scripted import Answer, ScriptedServer
from tests.fakes.sentry import KEY, FakeSentry

UUID = "5bf66975-d4c7-4bf5-bcc8-b8d8a82ea278"


@pytest.fixture
def hc() -> Iterator[ScriptedServer]:
    """Give a healthchecks: it answers 200 to everything."""
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def sentry() -> Iterator[FakeSentry]:
    """Give a Sentry."""
    with FakeSentry() as server:
        yield server


@pytest.fixture
def beating(clock: ManualClock) -> Iterator[Callable[..., Heartbeat]]:
    """Give a maker of heartbeats that go by the clock; they end with the test."""
    made: list[Heartbeat] = []

    def make(**options: Any) -> Heartbeat:
        environment = options.pop("environment", "")
        made.append(Heartbeat(HeartbeatOptions(**options), environment=environment, now=clock.now))
        return made[-1]

    yield make
    for each in made:
        each.close()


def address(server: ScriptedServer) -> str:
    return f"{server.url}/{UUID}"


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_of_many_beats_one_per_stretch_is_a_ping() -> None:
    rhythm = Rhythm(60.0)
    assert [rhythm.due(at) for at in (0.0, 1.0, 59.9, 60.0, 61.0, 500.0, 501.0, 560.0)] == [
        *(True, False, False, True, False, True, False, True)
    ]


def test_nothing_is_pinged_before_the_first_beat(hc: ScriptedServer, beating: Callable[..., Heartbeat]) -> None:
    beating(url=address(hc)).close()
    assert hc.seen == []


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_closing_windows_ping_the_url_once_per_stretch(
    hc: ScriptedServer, beating: Callable[..., Heartbeat], clock: ManualClock, method: str
) -> None:
    heartbeat = beating(url=address(hc), method=method)
    for turn in (1, 2, 3):
        for _ in range(50):
            heartbeat.beat()
        wait_for(lambda turn=turn: len(hc.seen) == turn)  # type: ignore[misc]
        clock.at += 60
    assert {(seen.method, seen.path) for seen in hc.seen} == {(method, f"/{UUID}")}


def test_a_beat_waits_for_nobody(hc: ScriptedServer, beating: Callable[..., Heartbeat], clock: ManualClock) -> None:
    """The server answers nothing; all beats return, and those of the meantime become one ping."""
    hc.script = [Answer(fault="silent")]
    heartbeat = beating(url=address(hc), timeout_ms=1000)
    heartbeat.beat()
    wait_for(lambda: len(hc.seen) == 1)
    for _ in range(1000):
        clock.at += 60
        heartbeat.beat()
    assert len(hc.seen) == 1
    wait_for(lambda: len(hc.seen) == 2)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(404, b"no such check"), "HTTP 404"),
        (Answer(200, b"OK (not found)"), "OK (not found)"),
        (Answer(302, b"", {"Location": "/elsewhere"}), "HTTP 302"),
        (Answer(429), "HTTP 429"),
        (Answer(500), "HTTP 500"),
        (Answer(fault="reset"), "the connection broke"),
        (Answer(fault="silent"), "timed out"),
    ],
)
def test_an_outage_is_logged_once_and_its_end_too(
    hc: ScriptedServer,
    beating: Callable[..., Heartbeat],
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
    answer: Answer,
    words: str,
) -> None:
    hc.script = [answer] * 3
    heartbeat = beating(url=address(hc), timeout_ms=300)
    for turn in range(1, 6):
        heartbeat.beat()
        wait_for(lambda turn=turn: len(hc.seen) == turn and not heartbeat._due.is_set())  # type: ignore[misc]
        wait_for(lambda turn=turn: bool(heartbeat._down) is (turn < 4))  # type: ignore[misc]
        clock.at += 60
    heartbeat.close()
    failed, back = caplog.records
    assert (failed.levelname, words in failed.getMessage()) == ("ERROR", True)
    assert back.getMessage() == "heartbeat url takes the heartbeat again"


def test_a_check_in_says_ok_and_describes_the_monitor(sentry: FakeSentry, beating: Callable[..., Heartbeat]) -> None:
    beating(sentry_dsn=sentry.dsn, monitor="edge-alerts", expect_ms=600_000, environment="staging").beat()
    wait_for(lambda: len(sentry.check_ins) == 1)
    (got,) = sentry.check_ins
    assert (got["monitor_slug"], got["status"], got["environment"]) == ("edge-alerts", "ok", "staging")
    assert got["monitor_config"] == {
        "schedule": {"type": "interval", "value": 10, "unit": "minute"},
        "checkin_margin": 5,
        "max_runtime": 10,
        "failure_issue_threshold": 2,
        "recovery_threshold": 1,
        "timezone": "UTC",
    }


def test_check_ins_leave_edgewatchs_own_reports_alone(sentry: FakeSentry, beating: Callable[..., Heartbeat]) -> None:
    before = sentry_sdk.get_client()
    beating(sentry_dsn=sentry.dsn).beat()
    wait_for(lambda: len(sentry.check_ins) == 1)
    assert sentry_sdk.get_client().is_active() is before.is_active() is False


def test_a_monitor_that_is_away_does_not_hold_up_the_other(
    hc: ScriptedServer, sentry: FakeSentry, beating: Callable[..., Heartbeat], caplog: pytest.LogCaptureFixture
) -> None:
    hc.script = [Answer(500)]
    beating(url=address(hc), sentry_dsn=sentry.dsn).beat()
    wait_for(lambda: len(sentry.check_ins) == 1)
    assert [record.getMessage() for record in caplog.records] == [
        "the heartbeat did not arrive, trying with the next window: heartbeat url: HTTP 500: no reason given"
    ]


def test_close_ends_the_thread_also_while_a_ping_is_under_way(hc: ScriptedServer, beating: Callable[..., Heartbeat]) -> None:
    hc.script = [Answer(fault="silent")]
    heartbeat = beating(url=address(hc), timeout_ms=500)
    heartbeat.beat()
    wait_for(lambda: len(hc.seen) == 1)
    heartbeat.close()
    heartbeat.close()
    assert heartbeat._thread not in threading.enumerate()


def test_no_log_or_repr_holds_a_secret(
    hc: ScriptedServer, sentry: FakeSentry, beating: Callable[..., Heartbeat], caplog: pytest.LogCaptureFixture
) -> None:
    hc.script = [Answer(500, f"{UUID} at {address(hc)}".encode())]
    sentry.script = [Answer(403, f"sentry_key={KEY}".encode())]
    options = {"url": address(hc), "sentry_dsn": sentry.dsn}
    with caplog.at_level(logging.DEBUG):
        heartbeat = beating(**options)
        heartbeat.beat()
        wait_for(lambda: len(heartbeat._down) == 2)
    shown = " ".join([caplog.text, repr(heartbeat), repr(HeartbeatOptions(**options))])
    assert [secret for secret in (UUID, KEY) if secret in shown] == []


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"url": ""}, "url"),
        ({"url": "hc-ping.com"}, "url"),
        ({"method": "PUT"}, "method"),
        ({"sentry_dsn": "sentry.io"}, "sentry_dsn"),
        ({"monitor": "Edge Watch"}, "monitor"),
        ({"expect_ms": 30_000}, "expect"),
        ({"margin_ms": 90_000}, "margin"),
    ],
)
def test_wrong_options_are_refused(changes: dict[str, Any], key: str) -> None:
    known = {"url": "https://hc-ping.com/x"}
    assert [name for name, _ in HeartbeatOptions(**{**known, **changes}).problems()] == [key]
    assert list(HeartbeatOptions(**known).problems()) == []
