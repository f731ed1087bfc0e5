"""Faults of the machine: its clock is set wrong and right again, its disks are full."""

import contextlib
import subprocess
import time
from pathlib import Path

import pytest

from flows.config import loads
from flows.last_words import last_words
from flows.run_folder import RunFolder
from tests import services
from tests.faults import faults
from tests.faults.account import length
from tests.faults.line import CONFIG, Hook
from tests.faults.stepped_clock import SteppedClock
from tests.faults.world import world
from tests.runs import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.kafka]
_BALLAST = "ballast"


@contextlib.contextmanager
def small_disk(place, size):
    """Give a folder on a disk of its own."""
    place.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        services.missing("tmpfs")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


def fill(place):
    """Write until nothing more fits."""
    with (place / _BALLAST).open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    folder = tmp_path_factory.mktemp("machine")
    clock = SteppedClock(folder)
    with contextlib.ExitStack() as stack:

        def disks(state: Path) -> None:
            stack.enter_context(small_disk(state, "24m"))
            stack.enter_context(small_disk(state / "spool", "24m"))

        yield stack.enter_context(world(folder, idle_after="5s", clock=clock, state=disks))


def test_the_clock_is_an_hour_ahead_for_a_while_as_a_partition_falls_silent(there):
    with there.fault("clock an hour ahead, and right again", repeats=1):
        faults.clock_ahead(there)
    assert "the clock was set back by 3600 s: this process begins again" in there.line.said()


def test_the_clock_is_an_hour_behind_for_a_while(there):
    with there.fault("clock an hour behind, and right again", repeats=1):
        faults.clock_behind(there)


@pytest.mark.parametrize(("what", "folder"), [("recovery", "."), ("spool", "spool")])
def test_a_disk_is_full_for_a_while(there, what, folder):
    place = there.line.state / folder
    with there.fault(f"disk full for {what}", repeats=1):
        before = there.line.said()
        fill(place)
        wait_until(lambda: "goes on from its last snapshot" in there.line.said()[len(before) :], what="the end of a process")
        time.sleep(length(600))
        (place / _BALLAST).unlink()


def test_a_run_that_is_given_up_on_a_full_disk_is_said_all_the_same(tmp_path):
    with small_disk(tmp_path / "state", "1m") as place, Hook() as hook:
        text = CONFIG.format(
            brokers="127.0.0.1:9",
            topic="t",
            client="",
            token="",
            idle_after="5s",
            hang_after="5s",
            directory=place,
            port=9,
            hook=hook.hook_url,
            clickhouse="http://127.0.0.1:9",
        ).partition("[clickhouse]")[0]
        folder = RunFolder(place)
        fill(place)
        assert last_words(loads(text, tmp_path / "monitor.toml"), folder, 6)
        assert last_words(loads(text, tmp_path / "monitor.toml"), folder, 6)
    (body,) = hook.received.values()
    assert "its processes ended 6 times in a row" in body["x_edgewatch"]["title"]
