"""Faults of the run's own processes, one after the other on one line under load: killed, frozen, told to stop."""

import time

import pytest

from tests.faults import faults
from tests.faults.world import world

pytestmark = [pytest.mark.slow, pytest.mark.kafka]


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    with world(tmp_path_factory.mktemp("processes")) as found:
        yield found


@pytest.mark.parametrize("number", [0, 1])
def test_one_process_is_killed(there, number):
    with there.fault(f"kill -9 of process {number}", repeats=1):
        faults.kill_one(there, lambda children: children[number])


def test_all_processes_are_killed(there):
    with there.fault("kill -9 of all processes", repeats=1):
        faults.kill_all(there)


def test_the_supervisor_is_killed_and_takes_its_processes_along(there):
    with there.fault("kill -9 of the supervisor", repeats=1):
        faults.kill_supervisor(there)


def test_processes_are_killed_once_more_as_they_start(there):
    """What one start leaves unfinished is not to be found by the next but one."""
    with there.fault("kill -9 of one process, and of all while they start", repeats=2):
        faults.kill_one(there, lambda children: children[0])
        time.sleep(1.5)
        faults.kill_all(there)


def test_one_process_is_frozen_for_a_while(there):
    with there.fault("SIGSTOP of one process", repeats=1):
        faults.freeze_one(there)


def test_a_run_is_told_to_stop_in_the_middle_of_a_window(there):
    with there.fault("SIGTERM within a window"):
        faults.stop_within_a_window(there)
