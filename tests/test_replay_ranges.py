"""Replays from Kafka at their edges: ranges that are not there, topics that grow, skew, interruptions, connections."""

import json
import re
import shutil
import signal
import subprocess
import sys

import pytest

from connectors.batch import DONE, UNHEARD
from flows.config import load
from flows.inputs import open_source
from flows.line import build_line
from flows.run_folder import RunSpec
from sinks.embedded import Embedded
from tests import services
from tests.fakes.slack import FakeSlack
from tests.kafka import topics
from tests.kafka.topics import Sent
from tests.runs import ROOT, checked, edgewatch, outputs, start, wait_until

pytestmark = pytest.mark.slow

BEGIN = 1_764_547_200_000
MINUTE = 60_000
CONFIG = """
environment = "edges"

[input.kafka]
brokers = ["{brokers}"]
topics = {{ "{topic}" = "http_requests" }}

[window]
length = "1m"
allowed_lateness = "10s"
max_ahead = "1m"

[engine]
directory = "{directory}"
snapshot_interval = "100ms"

[[metric]]
name = "requests"
kind = "count"
dataset = "http_requests"

[[rule]]
name = "busy"
metric = "requests"
statistic = "count"
above = {{ critical = 0.5 }}

[channel.slack]
webhook_url = "{slack}"

[[route]]
channels = ["slack"]
"""


def record(minute, partition=0, second=5):
    at = BEGIN + minute * MINUTE + second * 1000
    body = {
        "EdgeEndTimestamp": at,
        "ClientRequestHost": "a",
        "EdgeResponseStatus": 200,
        "RayID": f"r{minute}-{second}-{partition}",
    }
    return Sent(None, json.dumps(body).encode(), at + 1000, partition)


def configured(tmp_path, brokers, topic, slack="http://127.0.0.1:9/hook"):
    path = tmp_path / "monitor.toml"
    path.write_text(CONFIG.format(brokers=brokers, topic=topic, directory=tmp_path / "live", slack=slack))
    return path


def at(minute):
    return f"2025-12-01T{minute // 60:02}:{minute % 60:02}:00Z"


def test_a_range_that_is_not_there_says_what_is_there(brokers, topic, tmp_path):
    name = topic(2)
    topics.send(brokers, name, [record(minute, minute % 2) for minute in range(60)])
    config = configured(tmp_path, brokers, name)
    done = edgewatch("replay", "-c", config, "--out", tmp_path / "late", "--from", at(120), "--to", at(180))
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "there is no record from 2025-12-01 02:00:00 UTC on. What is there: " in done.stderr
    assert f"{name}/0: produced from 2025-12-01 00:00:06 UTC to 2025-12-01 00:58:06 UTC" in done.stderr
    early = ["--from", "2025-11-30T00:00:00Z", "--to", "2025-11-30T01:00:00Z"]
    done = edgewatch("replay", "-c", config, "--out", tmp_path / "early", *early)
    assert done.returncode == 1
    assert "no window in the range has a record; records that were read are from 2025-12-01T00:0" in done.stderr
    assert f"{name}/1: produced from 2025-12-01 00:01:06 UTC" in done.stderr
    for times, code in ((["--from", "2025-12-03T00:00:00Z", "--to", "2025-12-03T01:00:00Z"], 1), (early, 2)):
        done = edgewatch("backtest", "-c", config, "--out", tmp_path / times[1], *times)
        assert (done.returncode, "Traceback" in done.stderr) == (code, False)
        assert f"{name}/1: produced from 2025-12-01 00:01:06 UTC to 2025-12-01 00:59:06 UTC" in done.stderr
    topics.delete_before(brokers, name, {0: 10})
    done = checked("replay", "-c", config, "--out", tmp_path / "part", "--from", at(5), "--to", at(40))
    assert f"{name}/0: begins only at 2025-12-01 00:20:06 UTC; what was before is gone" in done.stderr
    assert f"{name}/1" not in done.stderr


@pytest.mark.parametrize("processes", [1, 2])
def test_ctrl_c_exits_130_and_the_same_command_goes_on_also_when_the_topic_has_grown(brokers, topic, tmp_path, processes):
    name = topic(2)
    topics.send(brokers, name, [record(minute, minute % 2, second) for minute in range(300) for second in range(0, 60, 2)])
    config = configured(tmp_path, brokers, name)
    config.write_text(config.read_text().replace("topics = {", "poll_records = 10\ntopics = {"))
    checked("replay", "-c", config, "--out", tmp_path / "whole")
    command = ["replay", "-c", config, "--out", tmp_path / "out", "--processes", processes]
    log = tmp_path / "log"
    process = start(*command, log=log)
    segment = tmp_path / "out" / ".state" / "segments" / "windows.segment"
    wait_until(lambda: segment.exists() and segment.stat().st_size > 0, what="the first windows")
    process.send_signal(signal.SIGINT)
    code = process.wait(240)
    assert code in (0, 130), log.read_text()  # it may have been quicker
    assert code == 0 or f"the same command with --out {tmp_path / 'out'} resumes" in log.read_text()
    topics.widen(brokers, name, 3)
    topics.send(brokers, name, [record(299, partition) for partition in range(3)])
    done = checked(*command)
    assert f"topic {name} has 3 partitions now; this run reads the 2 that there were when it was begun" in done.stderr
    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole")


