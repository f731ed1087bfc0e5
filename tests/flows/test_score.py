"""Scores against counting by hand and, for intervals, against their definition."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.incidents import Incident
from flows.score import Episode, Rate, Share, episodes_of, median_interval, score

INCIDENTS = [Incident(0, 100, "a"), Incident(200, 300, "b", "slow"), Incident(400, 500, "c", "slow", '{"host":"x"}')]


def episode(start, rule="slow", key="{}"):
    return Episode(rule, key, "critical", start, None)


def test_recall_precision_and_delay_are_those_of_the_episodes_that_fit():
    episodes = [episode(30, "errors"), episode(90, "errors"), episode(210), episode(250, "errors"), episode(450)]
    got = score(INCIDENTS, episodes, grace_ms=0)
    assert [[each.start for each in found.episodes] for found in got.found] == [[30, 90], [210], []]
    assert (got.recall.k, got.recall.n, got.precision.k, got.precision.n) == (2, 3, 3, 5)
    assert ([each.delay_ms for each in got.found], got.delay, [each.name for each in got.missed]) == ([30, 10, None], 10, ["c"])


def test_an_alert_that_fired_before_the_incident_did_not_find_it_and_one_shortly_after_its_end_did():
    before, after = ([episode(start)] for start in (0, 105))
    got = [score(INCIDENTS[:1], each, grace_ms=10).recall.k for each in (before, after)]
    assert got == [0, 1]
    assert score(INCIDENTS[:1], after, grace_ms=4).recall.k == 0


def test_without_incidents_or_episodes_nothing_is_claimed():
    got = score([], [], grace_ms=0)
    assert (got.recall.value, got.recall.interval, got.precision.value, got.delay, got.delay_interval) == (None,) * 5


@pytest.mark.parametrize(("k", "n", "low", "high"), [(3, 3, 0.4385, 1.0), (0, 5, 0.0, 0.4345), (8, 10, 0.4902, 0.9433)])
def test_intervals_are_wilsons(k, n, low, high):
    assert Share(k, n).interval == pytest.approx((low, high), abs=1e-4)


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=60))
def test_the_interval_of_a_median_covers_it_as_often_as_it_says(values):
    delays = sorted(values)
    found = median_interval(delays)
    assert found is not None
    low, high = found
    cut = next(i for i in range(len(delays)) if (delays[i], delays[len(delays) - 1 - i]) == (low, high))
    count = len(delays)
    outside = 2 * sum(math.comb(count, i) for i in range(cut + 1)) / 2**count if cut else 0
    assert outside <= 0.05


def test_an_episode_begins_with_its_first_word_and_ends_with_its_last():
    line = {"rule": "r", "key": "{}", "severity": "warning", "status": "firing", "episode": "e:1"}
    said = [line | {"at": 1}, line | {"at": 2, "severity": "critical"}, line | {"at": 3, "status": "resolved"}]
    said += [line | {"at": 4, "episode": "e:4"}, line | {"at": 5, "episode": "e:0", "status": "resolved"}]
    assert episodes_of(said) == [Episode("r", "{}", "critical", 1, 3), Episode("r", "{}", "warning", 4, None)]


@pytest.mark.parametrize(("count", "low", "high"), [(0, 0.0, 3.69), (1, 0.03, 5.57), (10, 4.80, 18.39), (100, 81.4, 121.6)])
def test_rates_have_the_interval_of_a_poisson_process(count, low, high):
    week = 7 * 86_400_000
    found = Rate(count, week)
    assert (found.value, Rate(count, week // 2).value) == (count, 2 * count)
    assert found.interval == pytest.approx((low, high), rel=0.02, abs=0.03)  # the exact one, by chi-square
    assert (Rate(count, 0).value, Rate(count, 0).interval) == (None, None)
