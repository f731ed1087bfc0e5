"""A live run that cannot see: one page when the broker is killed or records are garbage, and alerts are held meanwhile."""

import json
import re
import signal
import threading
import time

import pytest

from sinks.rows import Rows
from sinks.spool import Spool
from tests.fakes.pagerduty import FakePagerDuty
from tests.fakes.slack import FakeSlack
from tests.kafka import topics
from tests.kafka.topics import Sent
from tests.runs import start, wait_until

pytestmark = pytest.mark.slow

CONFIG = """
environment = "blind-test"

[input.kafka]
brokers = ["{brokers}"]
start = "earliest"
topics = {{ "{requests}" = "http_requests" }}

[window]
length = "2s"
allowed_lateness = "1s"
idle_after = "{idle_after}"
stall_after = "4s"

[engine]
directory = "{directory}"
snapshot_interval = "500ms"

[health]
every = "200ms"
span = "3s"
min_records = 10
enter = 3
leave = 40
max_late_ratio = 1.0  # what is produced comes late where the machine is busy

[[metric]]
name = "error_rate"
kind = "ratio"
dataset = "http_requests"
bad = "EdgeResponseStatus >= 500"

[[rule]]
name = "failing"
metric = "error_rate"
statistic = "ratio"
above = {{ critical = 0.5 }}
clear = 1
cooldown = "0s"

[channel.slack]
webhook_url = "{slack}"

[channel.pagerduty]
routing_key = "0123456789abcdef0123456789abcdef"
url = "{pagerduty}"

# It is away, so that what would be inserted can be read in the spool.
[clickhouse]
url = "http://127.0.0.1:9"
"""


class Feed:
    """Sends ten records every 200 ms to two partitions while it is on; a broker that is away takes none."""

    def __init__(self, brokers, topic):
        self._brokers, self._topic = brokers, topic
        self.on, self.status, self.garbage = True, 200, 0
        self.stuck = 0  # the event time of all records of the second partition
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        while not self._end.wait(0.2):
            if self.on:
                now = time.time_ns() // 1_000_000
                record = {"EdgeResponseStatus": self.status, "RayID": "r"}
                records = [record | {"EdgeEndTimestamp": (n % 2 and self.stuck) or now} for n in range(10)]
                bodies = [b"\xff\x00 garbage" if n < self.garbage else json.dumps(r).encode() for n, r in enumerate(records)]
                topics.send(self._brokers, self._topic, [Sent(None, body, now, n % 2) for n, body in enumerate(bodies)])

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()


class Watched:
    """A live run with its channels."""

    def __init__(self, folder, brokers, topic, slack, pagerduty, *, processes=1, idle_after="1s", more=""):
        self.folder, self.slack, self.pagerduty, self.log = folder, slack, pagerduty, folder / "log"
        self.config = folder / "monitor.toml"
        self.config.write_text(
            CONFIG.format(
                brokers=brokers,
                requests=topic,
                directory=folder / "state",
                slack=slack.webhook_url,
                pagerduty=pagerduty.enqueue_url,
                idle_after=idle_after,
            )
            + more
        )
        self.command = ("run", "-c", self.config, "--processes", processes)
        self.process = start(*self.command, log=self.log)

    def restart(self, number):
        self.process.send_signal(number)
        self.process.wait(240)
        self.process = start(*self.command, log=self.log)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(240) == 0, self.log.read_text()
        assert "Traceback" not in self.log.read_text()

    def pages(self, rule):
        """Give what PagerDuty got of a rule: (action, summary, dedup key)."""
        found = [seen.json for seen in self.pagerduty.seen]
        return [
            (each["event_action"], each.get("payload", {}).get("summary"), each["dedup_key"])
            for each in found
            if f"/{rule}/" in each["dedup_key"]
        ]

    def said(self):
        """Wait until the page is at its end; give the texts of its beginning, and of what more came on a busy machine.

        A further cause is told in the same incident: so there may be more than one trigger, but one key and one end.
        """
        wait_until(
            lambda: "resolve" in [action for action, _, _ in self.pages("pipeline_blind")],
            what="the end of the page",
        )
        return [summary for action, summary, _ in self.incident() if action == "trigger"]

    def incident(self):
        """Give the pages of the run's blindness, which are one incident."""
        found = self.pages("pipeline_blind")
        assert [action for action, _, _ in found] == ["trigger"] * (len(found) - 1) + ["resolve"]
        assert len({key for _, _, key in found}) == 1
        return found

    def chat(self):
        return [json.dumps(each) for each in self.slack.posted if "edgewatch is blind" in json.dumps(each)]

    def waiting(self):
        """Give the destinations for which something waits."""
        spool = Spool(self.folder / "state" / "spool" / "spool-0.db")
        waiting = {row.destination for row in spool.rows()}
        spool.close()
        return waiting

    def delivered(self):
        """Tell whether the channels have all that was said, and this is written down: what is not is sent again."""
        return not self.waiting() & {"slack", "pagerduty"}

    def rows(self, table):
        """Give the rows of a table that wait in the spool."""
        spool = Spool(self.folder / "state" / "spool" / "spool-0.db")
        found = spool._db.execute("SELECT payload FROM items WHERE destination = 'clickhouse' ORDER BY seq").fetchall()
        spool.close()
        rows = [Rows.from_bytes(payload) for (payload,) in found]
        return [json.loads(line) for each in rows if each.table == table for line in each.data.splitlines()]


