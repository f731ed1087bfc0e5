"""A backtest against the evaluator that judges every window by every rule."""

from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flows.alert import Alerting
from flows.alert_state import STATES
from flows.backtest import Backtest
from flows.history import History
from flows.inhibit import InhibitOptions
from flows.kind_options import Baseline, NoData
from flows.kinds import expanded
from flows.metric import MetricOptions
from flows.mute import MuteOptions
from flows.policy import NO_SILENCES, PolicyOptions
from flows.route import RouteOptions
from flows.rule import Flap, Override, RuleOptions, Thresholds
from flows.slo import SloOptions
from flows.window import MetricRows, WindowOptions, WindowResult
from flows.window_folder import WindowFolder
from tests.flows.history import KEYS, LENGTH, METRICS, ROUTES, SCALE, START, VALUES, Settings, histories, rules
from tests.flows.test_history import written
from tests.flows.test_policy import Given, silenced

JOBS = MetricOptions(name="jobs", kind="ratio", dataset="e", bad="x >= 1", group_by=("host",))
EVERY = (*METRICS, JOBS)
PAGED = (*ROUTES[:1], RouteOptions(channels=("chat", "mail"), group_by=("rule",)))
SECOND = (RouteOptions(channels=("chat",), escalate_after_ms=600_000, escalate_to=("mail",)),)


@dataclass
class Case(Settings):
    """What of a configuration a backtest needs."""

    metrics: tuple[MetricOptions, ...] = EVERY
    policy: PolicyOptions = field(default_factory=PolicyOptions)
    window: WindowOptions = field(default_factory=WindowOptions)


def rows_of(metric, cells):
    """Make the rows of a metric; `cells` is key -> (value, count)."""
    keys = sorted(cells)
    values, counts = (np.array([cells[key][n] for key in keys]) for n in (0, 1))
    columns = {"latency": "p99", "requests": "count"}
    if metric in columns:
        statistics = {columns[metric]: values.astype(np.float64)}
    else:
        statistics = {"total": counts.astype(float), "bad": np.rint(values * counts), "ratio": values.astype(np.float64)}
    return MetricRows(metric, keys, counts.astype(np.int64), statistics, np.zeros(len(keys), np.bool_))


def windows_of(history, jobs):
    """Make the windows of both datasets."""
    out = []
    for dataset, cells_of in (("d", history), ("e", jobs)):
        for n, cells in enumerate(cells_of):
            by_metric: dict[str, dict] = {}
            for (metric, key), cell in cells.items():
                by_metric.setdefault(metric, {})[key] = cell
            metrics = {metric: rows_of(metric, found) for metric, found in by_metric.items()}
            out.append(WindowResult(dataset, START + n * LENGTH, START + (n + 1) * LENGTH, metrics, {}))
    return [result for result in out if result.metrics]


def one_by_one(case, silences, windows, start, end, alerting=None):
    """Judge every window by every rule; gives lines, messages and states, as `at_once` does."""
    alerting = alerting or Alerting(case, case.policy, silences)
    names = ["d", "e"]
    bonded = [name for bond in alerting.bonds for name in bond]
    ranks = {name: (bonded.index(name) if name in bonded else 9, name) for name in names}
    there = {(result.dataset, result.start): result for result in windows}
    for name in names:
        starts = [at for dataset, at in there if dataset == name]
        if starts and alerting.hears_silence(name):
            for at in range(min(starts), max(starts), LENGTH):
                there.setdefault((name, at), WindowResult(name, at, at + LENGTH, {}, {}))
    lines: list[tuple] = []
    messages: list[tuple] = []
    states: Counter = Counter()
    for (name, at), result in sorted(there.items(), key=lambda each: (each[0][1], ranks[each[0][0]])):
        if not start <= at < end:
            continue
        bond = next((bond for bond in alerting.bonds if name in bond), ())
        found = alerting.evaluate(result, beside=tuple(other for other in bond if other != name))
        lines += [(at, 0, each.rule, each.line()) for each in found.transitions]
        lines += [(at, 1, each.rule, each.line()) for each in found.notifications]
        messages += [(at, each) for each in found.messages]
        states.update(
            (each.rule, key, STATES[state])
            for each in found.evaluations
            for key, state in zip(each.keys, each.after.tolist(), strict=True)
        )
    return sorted(lines, key=lambda each: each[:3]), messages, states


