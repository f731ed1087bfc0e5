"""The columns of the alerts against the definition of threshold rules, recomputed object by object."""

import json
import random

import numpy as np
import orjson
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.alert import Alerting
from flows.alert_state import MOVES, NOTICES, AlertColumns, Policy, step
from flows.hold import Hold
from flows.metric import MetricOptions
from flows.rule import Thresholds, compile_rule
from flows.snapshot import pack, unpack
from flows.transition import fingerprint_of
from flows.window import MetricRows, WindowResult
from tests.flows.history import (
    FILES,
    KEYS,
    LENGTH,
    LIMITS,
    METRICS,
    SCALE,
    START,
    STATISTIC,
    VALUES,
    Settings,
    histories,
    play,
    rates,
    result_of,
    results_of,
    rule,
    rules,
    run,
    shown,
    wanted,
)

TWO_RULES = st.tuples(rules("r1"), rules("r2"))


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(TWO_RULES, histories())
def test_any_history_gives_what_the_definition_gives(chosen, history):
    results = results_of(history)
    for name, lines, want in zip(FILES, run(chosen, results), wanted(chosen, results), strict=True):
        assert (name, shown(lines, want), len(lines)) == (name, want, len(want))


AMONG = (Hold(warning=1, critical="2 of 5"), "2 of 5", "2 of 3", Hold(warning="3 of 5", critical="2 of 3"))


def every_kind_of_rule():
    out = []
    for metric in sorted(STATISTIC):
        for number, limits in enumerate(LIMITS):
            for above in (True, False):
                warning, critical = (v and (v if above else 1 - v) * SCALE[metric] for v in limits)
                side = {"above" if above else "below": Thresholds(warning=warning, critical=critical)}
                options = {"metric": metric, "statistic": STATISTIC[metric], "keys": "all", "min_count": 50}
                times = {"repeat_ms": 1_800_000, "cooldown_ms": 1_200_000, "forget_after_ms": 3_600_000, **side}
                name = f"{metric}_{number}_{'above' if above else 'below'}"
                hold = number % 3 + 1 if above else AMONG[number]
                out.append(rule(name=name, **({"above": None} | times | options), for_=hold, clear=2 - number % 2))
    return out


def long_history(windows):
    """Make days of values that wander between the limits, and sometimes stay away for long."""
    draw = random.Random(7)
    value: dict = {}
    away: dict = {}
    history = []
    for _ in range(windows):
        window = {}
        for place in ((metric, key) for metric in STATISTIC for key in KEYS):
            away[place] = away.get(place, 0) - 1 if draw.random() > 0.01 else draw.randint(1, 20)
            if draw.random() < 0.3:
                value[place] = draw.choice(VALUES) * SCALE[place[0]]
            if away[place] <= 0:
                window[place] = (value.get(place, 0.0), draw.choice([5, 1000, 1000, 1000]))
        history.append(window)
    return history


@pytest.mark.slow
def test_days_of_wandering_values_give_what_the_definition_gives_and_everything_happens():
    chosen, results = every_kind_of_rule(), results_of(long_history(150))
    got, want = run(chosen, results), wanted(chosen, results)
    for lines, rows in zip(got, want, strict=True):
        assert shown(lines, rows) == rows
    assert {row["reason"] for row in want[1]} == set(MOVES[1:])
    assert {row["reason"] for row in want[2]} == set(NOTICES[1:])
    levels = {row["level"] for row in want[0]}
    assert levels == {"ok", "warning", "critical", "insufficient", "no_data"}


@settings(max_examples=60, deadline=None)
@given(TWO_RULES, histories(), st.sets(st.integers(0, 29)))
def test_a_restart_anywhere_changes_no_byte(chosen, history, restarts):
    results = results_of(history)
    assert run(chosen, results, restarts) == run(chosen, results)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(rules(), histories())
