"""Each kind of rule against a recomputation of its value and level, object by object, with restarts anywhere."""

import itertools
import json
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.alert import Alerting
from flows.hold import Hold
from flows.kind_options import Baseline, NoData
from flows.kinds import expanded, metrics_of
from flows.metric import MetricOptions
from flows.output import rfc3339
from flows.rule import RuleOptions, Thresholds
from flows.slo import SloOptions, pairs_of
from flows.window import MetricRows, WindowResult
from tests.flows.history import START, Settings

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
STEP = 5 * MINUTE
METRICS = {
    each.name: each
    for each in (
        MetricOptions(name="requests", kind="count", dataset="d", group_by=("host",)),
        MetricOptions(name="errors", kind="ratio", dataset="d", bad="x >= 1", group_by=("host",)),
        MetricOptions(name="hits", kind="ratio", dataset="d", good="x >= 1", group_by=("host",)),
        MetricOptions(name="time", kind="distribution", dataset="d", value="x", unit="ms", group_by=("host", "path")),
    )
}
HOSTS = ("a", "b", "c")


def key(**labels):
    return json.dumps(labels, separators=(",", ":"), sort_keys=True)


def window(end, cells, step=STEP):
    """Make the window that ends at `end`; `cells` is metric -> key -> statistics with the count of records under `n`."""
    metrics = {}
    for metric, rows in cells.items():
        if rows:
            keys = sorted(rows)
            names = [name for name in rows[keys[0]] if name != "n"]
            columns = {name: np.array([rows[k][name] for k in keys], np.float64) for name in names}
            counts = np.array([rows[k]["n"] for k in keys], np.int64)
            metrics[metric] = MetricRows(metric, keys, counts, columns, np.zeros(len(keys), np.bool_))
    return WindowResult("d", end - step, end, metrics, {})


def rows_of(results, rules, slos=(), restarts=()):
    """Run rules over windows; gives (evaluations, notifications) as plain rows."""
    config = Settings(tuple(expanded(rules, slos, METRICS)), metrics=tuple(METRICS.values()), slos=tuple(slos))
    alerting = Alerting(config)
    evaluations, said = [], []
    for number, result in enumerate(results):
        if number in restarts:
            state = alerting.snapshot()
            alerting = Alerting(config)
            alerting.restore(state)
        decisions = alerting.evaluate(result)
        evaluations += [json.loads(line) for each in decisions.evaluations for line in each.lines().splitlines()]
        said += [json.loads(each.line()) for each in decisions.notifications]
    return evaluations, said


def rule(**changes):
    return RuleOptions(**({"name": "r", "metric": "requests", "statistic": "rate"} | changes))


def counts(rates):
    """Make rows of a count: key -> rate."""
    return {k: {"rate": rate, "count": rate * 300, "n": int(rate * 300)} for k, rate in rates.items()}


def levels(evaluations, of="{}", name="r"):
    return [(row["value"], row["level"]) for row in evaluations if row["key"] == json.loads(of) and row["rule"] == name]


RATES = st.sampled_from([0.0, 1.0, 2.0, 2.5, 10.0, 100.0])
SERIES = st.lists(
    st.tuples(st.integers(1, 4), st.dictionaries(st.sampled_from([key(), *(key(host=h) for h in HOSTS)]), RATES)), max_size=30
)
RESTARTS = st.sets(st.integers(0, 30))


def spaced(series):
    """Make windows of a series: (how many windows on, rates)."""
    ends = itertools.accumulate((step for step, _ in series), initial=0)
    return [
        window(START + end * STEP, {"requests": counts(rates)})
        for end, (_, rates) in zip(itertools.islice(ends, 1, None), series, strict=True)
    ]


def value_of(baseline, now, earlier):
    """Give what a change is, or None where too little is known."""
    if len(earlier) < baseline.needs:
        return None
    middle = statistics.median(earlier)
    if baseline.measure == "ratio":
        return (1.0 if now == 0 else 1000.0) if middle == 0 else min(now / middle, 1000.0)
    spread = max(1.4826 * statistics.median(abs(x - middle) for x in earlier), 0.05 * abs(middle))
    if now == middle:
        return 0.0
    return max(-1000.0, min(1000.0, (now - middle) / spread)) if spread else (1000.0 if now > middle else -1000.0)