def test_partitions_that_come_while_a_replay_runs_are_named_at_its_end(brokers, topic, tmp_path):
    name = topic(2)
    topics.send(brokers, name, [record(minute, minute % 2) for minute in range(60)])
    config = configured(tmp_path, brokers, name)
    checked("replay", "-c", config, "--out", tmp_path / "before")
    log, plan = tmp_path / "log", tmp_path / "out" / ".state" / "plan.json"
    process = start("replay", "-c", config, "--out", tmp_path / "out", log=log)
    wait_until(plan.exists, what="the plan")
    process.send_signal(signal.SIGSTOP)  # it is not to be quicker than the topic
    topics.widen(brokers, name, 4)
    topics.send(brokers, name, [record(59, partition) for partition in range(4)])
    process.send_signal(signal.SIGCONT)
    assert process.wait(240) == 0, log.read_text()
    said = log.read_text()
    assert f"{name}/2, {name}/3: came after the partitions to read were fixed, so nothing in them is in" in said
    assert outputs(tmp_path / "out") == outputs(tmp_path / "before")


def test_a_partition_far_ahead_waits_so_few_windows_are_open(brokers, topic, tmp_path):
    name = topic(2)
    topics.send(brokers, name, [record(minute, 0, second) for minute in range(400) for second in range(0, 60, 6)])
    topics.send(brokers, name, [record(minute, 1) for minute in range(400)])  # a tenth of the records, in the same time
    path = configured(tmp_path, brokers, name)
    path.write_text(path.read_text().replace("topics = {", "poll_records = 20\ntopics = {"))
    config = load(path)
    (tmp_path / "state").mkdir()
    spec = RunSpec(mode="replay", config="", source="kafka", start=None, end=None, state=str(tmp_path / "state"), out=None)
    line = build_line(config)
    source = open_source(config, line, spec)
    lanes = [source.open(each, None) for each in source.lanes()]
    marks: dict[str, int] = {}
    spread = [0]
    while not all(lane.done for lane in lanes):
        for lane in lanes:
            for batch in [] if lane.done else lane.read():
                marks |= {mark.partition: mark.watermark for mark in batch.marks}
                heard = [mark for mark in marks.values() if mark not in (UNHEARD, DONE)]
                spread.append(max(heard) - min(heard) if len(heard) == 2 else 0)
    for lane in lanes:
        lane.close()
    # Four windows, and what one read may bring: 20 records of the sparse partition are 20 windows.
    assert 0 < max(spread) <= (4 + 20 + 1) * MINUTE


def test_a_replay_opens_no_connection_but_to_kafka_and_clickhouse(brokers, topic, tmp_path):
    if shutil.which("strace") is None:
        services.missing("strace")
    pytest.importorskip("chdb", reason="missing service: chdb (pip install 'edgewatch[embedded]')")
    name = topic(2)
    topics.send(brokers, name, [record(minute, minute % 2) for minute in range(20)])
    with FakeSlack() as slack, Embedded(tmp_path / "clickhouse") as server:
        config = configured(tmp_path, brokers, name, slack.webhook_url)
        heartbeat = f'[heartbeat]\nurl = "{slack.webhook_url}"\n'
        config.write_text(config.read_text() + f'{heartbeat}[clickhouse]\nurl = "{server.url}"\n')
        trace = tmp_path / "trace"
        command = ["strace", "-f", "-qq", "-e", "trace=bind,connect,sendto,sendmsg", "-o", trace]
        replay = ["replay", "-c", config, "--out", tmp_path / "out", "--into-clickhouse", "--run", "traced"]
        traced = [*command, sys.executable, "-m", "flows.cli", *replay, "--processes", 2]
        done = subprocess.run(list(map(str, traced)), cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr
        calls = re.findall(r"(bind|connect|sendto|sendmsg)\(.*?sin6?_port=htons\((\d+)\)", trace.read_text())
        own = {port for call, port in calls if call == "bind"}  # its processes talk to each other
        elsewhere = {port for call, port in calls if call != "bind"} - own
        assert elsewhere == {brokers.rsplit(":", 1)[1], server.url.rsplit(":", 1)[1]}
        assert json.loads((tmp_path / "out" / "summary.json").read_bytes())["notifications"] == 1
        assert slack.seen == []
    assert not (tmp_path / "live").exists()
