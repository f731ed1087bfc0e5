"""The webhook: its body, its signature, and whom it does not call."""

import base64
import hmac
import ipaddress
import logging
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from sinks.notification import DeliveryError
from sinks.public_only import ForbiddenTarget, PublicOnly, is_public
from sinks.webhook import Webhook, WebhookOptions, body, signature_headers
from tests.fakes.notifications import notification, story
from tests.fakes.scripted import Answer, ScriptedServer
from tests.fakes.smtp import Certificate
from tests.fakes.webhook import HOOK, SECOND, SECRET, FakeWebhook, signed


@pytest.fixture
def server() -> Iterator[FakeWebhook]:
    """Give a receiver."""
    with FakeWebhook() as running:
        yield running


def channel(server: FakeWebhook, **changes: Any) -> Webhook:
    given = {"url": server.hook_url, "secrets": (SECRET,), "allow_private": True, **changes}
    return Webhook("hook", WebhookOptions(**given))


def problems(**given: Any) -> list[str]:
    return [f"{key}: {problem}" for key, problem in WebhookOptions(**{"url": "https://h.example/x", **given}).problems()]


def refused(there: Webhook) -> DeliveryError:
    with pytest.raises(DeliveryError) as raised:
        there.send(notification(), {})
    return raised.value


def test_a_whole_episode_is_taken(server: FakeWebhook) -> None:
    there = channel(server)
    said = story("first", "repeat", "escalated", "resolved", "reopened", "forgotten")
    assert [there.send(each, {}) for each in said] == [{}] * 6
    got = [(each["status"], each["alerts"][0]["endsAt"]) for each in server.received.values()]
    never = ("firing", "0001-01-01T00:00:00Z")
    ends = [("resolved", "2025-12-01T00:20:00Z"), ("resolved", "2025-12-01T00:30:00Z")]
    assert (got, server.wrong) == ([never, never, never, ends[0], never, ends[1]], [])
    assert len({each["groupKey"] for each in server.received.values()}) == 1


def test_the_body_is_alertmanagers_and_the_rest_is_ours(server: FakeWebhook) -> None:
    got = orjson.loads(body(notification(), "hook"))
    labels = {"alertname": "high_error_rate", "environment": "production", "ClientRequestHost": "api.example.com"}
    every = {**labels, "severity": "critical", "team": "edge"}
    annotations = {
        "summary": "high_error_rate on api.example.com",
        "description": "error_rate ratio 0.0731 is above 0.05 (12345 records)",
        "reason": "first",
        "episode": "0123456789abcdef:1764547200",
        "value": "0.0731",
        "threshold": "0.05",
    }
    alert = {
        "status": "firing",
        "labels": every,
        "annotations": annotations,
        "startsAt": "2025-12-01T00:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "",
        "fingerprint": "0123456789abcdef",
    }
    assert got == {
        "version": "4",
        "groupKey": '{}:{ClientRequestHost="api.example.com", alertname="high_error_rate", environment="production"}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "hook",
        "groupLabels": labels,
        "commonLabels": every,
        "commonAnnotations": annotations,
        "externalURL": "",
        "alerts": [alert],
        "x_edgewatch": orjson.loads(notification().line()),
    }


def test_a_value_that_is_not_known_is_left_out() -> None:
    got = orjson.loads(body(notification(value=None, threshold=None), "hook"))
    assert {"value", "threshold"} & set(got["commonAnnotations"]) == set()


def test_a_key_that_is_named_like_a_label_of_ours_keeps_alerts_apart() -> None:
    got = orjson.loads(body(notification(key={"severity": "7"}, labels={"severity": "x"}), "hook"))
    labels = got["alerts"][0]["labels"]
    named = (labels["severity"], labels["exported_severity"], labels["exported_exported_severity"])
    assert named == ("critical", "7", "x")
    assert got["groupLabels"].items() <= got["commonLabels"].items()


