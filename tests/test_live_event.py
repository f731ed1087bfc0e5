"""An event in a live run: said while its window is open, confirmed by the window without a second word, and over once."""

import json
import time

import pytest

from tests.fakes.pagerduty import FakePagerDuty
from tests.kafka import topics
from tests.kafka.topics import Sent
from tests.runs import start, wait_until

CONFIG = """
[input.kafka]
brokers = ["{brokers}"]
start = "earliest"
topics = {{ "{topic}" = "errors" }}

[window]
length = "20s"
allowed_lateness = "1s"
idle_after = "1s"

[engine]
directory = "{directory}"
snapshot_interval = "500ms"

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
{more}

[channel.pagerduty]
routing_key = "{key}"
url = "{pagerduty}"
"""
pytestmark = pytest.mark.slow


def produce(brokers, topic, name):
    now = time.time_ns() // 1_000_000
    record = {"timestamp": now, "blobs": [name, "it broke", "/upload", "POST"], "doubles": [1], "indexes": ["u1", "production"]}
    topics.send(brokers, topic, [Sent(None, json.dumps(record).encode(), now, 0)])
    return now


def test_an_event_pages_while_its_window_is_open_and_only_once(brokers, topic, tmp_path):
    name, log = topic(1), tmp_path / "log"
    with FakePagerDuty() as pagerduty:
        config = tmp_path / "monitor.toml"
        places = {"brokers": brokers, "topic": name, "directory": tmp_path / "state", "more": ""}
        config.write_text(CONFIG.format(**places, key="0" * 32, pagerduty=pagerduty.enqueue_url))
        process = start("run", "-c", config, log=log)
        produce(brokers, name, "TypeError")
        while time.time() % 20 > 5:  # so that the event stands early in its window
            time.sleep(0.2)
        happened = produce(brokers, name, "OutOfMemory")
        closes = (happened // 20_000 + 1) * 20_000
        wait_until(lambda: pagerduty.seen, what="the page")
        (page,) = [seen.json for seen in pagerduty.seen]
        said = json.loads((tmp_path / "state" / "firing.json").read_bytes())["errors"] if _firing(tmp_path) else {"at": 0}
        assert said["at"] < closes  # no window with the event was judged yet
        assert (page["event_action"], page["payload"]["severity"]) == ("trigger", "critical")
        assert page["dedup_key"].endswith(f":{closes // 1000}")
        wait_until(lambda: len(pagerduty.seen) > 1, seconds=90, what="the end")
        actions = [seen.json["event_action"] for seen in pagerduty.seen]
        assert actions == ["trigger", "resolve"]
        assert {seen.json["dedup_key"] for seen in pagerduty.seen} == {page["dedup_key"]}
        judged = json.loads((tmp_path / "state" / "firing.json").read_bytes())["errors"]["at"]
        assert judged > closes
        process.terminate()
        assert process.wait(60) == 0, log.read_text()


def _firing(tmp_path):
    return (tmp_path / "state" / "firing.json").exists()
