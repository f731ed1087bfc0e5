"""Live equals replay: what a live run decided, whatever befell it, a replay of the same offsets decides byte by byte."""

import contextlib
import hashlib
import json
import random
import signal
import sqlite3
import threading
import time
from datetime import datetime

import orjson
import pytest

from flows.firing import closed_of
from flows.output import canonical, rfc3339
from flows.verify import TABLES, compare
from sinks.clickhouse import ClickHouse, ClickHouseOptions
from sinks.embedded import Embedded
from sinks.rows import Rows
from tests.kafka import topics
from tests.kafka.topics import Sent
from tests.runs import checked, edgewatch, start, wait_until

pytestmark = pytest.mark.slow

CONFIG = """
environment = "twice"

[input.kafka]
brokers = ["{brokers}"]
start = "latest"
topics = {{ "{requests}" = "http_requests", "{points}" = "performance" }}

[window]
length = "2s"
allowed_lateness = "1s"
idle_after = "1s"
barrier_wait = "3s"

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
name = "panics"
kind = "count"
dataset = "http_requests"
where = "EdgeResponseStatus == 599"

[[metric]]
name = "db_latency"
kind = "distribution"
dataset = "performance"
value = "db_ms"
unit = "ms"

[[metric]]
name = "points"
kind = "count"
dataset = "performance"

[[rule]]
name = "high_error_rate"
metric = "error_rate"
statistic = "ratio"
keys = "all"
above = {{ warning = 0.2, critical = 0.5 }}
for = {{ warning = 2, critical = 1 }}
min_count = 10  # a first window of a few records, one of them bad by chance, would fire before anything is wrong
clear = 1
cooldown = "6s"
repeat = "5s"

[[rule]]
name = "panic"
kind = "event"
metric = "panics"
clear = 1

[[rule]]
name = "slow_database"
metric = "db_latency"
statistic = "p90"
above = {{ critical = 100 }}
clear = 1
cooldown = "0s"

[[rule]]
name = "no_points"
kind = "absence"
metric = "points"
after = 2

[[inhibit]]
source = {{ rule = "slow_database" }}
target = {{ rule = "high_error_rate" }}

[channel.console]

[clickhouse]
url = "http://127.0.0.1:9"
"""
TIMES = {"windows": "window_end", "evaluations": "window_end", "transitions": "at", "notifications": "at"}


class Feed:
    """Sends records until stopped: late ones, out of order, to partitions that fall silent."""

    def __init__(self, brokers, requests, points):
        self.status, self.slow, self.partitions, self.pointing = 200, 20.5, (0, 1), True
        self._noise = random.Random(3)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(brokers, requests, points))
        self._count = 0

    def _run(self, brokers, requests, points):
        sent, began = 0, time.monotonic()
        while not self._end.wait(0.15):
            now = time.time_ns() // 1_000_000
            due = int((time.monotonic() - began) / 0.15)  # where sending takes longer, as many a second: rules have a min_count
            topics.send(brokers, requests, [self._record(now, n) for _ in range(sent, due) for n in range(8)])
            sent = due
            if self.pointing:
                point = json.dumps({"timestamp": now - self._noise.randrange(900), "doubles": [1, self.slow, 3]}).encode()
                topics.send(brokers, points, [Sent(None, point, now, 0)])

    def _record(self, now, n):
        self._count += 1
        behind = self._noise.choice((0, 50, 400, 900, 1500, 6000))
        status = 599 if self._count % 97 == 0 else self.status if n % 2 else 200
        body = {
            "EdgeEndTimestamp": now - behind,
            "ClientRequestHost": "ab"[n % 3 == 0],
            "EdgeResponseStatus": status,
            "RayID": f"ray{self._count}",
        }
        return Sent(None, json.dumps(body).encode(), now, self.partitions[n % len(self.partitions)])

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()