def at_once(case, silences, history, start, end, state=None):
    backtest = Backtest(case, silences)
    if state is not None:
        backtest.restore(state)
    lines, messages = [], []
    for found in backtest.run(history, start, end):
        at = found.end - LENGTH
        lines += [(at, 0, each.rule, each.line()) for each in found.transitions]
        lines += [(at, 1, each.rule, each.line()) for each in found.notifications]
        messages += [(at, each) for each in found.messages]
    states = {
        (rule, key, STATES[state]): int(count)
        for rule, times in backtest.times.items()
        for key, counts in times.counts.items()
        for state, count in enumerate(counts.tolist())
        if count
    }
    return lines, messages, states


FLAPS = st.sampled_from([None, None, Flap(transitions=2, windows=4, leave=1), Flap(transitions=3, windows=6, leave=2)])


@st.composite
def thresholds(draw, name):
    """Draw a rule on one window, with what else a rule can have."""
    drawn = draw(rules(name))
    changes: dict = {"flap": draw(FLAPS), "notify": draw(st.sampled_from([True, True, True, False]))}
    if draw(st.booleans()) and drawn.metric == "error_rate":
        drawn = replace(drawn, metric=draw(st.sampled_from(["error_rate", "jobs"])))
        changes |= {"guard": draw(st.sampled_from(["none", "wilson"])), "min_bad": draw(st.sampled_from([0, 2]))}
    if draw(st.booleans()):
        side, scale = "above" if drawn.above else "below", SCALE.get(drawn.metric, 1)
        limit = draw(st.sampled_from([0.02, 0.5])) * scale
        changes["overrides"] = (Override(match={"host": "a"}, **{side: Thresholds(warning=limit, critical=limit)}),)
    return replace(drawn, **changes)


OTHERS = (
    RuleOptions(name="x_absence", kind="absence", metric="requests", after=2, keys="all"),
    RuleOptions(
        name="x_budget", kind="budget", metric="error_rate", statistic="ratio", budgets={"a": 0.02, "*": 0.4}, by="host"
    ),
    RuleOptions(name="x_budgets", kind="budget", metric="error_rate", statistic="ratio", budgets={"a": 0.02}, by="host"),
    RuleOptions(name="x_capacity", kind="capacity", metric="latency", statistic="p99", capacity=700.0),
    RuleOptions(
        name="x_change",
        kind="change",
        metric="error_rate",
        statistic="ratio",
        above=Thresholds(warning=2.0),
        baseline=Baseline(windows=3),
    ),
    RuleOptions(name="x_event", kind="event", metric="requests"),
)
SLO = SloOptions(name="good", metric="jobs", objective=0.99, keys="all")
INHIBITS = (
    InhibitOptions(source={"severity": "critical"}, target={"severity": "warning"}),
    InhibitOptions(source={"rule": "r0"}, target={"rule": "=~r1|x_.*"}, equal=("host",)),
    InhibitOptions(source={"rule": "=~r.*"}, target={"rule": "=~r.*"}, equal=("host",)),
)
MUTES = (
    MuteOptions(name="night", times=("00:30-01:00",)),
    MuteOptions(name="half", match={"rule": "r0"}, times=("00:00-02:00",)),
)


@st.composite
def cases(draw):
    """Draw a configuration."""
    chosen = [draw(thresholds(f"r{n}")) for n in range(draw(st.integers(1, 3)))]
    extra = list(draw(st.sets(st.sampled_from(range(len(OTHERS))), max_size=2)))
    every = [*chosen, *(OTHERS[n] for n in sorted(extra))]
    slos = (SLO,) if draw(st.integers(0, 3)) == 0 else ()
    others = [each.name for each in chosen[1:]] + [f"slo:{each.name}" for each in slos]
    if draw(st.integers(0, 3)) == 0:
        every[0] = replace(every[0], no_data=NoData(alert=True, after=2))
        others.append(f"no_data:{every[0].name}")
    if others and draw(st.booleans()):
        members = (every[0].name, draw(st.sampled_from(others)))
        every.append(RuleOptions(name="x_both", kind="composite", **{draw(st.sampled_from(["all_", "any_"])): members}))
    quiet = draw(st.booleans())
    policy = PolicyOptions(
        inhibits=() if quiet else tuple(draw(st.lists(st.sampled_from(INHIBITS), max_size=2))),
        mutes=() if quiet else tuple(draw(st.lists(st.sampled_from(MUTES), max_size=1))),
        modes={"pager": "storm", "chat": "digest"},
        pagers=frozenset({"pager"}),
    )
    known = {metric.name: metric for metric in EVERY}
    made = tuple(expanded(every, slos, known))
    return Case(made, slos=slos, routes=draw(st.sampled_from([ROUTES, PAGED, SECOND])), policy=policy)


