"""The columns of the state machine against the definition of threshold rules, recomputed object by object."""

import json
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.alert import Alerting
from flows.alert_state import AlertColumns, Policy, step
from flows.metric import MetricOptions
from flows.notify import RouteOptions
from flows.rule import Hold, RuleOptions, Thresholds
from flows.window import MetricRows, WindowResult
from tests.acceptance import alerts as definition

START = 1_764_547_200_000
LENGTH = 300_000
METRICS = (
    MetricOptions(name="error_rate", kind="ratio", dataset="d", bad="x >= 1", group_by=("host",)),
    MetricOptions(name="latency", kind="distribution", dataset="d", value="x", unit="ms"),
)
ROUTES = (RouteOptions(severity=("critical",), channels=("pager", "chat")), RouteOptions(channels=("chat", "mail")))
KEYS = ["{}", '{"host":"a"}', '{"host":"b"}', '{"host":"(other)"}']


@dataclass
class Settings:
    """What of a configuration the rules need."""

    rules: tuple
    environment: str = "test"
    labels: dict = field(default_factory=dict)
    metrics: tuple = METRICS
    routes: tuple = ROUTES


def toml_of(rule):
    """Give the rule as the configuration file has it."""
    out = {
        "name": rule.name,
        "metric": rule.metric,
        "statistic": rule.statistic,
        "min_count": rule.min_count,
        "clear": rule.clear,
    }
    side = "above" if rule.above else "below"
    out[side] = {n: v for n in ("warning", "critical") if (v := getattr(rule.thresholds, n)) is not None}
    out["for"] = rule.for_ if isinstance(rule.for_, int) else {"warning": rule.for_.warning, "critical": rule.for_.critical}
    for name in ("repeat", "cooldown", "forget_after"):
        out[name] = f"{getattr(rule, name + '_ms') // 1000}s"
    if rule.keys:
        out["keys"] = rule.keys
    if rule.recover is not None:
        out["recover"] = rule.recover
    return out


def config_of(rules):
    return {
        "environment": "test",
        "metric": [{"name": m.name, "dataset": m.dataset, "group_by": list(m.group_by)} for m in METRICS],
        "route": [{"severity": list(r.severity) or ["warning", "critical"], "channels": list(r.channels)} for r in ROUTES],
        "rule": [toml_of(rule) for rule in rules],
    }


def rows_of(metric, statistic, cells):
    """Make rows of (key, value, count) cells."""
    cells = sorted(cells)
    return MetricRows(
        metric,
        [key for key, _, _ in cells],
        np.array([count for _, _, count in cells], np.int64),
        {statistic: np.array([value for _, value, _ in cells], np.float64)},
        np.zeros(len(cells), np.bool_),
    )


def results_of(history):
    """Make window results of a history: per window a dict (metric, key) -> (value, count)."""
    out = []
    for n, cells in enumerate(history):
        metrics = {}
        for metric, statistic in (("error_rate", "ratio"), ("latency", "p99")):
            chosen = [(key, *cell) for (name, key), cell in cells.items() if name == metric]
            if chosen:
                metrics[metric] = rows_of(metric, statistic, chosen)
        out.append(WindowResult("d", START + n * LENGTH, START + (n + 1) * LENGTH, metrics, {}))
    return out


