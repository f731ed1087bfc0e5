"""Email: who gets a mail, once each; what a failed attempt leaves to do; and what the options must say."""

import dataclasses
import random
from typing import Any

import pytest

from sinks.channels import destinations
from sinks.delivery import Delivery
from sinks.email import Email, EmailOptions
from sinks.failure import notification_items
from sinks.lane import Lane
from sinks.notification import Channel, DeliveryError, Notification
from sinks.spool import Spool
from tests.fakes.clock import ManualClock
from tests.fakes.notifications import notification, story
from tests.fakes.smtp import PASSWORD, USER, Certificate, FakeSmtp

ANN, BOB, CAT = "ann@example.com", "bob@example.com", "cat@example.com"
RIGHT: dict[str, Any] = {"host": "mail.example.com", "from_": "edgewatch <alerts@example.com>", "to": (ANN, BOB)}


@pytest.fixture
def options(smtp: FakeSmtp, localhost: Certificate) -> EmailOptions:
    """Give options that work: two get everything."""
    return EmailOptions(
        **{**RIGHT, "host": "localhost"},
        port=smtp.port,
        user=USER,
        password=PASSWORD,
        ca_file=str(localhost.file),
        timeout_ms=5000,
    )


@pytest.fixture
def mail(options: EmailOptions) -> Email:
    """Give the channel of these options."""
    return Email("mail", options)


def refused(channel: Channel, memory: dict[str, str], said: Notification | None = None) -> DeliveryError:
    with pytest.raises(DeliveryError) as raised:
        channel.send(said or notification(), memory)
    return raised.value


def heard(server: FakeSmtp) -> list[tuple[str, ...]]:
    return [each.to for each in server.received]


def test_a_notification_goes_to_all_in_one_mail(mail: Email, smtp: FakeSmtp) -> None:
    memory = mail.send(notification(), {})
    (got,) = smtp.received
    assert (got.sender, got.to, got.mail["To"]) == ("alerts@example.com", (ANN, BOB), f"{ANN}, {BOB}")
    assert "high_error_rate on api.example.com" in got.part("plain")
    assert "high_error_rate on api.example.com" in got.part("html")
    assert [key for key in memory if key.startswith("left")] == []


def test_a_recipient_refused_for_now_gets_it_later_and_the_other_no_second_time(mail: Email, smtp: FakeSmtp) -> None:
    smtp.script = {f"RCPT {BOB}": ["450 4.2.1 greylisted", "451 4.7.1 still"]}
    memory: dict[str, str] = {}
    errors = [refused(mail, memory), refused(mail, memory)]
    assert [error.retryable for error in errors] == [True, True]
    assert f"{BOB}: 450 4.2.1 greylisted" in str(errors[0])
    assert ANN not in str(errors[0])
    mail.send(notification(), memory)
    assert heard(smtp) == [(ANN,), (BOB,)]
    assert len({each.mail["Message-ID"] for each in smtp.received}) == 1


def test_a_recipient_refused_for_good_is_named_after_the_others_got_it(mail: Email, smtp: FakeSmtp) -> None:
    smtp.script = {f"RCPT {ANN}": ["550 5.1.1 no such user"]}
    memory: dict[str, str] = {}
    error = refused(mail, memory)
    assert (error.retryable, f"refused: {ANN}: 550 5.1.1 no such user" in str(error)) == (False, True)
    assert BOB not in str(error)
    assert heard(smtp) == [(BOB,)]


def test_one_refused_for_good_and_one_for_now_end_with_both_said(mail: Email, smtp: FakeSmtp) -> None:
    smtp.script = {f"RCPT {ANN}": ["550 5.1.1 no such user"], f"RCPT {BOB}": ["450 4.2.1 greylisted"]}
    memory: dict[str, str] = {}
    first = refused(mail, memory)
    second = refused(mail, memory)
    assert (first.retryable, BOB in str(first), ANN in str(first)) == (True, True, False)
    assert (second.retryable, ANN in str(second), BOB in str(second)) == (False, True, False)
    assert (heard(smtp), [line for line in smtp.heard if ANN in line and "RCPT" in line]) == ([(BOB,)], [f"RCPT TO:<{ANN}>"])


def test_a_retry_by_hand_tries_only_those_that_were_refused(mail: Email, smtp: FakeSmtp) -> None:
    smtp.script = {f"RCPT {ANN}": ["550 5.1.1 no such user"]}
    memory: dict[str, str] = {}
    refused(mail, memory)
    mail.send(notification(), memory)
    assert heard(smtp) == [(BOB,), (ANN,)]


def test_an_attempt_that_settles_nothing_leaves_nothing_to_remember(mail: Email, smtp: FakeSmtp) -> None:
    smtp.script = {"RCPT": ["450 later", "450 later"]}
    memory: dict[str, str] = {}
    assert (refused(mail, memory).retryable, memory) == (True, {})


