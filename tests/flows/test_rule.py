"""Rules: what may be configured, and the level that a row has by itself."""

import math

import numpy as np
import pytest

from flows.hold import Hold, Needed, parse_needed
from flows.kind_options import Baseline
from flows.metric import MetricOptions
from flows.rule import CRITICAL, LEVELS, NO_DATA, Override, Rule, Thresholds, compile_rule, sure
from tests.flows.history import METRICS, rule


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
        # Of a change, back is towards 1: the value it has where nothing has changed must end the alert.
        ({"above": Thresholds(warning=1.1), "kind": "change", "baseline": Baseline()}, 1.0799, 1.0801),
        ({"above": None, "below": Thresholds(warning=0.9), "kind": "change", "baseline": Baseline()}, 0.9201, 0.9199),
        ({"above": Thresholds(warning=0.5), "kind": "change", "baseline": Baseline()}, 0.5, 0.5001),
    ],
)
def test_recovery_is_a_fifth_of_the_way_back_unless_said_and_holds_at_equality(changes, good, bad):
    assert compiled(**changes).clears(np.array([good, bad])).tolist() == [True, False]


def test_groups_are_judged_where_the_metric_has_them_and_the_total_otherwise():
    assert [compile_rule(rule(), metric).keys for metric in METRICS] == ["groups", "total", "groups"]
    assert compiled(keys="all").keys == "all"


def test_a_number_for_how_long_counts_for_both_severities():
    assert rule(for_=3).hold == Hold(warning=3, critical=3)
    assert rule(for_="2 of 3").hold == Hold(warning="2 of 3", critical="2 of 3")
    assert rule().hold == Hold(warning=2, critical=1)


