"""Datasets beside each other in a live run: one that is silent holds no window of another, nor is it closed by another."""

import json
import signal
import time

import pytest

from flows.moment import moment
from tests.fakes.scripted import ScriptedServer
from tests.kafka import topics
from tests.kafka.topics import Sent
from tests.runs import start, wait_until

# idle_after is so long that no clock closes what is silent: only records of its own topic do.
CONFIG = """
[input.kafka]
brokers = ["{brokers}"]
topics = {{ "{requests}" = "http_requests", "{business}" = {{ dataset = "business", allowed_lateness = "5s" }} }}
start = "earliest"
[window]
length = "2s"
allowed_lateness = "0s"
idle_after = "1h"
[health]
enabled = false
[engine]
directory = "{folder}/state"
stale_after = "0s"
[observe]
listen = "off"
[[metric]]
name = "requests"
kind = "count"
dataset = "http_requests"
[[metric]]
name = "events"
kind = "count"
dataset = "business"
[[rule]]
name = "requested"
metric = "requests"
statistic = "count"
above = {{ critical = 0 }}
repeat = "2s"
[[rule]]
name = "done"
metric = "events"
statistic = "count"
above = {{ critical = 0 }}
repeat = "2s"
[channel.webhook]
url = "{hook}"
secrets = ["whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="]
allow_private = true
"""


@pytest.mark.kafka
@pytest.mark.slow
def test_a_silent_dataset_holds_no_window_of_another_and_is_closed_by_its_own_records_alone(brokers, topic, tmp_path):
    names = {"requests": topic(1), "business": topic(1)}
    config, log = tmp_path / "monitor.toml", tmp_path / "run.log"
    first = time.time_ns() // 2_000_000_000 * 2000 - 600_000  # ten minutes ago, where a window begins

    def send(name, *seconds):
        times = [first + second * 1000 for second in seconds]
        body = {"business": {"blobs": ["nda_signed", "u", "creator"], "doubles": [0, 1]}, "requests": {}}[name]
        column = {"business": "timestamp", "requests": "EdgeEndTimestamp"}[name]
        topics.send(brokers, names[name], [Sent(None, json.dumps(body | {column: at}).encode(), at, 0) for at in times])

    with ScriptedServer() as hook:
        config.write_text(CONFIG.format(brokers=brokers, folder=tmp_path, hook=hook.url, **names))
        running = start("run", "-c", config, log=log)

        def said():
            assert running.poll() is None, log.read_text()
            found = [each.json["x_edgewatch"] for each in hook.seen]
            return {(each["rule"], (moment(each["at"], 0) - first) // 1000) for each in found}

        send("requests", 0)
        send("business", 0, 300)
        wait_until(lambda: said() == {("done", 2)}, what="the window of the one that goes on")
        send("requests", 2)  # no further than the end of its first window, and with no lateness that closes it
        wait_until(lambda: said() == {("done", 2), ("requested", 2)}, what="the window of the other")
        send("requests", 400, 402)
        wait_until(lambda: ("requested", 402) in said(), what="a window beyond all of the one that is silent now")
        assert {at for rule, at in said() if rule == "done"} == {2}
        send("business", 306, 307)  # 300 to 302 is over at 307, by its own lateness of 5 s
        wait_until(lambda: ("done", 302) in said(), what="its next window, by its own records")
        running.send_signal(signal.SIGTERM)
        assert running.wait(240) == 0
