"""Holding: who runs ahead waits for the slowest, and nobody waits for ever."""

from connectors.batch import DONE, UNHEARD
from connectors.hold import Hold


def hold(tmp_path, **changes):
    return Hold(tmp_path / "hold", ["a", "b"], ahead_ms=100)


def test_what_is_far_ahead_waits_and_the_slowest_never_does(tmp_path):
    first, second = hold(tmp_path), hold(tmp_path)  # as two processes have it
    first.write("a", 1000)
    second.write("b", 1200)
    assert first.may_read(1000)
    assert not second.may_read(1200)
    first.write("a", 1100)
    assert second.may_read(1200)


def test_a_finished_partition_holds_nobody_and_an_unheard_one_is_the_slowest(tmp_path):
    slots = hold(tmp_path)
    slots.write("a", DONE)
    slots.write("b", 10**9)
    assert slots.may_read(10**9)
    slots.write("a", UNHEARD)
    assert slots.may_read(UNHEARD)
    assert not slots.may_read(10**9)


def test_a_slot_that_stands_still_costs_time_not_the_run(tmp_path, monkeypatch):
    slots = hold(tmp_path)
    slots.write("a", 0)
    now = [100.0]
    monkeypatch.setattr("connectors.hold.time.monotonic", lambda: now[0])
    assert not slots.may_read(500)
    now[0] += 11
    assert slots.may_read(500)
