"""Statuspage: what the public sees, what a person keeps, and what is proposed; over real HTTP."""

import contextlib
import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sinks.delivery import ChannelDestination, Delivery
from sinks.failure import notification_items
from sinks.notification import DeliveryError, Notification
from sinks.proposal import RULE, readers
from sinks.spool import Spool
from sinks.statuspage import PACE, Statuspage, StatuspageOptions, build
from tests.fakes.clock import ManualClock
from tests.fakes.notifications import EPISODE, notification, story
from tests.fakes.scripted import Answer, of_json
from tests.fakes.statuspage import API_KEY, COMPONENTS, PAGE, FakeStatuspage

API, DATABASE = COMPONENTS["api"], COMPONENTS["database"]
OTHER = "fedcba9876543210:1764547200"


@pytest.fixture
def page(clock: ManualClock) -> Iterator[FakeStatuspage]:
    """Give a Statuspage that counts calls by the clock."""
    with FakeStatuspage(clock=clock) as server:
        yield server


def options(server: FakeStatuspage, **changes: Any) -> StatuspageOptions:
    known: dict[str, Any] = {"api_key": API_KEY, "page": PAGE, "components": COMPONENTS, "url": server.api_url}
    return StatuspageOptions(**{**known, **changes})


def channel(page: FakeStatuspage, clock: ManualClock, **changes: Any) -> Statuspage:
    return Statuspage("statuspage", options(page, **changes), clock)


def tell(there: Statuspage, *reasons: str, severities: tuple[str, ...] = (), **changes: Any) -> dict[str, str]:
    memory: dict[str, str] = {}
    for said in story(*reasons, severities=severities):
        fields = {name: getattr(said, name) for name in ("at", "id", "reason", "severity", "status")}
        memory = there.send(notification(**{**fields, **changes}), memory)
    return memory


def refused(there: Statuspage, said: Notification | None = None, memory: dict[str, str] | None = None) -> DeliveryError:
    with pytest.raises(DeliveryError) as raised:
        there.send(said or notification(), {} if memory is None else memory)
    return raised.value


def test_an_episode_changes_its_component_and_changes_it_back(page: FakeStatuspage, clock: ManualClock) -> None:
    severities = ("critical", "critical", "warning", "critical", "critical")
    memory = tell(channel(page, clock), "first", "repeat", "de-escalated", "escalated", "resolved", severities=severities)
    shown = ["major_outage", "degraded_performance", "major_outage", "operational"]
    assert (page.changes, memory, page.incidents) == ([(API, each) for each in shown], {}, [])


def test_a_warning_changes_nothing_and_asks_nothing(page: FakeStatuspage, clock: ManualClock) -> None:
    tell(channel(page, clock, incidents="auto"), "first", "repeat", "resolved", severities=("warning",) * 3)
    assert page.called == []


def test_a_rule_that_no_component_is_for_changes_nothing(page: FakeStatuspage, clock: ManualClock) -> None:
    tell(channel(page, clock, incidents="auto"), "first", "resolved", rule="few_users")
    assert page.called == []


@pytest.mark.parametrize(
    ("rule", "labels", "changes", "got"),
    [
        ("high_server_error_rate", {}, {}, ["api"]),
        ("slow_responses", {}, {}, ["api"]),
        ("slow_database", {}, {}, ["database"]),
        ("low_cache_hit_rate", {}, {}, ["cache"]),
        ("websocket_down", {}, {}, ["websocket"]),
        ("redis_down", {}, {}, ["cache"]),
        ("unhealthy_database", {}, {}, ["database"]),
        ("probe_down", {}, {}, ["api"]),
        ("few_users", {"component": "websocket"}, {}, ["websocket"]),
        ("few_users", {"component": "printer"}, {}, []),
        ("sockets", {}, {"map": {"websocket": ("sockets",), "api": ("sockets", "other")}}, ["api", "websocket"]),
        ("high_error_rate", {}, {"map": {"api": ("other",)}}, []),
    ],
)
def test_a_rule_finds_its_components(
    page: FakeStatuspage, clock: ManualClock, rule: str, labels: dict[str, str], changes: dict[str, Any], got: list[str]
) -> None:
    tell(channel(page, clock, **changes), "first", rule=rule, labels=labels)
    assert [identity for identity, _ in page.changes] == [COMPONENTS[name] for name in got]


def test_a_rule_may_call_for_a_status_of_its_own(page: FakeStatuspage, clock: ManualClock) -> None:
    tell(channel(page, clock, statuses={"slow_responses": "partial_outage"}), "first", rule="slow_responses")
    assert page.components[API] == "partial_outage"


