"""A lane that has little to read: it says so, and the engine asks it at beats of the clock."""

import datetime
from types import SimpleNamespace
from typing import Any

import pytest

from flows.engine import _LanePart
from tests.kafka import topics
from tests.kafka.test_kafka_source import START, either_way, hosts, line, source  # noqa: F401 (a fixture)
from tests.kafka.topics import Sent
from tests.runs import wait_until


@pytest.mark.kafka
@pytest.mark.usefixtures("either_way")
def test_a_live_lane_tells_when_it_has_little_to_read_and_a_bounded_one_never(brokers, topic, tmp_path):
    name = topic(1)
    lane = source(brokers, tmp_path / "live", {name: "http_requests"}, live=True).open("lane-0", None)
    found = []

    def came(records):
        found.extend(lane.read())
        return sum(map(len, found)) >= records

    topics.send(brokers, name, [Sent(None, line(n), START, 0) for n in range(5)])
    wait_until(lambda: came(5), what="records", seconds=60)

    def caught_up():
        lane.read()
        return lane.caught_up

    wait_until(caught_up, what="rest", seconds=60)
    topics.send(brokers, name, [Sent(None, b"\n".join(line(n % 100) for n in range(5000)), START, 0)])
    wait_until(lambda: came(5005), what="a large message", seconds=60)
    assert not lane.caught_up
    lane.close()
    bounded = source(brokers, tmp_path / "bounded", {name: "http_requests"}).open("lane-0", None)
    while not bounded.done:
        bounded.read()
        assert not bounded.caught_up
    bounded.close()


def test_a_lane_that_has_caught_up_is_asked_at_beats_and_another_at_once_or_less_and_less_often():
    lane = SimpleNamespace(caught_up=True)
    part: Any = _LanePart(None, None, "lane-0", lane)  # type: ignore[arg-type]
    now = datetime.datetime.now(datetime.UTC)
    for nothing in (True, False):
        wake = part._next(nothing=nothing)
        assert 0 < (wake - now).total_seconds() < 1
        assert wake.microsecond % 200_000 == 0
    lane.caught_up = False
    assert part._next(nothing=False) is None
    for pause_ms in (5, 10, 20, 40, 40):
        before = datetime.datetime.now(datetime.UTC)
        asked = part._next(nothing=True) - datetime.timedelta(milliseconds=pause_ms)
        assert before <= asked <= datetime.datetime.now(datetime.UTC)
