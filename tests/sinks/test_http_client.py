"""The HTTP client of the sinks: limits, redirects, what it says and what it hides."""

import logging
import os
import re
from collections.abc import Iterator

import pytest

from sinks.http import HttpClient, place, scrub
from sinks.notification import DeliveryError
from sinks.webhook import Webhook, WebhookOptions
from tests.fakes.notifications import notification
from tests.fakes.scripted import Answer, ScriptedServer


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Give a server that answers 200."""
    with ScriptedServer() as running:
        yield running


def test_a_redirect_is_not_followed(server: ScriptedServer) -> None:
    server.script = [Answer(302, b"", {"Location": f"{server.url}/stolen"})]
    answer = HttpClient("x").request("POST", f"{server.url}/secret", content=b"key")
    assert (answer.status, len(server.seen)) == (302, 1)


def test_a_long_answer_is_cut_unless_the_whole_is_asked_for(server: ScriptedServer) -> None:
    server.script = [Answer(200, b"x" * 1_000_000)] * 2
    client = HttpClient("x")
    sizes = [len(client.request("GET", server.url, whole=whole).body) for whole in (False, True)]
    assert (sizes[0] < 200_000, sizes[1]) == (True, 1_000_000)


def test_the_requests_are_not_logged(server: ScriptedServer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        HttpClient("x").request("POST", f"{server.url}/planted-secret?token=planted")
    assert "planted" not in caplog.text


def test_a_url_of_another_kind_is_final() -> None:
    with pytest.raises(DeliveryError) as raised:
        HttpClient("x").request("POST", "ftp://example.com/secret")
    assert (raised.value.retryable, "secret" in str(raised.value)) == (False, False)


def test_a_proxy_of_the_environment_is_not_used_for_this_machine(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")
    assert os.environ["HTTP_PROXY"]
    assert HttpClient("x").request("GET", server.url).status == 200


def test_places_and_texts_show_no_secrets() -> None:
    assert place("https://user:word@hooks.slack.com:8443/services/T/B/X?token=1") == "https://hooks.slack.com:8443"
    assert place("http://h:port") == "(no URL)"
    shown = scrub("Bearer abc xoxb-12-ab https://u:p@h/x https://hooks.slack.com/services/T/B hunter2", ("hunter2",))
    assert shown == "*** *** https://***h/x https://hooks.slack.com*** ***"


@pytest.mark.parametrize("host", ["169.254.169.254", "[fd00:ec2::254]", "[::ffff:169.254.169.254]", "[fe80::1]"])
def test_where_clouds_keep_credentials_is_never_called_whatever_was_configured(host: str) -> None:
    hook = Webhook("x", WebhookOptions(url=f"http://{host}/latest", allow_private=True))
    with pytest.raises(
        DeliveryError, match=f"where clouds keep its credentials: never called, {re.escape(f'http://{host}')}"
    ) as raised:
        hook.send(notification(), {})
    assert (raised.value.retryable, raised.value.code) == (False, "target")