def test_two_alerts_on_a_component_show_the_worst_until_both_are_over(page: FakeStatuspage, clock: ManualClock) -> None:
    there = channel(page, clock, statuses={"slow_responses": "degraded_performance"})
    slow = {"rule": "slow_responses", "episode": OTHER}
    told: list[str] = []
    for said in (
        notification(**slow),
        notification(),
        notification(**slow, reason="repeat"),
        notification(status="resolved", reason="resolved"),
        notification(**slow, status="resolved", reason="resolved"),
    ):
        there.send(said, {})
        told.append(page.components[API])
    assert told == ["degraded_performance", "major_outage", "major_outage", "degraded_performance", "operational"]


def test_where_the_platform_calls_a_part_degraded_a_warning_shows_and_posts_nothing(
    page: FakeStatuspage, clock: ManualClock
) -> None:
    there = channel(page, clock, incidents="auto")
    tell(there, "first", "resolved", severities=("warning",) * 2, rule="degraded_database")
    database = COMPONENTS["database"]
    assert page.changes == [(database, "degraded_performance"), (database, "operational")]
    assert page.incidents == []


@pytest.mark.parametrize(("keys", "heard"), [({"api": 3}, {}), ({}, {"keys_heard": 3}), ({"api": 3}, {"keys_heard": 90})])
def test_while_less_than_half_of_the_keys_are_out_it_is_a_partial_outage(
    page: FakeStatuspage, clock: ManualClock, keys: dict[str, int], heard: dict[str, int]
) -> None:
    there, shown = channel(page, clock, keys=keys), []
    for host in ("a", "b"):
        there.send(notification(key={"host": host}, episode=f"{host}:1", evidence=heard), {})
        shown.append(page.components[API])
    for host in ("a", "b"):
        there.send(notification(key={"host": host}, episode=f"{host}:1", status="resolved", reason="resolved"), {})
        shown.append(page.components[API])
    assert shown == ["partial_outage", "major_outage", "partial_outage", "operational"]


@pytest.mark.parametrize("word", ["degraded_performance", "under_maintenance", "major_outage"])
def test_a_status_that_a_person_set_is_left_alone(page: FakeStatuspage, clock: ManualClock, word: str) -> None:
    page.components[API] = word
    tell(channel(page, clock), "first", "repeat", "resolved")
    assert (page.changes, page.components[API]) == ([], word)


def test_a_person_who_calls_it_over_is_not_contradicted(page: FakeStatuspage, clock: ManualClock) -> None:
    there = channel(page, clock)
    first, repeat, resolved = story("first", "repeat", "resolved")
    memory = there.send(first, {})
    page.components[API] = "operational"
    there.send(resolved, there.send(repeat, memory))
    assert page.changes == [(API, "major_outage")]


def test_an_incident_is_created_silently_updated_and_resolved(page: FakeStatuspage, clock: ManualClock) -> None:
    severities = ("critical", "critical", "warning", "critical")
    tell(channel(page, clock, incidents="auto"), "first", "repeat", "de-escalated", "resolved", severities=severities)
    (incident,) = page.incidents
    assert incident["updates"] == [
        "Automated monitoring has found problems with api. We are investigating.",
        "The problems with api have become less severe. We are still investigating.",
        "Automated monitoring sees api working as usual again.",
    ]
    assert {name: incident[name] for name in ("name", "status", "impact_override", "component_ids")} == {
        "name": "Problems with api",
        "status": "resolved",
        "impact_override": "critical",
        "component_ids": [API],
    }
    assert incident["metadata"]["edgewatch"]["episode"] == EPISODE
    assert (page.mailed, page.components[API]) == ([], "operational")


def test_subscribers_are_mailed_where_asked_for(page: FakeStatuspage, clock: ManualClock) -> None:
    tell(channel(page, clock, incidents="auto", deliver_notifications=True), "first", "resolved")
    assert page.mailed == ["inc0", "inc0"]


def test_a_reopened_episode_gets_an_incident_of_its_own(page: FakeStatuspage, clock: ManualClock) -> None:
    tell(channel(page, clock, incidents="auto"), "first", "resolved", "reopened", "forgotten")
    assert [incident["status"] for incident in page.incidents] == ["resolved", "resolved"]
    assert page.incidents[1]["updates"][-1].startswith("Automated monitoring no longer watches")


