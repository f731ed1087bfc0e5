"""An event in a live run: said while its window is open, confirmed by the window without a second word, and over once.

Windows last 5 minutes and no clock moves them: they close when the test sends a record of later windows.
"""

import json
import time

import pytest

from tests import runs
from tests.fakes.pagerduty import ROUTING_KEY, FakePagerDuty
from tests.fakes.slack import FakeSlack, shown
from tests.kafka import topics
from tests.kafka.topics import Sent

CONFIG = """
[input.kafka]
brokers = ["{brokers}"]
start = "earliest"
topics = {{ "{topic}" = "errors" }}

[window]
idle_after = "20m"
allowed_lateness = "1s"

[engine]
directory = "{directory}"
snapshot_interval = "{snapshot}"

[[metric]]
name = "crashes"
kind = "count"
dataset = "errors"
where = 'name == "OutOfMemory"'
group_by = ["url"]

[[rule]]
name = "out_of_memory"
kind = "event"
metric = "crashes"
clear = 1

[channel.pagerduty]
routing_key = "{key}"
url = "{pagerduty}"

[channel.slack]
webhook_url = "{slack}"
"""
WINDOW = 300_000
pytestmark = pytest.mark.slow


class Live:
    """A run from a topic of its own to a PagerDuty and a Slack of its own."""

    def __init__(self, brokers, topic, folder, pagerduty, slack, snapshot="500ms"):
        self._brokers, self._topic = brokers, topic
        self._state, self.log = folder / "state", folder / "log"
        self.config = folder / "monitor.toml"
        text = CONFIG.format(
            brokers=brokers,
            topic=topic,
            directory=self._state,
            snapshot=snapshot,
            key=ROUTING_KEY,
            pagerduty=pagerduty.enqueue_url,
            slack=slack.webhook_url,
        )
        self.config.write_text(text)
        self.process = None
        self.start()

    def start(self):
        self.process = runs.start("run", "-c", self.config, log=self.log)

    def send(self, name, at):
        record = {"timestamp": at, "blobs": [name, "it broke", "/upload", "POST"], "doubles": [1], "indexes": ["u1", "prod"]}
        topics.send(self._brokers, self._topic, [Sent(None, json.dumps(record).encode(), time.time_ns() // 1_000_000, 0)])

    def judged(self):
        """Give the end of the last window that was judged."""
        path = self._state / "firing.json"
        return json.loads(path.read_bytes()).get("errors", {"at": 0})["at"] if path.exists() else 0

    def close(self, end):
        """Have the windows up to `end` closed by a record of the next one."""
        self.send("TypeError", end + 1_001)
        runs.wait_until(lambda: self.judged() >= end, what="the window")

    def stop(self):
        self.process.terminate()
        assert self.process.wait(240) == 0, self.log.read_text()


def test_an_event_pages_while_its_window_is_open_and_only_once(brokers, topic, tmp_path):
    with FakePagerDuty() as pagerduty, FakeSlack() as slack:
        live = Live(brokers, topic(1), tmp_path, pagerduty, slack)
        happened = time.time_ns() // 1_000_000
        closes = (happened // WINDOW + 1) * WINDOW
        live.send("OutOfMemory", happened)
        runs.wait_until(lambda: pagerduty.seen and slack.posted, what="the page")
        assert live.judged() < closes  # nothing that is behind the record was read, so its window is open
        (page,) = [seen.json for seen in pagerduty.seen]
        assert (page["event_action"], page["payload"]["severity"]) == ("trigger", "critical")
        assert page["dedup_key"].endswith(f":{closes // 1000}")
        assert "Said at once, by one record of crashes" in shown(slack.posted[0])
        live.send("OutOfMemory", happened)
        live.close(closes)
        assert (len(pagerduty.seen), len(slack.posted)) == (1, 1)
        live.close(closes + WINDOW)
        runs.wait_until(lambda: len(pagerduty.seen) > 1 and len(slack.posted) > 1, what="the end")
        live.stop()
        assert [event for *_, event in pagerduty.log] == ["trigger", "resolve"]
        assert (len(pagerduty.seen), len(slack.posted), pagerduty.open) == (2, 2, {})


def test_who_heard_before_a_kill_hears_the_end_of_what_is_silenced_when_the_window_closes(brokers, topic, tmp_path):
    with FakePagerDuty() as pagerduty, FakeSlack() as slack:
        live = Live(brokers, topic(1), tmp_path, pagerduty, slack, snapshot="1h")
        happened = time.time_ns() // 1_000_000
        closes = (happened // WINDOW + 1) * WINDOW
        live.send("OutOfMemory", happened)
        runs.wait_until(lambda: pagerduty.pages and slack.posted, what="the page")
        live.process.kill()
        live.process.wait()
        runs.checked("silence", "add", "-c", live.config, "url=/upload", "--for", "2h", "--reason", "known", "--author", "me")
        live.start()
        live.close(closes)
        runs.wait_until(lambda: not pagerduty.open and len(slack.posted) > 1, what="the end")
        live.stop()
        assert [event for *_, event in pagerduty.log] == ["trigger", "resolve"]
        assert len(slack.posted) == 2
        assert "a silence keeps it quiet" in shown(slack.posted[1])
