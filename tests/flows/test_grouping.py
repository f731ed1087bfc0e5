"""Grouping: which alerts make one message, and that what a channel heard of together also ends together."""

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.alert import Alerting
from flows.policy import PolicyOptions
from flows.route import RouteOptions
from flows.rule import Thresholds
from sinks.pagerduty import PagerDuty, PagerDutyOptions
from tests.fakes.pagerduty import ROUTING_KEY, FakePagerDuty
from tests.flows.history import Settings, histories, result_of, results_of, rule, rules

MODES = {"chat": "digest", "pager": "storm", "hook": "each"}
POLICY = PolicyOptions(modes=MODES)
BY_RULE = RouteOptions(channels=("chat", "pager", "hook"), group_by=("rule",))


def window(n, rates):
    """Make a window from the error rate of each host."""
    rows = {("error_rate", f'{{"host":"{host}"}}'): (rate, 1000) for host, rate in rates.items()}
    return result_of(n, rows | {("error_rate", "{}"): (0.0, 1000)})


def hosts(*names, rate=0.4):
    return {name: rate + place / 100 for place, name in enumerate(names)}


def decided(windows, *, routes=(BY_RULE,), chosen=None):
    alerting = Alerting(Settings(tuple(chosen or [rule()]), routes=tuple(routes)), POLICY)
    return [alerting.evaluate(window(n, rates)) for n, rates in enumerate(windows)]


def sent(decisions, channel):
    return [(each.reason, each.title) for each in decisions.messages if channel in each.channels]


def test_alerts_of_a_group_are_one_message_in_chat_and_each_by_itself_to_a_machine():
    decisions = decided([hosts("a", "b", "c")])[0]
    assert sent(decisions, "chat") == [("first", "3 alerts: high error rate, worst on c")]
    assert len(sent(decisions, "hook")) == len(sent(decisions, "pager")) == 3
    message = next(each for each in decisions.messages if "chat" in each.channels)
    assert message.evidence["lines"][0] == "High error rate on c: 42 % (critical above 5 %)"
    assert (message.channels, message.severity, message.labels) == (("chat",), "critical", {"team": "edge"})


def test_the_notification_of_each_alert_is_written_with_the_id_of_its_group():
    two = decided([hosts("a", "b"), hosts("a", "b", "c")])
    groups = [each.group for each in two[0].notifications]
    assert groups[0] == groups[1] is not None
    assert [each.group for each in two[1].notifications] == [None]
    assert [each.channels for each in two[0].notifications] == [("chat", "hook", "pager")] * 2
    plain = decided([hosts("a", "b")], routes=[dataclasses.replace(BY_RULE, group_by=())])[0]
    assert [each.group for each in plain.notifications] == [None, None]
    assert plain.messages == plain.notifications


def test_an_alert_alone_in_its_group_is_a_message_of_its_own():
    by_host = dataclasses.replace(BY_RULE, group_by=("host",))
    decisions = decided([hosts("a", "b")], routes=[by_host])[0]
    assert decisions.messages == decisions.notifications


def test_up_to_five_alerts_page_one_by_one_and_more_are_one_storm():
    assert len(sent(decided([hosts(*"abcde")])[0], "pager")) == 5
    assert sent(decided([hosts(*"abcdef")])[0], "pager") == [("first", "6 alerts: high error rate, worst on f")]


def test_beyond_its_limit_a_route_tells_of_the_worst_and_digests_the_rest():
    few = RouteOptions(channels=("chat",), limit=2)
    decisions = decided([hosts(*"abcde")], routes=[few])[0]
    assert [title.split(":")[0] for _, title in sent(decisions, "chat")] == [
        "High error rate on d",
        "High error rate on e",
        "3 alerts",
    ]


def test_a_digest_lists_ten_and_says_how_many_more_there_are():
    message = decided([hosts(*"abcdefghijklm")])[0].messages[-1]
    lines = message.evidence["lines"]
    assert (len(lines), lines[-1]) == (11, "+3 more")


def test_a_storm_pages_once_is_quiet_while_it_shrinks_and_is_resolved_with_its_last_alert():
    bad, well = hosts(*"abcdef"), hosts(*"abcdef", rate=-1.0)
    windows = [bad, {**well, "a": 0.4}, {**well, "a": 0.4}, well, well]
    decisions = decided(windows)
    assert [sent(each, "pager") for each in decisions] == [
        [("first", "6 alerts: high error rate, worst on f")],
        [],
        [],
        [],
        [("resolved", "All 6 alerts over: high error rate")],
    ]
    assert [sent(each, "chat") for each in decisions[2:]] == [
        [("update", "1 of 6 alerts open: high error rate")],
        [],
        [("resolved", "All 6 alerts over: high error rate")],
    ]
    storm = [each for one in decisions for each in one.messages if each.channels == ("pager",)]
    assert len({each.dedup_key for each in storm}) == 1
    assert len({each.id for each in storm}) == 2


def test_an_escalation_within_a_storm_pages():
    bad = hosts(*"abcdef", rate=0.02)
    for value in bad:
        bad[value] = 0.02
    decisions = decided([bad, bad, {**bad, "c": 0.4}])
    assert [sent(each, "pager") for each in decisions[1:]] == [
        [("first", "6 alerts: high error rate, worst on e")],
        [("escalated", "6 of 6 alerts open: high error rate")],
    ]
    assert [each.severity for each in decisions[2].messages if "pager" in each.channels] == ["critical"]


