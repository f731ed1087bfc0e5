"""Change events: a live start with another configuration says so once, with what changed; over a real spool and real HTTP."""

import pytest

from flows.config import Config, loads
from flows.deployed import say_what_changed
from sinks.channels import destinations
from sinks.delivery import Delivery
from sinks.pagerduty import PagerDutyOptions, change_event
from sinks.spool import Spool
from tests.fakes.notifications import notification
from tests.fakes.pagerduty import ROUTING_KEY, FakePagerDuty
from tests.fakes.scripted import Answer

AT = 1_764_547_200_000
CONFIG = """
environment = "staging"

[[metric]]
name = "errors"
kind = "ratio"
dataset = "http_requests"
bad = "EdgeResponseStatus >= {bad}"

{rules}

[channel.pagerduty]
routing_key = "{key}"
url = "{url}"
changes = {changes}
"""
RULE = '[[rule]]\nname = "{name}"\nmetric = "errors"\nstatistic = "ratio"\nabove = {{ critical = {limit} }}\n'


@pytest.fixture
def pagerduty():
    with FakePagerDuty() as server:
        yield server


class Starts:
    """Starts of live runs in one state folder; what they say is delivered at the end."""

    def __init__(self, folder, pagerduty):
        self.folder, self.pagerduty = folder, pagerduty

    def config(self, *, bad=500, changes="true", **limits) -> Config:
        rules = "\n".join(RULE.format(name=name, limit=limit) for name, limit in limits.items())
        where = {"key": ROUTING_KEY, "url": self.pagerduty.enqueue_url}
        return loads(CONFIG.format(bad=bad, rules=rules, changes=changes, **where), self.folder / "monitor.toml")

    def start(self, at=AT, **options):
        spool = Spool(self.folder / "spool.db")
        try:
            say_what_changed(spool, self.folder / "deployed.json", self.config(**options), at)
        finally:
            spool.close()

    def said(self) -> list[str]:
        spool = Spool(self.folder / "spool.db")
        delivery = Delivery(spool, destinations(self.config(a=1).channels))
        delivery.start()
        assert delivery.drain(30)
        delivery.stop()
        spool.close()
        return [change["payload"]["summary"].rpartition(": ")[2] for change in self.pagerduty.changes]


@pytest.fixture
def starts(tmp_path, pagerduty):
    return Starts(tmp_path, pagerduty)


def test_a_first_start_and_one_with_the_same_configuration_say_nothing(starts):
    for _ in range(3):
        starts.start(a=0.1)
    assert starts.said() == []


def test_a_change_names_the_versions_and_the_rules(starts, pagerduty):
    starts.start(a=0.1, b=0.1, c=0.1)
    starts.start(a=0.2, b=0.1, d=0.1, e=0.1)
    assert starts.said() == ["1 rule (a) changed, 2 rules (d, e) added, 1 rule (c) removed"]
    versions = [
        starts.config(**limits).version for limits in ({"a": 0.1, "b": 0.1, "c": 0.1}, {"a": 0.2, "b": 0.1, "d": 0.1, "e": 0.1})
    ]
    (change,) = pagerduty.changes
    rules = {"changed": ["a"], "added": ["d", "e"], "removed": ["c"]}
    assert change["payload"] | {"summary": change["payload"]["summary"].partition(": 1 rule")[0]} == {
        "summary": f"edgewatch staging: configuration {versions[0]} to {versions[1]}",
        "source": "edgewatch staging",
        "timestamp": "2025-12-01T00:00:00Z",
        "custom_details": {"from": versions[0], "to": versions[1], **rules},
    }


def test_a_rule_whose_metric_changed_has_changed_and_other_changes_are_told_too(starts):
    starts.start(a=0.1)
    starts.start(a=0.1, bad=400)
    starts.start(a=0.1, bad=400, changes="true\n[labels]\nx = 'y'")
    assert starts.said() == ["1 rule (a) changed", "no rule changed"]


def test_many_rules_are_counted_and_five_of_them_named(starts):
    starts.start(a=0.1)
    starts.start(a=0.1, **{f"r{n}": 0.1 for n in range(8)})
    assert starts.said() == ["8 rules (r0, r1, r2, r3, r4, +3 more) added"]


def test_there_and_back_and_there_again_are_three_changes(starts):
    for limit in (0.1, 0.2, 0.1, 0.2):
        starts.start(a=limit)
    assert starts.said() == ["1 rule (a) changed"] * 3


def test_a_start_that_dies_before_it_wrote_down_the_version_says_it_once(starts):
    starts.start(a=0.1)
    obstacle = starts.folder / "deployed.draft"
    obstacle.mkdir()
    for again in range(3):
        with pytest.raises(IsADirectoryError):
            starts.start(a=0.2, at=AT + again)
    obstacle.rmdir()
    starts.start(a=0.2, at=AT + 9)
    assert starts.said() == ["1 rule (a) changed"]


def test_changes_while_nobody_wants_to_hear_of_them_are_not_told_later(starts):
    starts.start(a=0.1, changes="false")
    starts.start(a=0.2, changes="false")
    starts.start(a=0.3)
    assert starts.said() == ["1 rule (a) changed"]


@pytest.mark.slow
def test_a_change_waits_for_pagerduty_and_its_key_is_not_told(starts, pagerduty):
    starts.start(a=0.1)
    starts.start(a=0.2)
    pagerduty.script = [Answer(429), Answer(500, ROUTING_KEY.encode())]
    assert starts.said() == ["1 rule (a) changed"]
    assert [seen.path for seen in pagerduty.seen] == ["/v2/change/enqueue"] * 3
    assert ROUTING_KEY not in (starts.folder / "deployed.json").read_text()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"routing_key": "R" * 32}, ("changes", "PagerDuty takes none by a routing_key that begins with R")),
        ({"url": "http://127.0.0.1/other"}, ("url", "must end in /v2/enqueue with changes")),
    ],
)
def test_what_takes_no_change_events_is_refused(options, problem):
    given = {"routing_key": ROUTING_KEY, **options}
    ((key, words),) = PagerDutyOptions(**given, changes=True).problems()
    assert (key, words.startswith(problem[1])) == (problem[0], True)
    assert list(PagerDutyOptions(**given).problems()) == []


def test_a_change_event_keeps_to_pagerdutys_limits(pagerduty):
    said = notification(title="é" * 2000, reason="changed", evidence={"added": ["x" * 100] * 10_000})
    body = change_event(said, ROUTING_KEY)
    assert len(body) < 512_000
    assert b"left out: the event had" in body