def test_one_of_m_and_n_of_n_are_so_many_in_a_row():
    given = (3, "1 of 5", "3 of 3", "2 of 3")
    assert [parse_needed(each) for each in given] == [Needed(3), Needed(1), Needed(3), Needed(2, among=3)]
    assert not Hold(warning="2 of 2", critical="1 of 9").remembers
    assert Hold(critical="2 of 3").remembers


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
        ({"for_": Hold(warning=0)}, "for.warning", "at least 1"),
        ({"for_": "3 of 2"}, "for", "n must be 1 to m"),
        ({"for_": "0 of 2"}, "for", "n must be 1 to m"),
        ({"for_": "2 of 32"}, "for", "at most 31"),
        ({"for_": "2/3"}, "for", '"n of m", such as "2 of 3"'),
        ({"for_": Hold(critical="two")}, "for.critical", '"n of m", such as "2 of 3"'),
        ({"clear": 0}, "clear", "at least 1"),
        ({"min_count": -1}, "min_count", "negative"),
        ({"cooldown_ms": -1}, "cooldown", "negative"),
        ({"max_repeats": -1}, "max_repeats", "negative"),
        ({"repeat_backoff": 0.5}, "repeat_backoff", "1 to 10"),
        ({"repeat_backoff": math.nan}, "repeat_backoff", "1 to 10"),
        ({"guard": "wilsn"}, "guard", "none, wilson"),
        ({"metric": "latency", "statistic": "p99", "min_bad": 5}, "min_bad", "for the statistic ratio, not p99"),
        ({"metric": "latency", "statistic": "p99", "guard": "wilson"}, "guard", "for the statistic ratio, not p99"),
        ({"labels": {"severity": "high"}}, "labels", "another name"),
        ({"overrides": (Override(match={"host": "a"}),)}, "overrides[0]", "changes nothing"),
        ({"overrides": (Override(match={"host": "=~("}, recover=0.001),)}, "overrides[0].match", "not a regular"),
        ({"overrides": (Override(match={"severity": "x"}, recover=0.001),)}, "overrides[0].match", "no label 'severity'"),
        ({"overrides": (Override(match={}, below=Thresholds(warning=0.5)),)}, "overrides[0]", "the rule has above"),
        ({"overrides": (Override(match={}, above=Thresholds(warning=0.5)),)}, "overrides[0].above", "milder than warning"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(changes, key, words):
    problems = list(rule(**changes).problems())
    assert [name for name, _ in problems] == [key]
    assert words in problems[0][1]


def test_all_problems_of_a_rule_are_said_at_once():
    problems = rule(keys="some", clear=0, for_=0, above=Thresholds()).problems()
    assert {key for key, _ in problems} == {"keys", "clear", "for", "above"}


HOSTS = [{"host": "a"}, {"host": "b"}, {"host": "c"}]


def by_host(made: Rule, *rows):
    """Give the level of the n-th host's row."""
    values, counts = (np.array(column) for column in zip(*rows, strict=True))
    which = np.array([made.choose(host) for host in HOSTS[: len(rows)]], np.int16)
    found = made.levels(values.astype(np.float64), counts, which), made.clears(values.astype(np.float64), counts, which)
    return [LEVELS[level] for level in found[0].tolist()], found[1].tolist()


def test_an_override_sets_the_limits_of_the_keys_it_matches_and_the_first_that_does_counts():
    chosen = (
        Override(match={"host": "a"}, above=Thresholds(critical=0.2)),
        Override(match={"host": "=~a|b"}, above=Thresholds(warning=0.1, critical=0.5)),
    )
    made = compiled(overrides=chosen)
    assert by_host(made, (0.06, 9), (0.06, 9), (0.06, 9)) == (["warning", "ok", "critical"], [False, True, False])
    assert by_host(made, (0.21, 9), (0.21, 9), (0.008, 9)) == (["critical", "warning", "ok"], [False, False, True])
    assert made.variant(1).threshold(CRITICAL) == 0.2
    assert made.variant(0) is made


def test_an_override_may_give_a_severity_that_the_rule_does_not_have():
    made = compiled(above=Thresholds(critical=0.5), overrides=(Override(match={"host": "b"}, above=Thresholds(warning=0.1)),))
    assert by_host(made, (0.2, 9), (0.2, 9))[0] == ["ok", "warning"]


def test_a_breach_of_few_bad_records_is_ok_and_clear():
    made = compiled(min_bad=10)
    assert levels(made, (0.09, 100), (0.1, 100), (0.02, 1000)) == ["ok", "critical", "warning"]
    assert made.clears(np.array([0.09, 0.1]), np.array([100, 100])).tolist() == [True, False]
    good = MetricOptions(name="hits", kind="ratio", dataset="d", good="x >= 1")
    low = compile_rule(rule(metric="hits", above=None, below=Thresholds(critical=0.5), min_bad=10), good)
    assert levels(low, (0.4, 10), (0.4, 100)) == ["ok", "critical"]


def test_a_guarded_ratio_counts_as_far_as_it_issure():
    above, below = compiled(guard="wilson"), compiled(above=None, below=Thresholds(critical=0.5), guard="wilson")
    assert levels(above, (1 / 3, 3), (1 / 3, 300), (0.06, 100), (0.06, 10_000)) == [
        "critical",
        "critical",
        "warning",
        "critical",
    ]
    assert levels(above, (0.2, 5), (0.02, 50), (0.0, 0)) == ["warning", "ok", "ok"]
    assert levels(below, (0.3, 5), (0.3, 500), (0.0, 1)) == ["ok", "critical", "ok"]


@pytest.mark.parametrize(
    ("bad", "count", "low", "high"), [(8, 10, 0.4902, 0.9433), (0, 20, 0.0, 0.1611), (20, 20, 0.8389, 1.0)]
)
def test_howsure_a_ratio_is_agrees_with_published_intervals(bad, count, low, high):
    for sign, want in ((1, low), (-1, high)):
        assert sure(np.array([bad / count]), np.array([count]), sign)[0] == pytest.approx(want, abs=1e-4)