BASELINES = st.one_of(
    st.builds(Baseline, windows=st.integers(1, 6), at_least=st.integers(0, 1)),
    st.builds(Baseline, windows=st.integers(3, 6), measure=st.just("deviation")),
)


@settings(max_examples=150, deadline=None)
@given(SERIES, BASELINES, RESTARTS)
def test_a_change_is_measured_against_the_median_of_the_windows_before(series, baseline, restarts):
    results = spaced(series)
    options = rule(kind="change", baseline=baseline, keys="all", above=Thresholds(warning=2, critical=5))
    evaluations, _ = rows_of(results, [options], restarts=restarts)
    past: dict[tuple[str, int], float] = {}
    want = []
    for result in results:
        rows = result.metrics.get("requests")
        for number, name in enumerate(rows.keys if rows else ()):
            now = rows.statistics["rate"][number]
            earlier = [
                past[name, result.end - n * STEP]
                for n in range(1, baseline.looks_at + 1)
                if (name, result.end - n * STEP) in past
            ]
            changed = value_of(baseline, now, earlier)
            level = "insufficient" if changed is None else "critical" if changed > 5 else "warning" if changed > 2 else "ok"
            want.append((result.end, name, changed, level))
        for number, name in enumerate(rows.keys if rows else ()):
            past[name, result.end] = rows.statistics["rate"][number]
    got = [
        (row["window_end"], key(**row["key"]), row["value"], row["level"]) for row in evaluations if row["level"] != "no_data"
    ]
    assert [row[1:] for row in got] == [
        (name, pytest.approx(changed) if changed is not None else None, level) for _, name, changed, level in want
    ]


def test_a_change_against_yesterday_looks_at_the_same_time_and_survives_a_gap():
    baseline = Baseline(against="day", windows=2, at_least=1)
    options = rule(kind="change", baseline=baseline, keys="total", above=Thresholds(warning=2, critical=5))
    times = [0, STEP, DAY, DAY + STEP, 2 * DAY, 2 * DAY + 2 * STEP, 3 * DAY + STEP]
    rates = [1, 10, 3, 10, 8, 1, 100]
    results = [window(START + at, {"requests": counts({key(): rate})}) for at, rate in zip(times, rates, strict=True)]
    for restarts in ((), range(len(times))):
        evaluations, said = rows_of(results, [options], restarts=set(restarts))
        assert [value for value, _ in levels(evaluations)] == [None, None, 3.0, 1.0, 4.0, None, 10.0]
    assert [(n["reason"], n["severity"], n["value"]) for n in said] == [("first", "critical", 10.0)]
    assert said[0]["evidence"]["baseline"] == {
        "against": "the median of the same time on 2 days before",
        "value": 10.0,
        "measured": 100.0,
    }
    assert said[0]["title"] == "R: 10 times the baseline (critical above 5 times)"


def test_too_few_records_neither_change_nor_become_a_baseline():
    options = rule(kind="change", baseline=Baseline(windows=1), keys="total", min_count=100, above=Thresholds(warning=2))
    rates = [1, 0.1, 10, 10]
    results = [window(START + n * STEP, {"requests": counts({key(): rate})}) for n, rate in enumerate(rates)]
    assert [level for _, level in levels(rows_of(results, [options])[0])] == [
        "insufficient",
        "insufficient",
        "insufficient",
        "ok",
    ]


