"""Flapping: said once, held while it lasts, and ended when it settles."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.alert import Alerting
from flows.policy import NO_POLICY
from flows.rule import Flap
from tests.flows.history import LENGTH, Settings, histories, play, rates, results_of, rule, rules
from tests.flows.test_policy import Given, alerting_of, silenced

QUICK = {"clear": 1, "for_": 1, "cooldown_ms": 0, "repeat_ms": 10**10}
UP, DOWN = 0.4, 0.0


def said(values, *, flap=Flap(), silences=(), **changes):  # noqa: B008 (its defaults are what is tested)
    alerting = alerting_of(rule(**(QUICK | {"flap": flap} | changes)), silences=silences)
    found = [(n, each) for n, result in enumerate(rates(*values)) for each in alerting.evaluate(result).notifications]
    return [(n, each.reason) for n, each in found]


def test_an_alert_that_turns_four_times_is_said_to_flap_once_and_held_until_it_settles():
    told = said([UP, DOWN] * 6 + [DOWN] * 12)
    assert told == [(0, "first"), (1, "resolved"), (2, "first"), (3, "flapping"), (22, "resolved")]


def test_without_the_option_every_turn_is_said():
    assert len(said([UP, DOWN] * 6, flap=None)) == 12


def test_an_alert_that_settles_while_it_fires_is_not_resolved_and_its_end_comes_later():
    told = said([UP, DOWN] * 3 + [UP] * 20 + [DOWN])
    assert told == [(0, "first"), (1, "resolved"), (2, "first"), (3, "flapping"), (17, "repeat"), (26, "resolved")]


def test_what_is_held_is_one_episode_however_short_the_cooldown_is():
    alerting = alerting_of(rule(**QUICK, flap=Flap()))
    values = [UP, DOWN] * 6 + [DOWN] * 12
    told = [each for result in rates(*values) for each in alerting.evaluate(result).notifications]
    assert len({each.episode for each in told[2:]}) == 1
    assert len({each.id for each in told}) == len(told)
    assert told[3].status == "firing"
    assert told[3].title == "High error rate on a: fires and clears again and again, worst 40 %"
    assert told[-1].channels == ("chat", "pager")


def test_records_say_that_a_flapping_alert_is_held():
    alerting = alerting_of(rule(**QUICK, flap=Flap()))
    rows = [json.loads(line) for line in play(alerting, rates(*[UP, DOWN] * 4))[0]]
    assert [row["suppressed_by"] for row in rows] == [None] * 4 + ["flap"] * 4


def test_a_silenced_alert_that_flaps_is_said_to_when_the_silence_is_over():
    quiet = [silenced(2, 8)]
    told = said([UP, DOWN] * 6 + [DOWN] * 12, silences=quiet)
    assert told == [(0, "first"), (1, "resolved"), (8, "flapping"), (22, "resolved")]


def test_a_flapping_alert_whose_data_stays_away_has_not_settled():
    told = said([UP, DOWN] * 3 + [None] * 20 + [DOWN] * 12)
    assert told == [(0, "first"), (1, "resolved"), (2, "first"), (3, "flapping"), (36, "resolved")]


def test_a_key_that_is_forgotten_while_it_flaps_is_resolved():
    told = said([UP, DOWN] * 3 + [None] * 4, forget_after_ms=2 * LENGTH)
    assert told[-2:] == [(3, "flapping"), (8, "forgotten")]


def test_a_held_alert_is_resolved_when_the_option_is_taken_away():
    alerting = alerting_of(rule(**QUICK, flap=Flap()))
    results = rates(*[UP, DOWN] * 3, DOWN, DOWN)
    for result in results[:6]:
        alerting.evaluate(result)
    plain = alerting_of(rule(**QUICK))
    plain.restore(alerting.snapshot())
    assert [[each.reason for each in plain.evaluate(r).notifications] for r in results[6:]] == [["resolved"], []]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"windows": 1}, "windows"),
        ({"windows": 63}, "windows"),
        ({"transitions": 1}, "transitions"),
        ({"transitions": 13}, "transitions"),
        ({"leave": 0}, "leave"),
        ({"leave": 5}, "leave"),
    ],
)
def test_a_flap_that_cannot_be_meant_is_refused(changes, key):
    assert [name for name, _ in Flap(**changes).problems()] == [key]


FLAPS = st.sampled_from([Flap(), Flap(transitions=2, windows=4, leave=1), Flap(transitions=3, windows=6, leave=2)])


@st.composite
def flapping(draw):
    chosen = draw(rules("r1"))
    names = [name for name in chosen.__dataclass_fields__ if name != "flap"]
    return type(chosen)(**{name: getattr(chosen, name) for name in names}, flap=draw(FLAPS))


SILENCES = st.lists(
    st.builds(lambda first, length: silenced(first, first + length), st.integers(0, 20), st.integers(1, 9)), max_size=1
)


@settings(max_examples=200, deadline=None)
@given(flapping(), histories(40), SILENCES, st.sets(st.integers(0, 39)))
@pytest.mark.slow
def test_what_flaps_begins_before_it_ends_ends_once_and_survives_restarts(chosen, history, silences, restarts):
    made = Settings((chosen,))
    alerting, whole = Alerting(made, NO_POLICY, Given(tuple(silences))), Alerting(made, NO_POLICY, Given(tuple(silences)))
    heard: dict[str, set[str]] = {}
    episodes: dict[str, str] = {}
    seen = set()
    for n, result in enumerate(results_of(history)):
        if n in restarts:
            state = alerting.snapshot()
            alerting = Alerting(made, NO_POLICY, Given(tuple(silences)))
            alerting.restore(state)
        decisions = alerting.evaluate(result)
        assert [each.line() for each in decisions.notifications] == [
            each.line() for each in whole.evaluate(result).notifications
        ]
        quiet = any(silence.holds(result.end) for silence in silences)
        for each in decisions.notifications:
            assert each.status == "resolved" or not quiet
            assert each.id not in seen
            seen.add(each.id)
            if each.status == "resolved":
                assert set(each.channels) == heard.pop(each.fingerprint)
                assert episodes.pop(each.fingerprint) == each.episode
                continue
            assert episodes.setdefault(each.fingerprint, each.episode) == each.episode
            assert (each.reason in ("first", "reopened")) <= (each.fingerprint not in heard)
            heard.setdefault(each.fingerprint, set()).update(each.channels)
    assert {name for book in alerting._books for name in book.told()} == set(heard)
    book = alerting._books[0]
    held = {key for key, state in zip(book._keys, book._columns.state.tolist(), strict=True) if state < 2}
    flaps = {key for key, flag in zip(book._keys, book._columns.flapping.tolist(), strict=True) if flag}
    assert held & set(book._hearing.told) <= flaps
