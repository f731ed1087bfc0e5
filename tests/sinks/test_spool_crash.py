"""A process killed between the spool and the delivery: what was put is delivered once by the next one."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sinks.channels import CHANNELS
from sinks.delivery import ChannelDestination, Delivery
from sinks.spool import Spool
from tests.fakes.pagerduty import ROUTING_KEY, FakePagerDuty
from tests.fakes.scripted import Answer

_PUT = """
import os, signal, sys
from pathlib import Path
from sinks.failure import notification_items
from sinks.spool import Spool
from tests.fakes.notifications import notification
spool = Spool(Path(sys.argv[1]))
for n in range(20):
    said = notification(id=f"{n:032x}", episode=f"e{n}", dedup_key=f"d{n}", channels=("pager",))
    spool.put(notification_items(said))
os.kill(os.getpid(), signal.SIGKILL)
"""
_DELIVER = """
import sys
from pathlib import Path
from sinks.channels import CHANNELS
from sinks.delivery import ChannelDestination, Delivery
from sinks.spool import Spool
kind = CHANNELS["pagerduty"]
channel = kind.build("pager", kind.options(routing_key=sys.argv[2], url=sys.argv[3]))
delivery = Delivery(Spool(Path(sys.argv[1])), [ChannelDestination(channel)])
delivery.start()
delivery.drain(60.0)
"""


def run(code: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code, *arguments], env={**os.environ, "PYTHONPATH": str(Path.cwd())})


def deliver(path: Path, pagerduty: FakePagerDuty) -> bool:
    kind = CHANNELS["pagerduty"]
    channel = kind.build("pager", kind.options(routing_key=ROUTING_KEY, url=pagerduty.enqueue_url))
    spool = Spool(path)
    delivery = Delivery(spool, [ChannelDestination(channel)])
    delivery.start()
    drained = delivery.drain(60.0)
    delivery.stop()
    spool.close()
    return drained


@pytest.fixture
def put(tmp_path: Path) -> Path:
    """Give a spool whose writer was killed right after its last put."""
    path = tmp_path / "spool"
    assert run(_PUT, str(path)).wait() == -signal.SIGKILL
    return path


def test_what_a_killed_process_put_is_delivered_exactly_once(put: Path, pagerduty: FakePagerDuty) -> None:
    assert deliver(put, pagerduty)
    assert sorted(seen.json["dedup_key"] for seen in pagerduty.seen) == sorted(f"d{n}" for n in range(20))


def test_a_kill_during_delivery_repeats_the_one_under_way_and_loses_none(put: Path, pagerduty: FakePagerDuty) -> None:
    pagerduty.script = [pagerduty_ok(), pagerduty_ok(), Answer(fault="silent")]
    process = run(_DELIVER, str(put), ROUTING_KEY, pagerduty.enqueue_url)
    while len(pagerduty.seen) < 3:
        assert process.poll() is None
    process.kill()
    process.wait()
    assert deliver(put, pagerduty)
    keys = [seen.json["dedup_key"] for seen in pagerduty.seen]
    assert (keys[3], sorted(set(keys)), len(keys)) == (keys[2], sorted(f"d{n}" for n in range(20)), 21)


def pagerduty_ok() -> Answer:
    return Answer(202, b'{"status":"success"}')