def test_no_resolve_without_a_trigger_and_one_open_episode_a_fingerprint(chosen, history):
    open_episodes: dict[str, str] = {}
    for said in map(json.loads, run([chosen], results_of(history))[2]):
        if said["status"] == "resolved":
            assert open_episodes.pop(said["fingerprint"]) == said["episode"]
        else:
            assert open_episodes.setdefault(said["fingerprint"], said["episode"]) == said["episode"]


@settings(max_examples=60, deadline=None)
@given(TWO_RULES, histories())
def test_every_line_is_canonical_and_every_id_is_said_once(chosen, history):
    lines = run(chosen, results_of(history))
    for line in (line for file in lines for line in file):
        assert line == orjson.dumps(orjson.loads(line), option=orjson.OPT_SORT_KEYS) + b"\n"
    ids = [json.loads(line)["id"] for line in lines[2]]
    assert len(set(ids)) == len(ids)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(TWO_RULES, histories(), st.permutations(KEYS))
def test_a_key_is_judged_the_same_whichever_keys_are_beside_it(chosen, history, order):
    together = run(chosen, results_of(history))
    ends = {n for n, window in enumerate(history) if window}
    alone: tuple[list, list, list] = ([], [], [])
    for key in order:
        # A row that no rule judges keeps the window there when the key itself has none.
        windows = [{p: c for p, c in window.items() if p[1] == key} for window in history]
        for n in ends:
            windows[n].setdefault(("requests", KEYS[-1]), (0.0, 1))
        for file, lines in zip(alone, run(chosen, results_of(windows)), strict=True):
            file.extend(lines)
    for file, lines in zip(alone, together, strict=True):
        assert sorted({_but_for_company(line) for line in file}) == sorted(map(_but_for_company, lines))


def _but_for_company(line):
    """Give a line without how many keys were heard: that alone is about the others."""
    found = json.loads(line)
    heard = found.get("evidence", {}).pop("keys_heard", None)
    assert heard is None or heard > 0
    return orjson.dumps(found, option=orjson.OPT_SORT_KEYS) + b"\n" if heard else line


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    st.lists(rules(), min_size=2, max_size=4),
    st.lists(st.lists(st.sampled_from(VALUES), min_size=3, max_size=3), min_size=1, max_size=30),
)
def test_one_more_axis_gives_what_single_runs_give(chosen, history):
    compiled = [compile_rule(options, METRICS[0]) for options in chosen]

    def policy_of(options):
        return {
            "hold_warning": options.hold.for_warning.times,
            "hold_critical": options.hold.for_critical.times,
            "among_warning": options.hold.for_warning.among,
            "among_critical": options.hold.for_critical.among,
            "has_warning": options.thresholds.warning is not None,
            "has_critical": options.thresholds.critical is not None,
            "clear": options.clear,
            "repeat_ms": options.repeat_ms,
            "cooldown_ms": options.cooldown_ms,
            "sign": 1 if options.above else -1,
        }

    policies = [policy_of(options) for options in chosen]
    columns = {name: np.array([each[name] for each in policies])[:, None] for name in policies[0]}
    one = fresh = AlertColumns().take(np.full(3, -1))
    many = [fresh] * len(chosen)
    for n, window in enumerate(history):
        values = np.array(window) * 100
        levels = np.stack([made.levels(values, np.full(3, 1000)) for made in compiled])
        clears = np.stack([made.clears(values) for made in compiled])
        taken = step(one, Policy(**columns), levels, values, clears, n * LENGTH)
        one = taken.columns
        for i, policy in enumerate(policies):
            single = step(many[i], Policy(**policy), levels[i], values, clears[i], n * LENGTH)
            many[i] = single.columns
            for name in ("move", "notice", "severity"):
                assert np.broadcast_to(getattr(taken, name), levels.shape)[i].tolist() == getattr(single, name).tolist()
            for name in AlertColumns.__slots__:
                column = np.broadcast_to(getattr(one, name), levels.shape)[i]
                np.testing.assert_array_equal(column, getattr(single.columns, name))


