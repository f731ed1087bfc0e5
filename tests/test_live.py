"""A live run as a user has it: Kafka in, ClickHouse and channels out, restarts, and services that go away."""

import json
import shutil
import signal
import subprocess
import threading
import time

import pytest

from flows.config import load
from flows.firing import closed_of
from sinks.clickhouse import ClickHouse, ClickHouseOptions
from sinks.embedded import Embedded
from tests import services
from tests.fakes.pagerduty import FakePagerDuty
from tests.fakes.scripted import ScriptedServer
from tests.fakes.slack import FakeSlack
from tests.kafka import topics
from tests.kafka.topics import Sent
from tests.runs import checked, start, wait_until

CONFIG = """
environment = "live-test"

[input.kafka]
brokers = ["{brokers}"]
start = "earliest"
topics = {{ "{requests}" = "http_requests", "{points}" = "performance" }}

[window]
length = "2s"
allowed_lateness = "1s"
idle_after = "1s"

[engine]
directory = "{directory}"
snapshot_interval = "500ms"

[[metric]]
name = "error_rate"
kind = "ratio"
dataset = "http_requests"
bad = "EdgeResponseStatus >= 500"
group_by = ["ClientRequestHost"]

[[metric]]
name = "db_latency"
kind = "distribution"
dataset = "performance"
value = "db_ms"
unit = "ms"

[[rule]]
name = "high_error_rate"
metric = "error_rate"
statistic = "ratio"
above = {{ critical = 0.5 }}
clear = 1
cooldown = "0s"

[channel.console]

[channel.slack]
webhook_url = "{slack}"

[channel.pagerduty]
routing_key = "{key}"
url = "{pagerduty}"

[clickhouse]
url = "{clickhouse}"
"""
pytestmark = pytest.mark.slow

KEY = "plantedsecretkey0123456789abcdef"


class Feed:
    """Sends a record every few milliseconds of wall time, healthy or failing, until stopped."""

    def __init__(self, brokers, requests, points):
        self.status = 200
        self.sent = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(brokers, requests, points))

    def _run(self, brokers, requests, points):
        while not self._end.wait(0.1):
            now = time.time_ns() // 1_000_000
            batch = [
                Sent(
                    None,
                    json.dumps(
                        {
                            "EdgeEndTimestamp": now,
                            "ClientRequestHost": "a",
                            "EdgeResponseStatus": self.status,
                            "RayID": f"ray{self.sent + n}",
                        }
                    ).encode(),
                    now,
                    n % 2,
                )
                for n in range(10)
            ]
            point = json.dumps({"timestamp": now, "doubles": [1, 20.5, 3]}).encode()
            topics.send(brokers, requests, batch)
            topics.send(brokers, points, [Sent(None, point, now, 0)])
            self.sent += len(batch)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()


@pytest.fixture
def embedded(tmp_path):
    """Give an embedded ClickHouse."""
    pytest.importorskip("chdb", reason="missing service: chdb (pip install 'edgewatch[embedded]')")
    with Embedded(tmp_path / "clickhouse") as server:
        yield server


def write_config(tmp_path, brokers, names, slack, pagerduty, url):
    path = tmp_path / "monitor.toml"
    path.write_text(
        CONFIG.format(
            brokers=brokers,
            requests=names[0],
            points=names[1],
            directory=tmp_path / "state",
            slack=slack.webhook_url,
            pagerduty=pagerduty.enqueue_url,
            key=KEY,
            clickhouse=url,
        )
    )
    return path


def stopped(process):
    process.send_signal(signal.SIGTERM)
    return process.wait(240)


def count(client, table, where="1"):
    return int(client.query(f"SELECT count() AS n FROM {table} FINAL WHERE {where}")[0]["n"])


