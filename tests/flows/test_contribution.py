"""Contribution: the arithmetic of the excess, what is no news, and the memory of what is usual."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import zstandard

from flows.alert import Alerting
from flows.bad_records import BadSample
from flows.blame import REACH_MS
from flows.contribution import beyond_of, blames, called, contributions
from flows.metric import Beyond, MetricOptions
from flows.rule import Override, RuleOptions, Thresholds, compile_rule
from flows.snapshot import pack
from tests.flows.history import LENGTH, METRICS, Settings, result_of, rule

DIMENSIONS = {"path": ("ClientRequestPath",), "status": ("EdgeResponseStatus",), "host": ("host",)}
TOTAL, HOST = "{}", '{"host":"a"}'


def sample(counts=None, **rows):
    """Make a sample by key (`total` or `host`): lists of (path, status, host); `counts` says of how many bad records."""
    names = {"total": TOTAL, "host": HOST}
    words = list(dict.fromkeys(value for each in rows.values() for row in each for value in row))
    said = [[words.index(value) for value in row] for each in rows.values() for row in each]
    key = [number for number, each in enumerate(rows.values()) for _ in each]
    sizes = [len(each) for each in rows.values()]
    return BadSample(
        "m",
        DIMENSIONS,
        [names[name] for name in rows],
        np.array([*(counts or sizes)], np.int64),
        np.array(key, np.int32),
        np.arange(len(key)).astype(np.uint64),
        np.array(said, np.int32).reshape(-1, 3),
        words,
        np.zeros(len(key), np.int64),
    )


def lines(found, key=TOTAL):
    return [(each["dimension"], each["value"], each["share"], each["count"], each["total"], each["of"]) for each in found[key]]


USUAL = [("/a", "404", "a")] * 10 + [("/b", "404", "b")] * 10


def test_the_excess_is_what_is_more_than_before():
    now = sample(total=[*USUAL, *[("/checkout", "500", "a")] * 30], counts=[100])
    got = contributions(now, sample(total=USUAL), "errors")
    # 100 * 0.6 - 20 * 0 of 80; of host a 100 * 0.8 - 20 * 0.5.
    assert lines(got) == [
        ("host", "a", 0.875, 70, 80, "excess errors"),
        ("path", "/checkout", 0.75, 60, 80, "excess errors"),
        ("status", "500", 0.75, 60, 80, "excess errors"),
    ]
    assert {each["sample"] for each in got[TOTAL]} == {50}


def test_what_all_the_traffic_has_explains_nothing():
    before = [("/a", "500", "only")] * 20
    now = sample(total=[*before, *[("/b", "500", "only")] * 40])
    assert lines(contributions(now, sample(total=before), "errors")) == [("path", "/b", 1.0, 40, 40, "excess errors")]
    assert lines(contributions(sample(total=before * 3), sample(total=before), "errors")) == []


def test_a_rise_that_may_be_chance_is_none():
    now = sample(total=[("/a", "500", "a")] * 6 + [("/b", "500", "b")] * 4)
    assert lines(contributions(now, sample(total=[("/a", "500", "a"), ("/b", "500", "b")] * 2), "errors")) == []


def test_without_a_before_it_is_the_share_of_the_bad_records():
    now = sample(total=[("/a", "500", "a")] * 3 + [("/b", "500", "b")], counts=[8])
    got = contributions(now, None, "errors")
    assert lines(got) == [
        ("status", "500", 1.0, 8, 8, "errors"),
        ("path", "/a", 0.75, 6, 8, "errors"),
        ("host", "a", 0.75, 6, 8, "errors"),
    ]
    assert got == contributions(now, sample(total=[]), "errors")


def test_where_there_are_not_more_than_before_it_is_the_share_of_the_bad_records():
    before = sample(total=[("/a", "404", "a")] * 40)
    got = contributions(sample(total=[("/b", "404", "a")] * 20), before, "errors")
    assert lines(got) == [("path", "/b", 1.0, 20, 20, "errors")]


def test_what_the_alert_is_about_is_no_news_and_ties_stand_in_the_order_of_dimensions():
    rows = [("/a", "500", "a")] * 4
    got = contributions(sample(total=rows, host=rows), None, "errors")
    assert lines(got, HOST) == [("path", "/a", 1.0, 4, 4, "errors"), ("status", "500", 1.0, 4, 4, "errors")]
    assert [each["dimension"] for each in got[TOTAL]] == ["path", "status", "host"]


def test_absent_and_rare_values_are_left_out():
    got = contributions(sample(total=[(None, "500", "a")] * 9 + [("/rare", "503", "b")]), None, "errors")
    assert lines(got) == [
        ("status", "500", 0.9, 9, 10, "errors"),
        ("host", "a", 0.9, 9, 10, "errors"),
        ("path", "/rare", 0.1, 1, 10, "errors"),
    ]


def test_nobody_bad_gives_nothing():
    assert contributions(sample(total=[]), None, "errors") == {TOTAL: []}


RATIO, SLOW = METRICS[0], METRICS[1]
HITS = MetricOptions(name="hit_rate", kind="ratio", dataset="d", good="x >= 1")


@pytest.mark.parametrize(
    ("metric", "options", "want"),
    [
        (RATIO, {"above": Thresholds(warning=0.1)}, "errors"),
        (RATIO, {"above": Thresholds(warning=10.0), "statistic": "bad"}, "errors"),
        (RATIO, {"above": Thresholds(warning=10.0), "statistic": "total"}, None),
        (RATIO, {"below": Thresholds(warning=0.1)}, None),
        (HITS, {"below": Thresholds(warning=0.7)}, "misses"),
        (HITS, {"above": Thresholds(warning=0.7)}, None),
        (SLOW, {"above": Thresholds(warning=1500.0), "statistic": "p99"}, "records above 1 500 ms"),
        (SLOW, {"below": Thresholds(warning=2.0), "statistic": "mean"}, "records below 2 ms"),
        (SLOW, {"above": Thresholds(warning=2.0), "statistic": "count"}, None),
        (METRICS[2], {"above": Thresholds(warning=2.0), "statistic": "count"}, None),
    ],
)
def test_a_rule_is_about_bad_records_where_more_of_them_make_it_fire(metric, options, want):
    given = RuleOptions(**{"name": "r", "metric": metric.name, "statistic": "ratio"} | options)
    compiled, beyond = compile_rule(given, metric), beyond_of([given])
    assert (called(compiled, beyond) if blames(compiled, beyond) else None) == want


def test_bad_values_are_beyond_the_mildest_limit_of_all_rules_and_overrides():
    def rules(**options):
        return RuleOptions(name="r", metric="latency", statistic="p99", **options)

    other = Override(match={"host": "a"}, above=Thresholds(warning=300.0))
    assert beyond_of([rules(above=Thresholds(critical=900.0)), rules(above=Thresholds(warning=500.0, critical=900.0))]) == {
        "latency": Beyond(1, 500.0)
    }
    assert beyond_of([rules(above=Thresholds(warning=500.0), overrides=(other,))]) == {"latency": Beyond(1, 300.0)}
    below = rules(below=Thresholds(warning=5.0, critical=2.0))
    assert beyond_of([below]) == {"latency": Beyond(-1, 5.0)}
    above = rules(above=Thresholds(warning=500.0))
    assert beyond_of([below, above]) == beyond_of([above, below]) == {"latency": Beyond(1, 500.0)}


def window(n, value, rows, meaning="m"):
    result = result_of(n, {("error_rate", HOST): (value, 1000)})
    found = sample(host=rows, total=rows)
    values = {name: getattr(found, name) for name in found.__slots__} | {"meaning": meaning}
    return replace(result, bad={"error_rate": BadSample(**values)})


QUIET, BURST = [("/a", "500", "a")] * 12, [("/a", "500", "a")] * 12 + [("/checkout", "500", "a")] * 48
STORY = [(0.0, QUIET), (0.0, QUIET), (0.02, BURST), (0.4, BURST), (0.4, BURST), (0.4, BURST), (0.0, QUIET), (0.0, QUIET)]


def told(story, restart_at=(), **changes):
    alerting, out = Alerting(Settings((rule(repeat_ms=600_000, **changes),))), []
    for n, (value, rows, *meaning) in enumerate(story):
        if n in restart_at:
            state = alerting.snapshot()
            alerting = Alerting(Settings((rule(repeat_ms=600_000, **changes),)))
            alerting.restore(state)
        out += [each.line() for each in alerting.evaluate(window(n, value, rows, *meaning)).notifications]
    return out


def test_an_episode_is_compared_with_the_last_window_that_was_ok_before_it():
    got = [json.loads(line) for line in told(STORY)]
    found = [(each["reason"], each["evidence"]["contribution"]) for each in got]
    assert [reason for reason, _ in found] == ["first", "repeat", "resolved"]
    share = {"dimension": "path", "value": "/checkout", "share": 1.0, "count": 48, "total": 48, "sample": None}
    assert found[0][1] == found[1][1] == [{**share, "of": "excess errors"}]
    assert found[2][1] is None


def test_after_a_restart_anywhere_the_same_is_said():
    want = told(STORY)
    assert [told(STORY, [n]) == want for n in range(len(STORY))] == [True] * len(STORY)
    assert told(STORY, range(len(STORY))) == want


def test_the_memory_is_of_several_windows_where_each_had_few_bad_records():
    few = [(0.0, QUIET[:2]) for _ in range(10)]
    quiet = [("/a", "500", "a")] * 3 + [("/checkout", "500", "a")]
    got = json.loads(told([*few, (0.4, quiet)])[0])["evidence"]["contribution"]
    assert [(each["value"], each["of"], each["total"]) for each in got] == [("/checkout", "excess errors", 2)]
    assert json.loads(told([*few[:1], (0.4, quiet)])[0])["evidence"]["contribution"] == []


def test_what_was_called_bad_before_by_another_definition_is_forgotten():
    got = json.loads(told([(0.0, QUIET), (0.4, BURST, "other")])[0])["evidence"]["contribution"]
    assert Counter(each["of"] for each in got) == {"errors": 3}


def test_a_rule_that_is_not_about_bad_records_says_nothing_of_them():
    counted = rule(name="few", statistic="ratio", above=None, below=Thresholds(critical=0.5))
    alerting = Alerting(Settings((counted,)))
    notifications = alerting.evaluate(window(0, 0.4, BURST)).notifications
    assert [each.evidence["contribution"] for each in notifications] == [None]


def test_records_are_remembered_for_a_day():
    def said(calm):
        alerting = Alerting(Settings((rule(),)))
        for n in (0, *calm):
            alerting.evaluate(window(n, 0.0, QUIET if n == 0 else []))
        (first,) = alerting.evaluate(window(calm[-1] + 1, 0.4, BURST)).notifications
        return {each["of"] for each in first.evidence["contribution"]}

    day = REACH_MS // LENGTH
    assert said([1, day - 1]) == {"excess errors"}
    assert said([1, day]) == {"errors"}


def recalled(windows):
    """Judge from a start at which an alert may have been known before: of what was usual then nothing is known."""
    alerting = Alerting(Settings((rule(),)))
    state = {"keys": [], "rules": {}, "unsure": {"error_rate": [window(0, 0.0, []).start, [HOST]]}}
    alerting.restore(zstandard.compress(pack(state)))
    found = [each for given in windows for each in alerting.evaluate(window(*given)).notifications]
    return [each.evidence["contribution"] for each in found if each.reason == "first"]


def test_where_what_was_usual_is_not_known_nothing_is_said_until_all_of_it_is_of_after_the_start():
    assert recalled([(0, 0.0, QUIET), (1, 0.4, BURST)]) == [None]
    assert recalled([(0, 0.0, QUIET * 6), (1, 0.4, BURST * 2)])[0][0]["of"] == "excess errors"  # as many as are remembered
    day = REACH_MS // LENGTH
    assert recalled([(0, 0.0, QUIET), (day - 2, 0.0, QUIET), (day - 1, 0.4, BURST)]) == [None]
    assert recalled([(0, 0.0, QUIET), (day - 1, 0.0, QUIET), (day, 0.4, BURST)])[0][0]["of"] == "excess errors"