def test_alerts_of_several_rules_say_so():
    chosen = [rule(), rule(name="any", above=Thresholds(critical=0.001))]
    by_host = dataclasses.replace(BY_RULE, group_by=("host",))
    message = decided([hosts("a")], routes=[by_host], chosen=chosen)[0].messages[-1]
    assert (message.title, message.key, message.rule) == (
        "2 alerts: several rules on a, worst: any",
        {"host": "a"},
        "several rules",
    )


def test_a_storm_opens_one_incident_at_the_pager_and_nothing_is_resolved_there_that_was_not_opened():
    bad, well = hosts(*"abcdefgh"), hosts(*"abcdefgh", rate=-1.0)
    windows = [bad, bad, {**well, "z": 0.4}, {**well, "z": 0.4}, well, {**well, "z": 0.0}, {**well, "z": 0.0}]
    memories: dict[str, dict[str, str]] = {}
    with FakePagerDuty() as there:
        channel = PagerDuty("pager", PagerDutyOptions(routing_key=ROUTING_KEY, url=there.enqueue_url))
        for decisions in decided(windows, chosen=[rule(repeat_ms=300_000)]):
            for message in decisions.messages:
                if "pager" in message.channels:
                    memories[message.episode] = channel.send(message, memories.get(message.episode, {}))
        assert (len(there.pages), there.open, there.dropped) == (2, {}, [])


ROUTE = st.builds(
    RouteOptions,
    channels=st.sampled_from([("chat",), ("pager", "hook"), ("chat", "pager")]),
    severity=st.sampled_from([("critical",), ("warning", "critical")]),
    group_by=st.sampled_from([(), ("rule",), ("host",), ("environment",)]),
    limit=st.sampled_from([1, 2, 50]),
    continue_=st.booleans(),
)


@settings(max_examples=100, deadline=None)
@given(st.tuples(rules("r1"), rules("r2"), rules("r3")), histories(), st.lists(ROUTE, max_size=3), st.sets(st.integers(0, 29)))
@pytest.mark.slow
def test_every_channel_hears_of_an_alert_in_one_place_and_nothing_is_resolved_unsaid(chosen, history, routes, restarts):
    config = Settings(tuple(chosen), routes=tuple(routes))
    alerting, whole = Alerting(config, POLICY), Alerting(config, POLICY)
    open_: set[tuple[str, str]] = set()
    heard: dict[str, set[str]] = {}
    for n, result in enumerate(results_of(history)):
        if n in restarts:
            state = alerting.snapshot()
            alerting = Alerting(config, POLICY)
            alerting.restore(state)
        decisions = alerting.evaluate(result)
        assert decisions.messages == whole.evaluate(result).messages
        for told in decisions.told:
            heard[told.notification.episode] = set(told.heard) if told.notification.status == "firing" else set()
        for message in decisions.messages:
            for channel in message.channels:
                if message.status == "resolved":
                    open_.remove((channel, message.episode))
                else:
                    open_.add((channel, message.episode))
    together = set(alerting._grouping._of)
    alone = {(channel, episode) for episode, channels in heard.items() for channel in channels}
    alone = {each for each in alone if (each[0], each[1].partition(":")[0]) not in together}
    bundles = {(b.channel, f"{b.name}:{b.start // 1000}") for b in alerting._grouping._bundles.values()}
    assert open_ == alone | bundles


def test_a_bundle_hears_that_a_rule_of_its_alerts_is_gone_and_ends_with_the_rest():
    chosen = (rule(), rule(name="other"))
    by_all = RouteOptions(channels=("chat",), group_by=("environment",))
    alerting = Alerting(Settings(chosen, routes=(by_all,)), POLICY)
    alerting.evaluate(window(0, hosts("a", "b")))
    left = Alerting(Settings(chosen[:1], routes=(by_all,)), POLICY)
    left.restore(alerting.snapshot())
    well = hosts("a", "b", rate=-1.0)
    messages = [each for n in (1, 2) for each in left.evaluate(window(n, well)).messages]
    assert [(each.reason, each.title) for each in messages] == [
        ("update", "2 of 4 alerts open: several rules"),
        ("resolved", "All 4 alerts over: several rules"),
    ]
    assert json.loads(messages[0].line())["group"] == messages[0].fingerprint


def test_a_bundle_carries_the_runbook_that_all_of_its_alerts_have_and_says_how_long_it_lasted():
    chosen = [rule(runbook="https://wiki.example.com/errors")]
    decisions = decided([hosts("a", "b"), hosts("a", "b", rate=-1.0), hosts("a", "b", rate=-1.0)], chosen=chosen)
    first, *_, over = [each for one in decisions for each in one.messages if "chat" in each.channels]
    assert first.evidence["runbook"]["link"] == "https://wiki.example.com/errors"
    assert over.evidence["lines"][0] == "Over after 10 min."
    mixed = [*chosen, rule(name="any", above=Thresholds(critical=0.001), runbook="https://wiki.example.com/any")]
    by_host = dataclasses.replace(BY_RULE, group_by=("host",))
    message = decided([hosts("a")], routes=[by_host], chosen=mixed)[0].messages[-1]
    assert set(message.evidence) == {"lines"}