@pytest.mark.slow
def test_what_is_left_to_do_is_remembered_for_so_many_notifications(mail: Email, smtp: FakeSmtp) -> None:
    smtp.script = {f"RCPT {ANN}": ["550 5.1.1 no such user"] * 30}
    memory: dict[str, str] = {}
    for place in range(30):
        refused(mail, memory, notification(id=f"{place:032x}"))
    assert len(memory) == 21


def test_all_refused_is_an_error_of_its_kind(mail: Email, smtp: FakeSmtp) -> None:
    smtp.script = {"RCPT": ["450 later", "450 later", "550 never", "550 never"]}
    memory: dict[str, str] = {}
    assert [refused(mail, memory).retryable, refused(mail, memory).retryable] == [True, False]
    assert heard(smtp) == []


def test_everybody_who_was_refused_is_named(options: EmailOptions, smtp: FakeSmtp) -> None:
    to = tuple(f"number-{n}@example.com" for n in range(30))
    smtp.script = {"RCPT": [f"550 5.1.1 {'because ' * 30}"] * 30}
    error = refused(Email("mail", dataclasses.replace(options, to=to)), {})
    assert [each for each in to if each not in str(error)] == []


def test_a_server_that_goes_away_between_two_recipients_gives_both_the_mail_later(mail: Email, smtp: FakeSmtp) -> None:
    smtp.script = {f"RCPT {BOB}": ["421 4.3.2 shutting down"]}
    memory: dict[str, str] = {}
    assert refused(mail, memory).retryable
    mail.send(notification(), memory)
    assert heard(smtp) == [(ANN, BOB)]


def test_those_that_heard_of_an_episode_hear_how_it_ends(options: EmailOptions, smtp: FakeSmtp) -> None:
    channel = Email("mail", dataclasses.replace(options, to=(BOB,), to_by_severity={"critical": (CAT,)}))
    memory: dict[str, str] = {}
    severities = ("warning", "critical", "warning", "critical")
    for said in story("first", "escalated", "de-escalated", "resolved", severities=severities):
        memory = channel.send(said, memory)
    assert heard(smtp) == [(BOB,), (BOB, CAT), (BOB, CAT), (BOB, CAT)]


def test_a_critical_alert_that_gets_worse_for_nobody_else_stays_there(options: EmailOptions, smtp: FakeSmtp) -> None:
    channel = Email("mail", dataclasses.replace(options, to=(BOB,), to_by_severity={"critical": (CAT,)}))
    memory: dict[str, str] = {}
    for said in story("first", "resolved", severities=("critical", "warning")):
        memory = channel.send(said, memory)
    assert heard(smtp) == [(CAT,), (CAT,)]


def test_a_resolve_without_memory_goes_by_its_severity(mail: Email, smtp: FakeSmtp) -> None:
    smtp.script = {f"RCPT {BOB}": ["450 later"]}
    memory: dict[str, str] = {}
    resolved = notification(status="resolved", reason="resolved")
    refused(mail, memory, resolved)
    mail.send(resolved, memory)
    assert heard(smtp) == [(ANN,), (BOB,)]


def test_a_whole_episode_is_one_thread(mail: Email, smtp: FakeSmtp) -> None:
    memory: dict[str, str] = {}
    for said in story("first", "repeat", "escalated", "resolved", "reopened", "forgotten"):
        memory = mail.send(dataclasses.replace(said, title=f"{said.title}: {said.at}"), memory)
    mails = [each.mail for each in smtp.received]
    assert len({each["Message-ID"] for each in mails}) == 6
    assert len({(each["Subject"], each["References"], each["In-Reply-To"]) for each in mails}) == 1


def test_a_template_that_writes_what_changes_splits_no_thread(options: EmailOptions, smtp: FakeSmtp) -> None:
    channel = Email("mail", dataclasses.replace(options, title="{{ severity }} at {{ at|rfc3339 }}", text="A\nB {{ reason }}"))
    memory: dict[str, str] = {}
    for said in story("first", "repeat"):
        memory = channel.send(said, memory)
    assert [each.mail["Subject"] for each in smtp.received] == ["[edgewatch] critical at 2025-12-01T00:05:00Z (production)"] * 2
    assert "CRITICAL: critical at 2025-12-01T00:10:00Z" in smtp.received[1].part("plain")
    assert "\nA\nB repeat\n" in smtp.received[1].part("plain").replace("\r", "")
    assert "A<br>" in smtp.received[1].part("html")


def test_a_template_that_fails_costs_no_alert(options: EmailOptions, smtp: FakeSmtp) -> None:
    Email("mail", dataclasses.replace(options, text="{{ labels.owner }}")).send(notification(), {})
    plain = smtp.received[0].part("plain")
    assert "error_rate ratio 0.0731 is above 0.05" in plain
    assert "(edgewatch: the template of the text failed: line 1: 'dict object' has no attribute 'owner')" in plain


