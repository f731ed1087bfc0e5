"""Faults of a run on several machines: killed, frozen, cut off, told to stop, started in any order, more and fewer of them."""

import signal
import time

import pytest

from flows.engine import parts_in
from tests.faults.account import length
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


MISSED = r"has not been heard of for \d+ s|has not answered for \d+ s|the run made no progress for \d+ s"


@pytest.mark.parametrize("frozen", [0, 1])
def test_a_machine_that_is_frozen_is_missed_and_joins_again(there, frozen):
    line, other = there.line, 1 - frozen
    known = len(line.said_by(other))
    with there.fault(f"SIGSTOP of machine {frozen}", repeats=1):
        line.signal_machine(frozen, signal.SIGSTOP)
        line.until_said(other, MISSED, after=known)
        line.until_said(other, f"waiting for machine {frozen}", after=known)
        time.sleep(max(length(60) - 5, 0))  # to be missed took the others
        line.signal_machine(frozen, signal.SIGCONT)


def test_machines_that_lose_each_other_stop_and_begin_again_when_the_network_is_back(there):
    line = there.line
    known = [len(line.said_by(machine)) for machine in (0, 1)]
    with there.fault("network between machines cut", repeats=1):
        for wire in line.wires:
            wire.cut()
        for machine in (0, 1):
            line.until_said(machine, MISSED, after=known[machine])
        line.until_said(0, "waiting for machine 1", after=known[0])
        wait_until(lambda: line.asked(0, "/readyz")[0] == line.asked(1, "/readyz")[0] == 503, what="machines that wait")
        time.sleep(max(length(60) - 5, 0))  # to be missed took the others
        for wire in line.wires:
            wire.mend()


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


def test_machines_are_taken_away_for_good_and_their_state_and_offsets_follow(there):
    line = there.line
    with there.fault("three machines become one"):
        line.stop()
        line.take_away(1)
        line.start()
    assert parts_in(line.state / "recovery") == (0, 1, 2, 3)