def lines_of(results):
    """Give the rows as `windows.ndjson` has them."""
    return [
        {
            "window_end": definition.iso(result.end // 1000),
            "metric": name,
            "key": json.loads(key),
            "statistic": statistic,
            "value": value,
            "count": count,
        }
        for result in results
        for name, rows in result.metrics.items()
        for statistic, column in rows.statistics.items()
        for key, value, count in zip(rows.keys, column.tolist(), rows.counts.tolist(), strict=True)
    ]


def run(rules, results, restart_at=()):
    """Run the rules; gives evaluations, transitions, notifications as rows of files."""
    alerting = Alerting(Settings(tuple(rules)))
    out: tuple[list, list, list] = ([], [], [])
    for n, result in enumerate(results):
        if n in restart_at:
            state = alerting.snapshot()
            alerting = Alerting(Settings(tuple(rules)))
            alerting.restore(state)
        decisions = alerting.evaluate(result)
        out[0].extend(json.loads(line) for block in decisions.evaluations for line in block.lines().splitlines())
        out[1].extend(json.loads(transition.line()) for transition in decisions.transitions)
        out[2].extend(json.loads(notification.line()) for notification in decisions.notifications)
    return out


def by_place(rows):
    return sorted(rows, key=lambda r: (r.get("at") or r["window_end"], r["rule"], definition.canonical(r["key"])))


def wanted(rules, results):
    out = definition.reference(config_of(rules), lines_of(results))
    for rows, name in zip(out, ("window_end", "at", "at"), strict=True):
        for row in rows:
            row[name] = definition.iso(row[name])
    return out


VALUE = st.sampled_from([0.0, 0.004, 0.008, 0.01, 0.011, 0.03, 0.04, 0.05, 0.06, 0.5, 0.68, 0.7, 0.75, 0.76, 0.8, 1.0])
CELL = st.tuples(VALUE, st.sampled_from([5, 100, 100, 100, 1000]))
WINDOW = st.dictionaries(st.tuples(st.sampled_from(["error_rate", "latency"]), st.sampled_from(KEYS)), CELL, max_size=6)
HISTORY = st.lists(st.one_of(WINDOW, st.just({})), min_size=1, max_size=40)
LIMITS = st.sampled_from([(0.01, 0.05), (0.01, None), (None, 0.05), (0.03, 0.03)])
MINUTES = st.sampled_from([0, 5, 10, 15, 30, 60])


@st.composite
def rule(draw, name="r"):
    above = draw(st.booleans())
    warning, critical = draw(LIMITS)
    if not above:
        warning, critical = (None if v is None else 1 - v for v in (warning, critical))
    limits = Thresholds(warning=warning, critical=critical)
    hold = draw(st.one_of(st.integers(1, 3), st.builds(Hold, warning=st.integers(1, 3), critical=st.integers(1, 3))))
    metric = draw(st.sampled_from(["error_rate", "latency"]))
    return RuleOptions(
        name=name,
        metric=metric,
        statistic="ratio" if metric == "error_rate" else "p99",
        keys=draw(st.sampled_from(["", "groups", "total", "all"])),
        above=limits if above else None,
        below=None if above else limits,
        min_count=draw(st.sampled_from([0, 50])),
        for_=hold,
        clear=draw(st.integers(1, 3)),
        repeat_ms=draw(MINUTES) * 60_000,
        cooldown_ms=draw(MINUTES) * 60_000,
        forget_after_ms=draw(st.sampled_from([600_000, 86_400_000])),
    )


@settings(max_examples=400, deadline=None)
@given(st.tuples(rule("r1"), rule("r2")), HISTORY)
def test_any_history_gives_what_the_definition_gives(rules, history):
    results = results_of(history)
    for name, got, want in zip(
        ("evaluations", "transitions", "notifications"), run(rules, results), wanted(rules, results), strict=True
    ):
        ordered = by_place(want)
        shown = [{key: row[key] for key in should} for row, should in zip(by_place(got), ordered, strict=False)]
        assert (name, shown, len(got)) == (name, ordered, len(want))


@settings(max_examples=60, deadline=None)
@given(st.tuples(rule("r1"), rule("r2")), HISTORY, st.sets(st.integers(0, 39)))
def test_a_restart_anywhere_changes_nothing(rules, history, restarts):
    results = results_of(history)
    assert run(rules, results, restarts) == run(rules, results)


@settings(max_examples=60, deadline=None)
@given(rule(), HISTORY)
def test_no_resolve_without_a_trigger_and_one_open_episode_a_fingerprint(chosen, history):
    open_episodes: dict[str, str] = {}
    for said in run([chosen], results_of(history))[2]:
        if said["status"] == "resolved":
            assert open_episodes.pop(said["fingerprint"]) == said["episode"]
        else:
            assert open_episodes.setdefault(said["fingerprint"], said["episode"]) == said["episode"]


@settings(max_examples=40, deadline=None)
@given(st.lists(rule(), min_size=2, max_size=4), st.lists(VALUE, min_size=1, max_size=30))
def test_one_more_axis_gives_what_single_runs_give(rules, values):
    def policy(shape):
        def of(pick, dtype):
            return np.array([pick(r) for r in rules], dtype).reshape(shape)

        return Policy(
            hold_warning=of(lambda r: r.hold.warning, np.int32),
            hold_critical=of(lambda r: r.hold.critical, np.int32),
            has_warning=of(lambda r: r.thresholds.warning is not None, np.bool_),
            has_critical=of(lambda r: r.thresholds.critical is not None, np.bool_),
            clear=of(lambda r: r.clear, np.int32),
            repeat_ms=of(lambda r: r.repeat_ms, np.int64),
            cooldown_ms=of(lambda r: r.cooldown_ms, np.int64),
        )

    def play(policy, shape):
        columns = AlertColumns().take(np.full(int(np.prod(shape)), -1))
        columns = AlertColumns(**{name: getattr(columns, name).reshape(shape) for name in AlertColumns.__slots__})
        moves = []
        for n, value in enumerate(values):
            level = np.where(value > 0.05, 2, np.where(value > 0.01, 1, 0))
            cell = np.full(shape, value)
            taken = step(columns, policy, np.full(shape, level, np.int8), cell, cell <= 0.008, n * LENGTH)
            columns = taken.columns
            moves.append((taken.move.copy(), taken.notice.copy()))
        return moves

    together = play(policy((len(rules), 1)), (len(rules), 3))
    for i in range(len(rules)):
        single = Policy(
            **{name: getattr(policy((len(rules),)), name)[i : i + 1] for name in Policy.__slots__ if name != "sign"}
        )
        alone = play(single, (1,))
        assert [(int(m[i, 2]), int(s[i, 2])) for m, s in together] == [(int(m[0]), int(s[0])) for m, s in alone]


def rates(*values):
    return results_of([{("error_rate", '{"host":"a"}'): (value, 1000)} for value in values])


def simple(**changes):
    given_: dict[str, object] = {
        "name": "high_error_rate",
        "metric": "error_rate",
        "statistic": "ratio",
        "above": Thresholds(warning=0.01, critical=0.05),
    }
    return RuleOptions(**(given_ | changes))  # type: ignore[arg-type]


def test_a_life_of_an_alert_in_the_words_people_read():
    said = run([simple()], rates(0.0, 0.02, 0.02, 0.4, 0.02, 0.02, 0.0, 0.0))[2]
    assert [(n["reason"], n["severity"], n["title"]) for n in said] == [
        ("first", "warning", "High error rate: a: 2 %"),
        ("escalated", "critical", "High error rate: a: 40 %"),
        ("de-escalated", "warning", "High error rate: a: 2 %"),
        ("resolved", "warning", "High error rate: a: back to normal"),
    ]
    assert said[1]["text"] == (
        "error_rate was 40 % over 1000 records, 00:15-00:20 UTC. Thresholds: critical above 5 %, warning above 1 %;"
        " clear at 0.8 %. Escalated to critical."
    )
    assert said[3]["text"].endswith("Resolved after 30 min: worst 40 %, 5 bad windows.")
    assert said[0]["channels"] == ["chat", "mail"]
    assert said[3]["channels"] == ["chat", "mail", "pager"]
    assert said[0]["labels"] == {"host": "a"}
    assert said[0]["evidence"] == {"contribution": None, "exemplars": []}


def test_a_window_without_any_row_is_not_judged():
    alerting = Alerting(Settings((simple(),)))
    decisions = alerting.evaluate(WindowResult("d", START, START + LENGTH, {}, {}))
    assert decisions.evaluations == []


def test_a_rule_of_another_dataset_is_not_judged():
    alerting = Alerting(Settings((simple(),)))
    rows = {"error_rate": rows_of("error_rate", "ratio", [('{"host":"a"}', 0.5, 1000)])}
    assert alerting.evaluate(WindowResult("other", START, START + LENGTH, rows, {})).evaluations == []


def test_a_changed_threshold_keeps_the_episode_and_a_changed_metric_starts_afresh():
    results = rates(0.4, 0.02, 0.02)
    first = Alerting(Settings((simple(),)))
    episode = first.evaluate(results[0]).notifications[0].episode
    state = first.snapshot()
    second = Alerting(Settings((simple(above=Thresholds(warning=0.001, critical=0.01)),)))
    second.restore(state)
    decisions = second.evaluate(results[1])
    assert decisions.notifications == []
    assert decisions.evaluations[0].before.tolist() == [2]
    resolved = [n for r in rates(0.0, 0.0, 0.0, 0.0)[2:] for n in second.evaluate(r).notifications]
    assert [(n.episode, n.status) for n in resolved] == [(episode, "resolved")]
    third = Alerting(Settings((simple(keys="all"),)))
    third.restore(state)
    assert third.evaluate(results[1]).evaluations[0].before.tolist() == [0]


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"above": None}, "above", "exactly one of above and below"),
        ({"below": Thresholds(warning=1.0)}, "above", "exactly one of above and below"),
        ({"above": Thresholds()}, "above", "needs warning, critical or both"),
        ({"above": Thresholds(warning=5, critical=1)}, "above", "milder than warning"),
        ({"recover": 0.02}, "recover", "bad side"),
        ({"keys": "some"}, "keys", "groups, total, all"),
        ({"for_": 0}, "for", "at least 1"),
        ({"for_": Hold(warning=0)}, "for", "at least 1"),
        ({"clear": 0}, "clear", "at least 1"),
        ({"min_count": -1}, "min_count", "negative"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(changes, key, words):
    problems = list(simple(**changes).problems())
    assert [name for name, _ in problems] == [key]
    assert words in problems[0][1]
