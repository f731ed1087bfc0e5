"""Runs of the program for tests: the command line in a process of its own, and the acceptance data in a folder or on topics."""

import calendar
import gzip
import itertools
import os
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

from tests import warm
from tests.kafka import topics
from tests.kafka.topics import Sent

ROOT = Path(__file__).parent.parent
ACCEPTANCE = ROOT / "tests" / "acceptance"
FILES = ("windows", "evaluations", "transitions", "notifications")
DEFINED = {  # of a rule, what the definition knows
    *("name", "metric", "statistic", "keys", "above", "below", "recover"),
    *("min_count", "for", "clear", "repeat", "cooldown", "forget_after"),
}
STARTED: list[subprocess.Popen[bytes]] = []


def edgewatch(*arguments, timeout=240.0, directory=ROOT, **environment):
    """Run the command line to its end, in a folder."""
    given = {"timeout": timeout, "environment": {**os.environ, **environment}, "directory": directory}
    return warm.run([str(each) for each in arguments], **given)


def start(*arguments, log, **environment):
    """Start the command line in a process group of its own; its output goes to the file `log`."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", *map(str, arguments)],
            cwd=ROOT,
            env=os.environ | environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    STARTED.append(process)
    return process


def stop_all():
    """End what a failed test left running."""
    while STARTED:
        process = STARTED.pop()
        if process.poll() is None:
            process.kill()
        process.wait()


def checked(*arguments, **options):
    """Run the command line and want exit code 0; a replay's alerts are checked against the definition where it knows them."""
    done = edgewatch(*arguments, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    if arguments[0] == "replay" and "--help" not in arguments:
        given = dict(itertools.pairwise(map(str, arguments)))
        if is_defined(Path(given["-c"]), Path(given["--out"])):
            judge("alerts", given["-c"], given["--out"])
    return done


def is_defined(config, out):
    """Tell whether the definition of threshold rules covers a configuration: no other kinds, options or policy, no silences."""
    tables = tomllib.loads(config.read_text())
    if {"slo", "inhibit", "mute"} & tables.keys() or not {"rule", "metric", "route"} <= tables.keys():
        return False
    simple = all(rule.keys() <= DEFINED for rule in tables["rule"]) and all(
        route.keys() <= {"severity", "channels"} for route in tables["route"]
    )
    return simple and not (out / ".state" / "controls.ndjson").exists()


def make_logs(folder, *, records, seed=7, dirt=True):
    """Write acceptance data, as the definition makes it."""
    command = [sys.executable, ACCEPTANCE / "make_logs.py", folder, "--seed", str(seed), "--records", str(records)]
    subprocess.run([*command, *(["--dirt"] if dirt else [])], check=True)
    return folder


def judge(name, *arguments):
    """Run a check of the acceptance folder; it prints one line and exits 0 where everything agrees."""
    command = [sys.executable, str(ACCEPTANCE / f"{name}.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def outputs(folder):
    """Give the files of a replay that compare byte by byte."""
    return {name: (folder / f"{name}.ndjson").read_bytes() for name in FILES}


def produce_archive(brokers, archive, names, *, batch=1):
    """Send an archive to topics, a folder a partition; a message holds `batch` lines and never mixes two files."""
    for dataset, topic in names.items():
        topics.send(brokers, topic, _messages(archive / dataset, batch))


def _messages(folder, batch):
    for partition, part in enumerate(sorted(folder.iterdir())):
        for path in sorted(part.iterdir()):
            until = re.match(r"[^_]+_(\d{8}T\d{6}Z)_", path.name)
            assert until is not None
            stamp = calendar.timegm(time.strptime(until[1], "%Y%m%dT%H%M%SZ")) * 1000
            lines = [line for line in gzip.decompress(path.read_bytes()).split(b"\n") if line.strip()]
            for first in range(0, len(lines), batch):
                yield Sent(None, b"\n".join(lines[first : first + batch]), stamp, partition)


def config_for(path, brokers, names, **changes):
    """Write the acceptance configuration for a broker and topics of the test's own."""
    text = (ACCEPTANCE / "monitor.toml").read_text()
    listed = ", ".join(f'"{topic}" = "{dataset}"' for dataset, topic in names.items())
    text = re.sub(r"^topics = .*$", f"topics = {{ {listed} }}", text, flags=re.MULTILINE)
    text = text.replace("127.0.0.1:9092", brokers)
    for old, new in changes.items():
        text = re.sub(rf"^{old} = .*$", f"{old} = {new}", text, flags=re.MULTILINE)
    path.write_text(text)
    return path


def hurry(config):
    """Let a run whose faults are over read more at a time; what comes of it does not depend on that."""
    config.write_text(config.read_text().replace("poll_records = 60", "poll_records = 2000"))


def wait_until(condition, *, seconds=240.0, what="it"):
    """Wait until a condition holds, and say what did not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come within {seconds} s"
        time.sleep(0.05)