@settings(max_examples=100, deadline=None)
@given(SERIES, st.integers(1, 3), st.sampled_from(["total", "groups"]), RESTARTS)
def test_an_absence_counts_the_windows_without_a_record_and_tells_a_silent_source_from_a_silent_key(
    series, after, keys, restarts
):
    results = []
    for number, (_, rates) in enumerate(series):
        results.append(window(START + number * STEP, {"requests": counts(rates)} if rates else {}))
    evaluations, _ = rows_of(results, [rule(kind="absence", statistic="", keys=keys, after=after)], restarts=restarts)
    silent: dict[str, int] = {}
    ever: set[str] = set()
    want = []
    for _, rates in series:
        heard = {name for name, rate in rates.items() if rate and (keys == "groups" or name == key())}
        ever |= heard
        # A window of a silent source says nothing of a key; one with records says nothing of a group that never had one.
        judged = ever | ({key()} if keys == "total" else set()) if rates else {key()}
        for name in {key(), *heard, *silent}:
            silent[name] = 0 if name in heard else silent.get(name, 0) + (name in judged)
        for name in sorted(silent):
            level = "critical" if silent[name] >= after else "ok"
            want.append((json.loads(name), silent[name], level if name in judged else "insufficient"))
    assert [(row["key"], row["value"], row["level"]) for row in evaluations] == want


def test_a_silent_source_raises_one_alert_that_its_first_record_ends_and_its_keys_stay_quiet():
    talk = {key(): 1.0, key(host="a"): 1.0, key(host="b"): 1.0}
    quiet_key = {name: rate for name, rate in talk.items() if name != key(host="b")}
    series = [talk, {}, {}, {}, {}, talk, quiet_key, quiet_key, quiet_key, talk]
    results = [window(START + n * STEP, {"requests": counts(rates)} if rates else {}) for n, rates in enumerate(series)]
    _, said = rows_of(results, [rule(kind="absence", statistic="", keys="groups", after=2)])
    at = [(n["at"], n["reason"], n["key"], n["evidence"]["absence"]["silent"]) for n in said]
    ends = [rfc3339(START + n * STEP) for n in range(len(series))]
    assert at == [
        (ends[2], "first", {}, "source"),
        (ends[5], "resolved", {}, "key"),
        (ends[7], "first", {"host": "b"}, "key"),
        (ends[9], "resolved", {"host": "b"}, "key"),
    ]
    assert [n["title"] for n in said] == [
        "R: no record from the whole source for 2 windows (critical from 2 windows on)",
        "R: records again",
        "R on b: no record for 2 windows (critical from 2 windows on)",
        "R on b: records again",
    ]


def test_a_key_that_comes_back_a_little_after_its_source_was_not_silent_for_as_long():
    talk = {key(): 1.0, key(host="a"): 1.0, key(host="b"): 1.0}
    late = {name: rate for name, rate in talk.items() if name != key(host="b")}
    series = [talk, {}, {}, {}, late, talk]
    results = [window(START + n * STEP, {"requests": counts(rates)} if rates else {}) for n, rates in enumerate(series)]
    evaluations, said = rows_of(results, [rule(kind="absence", statistic="", keys="groups", after=2)])
    assert [value for value, _ in levels(evaluations, key(host="b"))] == [0, 0, 0, 0, 1, 0]
    assert [(n["reason"], n["key"]) for n in said] == [("first", {}), ("resolved", {})]


def test_no_data_of_a_rule_is_an_alert_of_its_own_and_the_rule_itself_is_held():
    options = rule(keys="total", above=Thresholds(critical=5), no_data=NoData(after=2, alert=True))
    others = {"errors": {key(): {"ratio": 0.0, "bad": 0, "n": 1}}}
    cells = [{"requests": counts({key(): 9.0})}, others, others, others, {"requests": counts({key(): 1.0})}]
    evaluations, said = rows_of([window(START + n * STEP, each) for n, each in enumerate(cells)], [options])
    assert [(n["rule"], n["reason"]) for n in said] == [("r", "first"), ("no_data:r", "first"), ("no_data:r", "resolved")]
    assert [level for _, level in levels(evaluations)] == ["critical", "no_data", "no_data", "no_data", "ok"]
    assert said[1]["title"] == "No data for r: no record for 2 windows (warning from 2 windows on)"


