"""The plan: what is fixed at the first start stays fixed, and a changed run is refused."""

import pytest

from connectors.plan import Plan, PlannedPartition, load_or_create, make_plan
from connectors.source import SourceError


def partitions(count):
    return [
        PlannedPartition(topic="t", partition=n, dataset="d", allowed_lateness_ms=1, start=n, end=n + 10) for n in range(count)
    ]


def test_a_plan_is_made_once_and_read_again(tmp_path):
    path = tmp_path / "plan.json"
    first = load_or_create(path, lambda: make_plan(partitions(3), {"a": "1"}), {"a": "1"})

    def never() -> Plan:
        raise AssertionError("made twice")

    assert load_or_create(path, never, {"a": "1"}) == first


def test_a_changed_run_is_refused_with_what_changed(tmp_path):
    path = tmp_path / "plan.json"
    load_or_create(path, lambda: make_plan(partitions(1), {"window": "5m"}), {"window": "5m"})
    with pytest.raises(SourceError, match="window 5m, and now it is 10m"):
        load_or_create(path, lambda: make_plan(partitions(1), {}), {"window": "10m"})


@pytest.mark.parametrize(("count", "lanes"), [(1, 1), (3, 3), (4, 4), (64, 4)])
def test_partitions_are_dealt_to_few_lanes_in_a_fixed_order(count, lanes):
    plan = make_plan(partitions(count)[::-1], {})
    assert plan.lane_names() == [f"lane-{n}" for n in range(lanes)]
    dealt = [p.partition for name in plan.lane_names() for p in plan.of_lane(name)]
    assert sorted(dealt) == list(range(count))
    assert [p.partition for p in plan.of_lane("lane-0")] == list(range(0, count, lanes))
    assert plan.by_dataset() == {"d": [f"t/{n}" for n in range(count)]}
