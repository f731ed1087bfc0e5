"""Discord: what an embed shows, its limits, and that nothing in it is read as markup."""

from collections.abc import Iterator

import pytest

from sinks.discord import Discord, DiscordOptions, fit, message
from sinks.notification import DeliveryError
from tests.fakes.discord import HOOK, FakeDiscord, markup, shown
from tests.fakes.notifications import notification, story
from tests.fakes.scripted import Answer, of_json

NASTY = r"[login](https://evil.example) **b** _i_ ~~s~~ ||x|| `c` ```z <@123> <t:1> @everyone # h > q - l \* \\ <https://e.x>"


@pytest.fixture
def server() -> Iterator[FakeDiscord]:
    """Give a Discord."""
    with FakeDiscord() as running:
        yield running


def channel(server: FakeDiscord, query: str = "") -> Discord:
    return Discord("discord", DiscordOptions(webhook_url=server.webhook_url + query))


def refused(server: FakeDiscord, answer: Answer) -> DeliveryError:
    server.script = [answer]
    with pytest.raises(DeliveryError) as raised:
        channel(server).send(notification(), {})
    return raised.value


def test_an_embed_shows_what_a_person_needs(server: FakeDiscord) -> None:
    channel(server).send(notification(labels={"team": "edge", "runbook": "https://wiki.example/run?a=1&b=2"}), {})
    (got,) = server.messages
    assert shown(got).splitlines() == [
        "\N{LARGE RED CIRCLE} critical: high_error_rate on api.example.com",
        "error_rate ratio 0.0731 is above 0.05 (12345 records)",
        "Rule: high_error_rate",
        "Key: ClientRequestHost=api.example.com",
        "Severity: critical",
        "team: edge",
        "runbook: https://wiki.example/run?a=1&b=2",
        "Evidence: path /api/checkout contributes 71 % of the excess errors (640 of 902)",
        "error 1 at 2025-12-01T00:01:52Z ray 8f1a2b3c4d5e6f70",
        "production | 2025-12-01T00:05:00Z | first | 0123456789abcdef:1764547200",
    ]
    assert (got["embeds"][0]["timestamp"], server.wrong) == ("2025-12-01T00:05:00Z", [])


def test_an_episode_is_told_message_by_message_in_its_colours(server: FakeDiscord) -> None:
    there = channel(server)
    for each in story("first", "escalated", "resolved", severities=("warning", "critical", "critical")):
        there.send(each, {})
    assert [each["embeds"][0]["color"] for each in server.messages] == [0xF9A825, 0xC62828, 0x2E7D32]
    assert message(notification(severity="info"))["embeds"][0]["color"] == 0x607D8B


@pytest.mark.parametrize("query", ["", "?thread_id=42"])
def test_it_waits_until_the_message_is_there(server: FakeDiscord, query: str) -> None:
    channel(server, query).send(notification(), {})
    assert server.seen[0].path == f"{HOOK}{query}{'&' if query else '?'}wait=true"


def test_an_empty_answer_of_success_is_success(server: FakeDiscord) -> None:
    server.script = [Answer(204)]
    assert channel(server).send(notification(), {}) == {}


def test_nothing_of_the_logs_is_markup(server: FakeDiscord) -> None:
    said = notification(
        title=NASTY,
        text=NASTY,
        rule=NASTY,
        key={NASTY: NASTY, "url": "https://evil.example/"},
        labels={NASTY: NASTY},
        evidence={"exemplars": [{"reason": NASTY, "ray_id": NASTY}]},
    )
    assert markup(message(said)) == []


def test_escaped_text_reads_as_it_was(server: FakeDiscord) -> None:
    channel(server).send(notification(text=NASTY), {})
    assert (NASTY in shown(server.messages[0]), server.wrong) == (True, [])


@pytest.mark.slow
@pytest.mark.parametrize("letter", ["x", "*", "é", "\U0001f600", "\\"])
@pytest.mark.parametrize("size", [0, 1, 127, 128, 255, 256, 257, 5000])
def test_no_limit_is_passed(server: FakeDiscord, size: int, letter: str) -> None:
    long = letter * size
    said = notification(
        title=long,
        text=long,
        key={long: long},
        labels={f"{n}{long}": long for n in range(30)} | {"": "", "blank": "\n"},
        evidence={"exemplars": [{"reason": long}] * 40},
        environment=long,
    )
    channel(server).send(said, {})
    assert server.wrong == []


def test_a_cut_text_keeps_its_escapes_whole() -> None:
    assert [fit("a*b*", limit) for limit in (6, 5, 4, 3)] == [r"a\*b\*", r"a\*b…", r"a\*…", "a…"]
    assert (fit("\U0001f600" * 3, 5), fit("", 5), fit(" ", 5)) == ("\U0001f600" * 2 + "…", "-", "-")


@pytest.mark.parametrize(
    ("wait", "header", "want"),
    [(0.65, "1", 0.65), (64.57, None, 64.57), (3600, "3600", 900.0), (None, "7", 7.0), ("soon", None, None), (-1.0, None, 0.0)],
)
def test_the_wait_of_the_body_is_kept_to(server: FakeDiscord, wait: object, header: str | None, want: float | None) -> None:
    body = {"message": "You are being rate limited.", "retry_after": wait, "global": False}
    answer = of_json(429, body) if header is None else of_json(429, body, Retry_After=header)
    error = refused(server, answer)
    assert (error.retryable, error.retry_after) == (True, want)


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (404, 10015, "HTTP 404: the webhook was removed: Unknown (code 10015)"),
        (401, 50027, "HTTP 401: the webhook's token is refused: Unknown (code 50027)"),
        (400, 50035, "HTTP 400: Unknown (code 50035)"),
    ],
)
def test_refusals_are_final_and_say_why(server: FakeDiscord, status: int, code: int, said: str) -> None:
    error = refused(server, of_json(status, {"message": "Unknown", "code": code}))
    assert (str(error), error.retryable) == (f"discord: {said}", False)


def test_a_url_of_another_kind_is_refused() -> None:
    got = list(DiscordOptions(webhook_url="discord.example/api/webhooks/1/x").problems())
    assert got == [("webhook_url", "is not an http:// or https:// URL")]
