"""Where an alert was read from, and its view of the dashboard: in every channel that people or machines look further from."""

import email
import email.policy
import html

import orjson
import pytest

from sinks import discord, pagerduty, sentry, slack, teams, webhook
from sinks.letter import Letter, mailbox
from sinks.notification import Notification
from sinks.prometheus_alert import annotations
from tests.fakes.notifications import PROVENANCE, notification

OFFSETS, SQL = "offsets: logpush/0 120-340", "SQL: SELECT value FROM windows"
DASHBOARD = "https://edgewatch.example.com/alerts?rule=r&key=%7B%7D&at=2025-12-01T00%3A05%3A00Z"
CHATS = {
    "slack": lambda said: orjson.dumps(slack.message(said)),
    "teams": teams.message,
    "discord": lambda said: orjson.dumps(discord.message(said)),
}


def said(*, dashboard: str = "") -> Notification:
    evidence = notification().evidence | ({"dashboard": dashboard} if dashboard else {})
    return notification(provenance=PROVENANCE, evidence=evidence)


def bare(text: bytes) -> str:
    return text.decode().replace("\\\\", "").replace("&amp;", "&")


@pytest.mark.parametrize("name", CHATS)
def test_a_chat_links_to_the_dashboard_or_shows_offsets_and_query_where_there_is_none(name: str) -> None:
    shown, linked = bare(CHATS[name](said())), bare(CHATS[name](said(dashboard=DASHBOARD)))
    assert (OFFSETS in shown, SQL in shown, "Dashboard" in shown) == (True, True, False)
    assert (OFFSETS in linked, SQL in linked, DASHBOARD in linked) == (False, False, True)
    assert "Dashboard" in linked


@pytest.mark.parametrize("name", CHATS)
def test_what_is_no_plain_address_is_no_link(name: str) -> None:
    for nasty in ("javascript:alert(1)", "https://x|y>", "https://x y", 'https://x"y'):
        assert "Dashboard" not in bare(CHATS[name](said(dashboard=nasty)))


def test_a_mail_shows_both_in_both_parts() -> None:
    letter = Letter(notification=said(dashboard=DASHBOARD), sender=mailbox("a@example.com"), to=[], subject="s")
    parts = list(email.message_from_bytes(letter.to_bytes(), policy=email.policy.default).iter_parts())
    plain, rich = (part.get_content().replace("\r\n", "\n") for part in parts)
    assert plain.split("\n\n")[-3:-1] == [f"Read from\n  {OFFSETS}\n  {SQL}", f"Dashboard: {DASHBOARD}"]
    assert f'href="{html.escape(DASHBOARD)}"' in rich
    assert (OFFSETS in rich, SQL in rich) == (True, True)


def test_pagerduty_has_it_among_the_details_and_the_links() -> None:
    body = orjson.loads(pagerduty.event(said(dashboard=DASHBOARD), "key", "r" * 32))
    assert body["payload"]["custom_details"]["provenance"] == [OFFSETS, SQL]
    assert body["links"] == [{"href": DASHBOARD, "text": "Dashboard"}]


def test_sentry_has_a_context_of_it() -> None:
    context = sentry.event(said(dashboard=DASHBOARD))["contexts"]["provenance"]
    assert context == {"offsets": "logpush/0 120-340", "SQL": "SELECT value FROM windows", "dashboard": DASHBOARD}


def test_machines_get_it_as_data() -> None:
    body = orjson.loads(webhook.body(said(dashboard=DASHBOARD), "hook"))
    assert body["x_edgewatch"]["provenance"] == PROVENANCE
    assert body["alerts"][0]["generatorURL"] == DASHBOARD
    assert annotations(said(dashboard=DASHBOARD))["dashboard_url"] == DASHBOARD
    assert "dashboard_url" not in annotations(said())