@st.composite
def jobs(draw):
    """Draw windows of the other dataset."""
    cell = st.one_of(st.none(), st.tuples(st.sampled_from(VALUES), st.sampled_from([5, 100, 1000])))
    keys = draw(st.sets(st.sampled_from(KEYS[:3]), max_size=2))
    length = draw(st.integers(0, 20))
    drawn = {key: draw(st.lists(cell, min_size=length, max_size=length)) for key in sorted(keys)}
    return [{("jobs", key): cells[n] for key, cells in drawn.items() if cells[n] is not None} for n in range(length)]


SILENCES = st.lists(
    st.builds(lambda first, length: silenced(first, first + length, host="a"), st.integers(0, 15), st.integers(1, 9)),
    max_size=1,
)


DRAWN = (cases(), histories(30), jobs(), SILENCES, st.sampled_from([1, 40, 2_000_000]), st.integers(0, 3))


def agree(folder, drawn):
    case, history, other, silences, cells, first = drawn
    windows = windows_of(history, other)
    given_silences = Given(tuple(silences)) if silences else NO_SILENCES
    store = WindowFolder(written(folder, windows))
    start, end = START + first * LENGTH, START + 50 * LENGTH
    bonds = Alerting(case, case.policy).bonds
    found = at_once(case, given_silences, History(store, EVERY, bonds, cells=cells), start, end)
    want = one_by_one(case, given_silences, windows, start, end)
    assert [line for *_, line in found[0]] == [line for *_, line in want[0]]
    assert found == want


def example_of(rule, values, routes, mutes=()):
    """Draw by hand: one rule on the latency, which has these values; None is a window of other metrics alone."""
    other = {("requests", "{}"): (5.0, 5)}
    history = [other if value is None else other | {("latency", "{}"): (value, 100)} for value in values]
    made = tuple(expanded([rule], (), {metric.name: metric for metric in EVERY}))
    return Case(made, routes=routes, policy=PolicyOptions(mutes=mutes)), history, [], [], 2_000_000, 0


CAPACITY = OTHERS[3]
SECOND_AT_ONCE = (replace(SECOND[0], escalate_after_ms=LENGTH),)


# Said of a window without a row of the rule: by a second route, of an alert that is forgotten, when a mute time is over.
@pytest.mark.slow
@example(example_of(CAPACITY, [900.0, None, None, None], SECOND_AT_ONCE))
@example(example_of(replace(CAPACITY, forget_after_ms=LENGTH), [900.0, None, None, None], ROUTES))
@example(example_of(CAPACITY, [*[100.0] * 8, 900.0, 900.0, *[None] * 5], ROUTES, MUTES[:1]))
@settings(max_examples=15, deadline=None)
@given(st.tuples(*DRAWN))
def test_a_backtest_decides_as_if_every_window_went_through_every_rule(tmp_path_factory, drawn):
    agree(tmp_path_factory.mktemp("run"), drawn)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.tuples(*DRAWN), st.integers(0, 20))
def test_a_backtest_goes_on_from_alerts_as_they_were(tmp_path_factory, drawn, before):
    case, history, other, silences, cells, _ = drawn
    windows = windows_of(history, other)
    given_silences = Given(tuple(silences)) if silences else NO_SILENCES
    start, end = START + before * LENGTH, START + 50 * LENGTH
    alerting = Alerting(case, case.policy, given_silences)
    one_by_one(case, given_silences, windows, START, start, alerting)
    state = alerting.snapshot()
    want = one_by_one(case, given_silences, windows, start, end, alerting)
    store = WindowFolder(written(tmp_path_factory.mktemp("run"), windows))
    assert at_once(case, given_silences, History(store, EVERY, alerting.bonds, cells=cells), start, end, state) == want


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.tuples(*DRAWN))
def test_a_backtest_decides_alike_whatever_the_rules_and_the_policy(tmp_path_factory, drawn):
    agree(tmp_path_factory.mktemp("run"), drawn)