def test_an_incident_that_a_person_closed_stays_closed(page: FakeStatuspage, clock: ManualClock) -> None:
    there = channel(page, clock, incidents="auto")
    first, repeat, worse, resolved = story("first", "repeat", "escalated", "resolved")
    memory = there.send(first, {})
    page.incidents[0]["status"] = "resolved"
    for said in (repeat, worse, resolved):
        memory = there.send(said, memory)
    assert (len(page.incidents), len(page.incidents[0]["updates"])) == (1, 1)


def test_an_incident_does_not_claim_that_all_is_well_while_another_alert_goes_on(
    page: FakeStatuspage, clock: ManualClock
) -> None:
    there = channel(page, clock, incidents="auto")
    there.send(notification(episode=OTHER), {})
    tell(there, "first", "resolved")
    assert page.incidents[1]["updates"][-1] == "One of the problems with api is over. We are still investigating another one."
    assert page.components[API] == "major_outage"


@pytest.mark.parametrize("lost", ["POST incidents", f"PATCH components/{API}", "PATCH incidents/inc0"])
def test_a_lost_answer_repeats_nothing_in_public(page: FakeStatuspage, clock: ManualClock, lost: str) -> None:
    there = channel(page, clock, incidents="auto")
    memory: dict[str, str] = {}
    page.lost = [lost]
    for said in story("first", "resolved"):
        with contextlib.suppress(DeliveryError):
            memory = there.send(said, memory)
            continue
        memory = there.send(said, memory)
    assert [incident["status"] for incident in page.incidents] == ["resolved"]
    assert (page.changes, page.lost) == ([(API, "major_outage"), (API, "operational")], [])
    assert list(there.notebook.read()) == ["changes"]


@pytest.mark.parametrize("lost", ["POST incidents", f"PATCH components/{API}"])
def test_a_kill_between_the_call_and_its_record_repeats_nothing_in_public(
    page: FakeStatuspage, clock: ManualClock, lost: str, spool: Spool
) -> None:
    """What the killed process had in memory is gone: only what the spool holds comes back."""
    first, resolved = story("first", "resolved")
    spool.put(notification_items(notification(channels=("statuspage",))))
    page.lost = [lost]
    killed = Delivery(spool, [ChannelDestination(channel(page, clock, incidents="auto"))], clock=clock)
    with pytest.raises(DeliveryError):
        killed.lanes["statuspage"].destination.send(spool.due("statuspage", limit=1, size=1), {})
    there = channel(page, clock, incidents="auto")
    Delivery(spool, [ChannelDestination(there)], clock=clock)
    there.send(resolved, there.send(first, {}))
    assert [incident["status"] for incident in page.incidents] == ["resolved"]
    assert page.components[API] == "operational"


def test_an_incident_is_found_behind_a_hundred_others(page: FakeStatuspage, clock: ManualClock) -> None:
    there = channel(page, clock, incidents="auto")
    memory = there.send(notification(), {})
    page.incidents += [{"id": f"x{n}", "status": "investigating", "metadata": None} for n in range(120)]
    there.send(notification(status="resolved", reason="resolved"), memory)
    assert page.incidents[0]["status"] == "resolved"


def test_an_incident_is_proposed_once_and_nothing_is_posted(
    page: FakeStatuspage, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    there = channel(page, clock)
    tell(there, "first", "repeat")
    assert [(each, proposed["name"]) for each, proposed in there.proposals().items()] == [(EPISODE, "Problems with api")]
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        f"statuspage: proposed for the page: Problems with api; post it: edgewatch status approve -c CONFIG {EPISODE}"
    ]
    assert page.incidents == []


def test_an_approved_incident_is_posted_once_and_resolved_with_its_alert(page: FakeStatuspage, clock: ManualClock) -> None:
    there = channel(page, clock)
    first, resolved = story("first", "resolved")
    memory = there.send(first, {})
    beside = channel(page, clock)
    beside.notebook = there.notebook
    assert [beside.approve(EPISODE), beside.approve(EPISODE)] == [True, False]
    there.send(resolved, memory)
    assert [incident["status"] for incident in page.incidents] == ["resolved"]
    assert there.proposals() == {}


def test_changes_beyond_the_hours_share_are_given_up_loudly_and_made_up_for(page: FakeStatuspage, clock: ManualClock) -> None:
    there = channel(page, clock, changes_per_hour=1)
    there.send(notification(rule="slow_database", episode=OTHER), {})
    error = refused(there)
    assert (error.retryable, error.code, "changes_per_hour" in str(error)) == (False, "cap", True)
    there.send(notification(rule="slow_database", episode=OTHER, status="resolved", reason="resolved"), {})
    clock.at += 3600
    there.send(notification(reason="repeat"), {})
    assert page.changes == [(DATABASE, "major_outage"), (DATABASE, "operational"), (API, "major_outage")]