def reasons(results, **changes):
    """Give (reason, severity) of what is said, by the number of the window."""
    alerting = Alerting(Settings((rule(**changes),)))
    said = [(n, notification) for n, result in enumerate(results) for notification in alerting.evaluate(result).notifications]
    return [(n, each.reason, each.severity) for n, each in said]


def test_a_warning_fires_at_the_second_evaluation_in_a_row_and_a_critical_one_at_once():
    assert reasons(rates(0.02, 0.0, 0.02, 0.02)) == [(3, "first", "warning")]
    assert reasons(rates(0.0, 0.06)) == [(1, "first", "critical")]


def test_n_of_m_evaluations_fire_where_so_many_in_a_row_would_not():
    now_and_then = rates(0.02, 0.0, 0.02, 0.0, 0.0, 0.0, 0.02, 0.0, 0.0, 0.02, 0.02)
    assert reasons(now_and_then, for_="2 of 3") == [(2, "first", "warning"), (4, "resolved", "warning")]
    assert reasons(now_and_then[:10], for_=2) == []
    # What resolved is over: it does not help the next one to fire.
    assert reasons(now_and_then, for_="2 of 5", cooldown_ms=0)[2:] == [(9, "first", "warning")]


def test_an_alert_whose_breaches_count_among_m_stays_pending_until_none_does():
    alerting = Alerting(Settings((rule(for_="2 of 3"),)))
    moved = [(n, each.reason) for n, r in enumerate(rates(0.02, 0.0, 0.0, 0.0)) for each in alerting.evaluate(r).transitions]
    assert moved == [(0, "pending"), (2, "calmed")]


def test_a_state_from_before_n_of_m_is_taken_and_one_of_another_for_forgets():
    alerting = Alerting(Settings((rule(for_="2 of 3"),)))
    for result in rates(0.02, 0.0):
        alerting.evaluate(result)
    state = unpack(zstandard.decompress(alerting.snapshot()))
    state["rules"]["high_error_rate"]["columns"].pop("recent")
    old = Alerting(Settings((rule(for_="2 of 3"),)))
    old.restore(zstandard.compress(pack(state), 1))
    assert [each.reason for each in old.evaluate(rates(0, 0, 0.0)[2]).transitions] == ["calmed"]
    plain = Alerting(Settings((rule(for_=3),)))
    plain.restore(alerting.snapshot())
    assert plain._books[0]._columns.recent.tolist() == [0]


def test_an_alert_escalates_at_once_and_comes_down_after_two_evaluations_that_are_not_critical():
    got = reasons(rates(0.02, 0.02, 0.06, 0.02, 0.02, 0.0, 0.0))
    assert got == [
        (1, "first", "warning"),
        (2, "escalated", "critical"),
        (4, "de-escalated", "warning"),
        (6, "resolved", "warning"),
    ]


def test_a_value_between_recovery_and_threshold_holds_the_alert_open():
    assert reasons(rates(0.06, 0.009, 0.009, 0.009, 0.008, 0.008)) == [
        (0, "first", "critical"),
        (2, "de-escalated", "warning"),
        (5, "resolved", "warning"),
    ]


def test_firing_again_within_the_cooldown_goes_on_with_the_episode_and_is_said_when_it_lasts():
    alerting = Alerting(Settings((rule(),)))
    said = [n for r in rates(0.06, 0.0, 0.0, 0.06, 0.06) for n in alerting.evaluate(r).notifications]
    assert [each.reason for each in said] == ["first", "resolved", "reopened"]
    assert len({each.episode for each in said}) == 1
    assert reasons(rates(0.06, 0.0, 0.0, 0.06, 0.0, 0.0)) == [(0, "first", "critical"), (2, "resolved", "critical")]


