"""kill -9 between the spool and the snapshot, with every kind of channel: what a resume says again is known."""

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from sinks.channels import CHANNELS
from tests.fakes.counterparts import OVER_A_WIRE, kafka_topic
from tests.runs import STARTED, make_logs

pytestmark = pytest.mark.slow

CONFIG = """
environment = "crash"

[input.kafka]
brokers = ["127.0.0.1:9"]
topics = { "requests" = "http_requests" }
poll_records = 1000

[window]
allowed_lateness = "60s"

[engine]
snapshot_interval = "1h"

[[metric]]
name = "error_rate"
kind = "ratio"
dataset = "http_requests"
bad = "EdgeResponseStatus >= 400"
group_by = ["ClientRequestHost"]

[[rule]]
name = "high_error_rate"
metric = "error_rate"
statistic = "ratio"
keys = "total"
above = { critical = 0.05 }
"""
NOTIFIED = ("first", "resolved", "reopened", "repeat", "resolved")
_RUN = """
import sys
from pathlib import Path
from flows.config import load
from flows.engine import prepare_recovery
from flows.process import run_process
from flows.run_folder import RunFolder, RunSpec
config, state, archive = load(Path(sys.argv[1])), sys.argv[2], sys.argv[3]
prepare_recovery(RunFolder(Path(state)).recovery)
spec = RunSpec(mode="until_end", config=sys.argv[1], source=f"archive:{archive}", start=None, end=None, state=state, out=None)
sys.exit(0 if run_process(config, spec) else 1)
"""
_CHANGES = re.compile(r'"(sent_at|id|span_id|trace_id)": ?"[^"]*",?')  # what Sentry's client and a page's fake make up


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return make_logs(tmp_path_factory.mktemp("archive") / "logs", records=50_000, dirt=False)


@contextlib.contextmanager
def world(folder, brokers, topic):
    """Give a configuration with a channel of each kind, and what stands at their other ends, by channel."""
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        there = {case.replace(" ", "_"): stack.enter_context(made(folder)) for case, made in OVER_A_WIRE.items()}
        there["kafka"] = stack.enter_context(kafka_topic(brokers, topic(1)))
        tables = [toml(name, each.kind, each.options) for name, each in there.items()]
        (folder / "monitor.toml").write_text("\n".join([CONFIG, *tables, "[channel.console]\n"]))
        yield there


def toml(name, kind, options):
    lines = [f"[channel.{name}]", f'kind = "{kind}"']
    for key, value in options.items():
        pairs = ", ".join(f"{each} = {json.dumps(text)}" for each, text in value.items()) if isinstance(value, dict) else ""
        lines.append(f"{key.removesuffix('_')} = " + (f"{{ {pairs} }}" if pairs else json.dumps(value)))
    return "\n".join(lines)


def start(folder, archive):
    with (folder / "printed").open("ab") as printed, (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", _RUN, str(folder / "monitor.toml"), str(folder / "state"), str(archive)],
            env={**os.environ, "PYTHONPATH": str(Path.cwd())},
            stdout=printed,
            stderr=log,
        )
    STARTED.append(process)
    return process


def finish(folder, archive):
    assert start(folder, archive).wait(120) == 0, (folder / "log").read_text()


def arrived(folder, there):
    """Give what came to each channel, how often."""
    found = {name: Counter(_CHANGES.sub("", text) for text in each.arrived()) for name, each in there.items()}
    lines = (folder / "printed").read_text().splitlines()
    return found | {"console": Counter(line for line in lines if re.match(r"\d{4}-", line))}


def apart_of(there):
    return {name: each.apart() for name, each in there.items() if each.apart is not None}


def kill_behind_the_spool(folder, archive, there):
    """Kill a run whose first notifications are in the spool and at all channels, and in no snapshot; it reads slowly."""
    config = folder / "monitor.toml"
    quick = config.read_text()
    config.write_text(quick.replace("poll_records = 1000", "poll_records = 10"))
    process = start(folder, archive)
    while not (folder / "log").exists() or not all(arrived(folder, there).values()):
        assert process.poll() is None, (folder / "log").read_text()
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    config.write_text(quick)
    with contextlib.closing(sqlite3.connect(folder / "state" / "spool" / "spool-0.db")) as db:
        (stored,) = db.execute("SELECT count(DISTINCT at) FROM items").fetchone()
    assert 0 < stored < len(NOTIFIED)  # in the midst of the run


def test_a_kill_between_spool_and_snapshot_loses_nothing_at_any_channel(archive, tmp_path, brokers, topic):
    with world(tmp_path / "whole", brokers, topic) as there:
        assert {each.kind for each in there.values()} | {"console"} == set(CHANNELS)
        finish(tmp_path / "whole", archive)
        assert len(there["webhook"].arrived()) == len(NOTIFIED)
        want, whole = arrived(tmp_path / "whole", there), apart_of(there)
    with world(tmp_path / "broken", brokers, topic) as there:
        kill_behind_the_spool(tmp_path / "broken", archive, there)
        finish(tmp_path / "broken", archive)
        got, apart = arrived(tmp_path / "broken", there), apart_of(there)
    assert {name: set(texts) for name, texts in got.items()} == {name: set(texts) for name, texts in want.items()}
    repeats = {name: sum((texts - want[name]).values()) for name, texts in got.items()}
    assert {name for name, count in repeats.items() if count > (0 if name == "statuspage" else 1)} == set()
    assert {name: len(found) for name, found in apart.items()} == {name: len(found) for name, found in whole.items()}
