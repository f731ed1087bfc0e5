"""Rules: what may be configured, and the level that a row has by itself."""

import math

import numpy as np
import pytest

from flows.rule import LEVELS, NO_DATA, Hold, Rule, RuleOptions, Thresholds, compile_rule
from tests.flows.history import METRICS, rule

NOT_BUILT = {"min_bad", "guard", "repeat_backoff", "max_repeats", "no_data", "runbook", "labels", "overrides"}


def compiled(**changes):
    return compile_rule(rule(**changes), METRICS[0])


def levels(made: Rule, *rows):
    values, counts = (np.array(column) for column in zip(*rows, strict=True))
    return [LEVELS[level] for level in made.levels(values.astype(np.float64), counts).tolist()]


def test_a_value_must_be_strictly_above_a_threshold():
    rows = [(0.0, 9), (0.01, 9), (0.0101, 9), (0.05, 9), (0.0501, 9)]
    assert levels(compiled(), *rows) == ["ok", "ok", "warning", "warning", "critical"]


def test_a_value_must_be_strictly_below_a_threshold():
    made = compiled(above=None, below=Thresholds(warning=0.7, critical=0.5))
    assert levels(made, (0.7, 9), (0.69, 9), (0.5, 9), (0.49, 9)) == ["ok", "warning", "warning", "critical"]


def test_a_severity_without_a_threshold_is_never_reached():
    assert levels(compiled(above=Thresholds(warning=0.01)), (1.0, 9)) == ["warning"]
    assert levels(compiled(above=Thresholds(critical=0.05)), (0.04, 9), (1.0, 9)) == ["ok", "critical"]


def test_a_row_of_too_few_records_is_insufficient_whatever_its_value():
    assert levels(compiled(min_count=100), (0.9, 99), (0.9, 100)) == ["insufficient", "critical"]


def test_a_missing_row_is_never_clear():
    assert LEVELS[NO_DATA] == "no_data"
    assert compiled().clears(np.array([math.nan, 0.0])).tolist() == [False, True]


@pytest.mark.parametrize(
    ("changes", "good", "bad"),
    [
        ({}, 0.8 * 0.01, 0.0081),
        ({"above": Thresholds(critical=0.05)}, 0.8 * 0.05, 0.0401),
        ({"recover": 0.001}, 0.001, 0.0011),
        ({"above": None, "below": Thresholds(warning=0.7)}, 1 - (1 - 0.7) * 0.8, 0.759),
        ({"above": None, "below": Thresholds(warning=70), "metric": "latency", "statistic": "p99"}, 87.5, 87.4),
    ],
)
def test_recovery_is_a_fifth_of_the_way_back_unless_said_and_holds_at_equality(changes, good, bad):
    assert compiled(**changes).clears(np.array([good, bad])).tolist() == [True, False]


def test_groups_are_judged_where_the_metric_has_them_and_the_total_otherwise():
    assert [compile_rule(rule(), metric).keys for metric in METRICS] == ["groups", "total", "groups"]
    assert compiled(keys="all").keys == "all"


def test_a_number_for_how_long_counts_for_both_severities():
    assert rule(for_=3).hold == Hold(warning=3, critical=3)
    assert rule().hold == Hold(warning=2, critical=1)


def test_the_keys_that_are_not_built_are_named():
    assert set(RuleOptions.NOT_YET) >= NOT_BUILT


def test_a_rule_that_can_be_meant_has_no_problems():
    for changes in ({}, {"recover": 0.01}, {"above": Thresholds(warning=0.05, critical=0.05)}, {"repeat_ms": 0}):
        assert list(rule(**changes).problems()) == []


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"name": ""}, "name", "empty"),
        ({"above": None}, "above", "exactly one of above and below"),
        ({"below": Thresholds(warning=0.5)}, "above", "exactly one of above and below"),
        ({"above": Thresholds()}, "above", "needs warning, critical or both"),
        ({"above": Thresholds(warning=0.5, critical=0.1)}, "above", "milder than warning"),
        ({"above": None, "below": Thresholds(warning=0.1, critical=0.5)}, "below", "milder than warning"),
        ({"above": Thresholds(warning=5.0)}, "above", "5 % is written 0.05"),
        ({"above": Thresholds(critical=math.inf)}, "above", "inf is not a number"),
        ({"recover": math.nan}, "recover", "nan is not a number"),
        ({"recover": 0.02}, "recover", "bad side"),
        ({"keys": "some"}, "keys", "groups, total, all"),
        ({"for_": 0}, "for", "at least 1"),
        ({"for_": Hold(warning=0)}, "for", "at least 1"),
        ({"clear": 0}, "clear", "at least 1"),
        ({"min_count": -1}, "min_count", "negative"),
        ({"cooldown_ms": -1}, "cooldown", "negative"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(changes, key, words):
    problems = list(rule(**changes).problems())
    assert [name for name, _ in problems] == [key]
    assert words in problems[0][1]


def test_all_problems_of_a_rule_are_said_at_once():
    problems = rule(keys="some", clear=0, for_=0, above=Thresholds()).problems()
    assert {key for key, _ in problems} == {"keys", "clear", "for", "above"}