def test_an_open_alert_is_said_again_every_repeat_also_while_data_is_missing():
    got = reasons(rates(*[0.06] * 13, *[None] * 12))
    assert got == [(0, "first", "critical"), (12, "repeat", "critical"), (24, "repeat", "critical")]


def test_missing_and_insufficient_windows_never_resolve():
    few = [result_of(n, {("error_rate", '{"host":"a"}'): (0.0, 5)}) for n in (4, 5, 6)]
    assert reasons(rates(0.06, None, None, None) + few, min_count=100) == [(0, "first", "critical")]


def test_a_forgotten_key_that_fires_is_resolved_and_one_that_does_not_goes_silently():
    results = rates(0.06, None, None, None)
    assert reasons(results, forget_after_ms=600_000) == [(0, "first", "critical"), (3, "forgotten", "critical")]
    alerting = Alerting(Settings((rule(forget_after_ms=600_000),)))
    sizes = [sum(map(len, (e.keys for e in alerting.evaluate(r).evaluations))) for r in rates(0.0, None, None, None)]
    assert sizes == [1, 1, 1, 0]


def test_forgotten_keys_stand_in_order_among_the_others():
    def window(n, keys):
        return result_of(n, {("error_rate", f'{{"host":"{key}"}}'): (0.06, 1000) for key in keys})

    alerting = Alerting(Settings((rule(forget_after_ms=300_000),)))
    alerting.evaluate(window(0, "bd"))
    alerting.evaluate(window(1, "bd"))
    alerting.evaluate(window(2, "a"))
    decisions = alerting.evaluate(window(3, "ce"))
    assert [each.key["host"] for each in decisions.notifications] == ["b", "c", "d", "e"]
    assert [json.loads(each.key)["host"] for each in decisions.transitions] == ["b", "c", "d", "e"]


def test_a_window_without_any_row_is_not_judged():
    alerting = Alerting(Settings((rule(),)))
    alerting.evaluate(rates(0.06)[0])
    empty = MetricRows("error_rate", [], np.zeros(0, np.int64), {"ratio": np.zeros(0)}, np.zeros(0, np.bool_))
    for metrics in ({}, {"error_rate": empty}):
        assert alerting.evaluate(WindowResult("d", START, START + LENGTH, metrics, {})).evaluations == []


def test_a_rule_of_another_dataset_is_not_judged():
    alerting = Alerting(Settings((rule(),)))
    rows = rates(0.5)[0].metrics
    assert alerting.evaluate(WindowResult("other", START, START + LENGTH, rows, {})).evaluations == []


def test_counts_are_written_as_integers_and_missing_values_as_null():
    chosen = rule(metric="requests", statistic="count", above=Thresholds(critical=100))
    key = '{"host":"a"}'
    windows = [{("requests", key): (120.0, 120)}, {("requests", "{}"): (5.0, 5)}]
    evaluations, _, notifications = run([chosen], results_of(windows))
    assert b'"value":120,"window_end"' in evaluations[0]
    assert b'{"count":0,' in evaluations[1]
    assert b'"value":null,"window_end"' in evaluations[1]
    assert b'"threshold":100' in notifications[0]
    assert b'"value":120}' in notifications[0]


def restored(state, *chosen, **changes):
    alerting = Alerting(Settings(tuple(chosen), **changes))
    alerting.restore(state)
    return alerting


@pytest.fixture
def firing():
    alerting = Alerting(Settings((rule(),)))
    alerting.evaluate(rates(0.4)[0])
    return alerting.snapshot()


def test_a_changed_threshold_keeps_the_episode(firing):
    alerting = restored(firing, rule(above=Thresholds(warning=0.001, critical=0.01)))
    said = play(alerting, rates(0.4, 0.02, 0.0, 0.0)[1:])[2]
    assert [json.loads(line)["reason"] for line in said] == ["resolved"]
    assert json.loads(said[0])["episode"].endswith(f":{(START + LENGTH) // 1000}")


