"""A silent source: one alert says it, whatever number of rules see it, and who would hear of none else hears of it."""

import dataclasses
import json

import pytest

from flows.alert import Alerting
from flows.kind_options import NoData
from flows.kinds import expanded
from flows.policy import NO_POLICY
from flows.route import RouteOptions
from flows.rule import Thresholds
from tests.flows.history import START, Settings
from tests.flows.test_kinds import METRICS, STEP, counts, key, rule, window
from tests.flows.test_policy import Given, silenced

TALK = {"requests": counts({key(): 1.0, key(host="a"): 1.0}), "errors": {key(): {"ratio": 0.0, "bad": 0, "n": 1}}}
NO_ERRORS = {"requests": TALK["requests"]}
LOUD = rule(name="loud", above=Thresholds(critical=5), keys="total", no_data=NoData(after=2, alert=True))
FAILS = rule(
    name="fails",
    metric="errors",
    statistic="ratio",
    above=Thresholds(critical=0.5),
    keys="total",
    no_data=NoData(after=2, alert=True),
    labels={"team": "shop"},
)
SILENT = rule(name="silent", kind="absence", statistic="", keys="groups", after=3)


def said(cells, rules=(LOUD, FAILS, SILENT), *, routes=None, silences=(), restarts=()):
    """Give (window, rule, reason) of what is said, and by window what the records of the rules say that it was kept by."""
    config = Settings(tuple(expanded(rules, (), METRICS)), metrics=tuple(METRICS.values()))
    config = config if routes is None else dataclasses.replace(config, routes=routes)
    judge, told, kept = Alerting(config, NO_POLICY, Given(silences)), [], []
    for number, each in enumerate(cells):
        if number in restarts:
            state = judge.snapshot()
            judge = Alerting(config, NO_POLICY, Given(silences))
            judge.restore(state)
        decisions = judge.evaluate(window(START + (number + 1) * STEP, each))
        rows = [json.loads(line) for found in decisions.evaluations for line in found.lines().splitlines()]
        kept.append({row["rule"] for row in rows if row["suppressed_by"] == "inhibit"})
        told += [(number, each.rule, each.reason) for each in decisions.notifications]
    return told, kept


@pytest.mark.parametrize("restarts", [(), range(9)])
def test_a_silent_source_is_one_page_and_one_end_whatever_number_of_rules_see_it(restarts):
    told, kept = said([TALK, *[{}] * 6, TALK, TALK], (LOUD, FAILS), restarts=restarts)
    assert told == [(2, "no_data:fails", "first"), (7, "no_data:fails", "resolved")]
    assert kept[2:7] == [{"no_data:loud"}] * 5


def test_the_most_severe_is_said_also_where_it_comes_later():
    told, kept = said([TALK, *[{}] * 6, TALK], routes=(RouteOptions(channels=("chat",)),))
    assert told == [
        (2, "no_data:fails", "first"),
        (3, "silent", "first"),
        (7, "no_data:fails", "resolved"),
        (7, "silent", "resolved"),
    ]
    assert kept[3:7] == [{"no_data:fails", "no_data:loud"}] * 4


def test_what_is_still_missing_when_the_source_is_back_is_said_then():
    told, _ = said([TALK, {}, {}, {}, NO_ERRORS, TALK])
    assert told[2:] == [(4, "silent", "resolved"), (5, "no_data:fails", "resolved")]
    told, _ = said([TALK, {}, {}, {}, {"errors": TALK["errors"]}, TALK], (LOUD, FAILS))
    assert told == [
        (2, "no_data:fails", "first"),
        (4, "no_data:fails", "resolved"),
        (4, "no_data:loud", "first"),
        (5, "no_data:loud", "resolved"),
    ]


@pytest.mark.parametrize("restarts", [(), (6,)])
def test_a_source_that_is_silent_again_within_the_cooldown_is_said_by_one_alert_too(restarts):
    told, kept = said([TALK, {}, {}, {}, TALK, {}, {}, {}, TALK], (LOUD, FAILS), restarts=restarts)
    assert {rule for _, rule, _ in told} == {"no_data:fails"}
    assert [window for window, _, reason in told if reason == "resolved"] == [4, 8]
    assert kept[6:8] == [{"no_data:loud"}] * 2


def test_a_metric_that_was_silent_before_does_not_speak_for_the_source():
    told, _ = said([TALK, NO_ERRORS, NO_ERRORS, NO_ERRORS, {}, {}, {}], (LOUD, FAILS))
    assert told == [(2, "no_data:fails", "first"), (5, "no_data:loud", "first")]


def test_a_team_that_would_hear_of_nothing_else_hears_of_it():
    shop = RouteOptions(match={"team": "shop"}, channels=("shop",))
    told, _ = said([TALK, {}, {}, {}], (LOUD, FAILS), routes=(shop, RouteOptions(channels=("chat",))))
    assert told == [(2, "no_data:fails", "first"), (2, "no_data:loud", "first")]


def test_a_silence_on_the_one_alert_does_not_bring_the_next():
    quiet = silenced(0, 99, rule="no_data:fails")
    told, _ = said([TALK, {}, {}, {}], (LOUD, FAILS), silences=(quiet,))
    assert told == []


def test_the_keys_of_an_absence_are_not_repeated_while_the_source_is_silent():
    quick = dataclasses.replace(SILENT, after=1, repeat_ms=STEP)
    gone = {"requests": counts({key(): 1.0}), "errors": TALK["errors"]}
    told, _ = said([TALK, gone, {}, {}, gone], (quick,))
    assert told == [
        (1, "silent", "first"),  # host a
        (2, "silent", "first"),  # the source
        (3, "silent", "repeat"),
        (4, "silent", "repeat"),  # host a again
        (4, "silent", "resolved"),
    ]