def test_a_key_without_a_value_is_taken(server: FakeWebhook) -> None:
    channel(server).send(notification(key={"ClientRequestHost": ""}), {})
    assert "ClientRequestHost" not in server.seen[-1].json["groupLabels"]


def test_an_attempt_that_is_repeated_has_the_same_id_and_a_signature_of_its_own(server: FakeWebhook) -> None:
    server.script = [Answer(503)]
    there = channel(server)
    assert refused(there).retryable is True
    there.send(notification(), {})
    assert [seen.headers["webhook-id"] for seen in server.seen] == ["a" * 32] * 2
    assert [signed(seen, SECRET) for seen in server.seen] == [True, True]


def test_while_secrets_are_changed_each_one_signs(server: FakeWebhook) -> None:
    channel(server, secrets=(SECOND, SECRET)).send(notification(), {})
    seen = server.seen[0]
    assert [signed(seen, SECRET), signed(seen, SECOND), len(seen.headers["webhook-signature"].split(" "))] == [True, True, 2]


def test_the_signature_is_that_of_the_published_example() -> None:
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    content = b'{"test": 2432232314}'
    got = signature_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, content, [key])
    assert got["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_documented_receiver_verifies_it(server: FakeWebhook) -> None:
    text = (Path(__file__).parents[2] / "docs" / "channels.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {"base64": base64, "hmac": hmac, "time": time}
    exec(text.split("```python\n")[1].split("```")[0], names)  # noqa: S102  our own documentation
    channel(server).send(notification(), {})
    seen = server.seen[0]
    got = [names["verified"](seen.headers, content, SECRET) for content in (seen.body, seen.body + b" ")]
    assert got == [True, False]


def test_without_a_secret_nothing_is_signed(server: FakeWebhook) -> None:
    server.secret = ""
    channel(server, secrets=()).send(notification(), {})
    names = [name for name in server.seen[0].headers if name.startswith("webhook-")]
    assert (names, server.wrong) == (["webhook-id", "webhook-timestamp"], [])


def test_headers_are_sent_and_shown_nowhere(server: FakeWebhook, caplog: pytest.LogCaptureFixture) -> None:
    server.script = [Answer(400, f"Basic planted-word {HOOK} {SECRET} {SECRET[6:]}".encode())]
    there = channel(server, headers={"Authorization": "Basic planted-word", "X-Tenant": "edge"})
    with caplog.at_level(logging.DEBUG):
        error = refused(there)
    seen = server.seen[0].headers
    assert (seen["authorization"], seen["x-tenant"]) == ("Basic planted-word", "edge")
    shown = f"{error} {error!r} {there!r} {there._options!r} {caplog.text}"
    assert [each for each in ("planted", SECRET, SECRET[6:]) if each in shown] == []


def test_options_that_cannot_work_are_named_without_their_values() -> None:
    got = problems(url="ftp://h/planted", secrets=(SECRET, "planted", "whsec_!!", "whsec_cGxhbnRlZA=="))
    wrong = [f"secrets: number {n} is not whsec_ and the base64 of 24 bytes or more" for n in (2, 3, 4)]
    assert got == ["url: is not an http:// or https:// URL", *wrong]
    got = problems(headers={"Webhook-Id": "x", "a b": "x", "X-A": "planted\r\nX: y", "X-B": "ü", "X-C": "fine"})
    assert got == [
        "headers: 'Webhook-Id' cannot be set here",
        "headers: 'a b' cannot be set here",
        "headers: the value of 'X-A' is not printable ASCII",
        "headers: the value of 'X-B' is not printable ASCII",
    ]


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "127.1", "0x7f000001", "2130706433", "[::ffff:127.0.0.1]", "10.0.0.1"],
)
def test_this_machine_and_the_own_network_are_not_called(server: FakeWebhook, host: str) -> None:
    error = refused(channel(server, url=f"http://{host}:{server.port}{HOOK}", allow_private=False))
    assert (error.retryable, error.code, server.seen) == (False, "target", [])
    assert "is not on the public network" in str(error)