def test_capacity_is_the_share_used_with_the_factor_to_scale_by():
    options = rule(kind="capacity", keys="total", capacity=50.0, target=0.5)
    results = [window(START + n * STEP, {"requests": counts({key(): rate})}) for n, rate in enumerate([10, 40, 46, 20, 20])]
    evaluations, said = rows_of(results, [options])
    assert levels(evaluations) == [(0.2, "ok"), (0.8, "warning"), (0.92, "critical"), (0.4, "ok"), (0.4, "ok")]
    assert said[0]["evidence"]["capacity"] == {"capacity": 50.0, "measured": 46.0, "desired_factor": 1.84}
    assert said[0]["title"] == "R: 92 % of capacity (critical above 90 %)"
    assert said[-1]["reason"] == "resolved"


def test_each_endpoint_has_its_budget_and_those_without_one_are_not_judged():
    budgets = {"/a": 100.0, "/b": 1000.0}
    options = rule(kind="budget", metric="time", statistic="p95", budgets=budgets, for_=1, min_count=0)
    rows = {key(host="h", path=path): {"p95": 500.0, "n": 10} for path in ("/a", "/b", "/c")}
    evaluations, said = rows_of([window(START, {"time": rows})], [options])
    assert [(row["key"]["path"], row["level"]) for row in evaluations] == [("/a", "critical"), ("/b", "ok")]
    assert [(n["threshold"], n["evidence"]["budget"]) for n in said] == [(200.0, {"endpoint": "/a", "limit": 100.0})]
    other = rule(kind="budget", metric="time", statistic="p95", budgets={"*": 400.0, "/a": 600.0}, critical_at=0.0)
    evaluations, _ = rows_of([window(START, {"time": rows})], [other])
    assert [(row["key"]["path"], row["level"]) for row in evaluations] == [("/a", "ok"), ("/b", "warning"), ("/c", "warning")]


@pytest.mark.parametrize(
    ("every", "want"),
    [
        (True, [("a", 1, "ok"), ("a", 2, "warning"), ("b", 1, "ok")]),
        (False, [("a", 1, "warning"), ("a", 2, "critical"), ("b", 1, "warning")]),
    ],
)
def test_a_composite_is_the_mildest_of_all_or_the_worst_of_any_and_a_total_counts_for_every_key(every, want):
    busy = rule(name="busy", keys="total", above=Thresholds(warning=5), for_=Hold(warning=1, critical=1))
    errors = rule(name="errs", metric="errors", statistic="ratio", above=Thresholds(critical=0.5), for_=1)
    names = {"all_" if every else "any_": ("busy", "errs")}
    both = rule(name="both", metric="", statistic="", kind="composite", **names)
    ratio = {key(host="a"): {"ratio": 0.9, "bad": 9, "n": 10}, key(host="b"): {"ratio": 0.1, "bad": 1, "n": 10}}
    calm = {k: row | {"ratio": 0.0, "bad": 0} for k, row in ratio.items()}
    cells = [{"requests": counts({key(): 9.0}), "errors": calm}, {"requests": counts({key(): 9.0}), "errors": ratio}]
    evaluations, said = rows_of([window(START + n * STEP, each) for n, each in enumerate(cells)], [busy, errors, both])
    got = [(row["key"]["host"], row["value"], row["level"]) for row in evaluations if row["rule"] == "both"]
    assert [got[0], got[2], got[3]] == want
    composites = [n for n in said if n["rule"] == "both" and n["key"] == {"host": "a"}]
    assert composites[-1]["evidence"]["composite"]["rules"] == {"busy": "warning", "errs": "critical"}


def test_a_rule_that_does_not_notify_is_judged_and_written_down_and_says_nothing():
    options = rule(keys="total", above=Thresholds(critical=5), notify=False)
    evaluations, said = rows_of([window(START, {"requests": counts({key(): 9.0})})], [options])
    assert ([row["state_after"] for row in evaluations], said) == (["firing"], [])


