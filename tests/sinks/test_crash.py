"""kill -9 around a delivery, for each kind of channel: no alert is lost, and repeats are harmless or one at most.

A process of its own has the real spool, delivery and channel; it is killed while its counterpart, the real protocol over a
real connection, has not heard anything (before send), has taken the message and not yet answered (after send), or has
answered and the spool cannot write it down yet (after acknowledge). The next process puts the same again, as a resume does.
"""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sinks.channels import CHANNELS
from tests.fakes.counterparts import OVER_A_WIRE, Counterpart, kafka_topic

# What makes a repeat harmless; empty: the API knows no such thing, and at most one message comes twice.
HARMLESS_BY = {
    "alertmanager": "the labels are the alert",
    "console": "",
    "discord": "",
    "email": "the Message-ID",
    "kafka": "the header id",
    "pagerduty": "the dedup key",
    "sentry": "the event's id",
    "slack": "",
    "statuspage": "incidents are looked for before they are created, statuses read before they are written",
    "teams": "",
    "webhook": "the header webhook-id",
}
POINTS = ("before send", "after send", "after acknowledge")
ALERTS = ("alertzero", "alertone", "alerttwo")
_CHILD = """
import json, sys
from pathlib import Path
from sinks.channels import CHANNELS
from sinks.delivery import ChannelDestination, Delivery
from sinks.failure import notification_items
from sinks.spool import Spool
from tests.fakes.notifications import notification
path, kind, options, alerts = Path(sys.argv[1]), CHANNELS[sys.argv[2]], json.loads(sys.argv[3]), json.loads(sys.argv[4])
options = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
spool = Spool(path)
if "put" in sys.argv[5]:
    for number, name in enumerate(alerts):
        words = {"title": name, "episode": f"{number:016x}:1764547200", "fingerprint": f"{number:016x}", "text": ""}
        place = {"id": f"{number:032x}", "dedup_key": f"edgewatch/{name}", "key": {"host": name}, "channels": ("there",)}
        spool.put(notification_items(notification(**words, **place)))
    print("put", flush=True)
if sys.argv[5] == "deliver":
    print("open", flush=True)
    sys.stdin.readline()
if "deliver" in sys.argv[5]:
    delivery = Delivery(spool, [ChannelDestination(kind.build("there", kind.options(**options)), pace=kind.pace)])
    delivery.start()
    sys.exit(0 if delivery.drain(60.0) else 1)
sys.stdin.read()
"""


def start(path: Path, kind: str, options: dict[str, Any], how: str = "put and deliver") -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(path), kind, json.dumps(options), json.dumps(ALERTS), how],
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def killed(process: subprocess.Popen[bytes]) -> bytes:
    """Kill a process that is at its point, and give what it printed."""
    assert process.poll() is None
    process.kill()
    out, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL
    return out


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep everybody else from writing into the spool."""
    with contextlib.closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("ROLLBACK")


def until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    while not condition():
        assert process.poll() is None
        time.sleep(0.005)


def crash(there: Counterpart, path: Path, point: str) -> None:
    """Run a process up to a point and kill it there."""
    wire = there.wire
    wire.deaf = point == "before send"
    if not wire.deaf:
        wire.holds = lambda: len(there.arrived()) > 0
    process = start(path, there.kind, there.options)
    until(lambda: wire.taken > 0 if wire.deaf else wire.held.is_set(), process)
    if point == "after acknowledge":
        with locked(path):
            wire.release()
            wire.until_read()
            killed(process)
    else:
        killed(process)
    wire.deaf = False
    wire.cut()
    wire.release()


def finish(there: Counterpart, path: Path) -> None:
    process = start(path, there.kind, there.options)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out


def until_printed(process: subprocess.Popen[bytes], word: str) -> bytes:
    """Give what a process printed up to a line with a word."""
    printed = b""
    while word.encode() not in printed:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, printed
        printed += line
    return printed


def go_on(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.write(b"go\n")
    process.stdin.flush()


def counts(texts: list[str]) -> list[int]:
    return [sum(name in text for text in texts) for name in ALERTS]


def check(there: Counterpart, point: str) -> None:
    repeated = sum(counts(there.arrived())) - len(ALERTS)
    assert min(counts(there.arrived())) == 1  # none is lost
    assert repeated <= (0 if point == "before send" else 1)
    assert (there.apart is not None) == bool(HARMLESS_BY[there.kind])
    if there.apart is not None:
        assert counts(there.apart()) == [1, 1, 1]


def test_each_kind_of_channel_says_what_makes_its_repeats_harmless_and_is_tried() -> None:
    assert sorted(HARMLESS_BY) == sorted(CHANNELS)
    assert {case.partition(" ")[0] for case in OVER_A_WIRE} | {"kafka", "console"} == set(CHANNELS)


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("case", OVER_A_WIRE)
@pytest.mark.slow
def test_a_kill_around_a_delivery_loses_nothing(case: str, point: str, tmp_path: Path) -> None:
    with OVER_A_WIRE[case](tmp_path) as there:
        crash(there, tmp_path / "spool", point)
        finish(there, tmp_path / "spool")
        check(there, point)


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_around_a_delivery_to_a_topic_loses_nothing(
    point: str, tmp_path: Path, brokers: str, topic: Callable[..., str]
) -> None:
    with kafka_topic(brokers, topic(1)) as there:
        crash(there, tmp_path / "spool", point)
        finish(there, tmp_path / "spool")
        check(there, point)


@pytest.mark.slow
@pytest.mark.parametrize("point", ["before send", "after send"])
def test_a_kill_around_printing_loses_nothing(point: str, tmp_path: Path) -> None:
    path = tmp_path / "spool"
    process = start(path, "console", {}, "put")
    until_printed(process, "put")
    printed = killed(process)
    if point == "after send":
        process = start(path, "console", {}, "deliver")
        until_printed(process, "open")
        with locked(path):
            go_on(process)
            printed += until_printed(process, "alert")  # and it cannot be written down
            printed += killed(process)
    process = start(path, "console", {})
    printed += process.communicate(timeout=60)[0]
    found = counts([line for line in printed.decode().splitlines() if "FIRING" in line])
    assert (min(found), sum(found) - len(ALERTS), process.returncode) == (1, 0 if point == "before send" else 1, 0)
