"""Rules whose configuration changed over a restart, and composites of what is not judged."""

import dataclasses
import json

import pytest

from flows.alert import Alerting
from flows.kind_options import Baseline, NoData
from flows.kinds import expanded
from flows.output import rfc3339
from flows.rule import RuleOptions, Thresholds
from flows.slo import SloOptions
from tests.flows.history import START, Settings
from tests.flows.test_kinds import DAY, METRICS, STEP, counts, key, levels, rule, window

SLO = SloOptions(name="up", metric="errors", objective=0.999, keys="total")


def alerting(rules, slos=(), metrics=METRICS):
    return Alerting(Settings(tuple(expanded(rules, slos, metrics)), metrics=tuple(metrics.values()), slos=tuple(slos)))


def changed(first, second, cells, change_at=1):
    """Judge windows, by `second` from the given one on; both are what `alerting` takes. Gives evaluations and notifications."""
    evaluations, said = [], []
    judge = alerting(**first)
    for number, each in enumerate(cells):
        if number == change_at:
            state = judge.snapshot()
            judge = alerting(**second)
            judge.restore(state)
        decisions = judge.evaluate(window(START + number * STEP, each))
        evaluations += [json.loads(line) for each in decisions.evaluations for line in each.lines().splitlines()]
        said += [json.loads(each.line()) for each in decisions.notifications]
    return evaluations, said


def errors(bad, total=1000):
    return {"errors": {key(): {"ratio": bad / total, "bad": bad, "n": total}}}


def requests(rate):
    return {"requests": counts({key(): float(rate)})}


@pytest.mark.parametrize(
    ("first", "second", "cells"),
    [
        ({"rules": [], "slos": [SLO]}, {"rules": [], "slos": [dataclasses.replace(SLO, objective=0.998)]}, [errors(500)] * 3),
        (
            {"rules": [], "slos": [SLO]},
            {"rules": [], "slos": [dataclasses.replace(SLO, period_ms=28 * DAY)]},
            [errors(500)] * 3,
        ),
        (
            {"rules": [rule(kind="capacity", keys="total", capacity=50.0)]},
            {"rules": [rule(kind="capacity", keys="total", capacity=40.0)]},
            [requests(48)] * 3,
        ),
        (
            {"rules": [rule(kind="change", keys="total", baseline=Baseline(windows=1), above=Thresholds(critical=5))]},
            {"rules": [rule(kind="change", keys="total", baseline=Baseline(windows=2), above=Thresholds(critical=5))]},
            [requests(1), requests(10), requests(100), requests(900)],
        ),
    ],
)
def test_other_limits_keep_the_episode_and_say_nothing(first, second, cells):
    _, said = changed(first, second, cells, change_at=2)
    assert [each["reason"] for each in said] == ["first"]


@pytest.mark.parametrize("period", [7, 28, 90])
def test_a_budget_goes_on_with_another_objective_and_period(period):
    other = dataclasses.replace(SLO, objective=0.99, period_ms=period * DAY)
    first, second = {"rules": [], "slos": [SLO]}, {"rules": [], "slos": [other]}
    _, said = changed(first, second, [errors(0), errors(0), errors(300)], change_at=2)
    slo = said[0]["evidence"]["slo"]
    assert (slo["good"], slo["bad"], slo["watched_ms"]) == (2700, 300, 3 * STEP)


def test_of_a_longer_period_only_the_days_that_were_kept_are_known():
    short = dataclasses.replace(SLO, period_ms=7 * DAY)
    judge = alerting([], [short])
    for day in range(9):
        judge.evaluate(window(START + day * DAY + STEP, errors(1)))
    state = judge.snapshot()
    judge = alerting([], [SLO])
    judge.restore(state)
    said = judge.evaluate(window(START + 9 * DAY + STEP, errors(500))).notifications[0].evidence["slo"]
    assert (said["good"], said["bad"], said["watched_ms"]) == (8 * 1000 - 507, 507, 7 * DAY + STEP)


def test_values_of_a_metric_that_measured_something_else_are_no_baseline():
    other = METRICS | {"requests": dataclasses.replace(METRICS["requests"], where="x >= 1")}
    rules = [rule(kind="change", keys="total", baseline=Baseline(windows=1), above=Thresholds(critical=5))]
    cells = [requests(1), requests(1), requests(100), requests(100)]
    evaluations, said = changed({"rules": rules}, {"rules": rules, "metrics": other}, cells, change_at=2)
    assert [level for _, level in levels(evaluations)] == ["insufficient", "ok", "insufficient", "ok"]
    assert said == []