def test_an_alert_goes_from_kafka_to_slack_pagerduty_and_clickhouse_and_survives_a_restart(brokers, topic, tmp_path, embedded):
    names = (topic(2), topic(1))
    log = tmp_path / "log"
    with FakeSlack() as slack, FakePagerDuty() as pagerduty, ScriptedServer() as pulse, Feed(brokers, *names) as feed:
        config = write_config(tmp_path, brokers, names, slack, pagerduty, embedded.url)
        config.write_text(config.read_text() + f'[heartbeat]\nurl = "{pulse.url}/ping"\nevery = "1s"\n')
        process = start("run", "-c", config, log=log)
        client = ClickHouse(ClickHouseOptions(url=embedded.url))
        wait_until(lambda: "schema_version" in log.read_text() or _has_rows(client, "window_metrics"), what="window rows")
        feed.status = 503
        wait_until(lambda: len(slack.seen) >= 1 and len(pagerduty.seen) >= 1, what="the alert")
        assert stopped(process) == 0, log.read_text()
        firing = tmp_path / "state" / "firing.json"
        said = len(pagerduty.seen)
        process = start("run", "-c", config, log=log)
        judged = closed_of(firing)["http_requests"]
        wait_until(lambda: closed_of(firing)["http_requests"] >= judged + 4000, what="windows after the restart")
        assert len(pagerduty.seen) == said  # the episode is known after the restart: no second trigger
        feed.status = 200
        wait_until(lambda: pagerduty.seen[-1].json["event_action"] == "resolve", what="the resolve")
        wait_until(lambda: count(client, "pipeline_events", "event = 'lag'"), what="a row of lag")
        assert stopped(process) == 0, log.read_text()
        assert {(seen.method, seen.path) for seen in pulse.seen} == {("GET", "/ping")}
        events = [seen.json for seen in pagerduty.seen]
        assert [event["event_action"] for event in events] == ["trigger", "resolve"]
        assert events[0]["dedup_key"] == events[1]["dedup_key"]
        for table in ("window_metrics", "evaluations", "transitions", "notifications", "exemplars", "window_histograms"):
            assert count(client, table) > 0, table
            assert count(client, table, f"config_version != '{load(config).version}'") == 0, table
        progress = "dataset = 'http_requests' AND event = 'records' AND value > 0"
        assert count(client, "pipeline_events", f"{progress} AND topic = '{names[0]}' AND partition = '1'") > 0
        assert count(client, "pipeline_events", "event = 'watermark' AND value >= 0") > 0
        assert count(client, "pipeline_events", "event = 'late' AND value != 0") == 0
        lags = client.query(
            "SELECT topic, partition, min(value) AS least FROM pipeline_events WHERE event = 'lag' GROUP BY ALL"
        )
        assert {(each["topic"], each["partition"]) for each in lags} == {(names[0], "0"), (names[0], "1"), (names[1], "0")}
        assert min(each["least"] for each in lags) >= 0
        rows = client.query(
            "SELECT count() AS n, uniqExact(window_start, metric, key, statistic) AS u FROM window_metrics FINAL"
        )
        assert rows[0]["n"] == rows[0]["u"]
        assert count(client, "window_metrics", "metric = 'db_latency' AND statistic = 'p99' AND value = 20.5") > 0
    assert KEY not in log.read_text()
    assert "Traceback" not in log.read_text()


def _has_rows(client, table):
    try:
        return count(client, table) > 0
    except Exception:  # noqa: BLE001 (the schema may not be there yet)
        return False


def test_a_channel_and_clickhouse_that_are_away_get_everything_in_order_when_they_are_back(brokers, topic, tmp_path):
    pytest.importorskip("chdb", reason="missing service: chdb (pip install 'edgewatch[embedded]')")
    names = (topic(2), topic(1))
    log = tmp_path / "log"
    with FakePagerDuty() as pagerduty, FakeSlack() as slack, Feed(brokers, *names) as feed:
        with Embedded(tmp_path / "clickhouse") as server:
            port = int(server.url.rsplit(":", 1)[1])
            config = write_config(tmp_path, brokers, names, slack, pagerduty, server.url)
            process = start("run", "-c", config, log=log)
            client = ClickHouse(ClickHouseOptions(url=server.url))
            wait_until(lambda: _has_rows(client, "window_metrics"), what="window rows")
        feed.status = 503  # ClickHouse is away now
        wait_until(lambda: len(pagerduty.seen) >= 1, what="the page")
        feed.status = 200
        wait_until(lambda: pagerduty.seen[-1].json["event_action"] == "resolve", what="the resolve")
        with Embedded(tmp_path / "clickhouse", port=port):
            wait_until(lambda: _both_sides(client), what="the transitions of the outage")
            assert stopped(process) == 0, log.read_text()
            ends = client.query("SELECT DISTINCT window_end AS e FROM evaluations ORDER BY e")
            assert len(ends) >= 3
    assert "Traceback" not in log.read_text()


def _both_sides(client):
    try:
        found = client.query("SELECT DISTINCT reason AS r FROM transitions FINAL")
    except Exception:  # noqa: BLE001 (it is just coming back)
        return False
    return {"firing", "resolved"} <= {row["r"] for row in found}


def test_a_full_disk_under_the_spool_stops_with_one_clear_line_and_loses_nothing(brokers, topic, tmp_path):
    names = (topic(2), topic(1))
    small = tmp_path / "small"
    small.mkdir()
    if (
        shutil.which("mount") is None
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", small], check=False, capture_output=True
        ).returncode
    ):
        services.missing("tmpfs")
    try:
        with FakePagerDuty() as pagerduty, FakeSlack() as slack, Feed(brokers, *names):
            config = write_config(tmp_path, brokers, names, slack, pagerduty, "http://127.0.0.1:9")
            (tmp_path / "state").mkdir()
            (tmp_path / "state" / "spool").symlink_to(small, target_is_directory=True)
            log = tmp_path / "log"
            (small / "ballast").write_bytes(bytes(2_600_000))
            process = start("run", "-c", config, log=log)
            assert process.wait(120) == 1, log.read_text()
            assert "full" in log.read_text()
            assert "Traceback" not in log.read_text()
            (small / "ballast").unlink()
            firing = tmp_path / "state" / "firing.json"
            before = closed_of(firing)
            process = start("run", "-c", config, log=log)
            wait_until(lambda: process.poll() is not None or closed_of(firing) != before, what="windows")
            assert process.poll() is None, log.read_text()
            assert stopped(process) == 0
            rows = json.loads(checked("spool", "list", "-c", config, "--json").stdout)
            assert any(row["destination"] == "clickhouse" for row in rows)
    finally:
        subprocess.run(["umount", small], check=False)
