"""Sentry: what an issue holds, and that an attempt knows whether Sentry took it; the real SDK over real HTTP."""

from collections.abc import Iterator
from typing import Any

import pytest
import sentry_sdk
from sentry_sdk.transport import Transport

from sinks.notification import DeliveryError
from sinks.sentry import Sentry, SentryOptions, build, event
from sinks.sentry_wire import limits
from tests.fakes.notifications import notification, story
from tests.fakes.scripted import of_json
from tests.fakes.sentry import KEY, FakeSentry, envelope_in

FINGERPRINT = ["edgewatch", "high_error_rate", "0123456789abcdef"]


@pytest.fixture
def sentry() -> Iterator[FakeSentry]:
    """Give a Sentry."""
    with FakeSentry() as server:
        yield server


def channel(server: FakeSentry, timeout_ms: int = 10_000) -> Sentry:
    return Sentry("sentry", SentryOptions(dsn=server.dsn, timeout_ms=timeout_ms))


def refused(there: Sentry) -> DeliveryError:
    with pytest.raises(DeliveryError) as raised:
        there.send(notification(), {})
    return raised.value


def test_an_episode_is_one_issue_whose_last_event_is_the_resolve(sentry: FakeSentry) -> None:
    there = channel(sentry)
    severities = ("warning", "critical", "critical", "critical")
    for said in story("first", "escalated", "repeat", "resolved", severities=severities):
        there.send(said, {})
    told = [(each["level"], each["fingerprint"]) for each in sentry.events.values()]
    assert told == [(level, FINGERPRINT) for level in ("warning", "fatal", "fatal", "info")]
    assert (sentry.wrong, list(sentry.events.values())[-1]["message"][:10]) == ([], "Resolved: ")


def test_an_event_holds_what_a_person_needs(sentry: FakeSentry) -> None:
    channel(sentry).send(notification(), {})
    (got,) = sentry.events.values()
    assert {name: got[name] for name in ("event_id", "level", "message", "environment", "timestamp", "tags")} == {
        "event_id": "a" * 32,
        "level": "fatal",
        "message": "high_error_rate on api.example.com",
        "environment": "production",
        "timestamp": "2025-12-01T00:05:00.000000Z",
        "tags": {"team": "edge", "rule": "high_error_rate", "severity": "critical", "environment": "production"},
    }
    assert got["contexts"]["alert"]["threshold"] == 0.05
    assert list(got["contexts"]["evidence"].values()) == [
        "path /api/checkout contributes 71 % of the excess errors (640 of 902)",
        "error 1 at 2025-12-01T00:01:52Z ray 8f1a2b3c4d5e6f70",
    ]


def test_a_repeated_attempt_is_the_same_event(sentry: FakeSentry) -> None:
    there = channel(sentry)
    for _ in range(2):
        there.send(notification(), {})
    assert (len(sentry.seen), list(sentry.events)) == (2, ["a" * 32])


def test_an_identity_that_is_no_event_id_becomes_one() -> None:
    got = [event(notification(id=each))["event_id"] for each in ("x", "x", "y")]
    assert (got[0] == got[1], got[0] == got[2], len(got[0])) == (True, False, 32)


def test_envelopes_are_compressed_and_signed_with_the_key(sentry: FakeSentry) -> None:
    channel(sentry).send(notification(), {})
    (seen,) = sentry.seen
    head, items = envelope_in(seen)
    assert (seen.path, head["event_id"], [kind for kind, _ in items]) == ("/api/42/envelope/", "a" * 32, ["event"])
    assert f"sentry_key={KEY}" in seen.headers["x-sentry-auth"]


class Elsewhere(Transport):
    """Keeps what edgewatch's own error reports send."""

    def __init__(self) -> None:
        super().__init__({"dsn": "http://own@127.0.0.1:1/1"})
        self.got: list[Any] = []

    def capture_envelope(self, envelope: Any) -> None:
        self.got.append(envelope)


