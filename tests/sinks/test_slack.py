"""Slack: one message an episode, edited, with a thread; what its errors mean; what people see."""

import pytest

from sinks.notification import DeliveryError
from sinks.slack import SlackApi, SlackOptions, SlackWebhook, fit, message, reply
from tests.fakes.notifications import notification, story
from tests.fakes.scripted import Answer, of_json
from tests.fakes.slack import TOKEN, FakeSlack, shown

BOTH = {"critical": "#alerts-critical", "warning": "#alerts-warning"}


def api(slack: FakeSlack, channels: dict[str, str] | None = None) -> SlackApi:
    return SlackApi("slack", SlackOptions(token=TOKEN, channels=channels or BOTH, api_url=slack.api_url))


def webhook(slack: FakeSlack) -> SlackWebhook:
    return SlackWebhook("slack", SlackOptions(webhook_url=slack.webhook_url))


def tell(channel: SlackApi | SlackWebhook, *reasons: str, severities: tuple[str, ...] = ()) -> dict[str, str]:
    memory: dict[str, str] = {}
    for said in story(*reasons, severities=severities):
        memory = channel.send(said, memory)
    return memory


def calls(slack: FakeSlack) -> list[tuple[str, str, bool, bool]]:
    """Give method, channel, whether in a thread and whether told to the whole channel."""
    return [
        (
            seen.path.removeprefix("/api/chat."),
            seen.json["channel"],
            "thread_ts" in seen.json,
            seen.json.get("reply_broadcast", False),
        )
        for seen in slack.seen
    ]


def refused(channel: SlackApi | SlackWebhook) -> DeliveryError:
    with pytest.raises(DeliveryError) as raised:
        channel.send(notification(), {})
    return raised.value


def test_repeat_and_resolve_edit_the_message_and_reply_in_its_thread(slack: FakeSlack) -> None:
    tell(api(slack), "first", "repeat", "resolved")
    assert calls(slack) == [
        ("postMessage", "#alerts-critical", False, False),
        ("update", "C0CRIT", False, False),
        ("postMessage", "C0CRIT", True, False),
        ("update", "C0CRIT", False, False),
        ("postMessage", "C0CRIT", True, True),
    ]
    assert "resolved" in shown(slack.edits[-1])


def test_an_escalation_goes_to_the_channel_of_its_severity_too(slack: FakeSlack) -> None:
    tell(api(slack), "first", "escalated", "resolved", severities=("warning", "critical", "critical"))
    posted = [(body["channel"], "thread_ts" in body) for body in slack.posted]
    assert posted == [
        ("#alerts-warning", False),
        ("#alerts-critical", False),
        ("C0WARN", True),
        ("C0WARN", True),
        ("C0CRIT", True),
    ]
    assert all("resolved" in shown(edit) for edit in slack.edits[-2:])


def test_a_de_escalation_opens_no_new_message(slack: FakeSlack) -> None:
    tell(api(slack), "first", "de-escalated", severities=("critical", "warning"))
    assert [call[:3] for call in calls(slack)] == [
        ("postMessage", "#alerts-critical", False),
        ("update", "C0CRIT", False),
        ("postMessage", "C0CRIT", True),
    ]


@pytest.mark.parametrize(
    "error", ["message_not_found", "cant_update_message", "edit_window_closed", "msg_too_long", "is_inactive"]
)
def test_a_message_that_cannot_be_edited_gets_the_whole_text_in_its_thread(slack: FakeSlack, error: str) -> None:
    channel = api(slack)
    first, repeat = story("first", "repeat")
    memory = channel.send(first, {})
    slack.script = [of_json(200, {"ok": False, "error": error})]
    channel.send(repeat, memory)
    assert ("thread_ts" in slack.posted[-1], "blocks" in slack.posted[-1]) == (True, True)


def test_a_message_whose_thread_is_gone_is_posted_anew(slack: FakeSlack) -> None:
    channel = api(slack)
    first, resolved = story("first", "resolved")
    memory = channel.send(first, {})
    slack.messages.clear()
    channel.send(resolved, memory)
    assert ("thread_ts" in slack.posted[-1], "resolved" in shown(slack.posted[-1])) == (False, True)


