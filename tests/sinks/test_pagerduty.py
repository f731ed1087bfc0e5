"""PagerDuty: who is paged when, by which key, and what an event holds."""

import dataclasses

import orjson
import pytest

from sinks.notification import DeliveryError
from sinks.pagerduty import PagerDuty, PagerDutyOptions, event
from tests.fakes.notifications import notification, story
from tests.fakes.pagerduty import ROUTING_KEY, FakePagerDuty

OTHER = "f" * 32


def channel(pagerduty: FakePagerDuty, routing_key: str = ROUTING_KEY) -> PagerDuty:
    return PagerDuty("pagerduty", PagerDutyOptions(routing_key=routing_key, url=pagerduty.enqueue_url))


def tell(there: PagerDuty, *reasons: str, severities: tuple[str, ...] = ()) -> dict[str, str]:
    memory: dict[str, str] = {}
    for said in story(*reasons, severities=severities):
        memory = there.send(said, memory)
    return memory


def test_an_incident_opens_once_and_closes(pagerduty: FakePagerDuty) -> None:
    memory = tell(channel(pagerduty), "first", "repeat", "resolved")
    key = (ROUTING_KEY, notification().dedup_key)
    assert (pagerduty.pages, pagerduty.open, pagerduty.dropped, memory) == ([key], {}, [], {})


def test_an_escalation_pages_again_and_one_resolve_closes_both(pagerduty: FakePagerDuty) -> None:
    severities = ("warning", "warning", "critical", "critical", "critical")
    tell(channel(pagerduty), "first", "repeat", "escalated", "repeat", "resolved", severities=severities)
    keys = [key for _, key in pagerduty.pages]
    assert keys == [notification().dedup_key, f"{notification().dedup_key}:crit"]
    assert (pagerduty.open, pagerduty.dropped) == ({}, [])


def test_an_escalation_that_is_said_again_without_memory_pages_and_one_resolve_closes_both(pagerduty: FakePagerDuty) -> None:
    tell(channel(pagerduty), "first", severities=("warning",))
    again, resolved = story("repeat", "resolved", severities=("critical", "critical"))
    memory = channel(pagerduty).send(dataclasses.replace(again, evidence={"began": "warning"}), {})
    assert len(pagerduty.pages) == 2
    channel(pagerduty).send(resolved, memory)
    assert (pagerduty.open, pagerduty.dropped) == ({}, [])


def test_a_warning_that_gets_worse_pages_also_where_only_its_severity_is_remembered(pagerduty: FakePagerDuty) -> None:
    tell(channel(pagerduty), "first", severities=("warning",))
    worse, resolved = story("escalated", "resolved", severities=("critical", "critical"))
    memory = channel(pagerduty).send(worse, {"severity": "warning"})
    assert len(pagerduty.pages) == 2
    channel(pagerduty).send(resolved, memory)
    assert (pagerduty.open, pagerduty.dropped) == ({}, [])


def test_a_de_escalation_pages_nobody_and_resolves_nothing(pagerduty: FakePagerDuty) -> None:
    tell(channel(pagerduty), "first", "de-escalated", severities=("critical", "warning"))
    assert (len(pagerduty.seen), len(pagerduty.open)) == (1, 1)


def test_an_escalation_after_a_de_escalation_stays_one_incident(pagerduty: FakePagerDuty) -> None:
    severities = ("critical", "warning", "critical")
    tell(channel(pagerduty), "first", "de-escalated", "escalated", severities=severities)
    assert len(pagerduty.pages) == 1


def test_a_resolve_goes_by_the_routing_key_that_triggered(pagerduty: FakePagerDuty) -> None:
    pagerduty.routing_keys.add(OTHER)
    first, resolved = story("first", "resolved")
    memory = channel(pagerduty).send(first, {})
    channel(pagerduty, OTHER).send(resolved, memory)
    assert (pagerduty.open, pagerduty.dropped) == ({}, [])


def test_a_reopened_episode_pages_again(pagerduty: FakePagerDuty) -> None:
    tell(channel(pagerduty), "first", "resolved", "reopened")
    assert (len(pagerduty.pages), len(pagerduty.open)) == (2, 1)


def test_a_resolve_without_memory_uses_the_configured_key(pagerduty: FakePagerDuty) -> None:
    channel(pagerduty).send(story("first", "resolved")[1], {})
    assert pagerduty.dropped == [(ROUTING_KEY, notification().dedup_key)]


def test_an_event_holds_what_a_person_needs(pagerduty: FakePagerDuty) -> None:
    channel(pagerduty).send(notification(), {})
    payload = pagerduty.seen[0].json["payload"]
    assert payload == {
        "summary": "high_error_rate on api.example.com",
        "source": "edgewatch production",
        "severity": "critical",
        "timestamp": "2025-12-01T00:05:00Z",
        "component": "ClientRequestHost=api.example.com",
        "class": "high_error_rate",
        "custom_details": {
            "text": "error_rate ratio 0.0731 is above 0.05 (12345 records)",
            "reason": "first",
            "value": "0.0731",
            "threshold": "0.05",
            "key": {"ClientRequestHost": "api.example.com"},
            "labels": {"team": "edge"},
            "evidence": [
                "path /api/checkout contributes 71 % of the excess errors (640 of 902)",
                "error 1 at 2025-12-01T00:01:52Z ray 8f1a2b3c4d5e6f70",
            ],
            "episode": "0123456789abcdef:1764547200",
        },
    }


def test_details_that_do_not_fit_are_replaced_by_a_note() -> None:
    body = event(notification(text="é" * 300_000), "key", ROUTING_KEY)
    details = orjson.loads(body)["payload"]["custom_details"]
    assert (len(body) < 512_000, list(details)) == (True, ["error"])


def test_the_reasons_of_a_refusal_are_shown(pagerduty: FakePagerDuty) -> None:
    pagerduty.routing_keys.clear()
    with pytest.raises(DeliveryError) as raised:
        channel(pagerduty).send(notification(), {})
    assert str(raised.value) == "pagerduty: HTTP 400: Event object is invalid, Invalid routing key"
    assert raised.value.retryable is False


def test_a_retried_resolve_skips_what_is_closed(pagerduty: FakePagerDuty) -> None:
    there = channel(pagerduty)
    memory: dict[str, str] = {}
    said = story("first", "escalated", "resolved", severities=("warning", "critical", "critical"))
    for each in said[:2]:
        memory = there.send(each, memory)
    with pagerduty.lock:
        pagerduty.routing_keys.clear()
    with pytest.raises(DeliveryError):
        there.send(said[2], memory)
    pagerduty.routing_keys.add(ROUTING_KEY)
    there.send(dataclasses.replace(said[2]), memory)
    assert (pagerduty.open, pagerduty.dropped) == ({}, [])


@pytest.mark.parametrize(
    ("link", "links"),
    [
        ("https://wiki.example.com/errors", [{"href": "https://wiki.example.com/errors", "text": "Runbook"}]),
        ("https://wiki.example.com/(errors)", [{"href": "https://wiki.example.com/(errors)", "text": "Runbook"}]),
        ("docs/errors.md", None),
    ],
)
def test_a_runbook_that_is_an_address_is_a_link_of_the_event(link: str, links: object) -> None:
    said = dataclasses.replace(notification(), evidence={"runbook": {"link": link, "steps": ["Look."]}})
    body = orjson.loads(event(said, "key", ROUTING_KEY))
    assert body.get("links") == links
    assert body["payload"]["custom_details"]["evidence"] == [f"runbook: {link}", "1. Look."]
