"""Charts: thinning keeps extremes and gaps, and what is drawn is small and exact enough."""

from pathlib import Path

import numpy as np
import orjson
import pytest

import flows
from flows.config import load
from flows.dashboard_series import limits_of
from sinks.chart import Line, TimeChart, runs_of, short, thin, with_gaps

STEP = 300_000


def times(count):
    return np.arange(count, dtype=np.int64) * STEP


def test_few_points_stay_as_they_are():
    made = thin(times(10), [np.arange(10.0)], most=10)
    assert (made.each, made.times.tolist(), made.columns[0].tolist()) == (1, times(10).tolist(), list(range(10)))


@pytest.mark.parametrize(("count", "most"), [(11, 10), (1000, 100), (105_120, 4000)])
def test_thinning_keeps_the_least_and_the_greatest_of_every_stretch(count, most):
    values = np.random.default_rng(7).normal(size=count)
    values[count // 3] = 50.0
    values[count // 2] = -50.0
    made = thin(times(count), [values], most=most)
    kept = made.columns[0]
    assert len(kept) <= most
    assert (np.nanmin(kept), np.nanmax(kept)) == (-50.0, 50.0)
    assert np.all(np.diff(made.times) > 0)
    for first in range(0, count - made.each, made.each):
        part = values[first : first + made.each]
        place = first // made.each * 2
        assert {part.min(), part.max()} == set(kept[place : place + 2].tolist())


def test_thinning_leaves_a_stretch_without_data_empty():
    values = np.arange(100.0)
    values[20:40] = np.nan
    made = thin(times(100), [values], most=10)
    assert np.isnan(made.columns[0]).tolist() == [False] * 2 + [True] * 2 + [False] * 6


def test_a_line_is_broken_where_windows_are_missing():
    found, (column,) = with_gaps(np.array([0, STEP, 5 * STEP]), [np.array([1.0, 2.0, 3.0])], STEP)
    assert found.tolist() == [0, STEP, 2 * STEP, 5 * STEP]
    assert [None if np.isnan(value) else value for value in column.tolist()] == [1.0, 2.0, None, 3.0]


def test_times_are_written_as_runs():
    assert runs_of(np.array([10, 20, 30, 45, 46, 47])) == [[10, 10, 3], [45, 1, 3]]
    assert runs_of(np.array([], np.int64)) == []


def test_values_have_six_digits():
    values = np.array([0.0, 1 / 3, -1e-9 / 3, 123456.789, 1e12 + 1, np.nan, np.inf])
    assert short(values) == [0, 0.333333, -3.33333e-10, 123457, 1000000000001, None, None]


def test_a_chart_of_a_year_of_windows_is_small():
    count = 105_120
    made = thin(times(count), [np.random.default_rng(3).random(count)])
    chart = TimeChart(
        unit="%", times=made.times, lines=[Line(name="a", values=made.columns[0])], shown=(0, count * STEP), step=STEP
    )
    assert len(orjson.dumps(chart.as_dict())) < 40_000


def test_words_stand_on_the_bad_side_of_a_limit_where_values_seldom_are():
    config = load(Path(flows.__file__).with_name("demo.toml"))
    found = [each for metric in config.metrics for each in limits_of(config.rules, metric, "ratio")]
    made = TimeChart(unit="%", times=times(2), lines=[], shown=(0, 1), step=STEP, limits=found).as_dict()["limits"]
    low = {each["name"]: each["low"] for each in made}
    assert low == {
        "critical above 5 %": False,
        "warning above 1 %": False,
        "critical below 50 %": True,
        "warning below 70 %": True,
    }
