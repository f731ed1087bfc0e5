"""Without a pager: who else hears of an alert that nobody has silenced for a while."""

import json
from pathlib import Path

import pytest

from flows.alert import Alerting
from flows.config import ConfigErrors, loads
from flows.policy import PolicyOptions
from flows.route import RouteOptions
from tests.flows.history import LENGTH, Settings, rates, rule
from tests.flows.test_policy import Given, silenced

BAD = 0.4
ROUTES = (RouteOptions(channels=("chat",), escalate_after_ms=2 * LENGTH, escalate_to=("boss",)),)
REPEATED = {"repeat_ms": 3 * LENGTH}


def said(values, *, routes=ROUTES, silences=(), restarts=(), **changes):
    """Give (window, reason, channels) of what is said; each id is said once."""
    config, told = Settings((rule(**changes),), routes=routes), []
    alerting = Alerting(config, PolicyOptions(), Given(tuple(silences)))
    for n, result in enumerate(rates(*values)):
        if n in restarts:
            state = alerting.snapshot()
            alerting = Alerting(config, PolicyOptions(), Given(tuple(silences)))
            alerting.restore(state)
        told += [(n, each) for each in alerting.evaluate(result).notifications]
    assert len({each.id for _, each in told}) == len(told)
    return [(n, each.reason, each.channels) for n, each in told]


@pytest.mark.parametrize("restarts", [(), range(9)])
def test_what_nobody_silences_is_said_once_to_others_who_hear_of_its_end_and_repeats_go_on(restarts):
    assert said([BAD] * 7 + [0.0] * 2, restarts=restarts, **REPEATED) == [
        (0, "first", ("chat",)),
        (2, "unacknowledged", ("boss",)),
        (3, "repeat", ("chat",)),
        (6, "repeat", ("chat",)),
        (8, "resolved", ("boss", "chat")),
    ]


def test_the_next_episode_waits_anew():
    told = said([BAD] * 3 + [0.0] * 2 + [BAD] * 3, cooldown_ms=0)
    assert [n for n, reason, _ in told if reason == "unacknowledged"] == [2, 7]


def test_a_silence_takes_an_alert_up_and_its_end_gives_it_back():
    assert said([BAD] * 6, silences=[silenced(1, 4)]) == [(0, "first", ("chat",)), (4, "unacknowledged", ("boss",))]
    assert said([BAD] * 6, silences=[silenced(0, 2)]) == [(2, "first", ("chat",)), (4, "unacknowledged", ("boss",))]


def test_what_clears_meanwhile_is_said_to_nobody_else():
    assert [reason for _, reason, _ in said([BAD, 0.0, 0.0])] == ["first", "resolved"]
    assert [reason for _, reason, _ in said([BAD, BAD, 0.0, 0.0])] == ["first", "resolved"]


def test_each_of_several_routes_has_its_own_patience():
    later = RouteOptions(channels=("mail",), escalate_after_ms=4 * LENGTH, escalate_to=("boss", "owner"))
    routes = (RouteOptions(channels=("chat",), escalate_after_ms=LENGTH, escalate_to=("boss",), continue_=True), later)
    assert said([BAD] * 6, routes=routes)[1:] == [(1, "unacknowledged", ("boss",)), (4, "unacknowledged", ("owner",))]


def test_a_route_inside_has_the_patience_of_the_one_around_it():
    inner = RouteOptions(severity=("critical",), channels=("loud",))
    outer = RouteOptions(channels=("chat",), escalate_after_ms=LENGTH, escalate_to=("boss",), route=(inner,))
    assert said([BAD] * 2, routes=(outer,)) == [(0, "first", ("loud",)), (1, "unacknowledged", ("boss",))]


def test_the_words_say_that_nobody_has_silenced_it():
    alerting = Alerting(Settings((rule(),), routes=ROUTES), PolicyOptions(modes={"boss": "digest"}))
    decisions = [alerting.evaluate(result) for result in rates(*[BAD] * 3)][-1]
    (told,) = decisions.notifications
    assert told.title == "High error rate on a: 40 % (critical above 5 %)"
    assert told.text.startswith("Nobody has silenced it, and it is not over after 10 min. error_rate was 40 %")
    assert [each.channels for each in decisions.messages] == [("boss",)]
    assert json.loads(told.line())["reason"] == "unacknowledged"


def test_many_alerts_that_nobody_takes_up_are_one_message():
    config = Settings(
        (rule(), rule(name="again")),
        routes=(RouteOptions(channels=("chat",), group_by=("severity",), escalate_after_ms=LENGTH, escalate_to=("boss",)),),
    )
    alerting = Alerting(config, PolicyOptions(modes={"boss": "digest", "chat": "digest"}))
    messages = [alerting.evaluate(result).messages for result in rates(BAD, BAD, 0.0, 0.0)]
    assert [[(each.channels, each.title[:8]) for each in found] for found in messages[:2]] == [
        [(("chat",), "2 alerts")],
        [(("boss",), "2 alerts")],
    ]
    assert sorted(each.channels for each in messages[3]) == [("boss",), ("chat",)]


CONFIG = """
[[metric]]
name = "e"
kind = "ratio"
dataset = "http_requests"
bad = "EdgeResponseStatus >= 500"
[[rule]]
name = "r"
metric = "e"
statistic = "ratio"
above = { critical = 0.05 }
[channel.console]
[channel.chat]
kind = "console"
"""
PAGER = '[channel.pagerduty]\nrouting_key = "0123456789abcdef0123456789abcdef"\n'


@pytest.mark.parametrize(
    ("more", "route", "words"),
    [
        ("", 'escalate_after = "15m"', "route #1.escalate_to: is missing"),
        ("", 'escalate_to = ["chat"]', "route #1.escalate_after: is missing"),
        (
            "",
            'escalate_after = "15m"\nescalate_to = ["chta"]',
            "route #1.escalate_to: no channel 'chta'; there are: console, chat",
        ),
        (
            PAGER,
            'escalate_after = "15m"\nescalate_to = ["chat"]',
            "pagerduty is a pager, whose own escalation policy does this",
        ),
    ],
)
def test_a_second_route_that_cannot_be_meant_is_refused(more, route, words):
    with pytest.raises(ConfigErrors) as caught:
        loads(f'{CONFIG}{more}[[route]]\nchannels = ["console"]\n{route}\n', Path("monitor.toml"))
    assert words in str(caught.value)


def test_a_second_route_is_read():
    config = loads(
        f'{CONFIG}[[route]]\nchannels = ["console"]\nescalate_after = "15m"\nescalate_to = ["chat"]\n', Path("m.toml")
    )
    assert (config.routes[0].escalate_after_ms, config.routes[0].escalate_to) == (900_000, ("chat",))
