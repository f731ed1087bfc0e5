"""Faults of a run on several machines: killed, frozen, told to stop, started in any order; and state that is not whole."""

import signal

import pytest

from flows.engine import parts_in
from tests.faults.machines import Machines
from tests.faults.world import PARTITIONS, world
from tests.kafka import topics
from tests.runs import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.kafka]


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    with world(tmp_path_factory.mktemp("machines"), make=Machines) as found:
        yield found


def test_machines_that_start_in_any_order_and_are_killed_decide_as_one(there):
    line = there.line
    assert "waiting for machine 0" in line.said_by(1)  # which was started after it
    assert [parts_in(line.state_of(k) / "recovery") for k in (0, 1)] == [(0, 2), (1, 3)]
    assert line.asked(1, "/livez") == line.asked(1, "/readyz") == (200, "ok\n")
    with there.fault("kill -9 of machine 1, machine 0, both", repeats=3):
        for machines in ((1,), (0,), (1, 0)):
            for machine in machines:
                line.signal_machine(machine, signal.SIGKILL)
            line.start(machines)
            line.until_live()


def test_a_machine_that_is_frozen_is_missed_and_joins_again(there):
    line = there.line
    known = len(line.said_by(0))
    with there.fault("SIGSTOP of machine 1", repeats=1):
        line.signal_machine(1, signal.SIGSTOP)
        line.until_said(0, r"(machine 1 \(.*\) has not been heard of|the run made no progress) for \d+ s", after=known)
        line.until_said(0, "waiting for machine 1", after=known)
        line.signal_machine(1, signal.SIGCONT)


def test_machines_take_new_partitions_wait_for_one_that_is_told_to_stop_and_go_on_with_one_more(there):
    line = there.line
    known = len(line.said_by(0))
    with there.fault("topic grown; SIGTERM of machine 1, then of all; three machines"):
        topics.widen(there.broker.address, there.load.topic, PARTITIONS + 2)
        line.until_said(0, "new partitions are read from their first record on", after=known)
        there.load.widen(line.begins())
        line.until_live()
        line.running[1].send_signal(signal.SIGTERM)
        line.ended(1, code=0)
        wait_until(lambda: line.asked(0, "/readyz")[0] == 503, what="machine 0 that waits")
        assert line.asked(0, "/livez") == (200, "ok\n")
        line.start([1])
        line.until_live()
        line.stop()
        line.count = 3
        line.start()
    assert there.load.partitions == len(line.report().partitions) == PARTITIONS + 2
    assert parts_in(line.state_of(2) / "recovery") == ()
    assert (line.state_of(2) / "advances").is_dir()