def test_what_is_held_back_is_held_back_from_every_notification_of_the_hour(page: FakeStatuspage, clock: ManualClock) -> None:
    there = channel(page, clock, changes_per_hour=1)
    there.send(notification(rule="slow_database", episode=OTHER), {})
    assert refused(there).code == "cap"
    for _ in range(3):
        there.send(notification(rule="slow_database", episode=OTHER, reason="repeat"), {})
        there.send(notification(rule="few_users", episode="c" * 16, status="resolved", reason="resolved"), {})
    page.components[API] = "major_outage"
    there.send(notification(status="resolved", reason="resolved"), {})
    assert (page.changes, page.components[API]) == ([(DATABASE, "major_outage")], "major_outage")


def test_attempts_at_one_change_count_once(page: FakeStatuspage, clock: ManualClock) -> None:
    there = channel(page, clock, incidents="auto", changes_per_hour=2)
    memory: dict[str, str] = {}
    for script in ([of_json(200, {"status": "operational"}), Answer(503)], [Answer(503)], []):
        page.script = list(script)
        if script:
            assert refused(there, memory=memory).retryable
        else:
            memory = there.send(notification(), memory)
    assert (page.components[API], len(page.incidents)) == ("major_outage", 1)


def test_a_component_that_the_page_does_not_have_holds_back_no_other(
    page: FakeStatuspage, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    there = channel(page, clock)
    del page.components[DATABASE]
    error = refused(there, notification(rule="slow_database", episode=OTHER))
    assert (error.retryable, "no such page, component or incident" in str(error)) == (False, True)
    there.send(notification(), {})
    assert (page.components[API], "database is not what it should be" in caplog.text) == ("major_outage", True)


def test_a_component_left_behind_by_a_failure_is_put_right_by_the_retry(page: FakeStatuspage, clock: ManualClock) -> None:
    there = channel(page, clock)
    first, resolved = story("first", "resolved")
    memory = there.send(first, {})
    page.script = [Answer(503)]
    assert refused(there, resolved, memory).retryable
    there.send(resolved, memory)
    assert page.components[API] == "operational"


def test_the_reasons_of_a_refusal_are_shown(page: FakeStatuspage, clock: ManualClock) -> None:
    page.script = [of_json(422, {"error": ["Component is unknown"]})]
    assert "Component is unknown" in str(refused(channel(page, clock)))


def test_calls_stay_within_the_pages_limit(page: FakeStatuspage, clock: ManualClock) -> None:
    there = channel(page, clock, incidents="auto", changes_per_hour=1000)
    for turn in range(40):
        tell(there, "first", "repeat", "resolved", episode=f"{turn:016x}:1764547200")
    assert (len(page.seen) > 240, page.components[API]) == (True, "operational")
    assert PACE.per_second == 1.0


NASTY = "<script>alert(1)</script><a href='https://evil.example'>log in</a>\r\n\x1b[31m \u202e & " + "é" * 50


@pytest.mark.parametrize("details", [True, False])
@pytest.mark.parametrize("size", [1, 255, 256, 25_000, 200_000])
def test_log_data_injects_nothing_and_any_size_fits(
    page: FakeStatuspage,
    clock: ManualClock,
    details: bool,  # noqa: FBT001
    size: int,
) -> None:
    components = {f"api {'<b>' * size}": API, "api": DATABASE}
    there = channel(page, clock, incidents="auto", components=components, details=details, map={"api": ("x" * size,)})
    said = {"title": (NASTY * size)[:200_000], "text": "<" * size, "key": {"path": NASTY}, "labels": {"a": NASTY}}
    tell(there, "first", "escalated", "resolved", rule="x" * size, **said)
    (incident,) = page.incidents
    assert (incident["status"], [text for text in incident["updates"] if "<" in text or "\x1b" in text]) == ("resolved", [])
    assert any("&lt;script&gt;" in text for text in incident["updates"]) is details


def test_hosts_and_figures_are_public_only_where_asked_for(page: FakeStatuspage, clock: ManualClock) -> None:
    tell(channel(page, clock, incidents="auto"), "first", "resolved")
    tell(channel(page, clock, incidents="auto", details=True), "first", "resolved")
    assert ["api.example.com" in " ".join(incident["updates"]) for incident in page.incidents] == [False, True]


def test_what_fired_and_resolved_while_the_page_was_away_is_never_public(
    page: FakeStatuspage, clock: ManualClock, spool: Spool
) -> None:
    there = channel(page, clock, incidents="auto")
    delivery = Delivery(spool, [ChannelDestination(there, unsaid="never")], clock=clock)
    lane = delivery.lanes["statuspage"]
    there.send(notification(rule="slow_database", episode=OTHER), {})
    page.script = [Answer(503)]
    first, resolved = (
        notification(id=each.id, reason=each.reason, status=each.status, channels=("statuspage",))
        for each in story("first", "resolved")
    )
    spool.put(notification_items(first))
    lane.step()
    spool.put(notification_items(resolved))
    clock.at += 60
    while spool.queued(["statuspage"]):
        clock.at += max(lane.step(), 0.1)
    assert (API in dict(page.changes), len(page.incidents)) == (False, 1)


def test_delivery_gives_it_a_notebook_that_outlives_the_process(
    page: FakeStatuspage, clock: ManualClock, tmp_path: Path
) -> None:
    path = tmp_path / "own.sqlite"
    for reason in ("first", "resolved"):
        spool = Spool(path, now=clock.now)
        delivery = Delivery(spool, [ChannelDestination(channel(page, clock))], clock=clock)
        status = "resolved" if reason == "resolved" else "firing"
        said = notification(id=f"{reason:032}", reason=reason, status=status, channels=("statuspage",))
        spool.put(notification_items(said))
        delivery.lanes["statuspage"].step()
        spool.close()
    assert page.changes == [(API, "major_outage"), (API, "operational")]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"api_key": ""}, "api_key"),
        ({"page": ""}, "page"),
        ({"components": {}}, "components"),
        ({"map": {"printer": ("r",)}}, "map"),
        ({"map": {"api": ()}}, "map"),
        ({"statuses": {"r": "operational"}}, "statuses"),
        ({"incidents": "yes"}, "incidents"),
        ({"changes_per_hour": 0}, "changes_per_hour"),
        ({"url": "statuspage.io"}, "url"),
    ],
)
def test_wrong_options_are_refused(page: FakeStatuspage, changes: dict[str, Any], key: str) -> None:
    assert {name for name, _ in options(page, **changes).problems()} == {key}
    assert list(options(page).problems()) == []


