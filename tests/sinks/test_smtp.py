"""SMTP: how TLS and login are insisted on, what becomes of each recipient, and what errors tell."""

import base64
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sinks.notification import DeliveryError
from sinks.smtp import Reply, SmtpClient, SmtpServer
from tests.fakes.smtp import PASSWORD, USER, Certificate, FakeSmtp

ANN, BOB = "ann@example.com", "bob@example.com"
MAIL = b"Subject: x\r\n\r\n.a line with a dot\r\n..\r\nlast\r\n"


@pytest.fixture
def options(smtp: FakeSmtp, localhost: Certificate) -> dict[str, Any]:
    """Give the options that work; tests change some."""
    return {
        "host": "localhost",
        "port": smtp.port,
        "security": "starttls",
        "user": USER,
        "password": PASSWORD,
        "ca_file": str(localhost.file),
        "timeout_s": 5.0,
    }


def deliver(options: dict[str, Any], *recipients: str, **changes: Any) -> dict[str, Reply]:
    client = SmtpClient("mail", SmtpServer(**{**options, **changes}))
    return client.deliver("alerts@example.com", recipients or (ANN,), MAIL)


def refused(options: dict[str, Any], *recipients: str, **changes: Any) -> DeliveryError:
    with pytest.raises(DeliveryError) as raised:
        deliver(options, *recipients, **changes)
    return raised.value


@contextmanager
def serving(options: dict[str, Any], known: Certificate, **how: Any) -> Iterator[tuple[FakeSmtp, dict[str, Any]]]:
    with FakeSmtp(known, **how) as server:
        yield server, {**options, "port": server.port}


def test_a_mail_arrives_as_it_was_over_starttls_and_after_login(smtp: FakeSmtp, options: dict[str, Any]) -> None:
    assert deliver(options, ANN, BOB) == {ANN: Reply(250, "OK"), BOB: Reply(250, "OK")}
    (got,) = smtp.received
    assert (got.sender, got.to, got.raw) == ("alerts@example.com", (ANN, BOB), MAIL)
    verbs = [line.split()[0] for line in smtp.heard]
    assert verbs == ["EHLO", "STARTTLS", "EHLO", "AUTH", "MAIL", "RCPT", "RCPT", "DATA", "QUIT"]
    assert f"SIZE={len(MAIL)}" in next(line for line in smtp.heard if line.startswith("MAIL"))


def test_tls_from_the_start_and_no_tls_work_too(options: dict[str, Any], localhost: Certificate) -> None:
    for security in ("tls", "none"):
        with serving(options, localhost, security=security) as (server, there):
            deliver(there, security=security)
            assert len(server.received) == 1


def test_nothing_is_sent_to_a_server_without_starttls(options: dict[str, Any], localhost: Certificate) -> None:
    with serving(options, localhost, security="none") as (server, there):
        error = refused(there)
        assert (error.retryable, error.code) == (False, "starttls")
        assert str(error).startswith(f"mail: localhost:{server.port}: the server does not offer STARTTLS")
        assert [line.split()[0] for line in server.heard] == ["EHLO"]


def test_an_untrusted_certificate_is_refused(options: dict[str, Any], smtp: FakeSmtp) -> None:
    error = refused(options, ca_file="")
    assert (error.retryable, error.code, "certificate is not trusted: self" in str(error)) == (True, "certificate", True)
    assert smtp.received == []


def test_a_certificate_for_another_host_is_refused(options: dict[str, Any], smtp: FakeSmtp, localhost: Certificate) -> None:
    error = refused(options, host="127.0.0.1")
    assert (error.retryable, error.code, "127.0.0.1" in str(error)) == (True, "certificate", True)
    with serving(options, localhost, security="tls") as (server, there):
        error = refused(there, host="127.0.0.1", security="tls")
        assert (error.retryable, error.code, server.received) == (True, "certificate", [])
    assert smtp.received == []


def test_tls_to_a_port_without_it_says_so(options: dict[str, Any]) -> None:
    error = refused(options, security="tls")
    assert (error.retryable, error.code, ": TLS: TLS failed" in str(error)) == (True, "tls", True)


def test_a_ca_file_that_is_not_there_is_named(options: dict[str, Any]) -> None:
    error = refused(options, ca_file="gone.pem")
    assert (error.retryable, "reading gone.pem: No such file" in str(error)) == (True, True)


@pytest.mark.slow
def test_a_mail_that_was_taken_stays_so_if_the_farewell_fails(smtp: FakeSmtp, options: dict[str, Any]) -> None:
    for fault in ("reset", "close", "500 no", "silent"):
        smtp.script = {"QUIT": [fault]}
        deliver(options)
    assert len(smtp.received) == 4


def test_a_host_that_is_unknown_is_retried(options: dict[str, Any]) -> None:
    error = refused(options, host="mail.invalid")
    assert (error.retryable, error.code, "mail.invalid" in str(error)) == (True, "network", True)