@pytest.fixture
def own_reports() -> Iterator[Elsewhere]:
    """Turn on edgewatch's own reports, with global data in them."""
    elsewhere = Elsewhere()
    before = sentry_sdk.get_global_scope().client
    sentry_sdk.init(dsn="http://own@127.0.0.1:1/1", transport=elsewhere, default_integrations=False)
    sentry_sdk.get_global_scope().set_tag("host", "own")
    sentry_sdk.get_isolation_scope().set_tag("isolated", "own")
    sentry_sdk.get_current_scope().set_tag("current", "own")
    yield elsewhere
    for scope in (sentry_sdk.get_global_scope(), sentry_sdk.get_isolation_scope(), sentry_sdk.get_current_scope()):
        scope.clear()
    sentry_sdk.get_global_scope().set_client(before)


def test_alerts_and_edgewatchs_own_reports_do_not_mix(sentry: FakeSentry, own_reports: Elsewhere) -> None:
    there = channel(sentry)
    there.send(notification(), {})
    sentry_sdk.capture_message("our own trouble")
    (alert,) = sentry.events.values()
    (report,) = own_reports.got
    assert set(alert["tags"]) & {"host", "isolated", "current"} == set()
    assert (report.get_event()["message"], report.get_event().get("fingerprint")) == ("our own trouble", None)
    assert sentry_sdk.get_client().dsn == "http://own@127.0.0.1:1/1"


def test_a_category_that_sentry_closes_with_an_accepted_event_is_not_tried_before_its_time(sentry: FakeSentry) -> None:
    there = channel(sentry)
    sentry.script = [of_json(200, {"id": "a" * 32}, x_sentry_rate_limits="60:error:organization")]
    there.send(notification(), {})
    error = refused(there)
    assert (error.retryable, error.code, (error.retry_after or 0) > 50, len(sentry.seen)) == (True, "rate_limited", True, 1)


def test_limits_are_read_by_category() -> None:
    assert limits("60:error;default:organization:reason, 2:monitor:key,9::key", 100.0) == {
        "error": 160.0,
        "default": 160.0,
        "monitor": 102.0,
        "": 109.0,
    }


def test_an_event_that_the_sdk_drops_is_no_success(sentry: FakeSentry) -> None:
    there = channel(sentry)
    there._scope.add_event_processor(lambda *_: None)
    error = refused(there)
    assert (error.retryable, error.code, sentry.seen) == (False, "dropped", [])


NASTY = "line\r\nbreak \x1b[31m <script> \u202e {{}} %s " + "é" * 50


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 200, 201, 8193, 200_000])
@pytest.mark.parametrize("letter", ["x", "é", "\U0001f600", NASTY])
def test_any_size_and_any_log_data_fit(sentry: FakeSentry, letter: str, size: int) -> None:
    long = (letter * size)[:size] or "x"
    said = notification(
        title=long,
        text=long,
        rule=long[:300],
        environment=long[:300],
        key={f"{n}{long[:50]}": long for n in range(3)},
        labels={f"{n} {long[:100]}": long for n in range(100)},
        evidence={"exemplars": [{"reason": long, "ray_id": long} for _ in range(40)]},
    )
    channel(sentry).send(said, {})
    (got,) = sentry.events.values()
    assert (sentry.wrong, got["tags"]["severity"], len(got["tags"]) <= 50) == ([], "critical", True)


def test_a_label_does_not_pass_for_the_rule(sentry: FakeSentry) -> None:
    channel(sentry).send(notification(labels={"rule": "other", "severity": "none"}), {})
    (got,) = sentry.events.values()
    assert (got["tags"]["rule"], got["tags"]["severity"]) == ("high_error_rate", "critical")


@pytest.mark.parametrize("dsn", ["", "sentry.io", "https://sentry.example/1", "https://key@/1", "https://key@sentry.example/x"])
def test_a_wrong_dsn_is_refused(dsn: str) -> None:
    assert [key for key, _ in SentryOptions(dsn=dsn).problems()] == ["dsn"]


def test_a_right_dsn_is_not(sentry: FakeSentry) -> None:
    options = SentryOptions(dsn=sentry.dsn)
    assert (list(options.problems()), build("alerts", options).name) == ([], "alerts")