class Live:
    """A live run that is started and stopped; `further` waits until it has judged some windows more."""

    def __init__(self, config, state, log):
        self._config, self._state, self._log = config, state, log
        self.start()

    def start(self):
        self.process = start("run", "-c", self._config, log=self._log)

    def further(self, windows):
        wanted = {name: self.closed().get(name, 0) + windows * 2000 for name in ("http_requests", "performance")}
        if not self.closed():
            wait_until(lambda: len(self.closed()) == 2, what="the first windows")
            wanted = {name: end + windows * 2000 for name, end in self.closed().items()}
        wait_until(lambda: all(self.closed()[name] >= wanted[name] for name in wanted), what="windows")

    def closed(self):
        return closed_of(self._state / "firing.json")

    def end(self, number):
        self.process.send_signal(number)
        return self.process.wait(240)


def stored(spool):
    """Give the canonical lines of what a live run wrote for its tables, by kind: each only once, however often it came."""
    out: dict[str, set[bytes]] = {kind: set() for kind in TIMES}
    with contextlib.closing(sqlite3.connect(spool)) as database:
        found = database.execute("SELECT id, payload FROM items WHERE destination = 'clickhouse' AND payload NOT NULL")
        for name, payload in found:
            kind = name.split("/")[0]
            for line in Rows.from_bytes(payload).data.splitlines() if kind in out else ():
                row = orjson.loads(line)
                del row["config_version"]
                out[kind].add(canonical(row))
    return out


