"""The steady clock: what it makes of a clock of the day that drifts, jumps, comes back, or is found right."""

import pytest

from connectors.steady_clock import SteadyClock

HOUR = 3_600_000
START = 1_764_547_200_000


class Machine:
    """A machine whose clock can be set."""

    def __init__(self):
        self.wall, self.uptime = START, 5_000

    def go(self, ms, *, drift=0):
        self.wall += ms + drift
        self.uptime += ms

    def clock(self, path=None):
        return SteadyClock(path, wall=lambda: self.wall, uptime=lambda: self.uptime)


@pytest.fixture
def machine():
    return Machine()


def test_a_clock_that_drifts_or_is_nudged_is_followed(machine):
    clock = machine.clock()
    for drift in (100, -50_000, 59_000):
        machine.go(1_000, drift=drift)
        assert clock.now_ms() == machine.wall


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_clock_that_jumps_is_not_followed_and_is_said_once(machine, jump, caplog):
    clock = machine.clock()
    machine.wall += jump
    for passed in (0, 1_000, 2_000):
        assert clock.now_ms() == START + passed
        machine.go(1_000)
    machine.wall -= jump
    assert clock.now_ms() == machine.wall
    assert [each.message.partition(":")[0] for each in caplog.records] == [
        f"the clock was set {'ahead' if jump > 0 else 'back'} by 3600 s",
        "the clock is as it was again",
    ]


def test_records_that_come_as_they_are_produced_show_that_the_new_time_is_right(machine):
    clock = machine.clock()
    machine.wall += HOUR
    clock.now_ms()
    clock.heard(machine.wall - 10 * 60_000)  # agrees with neither
    assert clock.now_ms() == START
    clock.heard(machine.wall - 500)
    assert clock.now_ms() == START + HOUR


def test_a_start_while_the_clock_is_wrong_knows_better_and_another_boot_does_not(machine, tmp_path):
    path = tmp_path / "clock.json"
    machine.clock(path)
    machine.go(60_000)
    machine.wall += HOUR
    assert machine.clock(path).now_ms() == START + 60_000
    assert oct(path.stat().st_mode)[-3:] == "600"
    path.write_bytes(path.read_bytes().replace(b'"boot":"', b'"boot":"other'))
    assert machine.clock(path).now_ms() == machine.wall
    path.write_bytes(b"torn")
    assert machine.clock(path).now_ms() == machine.wall