@pytest.mark.parametrize(
    "address",
    [
        *("10.1.2.3", "172.16.0.1", "192.168.1.1", "127.9.9.9", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1"),
        *("240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1"),
        *("fec0::1", "ff02::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::", "2001:db8::1", "::7f00:1"),
        "2001:0:1:2:3:4:f5ff:fffe",
    ],
)
def test_an_address_that_is_not_public_is_known(address: str) -> None:
    assert is_public(ipaddress.ip_address(address)) is False


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "64:ff9b::101:101", "::ffff:1.1.1.1"])
def test_an_address_that_is_public_is_known(address: str) -> None:
    assert is_public(ipaddress.ip_address(address)) is True


def ask(transport: PublicOnly, url: str) -> int:
    with httpx.Client(transport=transport, trust_env=False) as client:
        return client.post(url, content=b"body").status_code


def test_one_private_address_of_a_name_is_enough_to_refuse() -> None:
    transport = PublicOnly(ssl.create_default_context(), resolve=lambda host, port: ["1.1.1.1", "10.0.0.1"])
    with pytest.raises(ForbiddenTarget):
        ask(transport, "http://hook.example/")


def test_the_checked_address_is_called_by_the_name(server: FakeWebhook) -> None:
    transport = PublicOnly(ssl.create_default_context(), resolve=lambda host, port: ["127.0.0.1"], allowed=lambda address: True)
    status = ask(transport, f"http://hook.example:{server.port}/elsewhere")
    assert (status, server.seen[0].headers["host"]) == (404, f"hook.example:{server.port}")
    assert server.seen[0].body == b"body"


def test_the_next_address_is_tried_where_one_does_not_answer(server: FakeWebhook) -> None:
    found = ["127.0.0.9", "127.0.0.1"]  # the server listens on the second only
    transport = PublicOnly(ssl.create_default_context(), resolve=lambda host, port: found, allowed=lambda address: True)
    assert ask(transport, f"http://hook.example:{server.port}/elsewhere") == 404


def test_a_name_that_changes_its_address_is_checked_again_and_looked_up_once_a_request(server: FakeWebhook) -> None:
    answers = [["127.0.0.1"], ["127.0.0.2"]]
    transport = PublicOnly(
        ssl.create_default_context(),
        resolve=lambda host, port: answers.pop(0),
        allowed=lambda address: str(address) == "127.0.0.1",
    )
    with httpx.Client(transport=transport, trust_env=False) as client:
        client.post(f"http://hook.example:{server.port}/")
        with pytest.raises(ForbiddenTarget):
            client.post(f"http://hook.example:{server.port}/")
    assert (answers, len(server.seen)) == ([], 1)


def test_a_name_that_is_not_there_is_retried() -> None:
    hook = Webhook("hook", WebhookOptions(url="https://planted.invalid/planted-path"))
    error = refused(hook)
    assert (str(error), error.retryable) == ("hook: cannot connect, https://planted.invalid", True)


@pytest.mark.parametrize("name", ["localhost", "other.example"])
def test_tls_goes_by_the_name_and_not_by_the_address(localhost: Certificate, name: str) -> None:
    with ScriptedServer() as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(localhost.file, localhost.key)
        server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
        transport = PublicOnly(
            ssl.create_default_context(cafile=str(localhost.file)),
            resolve=lambda host, port: ["127.0.0.1"],
            allowed=lambda address: True,
        )
        if name == "localhost":
            assert ask(transport, f"https://{name}:{server.port}/") == 200
        else:
            with pytest.raises(httpx.ConnectError, match="match"):
                ask(transport, f"https://{name}:{server.port}/")


def test_a_proxy_of_the_environment_is_not_used_for_public_targets(
    server: FakeWebhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.url)
    refused(Webhook("hook", WebhookOptions(url="http://planted.invalid/x")))
    assert server.seen == []