def naive_burns(history, end, objective, pair):
    """Give the burn rates over both windows of a pair, from (start, good, bad); spans over 6 h are of whole hours."""
    rates = []
    for span in (pair.long_ms, pair.short_ms):
        first = end - span if span <= 6 * HOUR else ((end - 1) // HOUR + 1) * HOUR - span
        chosen = [(good, bad) for start, good, bad in history if start >= first]
        total = sum(good + bad for good, bad in chosen)
        rates.append(sum(bad for _, bad in chosen) / total / (1 - objective) if total else 0.0)
    return rates


SLO_SERIES = st.lists(
    st.tuples(st.sampled_from([1, 1, 1, 2, 7, 13, 80, 300, 900]), st.integers(0, 400), st.integers(0, 60)), max_size=25
)


@pytest.mark.slow
@settings(max_examples=120, deadline=None)
@given(
    SLO_SERIES, st.sampled_from([0.99, 0.95]), st.sampled_from([STEP, MINUTE]), RESTARTS, st.sampled_from(["errors", "hits"])
)
def test_burn_rates_are_those_of_the_windows_added_up(series, objective, step, restarts, metric):
    slo = SloOptions(name="s", metric=metric, objective=objective, keys="total")
    end, history, results, want = START, [], [], []
    for steps, good, bad in series:
        end += steps * step
        if good + bad == 0:
            continue
        chosen = {"bad": bad} if metric == "errors" else {"good": good}
        row = {"ratio": 0.0, "n": good + bad, **chosen}
        results.append(window(end, {metric: {key(): row}}, step))
        history.append((end - step, good, bad))
        burns = [naive_burns(history, end, objective, pair) for pair in pairs_of(slo.period_ms)]
        exceeded = [p.severity for p, both in zip(pairs_of(slo.period_ms), burns, strict=True) if min(both) > p.factor]
        want.append("critical" if 2 in exceeded else "warning" if 1 in exceeded else "ok")
    evaluations, said = rows_of(results, [], [slo], restarts)
    assert [row["level"] for row in evaluations] == want
    for each in said:
        facts, at = each["evidence"]["slo"], _ms(each["at"])
        first = ((at - step) // DAY - slo.period_ms // DAY + 1) * DAY  # a period is of whole days, today's among them
        counted = [(good, bad) for start, good, bad in history if first <= start < at]
        assert (facts["good"], facts["bad"]) == tuple(sum(column) for column in zip(*counted, strict=True))


def test_a_latency_objective_counts_the_records_under_its_threshold():
    slo = SloOptions(name="fast", metric="time", threshold_ms=400.0, objective=0.95)
    (made,) = metrics_of([slo], METRICS)
    assert (made.name, made.kind, made.good, made.where) == ("slo:fast", "ratio", "x <= 400.0", "x <= 400.0 or x > 400.0")
    assert expanded([], [slo], METRICS)[0].metric == "slo:fast"


@pytest.mark.parametrize(
    ("changes", "key_", "words"),
    [
        ({"objective": 1.5}, "objective", "must be between 0 and 1"),
        ({"objective": 0.5}, "objective", "0.5 can never burn 14.4 times too fast; it must be above 0.9306"),
        ({"period_ms": 36 * HOUR}, "period", "must be 7 to 90 whole days"),
        ({"min_bad": -1}, "min_bad", "must not be negative"),
    ],
)
def test_an_objective_that_cannot_be_meant_is_refused(changes, key_, words):
    options = SloOptions(**({"name": "s", "metric": "errors", "objective": 0.999} | changes))
    assert [(k, words in problem) for k, problem in options.problems()] == [(key_, True)]


def test_the_pairs_of_thirty_days_are_those_of_the_workbook():
    assert [(p.factor, p.long_ms // MINUTE, p.short_ms // MINUTE, p.severity) for p in pairs_of(30 * DAY)] == [
        (14.4, 60, 5, 2),
        (6.0, 360, 30, 2),
        (3.0, 1440, 120, 1),
        (1.0, 4320, 360, 1),
    ]


def _ms(text):
    return int(np.datetime64(text.rstrip("Z"), "ms").astype(np.int64))
