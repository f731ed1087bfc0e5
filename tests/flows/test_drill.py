"""A drill: a marked alert goes through real channels over HTTP and is resolved; what does not arrive is said."""

import dataclasses
import json
import re

import pytest

from flows.config import load, loads
from flows.drill import drill, notifications, severities_of
from flows.route import RouteOptions
from flows.rule import KINDS
from sinks.channels import CHANNELS
from tests.fakes.counterparts import OVER_A_WIRE, kafka_topic
from tests.fakes.pagerduty import ROUTING_KEY, FakePagerDuty
from tests.fakes.slack import FakeSlack
from tests.runs import ROOT, edgewatch

CONFIG = """
[input.kafka]
brokers = ["127.0.0.1:1"]
topics = {{ "logpush.http_requests" = "http_requests", "app.performance" = "performance" }}

[channel.slack]
webhook_url = "{slack}"

[channel.pagerduty]
routing_key = "{key}"
url = "{pagerduty}"

[channel.statuspage]
api_key = "planted-api-key"
page = "abc"
url = "http://127.0.0.1:1"
components = {{ api = "cmp" }}

[[route]]
severity = ["critical"]
channels = ["pagerduty", "slack", "statuspage"]

[[route]]
match = {{ rule = "slow_responses" }}
channels = ["slack"]
"""


@pytest.fixture
def places(tmp_path):
    with FakeSlack() as slack, FakePagerDuty() as pagerduty:
        path = tmp_path / "monitor.toml"
        path.write_text(CONFIG.format(slack=slack.webhook_url, key=ROUTING_KEY, pagerduty=pagerduty.enqueue_url))
        yield path, slack, pagerduty


def test_a_drill_goes_through_every_channel_of_the_route_and_is_resolved(places):
    path, slack, pagerduty = places
    done = edgewatch("drill", "-c", path, "high_error_rate")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "ok   pagerduty: took the alert and its end",
        "ok   slack: took the alert and its end",
        "--   statuspage: left out: what it shows is public",
    ]
    events = [seen.json for seen in pagerduty.seen]
    assert [event["event_action"] for event in events] == ["trigger", "resolve"]
    assert events[0]["payload"]["summary"].startswith("DRILL: High error rate on drill: ")
    assert pagerduty.open == {}
    assert all("DRILL: " in seen.json["text"] for seen in slack.seen)
    assert (len(slack.seen), slack.wrong) == (2, [])


@pytest.mark.slow
def test_what_does_not_arrive_is_said_with_its_reason_and_without_secrets(places):
    path, slack, _ = places
    text = path.read_text().replace(slack.webhook_url, "http://127.0.0.1:1/services/T0/B0/planted-hook-secret")
    path.write_text(text)
    done = edgewatch("drill", "-c", path, "high_error_rate", "--timeout", "1", "--json")
    assert done.returncode == 1
    found = {each["channel"]: each for each in json.loads(done.stdout)}
    assert (found["pagerduty"]["ok"], found["slack"]["ok"], found["statuspage"]["ok"]) == (True, False, None)
    assert "cannot connect" in found["slack"]["words"]
    assert "planted-hook-secret" not in done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nothing"], 2, "no rule 'nothing'; there are: "),
        (["high_error_rate", "--severity", "loud"], 2, "--severity loud: high_error_rate has critical and warning"),
        (["high_error_rate", "--severity", "warning"], 1, "no route takes high_error_rate at warning: nobody would hear of it"),
    ],
)
def test_a_drill_that_cannot_be_says_why(places, arguments, code, words):
    path, slack, pagerduty = places
    done = edgewatch("drill", "-c", path, *arguments)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr
    assert slack.seen == pagerduty.seen == []


def test_a_drill_is_told_from_the_real_alert(places):
    config = load(places[0], secrets=False)
    fired, over = notifications(config, "slow_responses", severity="warning", at=1_764_547_200_000)
    assert (fired.status, over.status) == ("firing", "resolved")
    assert (fired.value, fired.threshold) == (1500.0, 1000.0)
    assert (fired.labels["drill"], fired.channels, over.channels) == ("true", ("slack",), ("slack",))
    assert fired.episode == over.episode
    assert fired.id != over.id
    assert "This is a drill" in fired.text


def test_a_rule_of_every_kind_can_be_drilled(tmp_path):
    page = (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^```toml\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    config = loads(text, tmp_path / "monitor.toml")
    said = {rule.name: notifications(config, rule.name, severity=severities_of(rule)[0], at=0) for rule in config.rules}
    assert {rule.kind for rule in config.rules} == {*KINDS, "slo"}
    assert all([each.status for each in both] == ["firing", "resolved"] for both in said.values())
    title = "DRILL: SLO availability on drill: error budget burns 9 times too fast (critical above 6 times)"
    assert said["slo:availability"][0].title == title
    assert said["users_feel_it"][1].title == "DRILL: Users feel it on drill: not all of its rules fire any more"


def drilled(path, kind, options):
    """Drill a rule of a configuration whose only channel this is; gives (whether it arrived, what was said of that)."""
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    made = CHANNELS[kind].options(**given)
    config = dataclasses.replace(load(path), channels={"there": made}, routes=(RouteOptions(channels=("there",)),))
    (arrival,) = drill(config, "high_error_rate", severity="critical", at=1_764_547_200_000, timeout_s=30)
    return arrival.ok, arrival.words


def test_every_kind_of_channel_is_drilled():
    assert {case.partition(" ")[0] for case in OVER_A_WIRE} | {"console", "kafka"} == set(CHANNELS)


@pytest.mark.slow
@pytest.mark.parametrize("case", OVER_A_WIRE)
def test_a_drill_arrives_at_a_channel_of_each_kind_with_its_end(case, places, tmp_path):
    with OVER_A_WIRE[case](tmp_path) as there:
        got, arrived = drilled(places[0], there.kind, there.options), there.arrived()
    public = case == "statuspage"
    assert got == ((None, "left out: what it shows is public") if public else (True, "took the alert and its end"))
    assert (len(arrived) >= 2, [text for text in arrived[:1] if "DRILL" not in text]) == (not public, [])


def test_a_drill_arrives_at_a_topic(places, brokers, topic):
    with kafka_topic(brokers, topic(1)) as there:
        assert drilled(places[0], there.kind, there.options) == (True, "took the alert and its end")
        assert [json.loads(text)["title"][:7] for text in there.arrived()] == ["DRILL: "] * 2


def test_a_drill_is_printed(places, capfd):
    assert drilled(places[0], "console", {}) == (True, "took the alert and its end")
    assert capfd.readouterr().out.count("This is a drill") == 2
