"""Teams: what a card shows, how large it is, and that nothing in it is read as markup."""

from collections.abc import Iterator

import orjson
import pytest

from sinks.notification import DeliveryError
from sinks.teams import Teams, TeamsOptions, message
from tests.fakes.notifications import notification, story
from tests.fakes.scripted import Answer
from tests.fakes.teams import FakeTeams, shown


@pytest.fixture
def server() -> Iterator[FakeTeams]:
    """Give a workflow."""
    with FakeTeams() as running:
        yield running


def channel(server: FakeTeams) -> Teams:
    return Teams("teams", TeamsOptions(webhook_url=server.webhook_url))


def refused(server: FakeTeams, answer: Answer) -> DeliveryError:
    server.script = [answer]
    with pytest.raises(DeliveryError) as raised:
        channel(server).send(notification(), {})
    return raised.value


def test_a_card_shows_what_a_person_needs(server: FakeTeams) -> None:
    labels = {"team": "edge", "runbook": "https://wiki.example/run?a=1&b=2"}
    channel(server).send(notification(labels=labels), {})
    assert shown(server.cards[0]).splitlines() == [
        "\N{LARGE RED CIRCLE} critical: high_error_rate on api.example.com",
        "error_rate ratio 0.0731 is above 0.05 (12345 records)",
        "Rule: high_error_rate",
        "Key: ClientRequestHost=api.example.com",
        "Severity: critical",
        "team: edge",
        "runbook: https://wiki.example/run?a=1&b=2",
        "path /api/checkout contributes 71 % of the excess errors (640 of 902)",
        "error 1 at 2025-12-01T00:01:52Z ray 8f1a2b3c4d5e6f70",
        "production | 2025-12-01T00:05:00Z | first | 0123456789abcdef:1764547200",
        "[runbook] https://wiki.example/run?a=1&b=2",
    ]
    assert server.wrong == []


def test_an_episode_is_told_card_by_card_in_its_colours(server: FakeTeams) -> None:
    there = channel(server)
    for each in story("first", "escalated", "resolved", severities=("warning", "critical", "critical")):
        there.send(each, {})
    titles = [card["body"][0]["inlines"][0] for card in server.cards]
    assert [title["color"] for title in titles] == ["Warning", "Attention", "Good"]
    assert titles[2]["text"].startswith("\N{LARGE GREEN CIRCLE} resolved: ")


def test_what_fired_and_resolved_while_teams_was_away_says_so(server: FakeTeams) -> None:
    channel(server).send(notification(status="resolved", reason="fired and resolved"), {})
    assert "| fired and resolved |" in shown(server.cards[0])


def test_only_labels_make_buttons_and_only_of_plain_addresses(server: FakeTeams) -> None:
    labels = {
        "a": "javascript:alert(1)",
        "b": "https://x.example/)[y](z",
        "c": "see https://x.example",
        "d": "https://ok.example/",
    }
    said = notification(labels=labels, key={"url": "https://evil.example/"}, text="https://evil.example/")
    channel(server).send(said, {})
    assert [each["url"] for each in server.cards[0]["actions"]] == ["https://ok.example/"]


def test_more_labels_than_a_card_can_show_are_left_out(server: FakeTeams) -> None:
    channel(server).send(notification(labels={f"l{n:02d}": f"https://x.example/{n}" for n in range(40)}), {})
    assert (len(server.cards[0]["actions"]), server.wrong) == (6, [])


def test_what_cards_compute_is_broken_up(server: FakeTeams) -> None:
    channel(server).send(notification(title="{{DATE(2020-01-01T00:00:00Z)}} {{{{", text="{{TIME(x)}}"), {})
    assert ("{ {DATE(" in shown(server.cards[0]), server.wrong) == (True, [])


@pytest.mark.parametrize("letter", ["x", '"', "é", "\U0001f600", "\\", "{"])
def test_a_card_is_small_whatever_it_holds(letter: str) -> None:
    long = letter * 5000
    said = notification(
        title=long,
        text=long,
        key={long: long},
        labels={f"{n}{long}": long for n in range(30)} | {f"u{n}": "https://x.example/" + "x" * 480 for n in range(9)},
        evidence={"exemplars": [{"reason": long}] * 40},
        episode=long,
    )
    body = message(said)
    title = orjson.loads(body)["attachments"][0]["content"]["body"][0]["inlines"][0]["text"]
    assert (len(body) <= 28_000, len(title) > 30) == (True, True)


def test_empty_texts_are_no_empty_runs(server: FakeTeams) -> None:
    channel(server).send(notification(title="", text=" ", labels={"": "", "x": "\n"}, environment=""), {})
    assert server.wrong == []


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (400, "has to begin with a Teams webhook request"),
        (401, "copy it again from the workflow"),
        (404, "was removed or is turned off"),
        (413, "HTTP 413: too large"),
    ],
)
def test_refusals_are_final_and_say_what_to_do(server: FakeTeams, status: int, hint: str) -> None:
    error = refused(server, Answer(status, b"too large"))
    assert (error.retryable, hint in str(error)) == (False, True)


def test_a_url_of_another_kind_is_refused() -> None:
    got = list(TeamsOptions(webhook_url="prod-1.westeurope.example/workflows/x").problems())
    assert got == [("webhook_url", "is not an http:// or https:// URL")]