def test_counts_of_windows_of_another_length_are_no_baseline():
    options = rule(statistic="count", kind="change", keys="total", baseline=Baseline(windows=1), above=Thresholds(critical=2))
    judge = alerting([options])
    judge.evaluate(window(START, {"requests": {key(): {"rate": 1.0, "count": 60, "n": 60}}}, step=STEP // 5))
    state = judge.snapshot()
    judge = alerting([options])
    judge.restore(state)
    said = judge.evaluate(window(START + STEP, {"requests": {key(): {"rate": 1.0, "count": 300, "n": 300}}}))
    assert [line["level"] for each in said.evaluations for line in map(json.loads, each.lines().splitlines())] == [
        "insufficient"
    ]


def test_an_objective_does_not_count_what_was_bad_by_another_definition():
    other = METRICS | {"errors": dataclasses.replace(METRICS["errors"], bad="x >= 2")}
    first, second = {"rules": [], "slos": [SLO]}, {"rules": [], "slos": [SLO], "metrics": other}
    _, said = changed(first, second, [errors(1000), errors(500)])
    assert [(each["reason"], each["evidence"]["slo"]["good"]) for each in said] == [("first", 0)]


def composite(*names, **options):
    return RuleOptions(name="both", kind="composite", **{next(iter(options), "all_"): names})


def test_a_composite_with_another_rule_more_keeps_its_episode():
    busy = rule(name="busy", keys="total", above=Thresholds(critical=5))
    slow = rule(name="slow", keys="total", above=Thresholds(critical=500))
    rules = [busy, slow]
    first = {"rules": [*rules, composite("busy", any_=True)]}
    second = {"rules": [*rules, composite("busy", "slow", any_=True)]}
    _, said = changed(first, second, [requests(9)] * 3)
    assert [(each["rule"], each["reason"]) for each in said] == [("both", "first"), ("busy", "first")]


def test_a_composite_of_absences_fires_while_the_whole_source_is_silent():
    silent = rule(name="silent", kind="absence", statistic="", keys="total", after=2)
    busy = rule(name="busy", keys="total", above=Thresholds(critical=5))
    rules = [silent, busy, composite("busy", "silent")]
    _, said = changed({"rules": rules}, {"rules": rules}, [requests(9), {}, {}, {}, requests(9)], change_at=3)
    about = [(each["reason"], each["evidence"]["composite"]["rules"]) for each in said if each["rule"] == "both"]
    fires = {"busy": "critical", "silent": "critical"}  # what is held goes on firing
    assert about == [("first", fires), ("resolved", {"busy": "critical", "silent": "not firing"})]


@pytest.mark.parametrize("change_at", [1, 3])
def test_a_composite_may_name_what_objectives_and_missing_data_say(change_at):
    busy = rule(name="busy", keys="total", above=Thresholds(critical=5), no_data=NoData(alert=True, after=2))
    given = {"rules": [composite("slo:up", "no_data:busy"), busy], "slos": [SLO]}
    cells = [errors(500) | requests(9), errors(500), errors(500), errors(500) | requests(9)]
    _, said = changed(given, given, cells, change_at=change_at)
    about = [(each["at"], each["reason"], each["evidence"]["composite"]["rules"]) for each in said if each["rule"] == "both"]
    third, last = (rfc3339(START + n * STEP) for n in (2, 3))
    assert about == [
        (third, "first", {"slo:up": "critical", "no_data:busy": "warning"}),
        (last, "resolved", {"slo:up": "critical", "no_data:busy": "not firing"}),
    ]


@pytest.mark.parametrize(
    ("kind", "rate", "want"),
    [("all_", 9, "insufficient"), ("all_", 0, "ok"), ("any_", 9, "critical"), ("any_", 0, "insufficient")],
)
def test_a_composite_is_held_where_a_rule_that_nobody_waited_for_would_decide(kind, rate, want):
    metrics = METRICS | {"queries": dataclasses.replace(METRICS["requests"], name="queries", dataset="other", group_by=())}
    busy = rule(name="busy", keys="total", above=Thresholds(critical=5), clear=1)
    database = rule(name="database", metric="queries", above=Thresholds(critical=5))
    judge = alerting([busy, database, composite("database", "busy", **{kind: True})], metrics=metrics)
    both = []
    for number, beside in enumerate([("other",), ()]):
        end = START + number * STEP
        judge.evaluate(dataclasses.replace(window(end, {"queries": counts({key(): 9.0})}), dataset="other"), beside=("d",))
        decisions = judge.evaluate(window(end, requests(rate if number else 9)), beside=beside)
        both += [json.loads(each.lines()) for each in decisions.evaluations if each.rule == "both"]
    assert [(row["level"], row["state_after"]) for row in both] == [
        ("critical", "firing"),
        (want, "inactive" if want == "ok" else "firing"),
    ]


@pytest.mark.parametrize("change_at", [3, 4])
def test_a_composite_is_over_for_a_key_that_its_rules_forget(change_at):
    fails = rule(name="fails", metric="errors", statistic="ratio", above=Thresholds(critical=0.5), forget_after_ms=2 * STEP)
    busy = rule(name="busy", keys="total", above=Thresholds(critical=50), notify=False)
    rules = [fails, busy, composite("busy", "fails", any_=True)]
    rows = {host: {"ratio": bad, "bad": int(bad * 10), "n": 10} for host, bad in ((key(host="a"), 0.9), (key(host="b"), 0.0))}
    without = {"errors": {key(host="b"): rows[key(host="b")]}, **requests(1)}
    cells = [{"errors": rows, **requests(1)}, *[without] * 5]
    _, said = changed({"rules": rules}, {"rules": rules}, cells, change_at=change_at)
    assert [(each["rule"], each["reason"]) for each in said] == [
        ("both", "first"),
        ("fails", "first"),
        ("both", "resolved"),
        ("fails", "forgotten"),
    ]
    assert said[2]["at"] == said[3]["at"]