def fingerprint(folder):
    """Give what a folder holds."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def lived(brokers, topic, tmp_path):
    """Give a configuration whose live run has been through a lot, and has ended."""
    names = topic(3), topic(1)
    state, log, config = tmp_path / "state", tmp_path / "log", tmp_path / "monitor.toml"
    config.write_text(CONFIG.format(brokers=brokers, requests=names[0], points=names[1], directory=state))
    topics.send(brokers, names[0], [Sent(None, b"{}", time.time_ns() // 1_000_000, 0)] * 5)  # it begins after these
    with Feed(brokers, *names) as feed:
        live = Live(config, state, log)
        live.further(3)
        feed.status = 503
        live.further(2)
        live.end(signal.SIGKILL)
        live.start()
        live.further(2)
        checked("silence", "add", "-c", config, "rule=panic", "--for", "1h", "--reason", "known")
        feed.partitions = (0,)  # 1 falls silent; 2 always was
        feed.slow = 400.0
        live.further(4)
        assert live.end(signal.SIGTERM) == 0, log.read_text()
        live.start()
        feed.pointing = False
        live.further(4)
        feed.status, feed.partitions = 200, (0, 1)
        checked("silence", "add", "-c", config, "rule=no_points", "--for", "1h", "--reason", "moved")
        live.further(2)
        live.end(signal.SIGKILL)
        feed.pointing, feed.slow = True, 20.5
        live.start()
        live.further(4)
        assert live.end(signal.SIGTERM) == 0, log.read_text()
    return config, state


def test_a_replay_with_what_was_recorded_gives_the_bytes_of_the_live_run(lived, tmp_path):
    config, state = lived
    before = fingerprint(state)
    last = min(closed_of(state / "firing.json").values())
    live = stored(state / "spool" / "spool-0.db")
    assert {json.loads(line)["reason"] for line in live["notifications"]} >= {"first", "resolved"}
    assert {json.loads(line)["suppressed_by"] for line in live["evaluations"]} >= {None, "silence", "inhibit"}
    for processes in (1, 2):
        out = tmp_path / f"out-{processes}"
        checked("replay", "-c", config, "--recorded", state, "--out", out, "--processes", processes)
        for kind, column in TIMES.items():
            lines = [line for line in (out / f"{kind}.ndjson").read_bytes().splitlines() if _ms(line, column) <= last]
            assert sorted(lines) == sorted(line for line in live[kind] if _ms(line, column) <= last), kind
            assert lines or kind == "transitions"
    assert json.loads((tmp_path / "out-1" / "summary.json").read_bytes())["late"] > 0
    assert fingerprint(state) == before
    # Without the recordings it is not the same: the clock decided when silent partitions stop holding windows.
    out = tmp_path / "alone"
    checked("replay", "-c", config, "--out", out)
    lines = (out / "evaluations.ndjson").read_bytes().splitlines()
    assert {line for line in lines if _ms(line, "window_end") <= last} != live["evaluations"]


def test_verify_finds_production_rows_equal_and_says_what_differs_and_why(brokers, topic, tmp_path):
    pytest.importorskip("chdb", reason="missing service: chdb (pip install 'edgewatch[embedded]')")
    names = topic(2), topic(1)
    state, log, config = tmp_path / "state", tmp_path / "log", tmp_path / "monitor.toml"
    with Embedded(tmp_path / "clickhouse") as server:
        text = CONFIG.format(brokers=brokers, requests=names[0], points=names[1], directory=state)
        config.write_text(text.replace("http://127.0.0.1:9", server.url))
        client = ClickHouse(ClickHouseOptions(url=server.url))
        with Feed(brokers, *names) as feed:
            live = Live(config, state, log)
            live.further(2)
            first = min(live.closed().values())
            feed.status = 503
            live.further(3)
            live.end(signal.SIGKILL)
            live.start()
            live.further(2)
            feed.status = 200
            live.further(3)
        last = min(live.closed().values())
        judged = f"SELECT count() AS n FROM evaluations WHERE window_end = toDateTime({last // 1000}, 'UTC') AND rule = "
        for rule in ("high_error_rate", "no_points"):
            query = f"{judged}'{rule}'"
            wait_until(lambda query=query: int(client.query(query)[0]["n"]) > 0, what=f"the rows of {rule}")
        assert live.end(signal.SIGTERM) == 0, log.read_text()
        ranged = ["verify", "-c", config, "--from", rfc3339(first), "--to", rfc3339(last)]
        report = json.loads(checked(*ranged, "--json").stdout)
        assert (report["equal"], report["first"], report["reasons"]) == (True, [], [])
        assert report["tables"]["evaluations"]["rows"] > 10
        again = ["replay", "-c", config, *ranged[3:], "--recorded", state, "--out", tmp_path / "again"]
        assert "alerts before --from: as the decisions stored in ClickHouse left them" in checked(*again).stderr
        table = next(each for each in TABLES if each.name == "evaluations")
        same = compare(client, tmp_path / "again", table, first + 2000, last)
        assert (same.differences, same.rows) == ([], report["tables"]["evaluations"]["rows"])
        assert "alerts before --from" not in checked(*again[:-1], tmp_path / "fresh", "--alerts", "none").stderr
        # The first alert may be of the few records that are always bad, which have nothing in common.
        told = "SELECT * FROM notifications FINAL WHERE JSONLength(evidence, 'contribution') > 0 ORDER BY at, id LIMIT 1"
        (said,) = client.query(told)
        evidence = json.loads(said["evidence"])
        other = canonical(evidence | {"contribution": [evidence["contribution"][0] | {"count": 1}]}).decode()
        for kept in (other, said["evidence"]):
            client.insert("notifications", canonical(said | {"evidence": kept, "version": int(said["version"]) + 1}) + b"\n")
            report = json.loads(edgewatch(*ranged, "--json").stdout)
            assert (report["equal"], report["tables"]["notifications"]["differences"]) == (kept != other, int(kept == other))
            assert report["contribution_unknown"] == 0
        client.execute(
            "INSERT INTO evaluations (window_end, rule, key, metric, statistic, value, count, level, state_before, state_after,"
            " config_version) SELECT window_end, rule, key, metric, statistic, 0.125, count, level, state_before, state_after,"
            f" 'other' FROM evaluations FINAL WHERE rule = 'no_points' AND window_end = toDateTime({last // 1000}, 'UTC')"
        )
        done = edgewatch(*ranged)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "evaluations: " in done.stdout
        assert "1 differ" in done.stdout
        assert "no_points {}: value 0.125 stored" in done.stdout
        assert "possible reason: stored with configuration other; replayed with " in done.stdout


def _ms(line, column):
    return round(datetime.fromisoformat(orjson.loads(line)[column]).timestamp() * 1000)