def test_an_address_that_is_not_ascii_gets_a_mail_of_its_own(options: EmailOptions, smtp: FakeSmtp) -> None:
    to = ("jürgen@münchen.example", "Ops <ops@münchen.example>")
    Email("mail", dataclasses.replace(options, to=to)).send(notification(), {})
    assert heard(smtp) == [("ops@xn--mnchen-3ya.example",), ("jürgen@xn--mnchen-3ya.example",)]
    assert [each.mail["To"] for each in smtp.received] == [
        "Ops <ops@xn--mnchen-3ya.example>",
        "jürgen@xn--mnchen-3ya.example",
    ]


def test_an_address_the_server_cannot_take_is_named_after_the_others_got_it(
    options: EmailOptions, localhost: Certificate
) -> None:
    with FakeSmtp(localhost, utf8=False) as server:
        channel = Email("mail", dataclasses.replace(options, port=server.port, to=("jürgen@example.com", ANN)))
        error = refused(channel, {})
        assert (error.retryable, "jürgen@example.com: 553" in str(error), heard(server)) == (False, True, [(ANN,)])


def test_through_the_spool_nobody_gets_a_mail_twice(
    options: EmailOptions, smtp: FakeSmtp, spool: Spool, clock: ManualClock
) -> None:
    smtp.script = {f"RCPT {BOB}": ["450 greylisted"], "MAIL": ["451 busy"]}
    delivery = Delivery(spool, destinations({"mail": options}), clock=clock, jitter=random.Random(1))
    spool.put(notification_items(notification(channels=("mail",))))
    (lane,) = delivery.lanes.values()
    run(lane, clock)
    assert heard(smtp) == [(ANN,), (BOB,)]
    assert spool.counts() == {("mail", "delivered"): 1}


def test_what_fired_and_ended_while_the_server_was_away_is_one_mail(
    options: EmailOptions, smtp: FakeSmtp, spool: Spool, clock: ManualClock
) -> None:
    smtp.script = {"greeting": ["421 busy"] * 2}
    delivery = Delivery(spool, destinations({"mail": options}), clock=clock, jitter=random.Random(1))
    for said in story("first", "resolved"):
        spool.put(notification_items(dataclasses.replace(said, channels=("mail",))))
    (lane,) = delivery.lanes.values()
    run(lane, clock)
    assert "RESOLVED" in smtp.received[0].part("plain")
    assert len(smtp.received) == 1


def run(lane: Lane, clock: ManualClock) -> None:
    """Step until nothing waits."""
    for _ in range(200):
        if not lane.status().queued:
            return
        clock.at += lane.step()


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"host": ""}, "host"),
        ({"host": "mail.example.com/x"}, "host"),
        ({"host": "a\r\nb"}, "host"),
        ({"host": "mail..example.com"}, "host"),
        ({"host": ".example.com"}, "host"),
        ({"host": "x" * 64}, "host"),
        ({"port": 0}, "port"),
        ({"port": 70_000}, "port"),
        ({"security": "ssl"}, "security"),
        ({"security": "none", "user": "u", "password": "p"}, "security"),
        ({"user": "u"}, "user"),
        ({"password": "p"}, "user"),
        ({"from_": "alerts"}, "from"),
        ({"from_": "jürgen@example.com"}, "from"),
        ({"to": ("ann",)}, "to"),
        ({"to": ()}, "to"),
        ({"to": (), "to_by_severity": {"critical": (ANN,)}}, "to"),
        ({"to_by_severity": {"critical": ("ann",)}}, "to_by_severity.critical"),
        ({"to_by_severity": {"info": (ANN,)}}, "to_by_severity"),
        ({"subject_prefix": "a\nb"}, "subject_prefix"),
        ({"subject_prefix": "x" * 61}, "subject_prefix"),
        ({"timeout_ms": 0}, "timeout"),
        ({"title": "{{ titel }}"}, "title"),
        ({"text": "{% if %}"}, "text"),
    ],
)
def test_wrong_options_are_named(changes: dict[str, Any], key: str) -> None:
    assert key in [name for name, _ in EmailOptions(**{**RIGHT, **changes}).problems()]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"security": "tls", "user": "u", "password": "p"},
        {"security": "none", "host": "127.0.0.1", "user": "u", "password": "p"},
        {"to": (), "to_by_severity": {"critical": (ANN,), "warning": (BOB,)}},
        {"title": "{{ title }}", "text": "{{ text }}"},
        {"host": "::1"},
        {"to": ("Smith, Bob <bob@example.com>",)},
    ],
)
def test_right_options_have_no_problems(changes: dict[str, Any]) -> None:
    assert list(EmailOptions(**{**RIGHT, **changes}).problems()) == []


@pytest.mark.parametrize(("security", "port"), [("starttls", 587), ("tls", 465), ("none", 25)])
def test_the_port_follows_from_the_security(security: str, port: int) -> None:
    channel = Email("mail", EmailOptions(**{**RIGHT, "host": "mail.invalid"}, security=security))
    assert f"mail.invalid:{port}" in str(refused(channel, {}))