def test_a_retry_goes_on_where_it_stopped(slack: FakeSlack) -> None:
    channel = api(slack)
    first, repeat = story("first", "repeat")
    memory = channel.send(first, {})
    slack.seen.clear()
    slack.script = [of_json(200, {"ok": True}), of_json(429, {"ok": False}, retry_after="1")]
    with pytest.raises(DeliveryError):
        channel.send(repeat, memory)
    channel.send(repeat, memory)
    assert [call[0] for call in calls(slack)] == ["update", "postMessage", "postMessage"]


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (400, "invalid_payload"),
        (400, "no_text"),
        (403, "action_prohibited"),
        (403, "invalid_token"),
        (404, "channel_not_found"),
        (404, "no_service"),
        (410, "channel_is_archived"),
    ],
)
def test_the_words_of_a_webhook_are_shown_and_final(slack: FakeSlack, status: int, text: str) -> None:
    slack.script = [Answer(status, text.encode())]
    got = refused(webhook(slack))
    assert (got.retryable, text in str(got), got.code) == (False, True, text)


def test_a_webhook_that_asks_to_wait_in_its_body_is_heard(slack: FakeSlack) -> None:
    slack.script = [of_json(429, {"retry_after": 3, "ok": False, "error": "rate_limited"})]
    got = refused(webhook(slack))
    assert (got.retryable, got.retry_after) == (True, 3.0)


def test_a_text_is_cut_before_it_is_escaped_and_never_inside_an_entity() -> None:
    got = [fit(text, 10) for text in ("abc", "a<b&c>", "<<<<<<", "x" * 10, "x" * 11, "xxxxxxx&")]
    assert got == ["abc", "a&lt;b\u2026", "&lt;&lt;\u2026", "x" * 10, "x" * 9 + "\u2026", "xxxxxxx\u2026"]


def test_what_a_phone_shows_says_what_where_and_how_bad_and_nothing_twice() -> None:
    title = "High error rate on a.example.com: 7.31 % (critical above 5 %)"
    assert message(notification(title=title))["text"] == f"\U0001f534 critical: {title}"
    assert message(notification(title=title, environment="staging"))["text"] == f"\U0001f534 critical: {title} (staging)"
    over = notification(title="t", status="resolved", reason="fired and resolved")
    assert reply(over)["text"] == "\U0001f7e2 fired and resolved: t"


def test_a_message_reads_well() -> None:
    assert shown(message(notification())).splitlines() == [
        "\U0001f534 critical: high_error_rate on api.example.com",
        "error_rate ratio 0.0731 is above 0.05 (12345 records)",
        "Rule",
        "high_error_rate",
        "Key",
        "ClientRequestHost=api.example.com",
        "Severity",
        "critical",
        "team",
        "edge",
        "path /api/checkout contributes 71 % of the excess errors (640 of 902)",
        "error 1 at 2025-12-01T00:01:52Z ray 8f1a2b3c4d5e6f70",
        "production | 2025-12-01T00:05:00Z | first | 0123456789abcdef:1764547200",
    ]


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({}, "webhook_url"),
        ({"webhook_url": "https://hooks.slack.com/x", "token": "t", "channels": BOTH}, "webhook_url"),
        ({"webhook_url": "hooks.slack.com/x"}, "webhook_url"),
        ({"token": "t"}, "channels"),
        ({"token": "t", "channels": {"info": "#x"}}, "channels"),
        ({"token": "t", "channels": BOTH, "api_url": "slack"}, "api_url"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], key: str) -> None:
    assert key in [name for name, _ in SlackOptions(**options).problems()]  # type: ignore[arg-type]


def test_right_options_have_no_problems() -> None:
    right = [
        SlackOptions(token="t", channels=BOTH),
        SlackOptions(webhook_url="https://hooks.slack.com/x", channels=BOTH),
    ]
    assert [list(each.problems()) for each in right] == [[], []]