@pytest.mark.parametrize(
    "changes",
    [
        {"keys": "all"},
        {"metric": "requests", "statistic": "count"},
        {"above": None, "below": Thresholds(critical=0.5)},
        {"name": "other_name"},
    ],
)
def test_a_rule_that_judges_something_else_starts_afresh(firing, changes):
    alerting = restored(firing, rule(**changes))
    cells = {("error_rate", '{"host":"a"}'): (0.7, 1000), ("requests", '{"host":"a"}'): (0.0, 1000)}
    assert all(not block.before.any() for block in alerting.evaluate(result_of(1, cells)).evaluations)


def test_a_metric_with_other_groups_starts_afresh(firing):
    changed = MetricOptions(name="error_rate", kind="ratio", dataset="d", bad="x >= 1", group_by=("host", "path"))
    alerting = restored(firing, rule(), metrics=(changed, *METRICS[1:]))
    assert alerting.evaluate(result_of(1, {("latency", "{}"): (1.0, 1)})).evaluations == []


def test_a_rule_that_is_kept_goes_on_beside_one_that_is_removed(firing):
    alerting = restored(restored(firing, rule(name="new"), rule()).snapshot(), rule())
    decisions = alerting.evaluate(rates(0.4, 0.4)[1])
    assert decisions.evaluations[0].before.tolist() == [2]
    assert decisions.notifications == []


@pytest.mark.parametrize("changes", [{"name": "new"}, {"keys": "all"}, {"metric": "latency", "statistic": "p99"}])
def test_the_alerts_of_a_removed_rule_end_at_the_next_window_for_those_who_heard(firing, changes):
    other = rule(min_count=10**9, **changes)
    alerting = restored(restored(firing, other).snapshot(), other)  # also through a snapshot before any window
    first = Alerting(Settings((rule(),))).evaluate(rates(0.4)[0])
    decisions = alerting.evaluate(rates(0.4, 0.4)[1])
    moved, said = decisions.transitions[0], decisions.notifications[0]
    assert (moved.before, moved.after, moved.reason) == ("firing", "inactive", "rule_removed")
    assert (said.status, said.reason, said.rule, said.title[:15]) == (
        "resolved",
        "rule_removed",
        "high_error_rate",
        "High error rate",
    )
    before = first.notifications[0]
    assert (said.episode, said.dedup_key, said.channels) == (before.episode, before.dedup_key, before.channels)
    assert said.id != before.id
    assert decisions.messages[0].channels == before.channels
    assert len(decisions.notifications) == len(decisions.transitions) == 1
    assert alerting.evaluate(rates(0.4, 0.4, 0.4)[2]).notifications == []


def test_an_alert_of_a_removed_rule_that_nobody_heard_of_ends_without_a_word():
    quiet = Alerting(Settings((rule(for_=5),)))
    quiet.evaluate(rates(0.4)[0])
    decisions = restored(quiet.snapshot(), rule(name="new", min_count=10**9)).evaluate(rates(0.4, 0.4)[1])
    assert (decisions.transitions, decisions.notifications) == ([], [])


def test_a_snapshot_is_of_the_moment_and_the_same_until_the_next_window():
    alerting = Alerting(Settings((rule(), rule(name="again"))))
    empty = alerting.snapshot()
    alerting.evaluate(rates(0.4)[0])
    assert alerting.snapshot() == alerting.snapshot() != empty
    assert restored(alerting.snapshot(), rule(), rule(name="again")).snapshot() == alerting.snapshot()


def test_the_fingerprint_is_of_environment_key_and_rule_alone():
    alerting = Alerting(Settings((rule(),)))
    said = alerting.evaluate(rates(0.4)[0]).notifications[0]
    assert said.fingerprint == fingerprint_of("test", '{"host":"a"}', "high_error_rate")
    assert said.dedup_key == f"edgewatch/test/high_error_rate/{said.fingerprint}:{said.at // 1000}"