def test_a_killed_broker_makes_one_page_and_alerts_are_held_until_the_line_sees_again(own_broker, tmp_path):
    broker = own_broker()
    topics.create(broker.address, "t", 2, {"retention.ms": "-1"})
    with FakeSlack() as slack, FakePagerDuty() as pagerduty, Feed(broker.address, "t") as feed:
        run = Watched(tmp_path, broker.address, "t", slack, pagerduty, processes=2, idle_after="10s")
        wait_until((tmp_path / "state" / "firing.json").exists, what="the first windows")
        feed.on = False
        time.sleep(1)
        broker.kill()
        wait_until(lambda: run.pages("pipeline_blind") and run.chat() and run.delivered(), what="the page")
        run.restart(signal.SIGKILL)  # it neither forgets nor repeats what it said
        time.sleep(2)
        broker.start()
        feed.status, feed.on = 503, True
        said = run.said()
        wait_until(lambda: run.pages("failing"), what="the alert that was held")
        run.stop()
    assert re.search(f"edgewatch is blind: the broker at {broker.address} has not answered for ([4-9]|[1-9][0-9]+) s", said[0])
    assert (len(run.incident()), len(run.chat())) == (len(said) + 1, len(said))
    evaluations = run.rows("evaluations")
    held = [row["window_end"] for row in evaluations if (row["state_after"], row["suppressed_by"]) == ("firing", "inhibit")]
    (alert,) = [row for row in run.rows("notifications") if row["rule"] == "failing"]
    assert (bool(held), alert["reason"], alert["at"] > max(held)) == (True, "first", True)
    assert (slack.wrong, "Traceback" in run.log.read_text()) == ([], False)


def test_a_flood_of_garbage_is_one_page_with_its_share_and_an_idle_topic_is_none(brokers, topic, tmp_path):
    name = topic(2)
    with FakeSlack() as slack, FakePagerDuty() as pagerduty, Feed(brokers, name) as feed:
        run = Watched(tmp_path, brokers, name, slack, pagerduty)
        wait_until((tmp_path / "state" / "firing.json").exists, what="the first windows")
        feed.on = False
        time.sleep(8)
        assert pagerduty.seen == []
        feed.garbage, feed.on = 6, True
        wait_until(lambda: run.pages("pipeline_blind"), what="the page")
        time.sleep(3)
        feed.garbage = 0
        said = run.said()
        run.stop()
    assert (len(run.incident()), len(run.chat())) == (len(said) + 1, len(said))
    shares = re.findall(
        rf"([0-9.]+)% of the records of http_requests on {name}/[01] cannot be decoded", "\n".join(run.chat()), re.IGNORECASE
    )
    assert [5 < float(share) <= 60 for share in shares] == [True] * len(shares) != []
    events = [json.loads(line) for line in (tmp_path / "state" / "controls.ndjson").read_bytes().splitlines()]
    assert [each["on"] for each in events if each["kind"] == "blind"] == [True, False]


def test_a_partition_that_holds_all_windows_open_is_one_page_that_names_it(brokers, topic, tmp_path):
    name = topic(2)
    with FakeSlack() as slack, FakePagerDuty() as pagerduty, Feed(brokers, name) as feed:
        run = Watched(tmp_path, brokers, name, slack, pagerduty)
        wait_until((tmp_path / "state" / "firing.json").exists, what="the first windows")
        feed.stuck = time.time_ns() // 1_000_000
        wait_until(lambda: run.pages("pipeline_blind"), what="the page")
        feed.stuck = 0
        said = run.said()
        run.stop()
    assert re.search("edgewatch is blind: no window of http_requests has closed for ([6-9]|[1-9][0-9]+) s", said[0])
    assert (len(run.incident()), len(run.chat())) == (len(said) + 1, len(said))
    assert f"(worst: {name}/1, limit 6 s)" in run.chat()[0]
