"""A live run that has lost a part of its state: a critical alert that is open is heard, rather twice than not at all."""

import json
import shutil
import signal

import pytest

from tests.fakes.pagerduty import FakePagerDuty
from tests.fakes.scripted import Answer
from tests.fakes.slack import FakeSlack
from tests.runs import start, wait_until
from tests.test_blind import Feed, Watched

pytestmark = pytest.mark.slow

# Beside `failing`: a rule that only warns of the same, and one of which the alert is over when `failing` fires.
MORE = """
[[rule]]
name = "many"
metric = "error_rate"
statistic = "ratio"
above = { warning = 0.5 }
clear = 1
cooldown = "0s"

[[metric]]
name = "missing"
kind = "ratio"
dataset = "http_requests"
bad = "EdgeResponseStatus == 404"

[[rule]]
name = "gone"
metric = "missing"
statistic = "ratio"
above = { critical = 0.5 }
clear = 1
cooldown = "0s"
"""


class Losing(Watched):
    """A live run that stops, loses something, and starts again."""

    def open(self):
        """Give the open alerts: (rule, state)."""
        path = self.folder / "state" / "firing.json"
        found = json.loads(path.read_bytes()).get("http_requests", {"alerts": []}) if path.exists() else {"alerts": []}
        return [(each["rule"], each["state"]) for each in found["alerts"]]

    def incidents(self, rule):
        """Give what PagerDuty took of a rule: its incidents as they were opened and closed."""
        return [event for _, key, event in self.pagerduty.log if f"/{rule}/" in key]

    def triggers(self, rule):
        return [key for action, _, key in self.pages(rule) if action == "trigger"]

    def lose(self, *names):
        self.stop()
        for name in names:
            shutil.rmtree(self.folder / "state" / name)

    def begin(self):
        self.process = start(*self.command, log=self.log)


def test_what_waited_in_a_lost_spool_is_said_again_at_once_and_ended(brokers, topic, tmp_path):
    name = topic(2)
    with FakeSlack() as slack, FakePagerDuty() as pagerduty, Feed(brokers, name) as feed:
        feed.status = 404
        run = Losing(tmp_path, brokers, name, slack, pagerduty, more=MORE)
        wait_until(lambda: run.incidents("gone") == ["trigger"], what="the page of what will be over")
        pagerduty.script = [Answer(503)] * 100_000
        feed.status = 503
        wait_until(
            lambda: {("failing", "firing"), ("many", "firing")} == {*run.open()}, what="an alert that waits in the spool"
        )
        run.lose("spool")
        assert run.incidents("failing") == []
        before = len(pagerduty.seen)
        pagerduty.script = []
        run.begin()
        wait_until(lambda: run.incidents("failing") == ["trigger"], what="the page that was lost")
        again = pagerduty.seen[before].json
        wait_until(run.delivered, what="all that was said again")
        run.restart(signal.SIGKILL)  # the spool is not new any more
        feed.status = 200
        wait_until(lambda: run.incidents("failing") == ["trigger", "resolve"], what="the end of the page")
        wait_until(lambda: run.open() == [] and run.delivered(), what="the end of all")
        said = [seen.json for seen in pagerduty.seen[before:]]
        run.stop()
    assert again["payload"]["summary"].startswith("Failing: critical, open since ")
    assert again["payload"]["custom_details"]["reason"] == "repeat"
    assert len({each["dedup_key"] for each in said if "/failing/" in each["dedup_key"]}) == 1
    triggers = [each["payload"] for each in said if each["event_action"] == "trigger"]
    repeated = [each["class"] for each in triggers if each["custom_details"]["reason"] == "repeat"]
    assert [name for name in repeated if name in ("failing", "many", "gone")] == ["failing"]
    assert "gone" not in [each["class"] for each in triggers]
    assert slack.wrong == []
    assert len([each for each in slack.posted if "resolved: Failing" in json.dumps(each)]) == 1


@pytest.mark.parametrize(("lost", "heard"), [(("recovery",), 1), (("recovery", "spool"), 2)])
def test_a_run_without_its_recovery_decides_again_and_misses_nothing(brokers, topic, tmp_path, lost, heard):
    name = topic(2)
    with FakeSlack() as slack, FakePagerDuty() as pagerduty, Feed(brokers, name) as feed:
        feed.status = 503
        pagerduty.script = [Answer(503)] * 100_000
        run = Losing(tmp_path, brokers, name, slack, pagerduty)
        wait_until(lambda: run.open() == [("failing", "firing")], what="an alert that waits in the spool")
        wait_until(lambda: slack.posted and "slack" not in run.waiting(), what="the message")
        run.lose(*lost)
        pagerduty.script = []
        run.begin()
        wait_until(lambda: run.incidents("failing") == ["trigger"], what="the page that waited")
        feed.status = 200
        wait_until(lambda: "resolve" in run.incidents("failing"), what="the end of the page")
        wait_until(lambda: run.open() == [] and run.delivered(), what="the end of all")
        run.stop()
    assert run.incidents("failing") == ["trigger", "resolve"]
    assert len({*run.triggers("failing")}) == 1
    assert slack.wrong == []
    assert len([each for each in slack.posted if "critical: Failing" in json.dumps(each)]) == heard
