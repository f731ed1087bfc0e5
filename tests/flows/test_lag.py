"""Rows of lag: what waits at the broker when the watcher looks, and nothing where it is not known."""

import orjson

from flows.health import Sample, Signs
from flows.lag import EVERY_MS, LagRows
from flows.output import Block

NOW = 1_764_547_200_123
KNOWN = Signs(partition="a.b/3", dataset="http_requests", end=120, position=100)


def sample(*parts, at=NOW):
    return Sample(at, parts, {})


def test_a_partition_has_a_row_of_what_lies_between_its_position_and_the_brokers_end():
    put: list[Block] = []
    ahead = Signs(partition="health/0", dataset="health", end=7, position=9)  # the broker was asked before the lane read on
    LagRows(put.extend).take(sample(KNOWN, ahead))
    assert [(each.kind, each.name) for each in put] == [("pipeline_events", "health"), ("pipeline_events", "http_requests")]
    assert [orjson.loads(each.data) for each in put] == [
        {"at": "2025-12-01T00:00:00Z", "dataset": "health", "event": "lag", "topic": "health", "partition": "0", "value": 0},
        {
            "at": "2025-12-01T00:00:00Z",
            "dataset": "http_requests",
            "event": "lag",
            "topic": "a.b",
            "partition": "3",
            "value": 20,
        },
    ]


def test_where_the_broker_does_not_answer_or_nothing_was_read_yet_there_is_no_row():
    put: list[Block] = []
    rows = LagRows(put.extend)
    rows.take(sample(Signs(partition="t/0", dataset="d", end=None, position=5), Signs(partition="t/1", dataset="d", end=5)))
    assert put == []
    rows.take(sample(KNOWN, at=NOW + 1))  # the first answer is not waited with
    assert len(put) == 1


def test_rows_come_every_half_minute_however_often_it_looks():
    put: list[Block] = []
    rows = LagRows(put.extend)
    for at in range(NOW, NOW + 2 * EVERY_MS + 1, 5000):
        rows.take(sample(KNOWN, at=at))
    assert [each.at for each in put] == [NOW // 1000 * 1000 + number * EVERY_MS for number in range(3)]