def test_the_kind_builds_it(page: FakeStatuspage) -> None:
    assert build("public", options(page)).name == "public"


def test_a_proposal_is_said_to_those_who_read_of_the_alert_and_so_is_its_end_and_nobody_is_paged(
    page: FakeStatuspage, clock: ManualClock, spool: Spool
) -> None:
    heard: dict[str, list[Notification]] = {"chat": [], "other": [], "pager": []}

    class Radio:
        def __init__(self, name: str) -> None:
            self.name = name

        def send(self, said: Notification, memory: dict[str, str]) -> dict[str, str]:
            heard[self.name].append(said)
            return memory

    radios = [ChannelDestination(Radio(name), people=name != "pager") for name in heard]
    there = ChannelDestination(channel(page, clock), unsaid="never")
    lanes = Delivery(spool, [there, *radios], clock=clock).lanes.values()
    for said in story("first", "repeat", "resolved"):
        spool.put(notification_items(dataclasses.replace(said, channels=("chat", "pager", "statuspage"))))
        while spool.queued([lane.destination.name for lane in lanes]):
            clock.at += min(lane.step() for lane in lanes)
    own = [said for said in heard["chat"] if said.rule == RULE]
    assert [(said.status, said.severity, said.channels) for said in own] == [
        ("firing", "warning", ("chat",)),
        ("resolved", "warning", ("chat",)),
    ]
    assert own[0].title == 'Post "Problems with api" on the status page?'
    assert f"Post it: edgewatch status approve -c CONFIG {EPISODE}" in own[0].evidence["lines"]
    assert own[1].title == "The incident proposed for the status page is over"
    assert (len({said.episode for said in own}), heard["other"]) == (1, [])
    assert {said.rule for said in heard["pager"]} == {"high_error_rate"}


def test_a_proposal_of_an_alert_that_nobody_reads_of_is_said_to_all_that_people_read() -> None:
    alert = notification(channels=("pagerduty", "statuspage"))
    assert readers(alert, ["slack", "email"]) == ("email", "slack")
    assert readers(alert, []) == ()