def test_each_recipient_has_its_own_answer(smtp: FakeSmtp, options: dict[str, Any]) -> None:
    smtp.script = {f"RCPT {ANN}": ["550 5.1.1 no such user"], f"RCPT {BOB}": ["450 4.2.1 greylisted"]}
    got = deliver(options, ANN, BOB, "cat@example.com")
    assert {name: (reply.code, reply.accepted, reply.final) for name, reply in got.items()} == {
        ANN: (550, False, True),
        BOB: (450, False, False),
        "cat@example.com": (250, True, False),
    }
    assert [each.to for each in smtp.received] == [("cat@example.com",)]


def test_without_any_recipient_no_mail_is_sent(smtp: FakeSmtp, options: dict[str, Any]) -> None:
    smtp.script = {"RCPT": ["550 no", "450 later"]}
    assert [reply.code for reply in deliver(options, ANN, BOB).values()] == [550, 450]
    assert "DATA" not in smtp.heard


def test_a_421_in_the_middle_takes_the_mail_from_those_accepted_before(smtp: FakeSmtp, options: dict[str, Any]) -> None:
    smtp.script = {f"RCPT {BOB}": ["421 4.3.2 shutting down"]}
    error = refused(options, ANN, BOB)
    assert (error.retryable, error.code, smtp.received) == (True, "421", [])


def test_a_mail_over_the_size_limit_is_refused_for_good(options: dict[str, Any], localhost: Certificate) -> None:
    with serving(options, localhost, size=20) as (server, there):
        error = refused(there)
        assert (error.retryable, error.code, server.received) == (False, "552", [])


def test_addresses_that_are_not_ascii_need_a_server_that_takes_them(options: dict[str, Any], localhost: Certificate) -> None:
    for utf8 in (True, False):
        with serving(options, localhost, utf8=utf8) as (server, there):
            client = SmtpClient("mail", SmtpServer(**there))
            (reply,) = client.deliver("alerts@example.com", ["jürgen@example.com"], MAIL, utf8=True).values()
            assert (reply.accepted, reply.final) == (utf8, not utf8)
            assert [each.to for each in server.received] == ([("jürgen@example.com",)] if utf8 else [])


def test_a_wrong_password_is_offered_once_and_shown_nowhere(
    smtp: FakeSmtp, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "edgewatch"):
        error = refused(options, password="wrong-" + PASSWORD)
    assert (error.retryable, error.code, len([line for line in smtp.heard if line.startswith("AUTH")])) == (False, "535", 1)
    assert hidden(error, "wrong-" + PASSWORD, caplog.text)


@pytest.mark.parametrize("step", ["AUTH", "MAIL", "RCPT", "end"])
@pytest.mark.parametrize("code", [454, 535, 421])
def test_a_server_that_echoes_the_password_gives_nothing_away(
    smtp: FakeSmtp, options: dict[str, Any], step: str, code: int
) -> None:
    forms = [PASSWORD, encoded(PASSWORD), encoded(f"\0{USER}\0{PASSWORD}")]
    smtp.script = {step: [f"{code} wrong: {' '.join(forms)} {'x' * 150} {PASSWORD}"]}
    if step == "RCPT" and code != 421:
        (reply,) = deliver(options).values()
        assert not any(form in str(reply) for form in forms)
    else:
        assert hidden(refused(options), PASSWORD)


def test_login_goes_by_two_steps_where_the_server_knows_no_other(options: dict[str, Any], localhost: Certificate) -> None:
    with serving(options, localhost, login="LOGIN") as (server, there):
        deliver(there)
        error = refused(there, password="wrong")
        assert (server.heard[3], len(server.received), error.code) == ("AUTH LOGIN", 1, "535")


def test_a_server_without_a_login_that_is_known_is_refused(options: dict[str, Any], localhost: Certificate) -> None:
    with serving(options, localhost, login="") as (server, there):
        error = refused(there)
        assert (error.retryable, error.code, "neither AUTH PLAIN nor AUTH LOGIN" in str(error)) == (False, "auth", True)
        assert server.received == []


def test_a_representation_shows_no_password(options: dict[str, Any]) -> None:
    assert PASSWORD not in repr(SmtpServer(**options)) + repr(SmtpClient("mail", SmtpServer(**options)))


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def hidden(error: DeliveryError, password: str, log: str = "") -> bool:
    """Tell that neither the error, nor what it came from, nor the log shows the password in any form."""
    chain: list[BaseException | None] = [error, error.__cause__]
    if not error.__suppress_context__:
        chain.append(error.__context__)
    shown = log + " ".join(f"{each!r} {each} {getattr(each, 'code', '')}" for each in chain)
    return not any(form in shown for form in (password, encoded(password), encoded(f"\0{USER}\0{password}")))
