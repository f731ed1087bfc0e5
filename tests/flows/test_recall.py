"""The alerts at a moment, worked out from decision records: what follows is what an unbroken run says, wherever it is cut."""

import json
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.alert import Alerting
from flows.decision_log import Wanted
from flows.history import History, Rows
from flows.kind_options import Baseline, NoData
from flows.kinds import expanded
from flows.matcher import parse_match
from flows.output import canonical
from flows.policy import NO_POLICY
from flows.recall import Recall
from flows.route import RouteOptions
from flows.rule import Flap, RuleOptions, Thresholds
from flows.silence import Silence
from flows.slo import SloOptions
from flows.window import MetricRows, WindowOptions, WindowResult
from tests.flows.history import (
    FILES,
    LENGTH,
    METRICS,
    START,
    Settings,
    histories,
    rates,
    results_of,
    rule,
    rules,
)

TIME = {"evaluations": "window_end"}


class Log:
    """A decision log in memory: the lines of an unbroken run."""

    def __init__(self, lines):
        self._rows = {}
        for name, found in zip(FILES, lines, strict=True):
            rows = [json.loads(line) for line in found]
            self._rows[name] = [
                row | {"at": _ms(row[TIME.get(name, "at")]), "key": canonical(row["key"]).decode()} for row in rows
            ]

    def rows(self, table, wanted: Wanted):
        return [
            row
            for row in self._rows[table]
            if wanted.rule in (None, row["rule"])
            and wanted.key in (None, row["key"])
            and (wanted.after is None or row["at"] > wanted.after)
            and (wanted.until is None or row["at"] <= wanted.until)
        ]

    def span(self, name):
        times = [row["at"] for row in self._rows["evaluations"] if row["rule"] == name]
        return (min(times), max(times)) if times else None

    def rules(self):
        return sorted({row["rule"] for row in self._rows["evaluations"]})


class Windows:
    """A store of windows in memory."""

    name, length_ms = "memory", LENGTH

    def __init__(self, results):
        self._results = results
        self.metrics = {name: tuple(rows.statistics) for each in results for name, rows in each.metrics.items()}

    def counts(self, metric):
        counts = [len(each.metrics[metric].keys) for each in self._results if metric in each.metrics]
        return self.starts([metric]), np.array(counts, np.int64)

    def starts(self, metrics):
        return np.array([each.start for each in self._results if set(metrics) & each.metrics.keys()], np.int64)

    def keys(self, metric):
        return sorted({key for each in self._results if metric in each.metrics for key in each.metrics[metric].keys})

    def rows(self, metric, statistics, start, end, _=None):
        keys = self.keys(metric)
        found = [each for each in self._results if start <= each.start < end and metric in each.metrics]
        rows = [
            (each.start, keys.index(key), n, each.metrics[metric])
            for each in found
            for n, key in enumerate(each.metrics[metric].keys)
        ]
        return Rows(
            keys,
            np.array([row[0] for row in rows], np.int64),
            np.array([row[1] for row in rows], np.int32),
            np.array([row[3].counts[row[2]] for row in rows], np.int64),
            {name: np.array([row[3].statistics[name][row[2]] for row in rows]) for name in statistics},
            np.zeros(len(rows), np.bool_),
        )


class Hush:
    """Silences that hold in some of the windows."""

    def __init__(self, ends, match):
        self._ends = frozenset(ends)
        self._match = match

    def at(self, dataset, end):
        if (end - START) // LENGTH - 1 not in self._ends:
            return ()
        return (Silence(id="s", matchers=parse_match(self._match), author="a", reason="r", start=0, end=2**60),)

    def known(self, dataset, end):
        return self.at(dataset, end)


def _ms(text):
    from datetime import datetime

    return int(datetime.fromisoformat(text).timestamp() * 1000)


def lines_of(alerting, results):
    """Give the lines of the three files, window by window."""
    out = []
    for result in results:
        decisions = alerting.evaluate(result)
        out.append(
            (
                [line for block in decisions.evaluations for line in block.lines().splitlines(keepends=True)],
                [transition.line() for transition in decisions.transitions],
                [notification.line() for notification in decisions.notifications],
            )
        )
    return out


def check(config, results, cut, silences, *, at_once, policy=NO_POLICY):
    """Want that a run that begins at `cut`, with the alerts recalled, says what the unbroken one says from there on."""
    unbroken = lines_of(Alerting(config, policy, silences), results)
    before = [[line for window in unbroken[:cut] for line in window[n]] for n in range(3)]
    history = History(Windows(results[:cut]), config.metrics)
    recall = Recall(config, policy, WindowOptions(length_ms=LENGTH), Log(before), history)
    recalled = recall.before({"d": START + cut * LENGTH}, at_once=at_once)
    resumed = Alerting(config, policy, silences)
    resumed.restore(recalled.state)
    assert lines_of(resumed, results[cut:]) == unbroken[cut:]
    return recalled.doubts


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    first=rules(name="r"),
    second=rules(name="s"),
    history=histories(longest=40),
    cut=st.integers(0, 40),
    flap=st.sampled_from([None, None, Flap(transitions=2, windows=5, leave=1)]),
    repeat=st.sampled_from([(1.0, 0), (2.0, 0), (1.0, 2)]),
    hushed=st.sets(st.integers(0, 39), max_size=12),
    at_once=st.booleans(),
)
def test_a_run_from_the_middle_says_what_the_unbroken_one_says(first, second, history, cut, flap, repeat, hushed, at_once):
    more = {"flap": flap, "repeat_backoff": repeat[0], "max_repeats": repeat[1]}
    config = Settings((replace(first, **more), replace(second, notify=False)))
    results = results_of(history)
    doubts = check(config, results, min(cut, len(results)), Hush(hushed, {"rule": "r"}), at_once=at_once)
    assert doubts == []


def test_a_run_that_forgot_its_alerts_says_something_else():
    results = rates(0.9, 0.9, 0.9, 0.9)
    config = Settings((rule(),))
    unbroken = lines_of(Alerting(config), results)
    assert lines_of(Alerting(config), results[2:]) != unbroken[2:]


SLO = SloOptions(name="availability", metric="error_rate", objective=0.99, period_ms=3 * 86_400_000)
KINDS = {
    "absence": (rule(name="silent", kind="absence", statistic="", above=None, keys="all", after=2),),
    "change": (
        rule(
            name="jump",
            kind="change",
            above=Thresholds(warning=2.0, critical=4.0),
            baseline=Baseline(against="previous", windows=4),
        ),
    ),
    "composite": (
        rule(name="a"),
        rule(name="b", metric="requests", statistic="count", above=Thresholds(critical=500.0)),
        RuleOptions(name="both", kind="composite", all_=("a", "b")),
    ),
    "event": (rule(name="seen", kind="event", metric="requests", statistic="", above=None),),
    "no_data": (rule(name="r", no_data=NoData(alert=True, after=2)),),
    "slo": (rule(name="r"),),
}


def wandering(count):
    """Make windows whose values wander, with silences of a key and of the whole source."""
    noise = random.Random(5)
    results, share = [], 0.005
    for n in range(count):
        share = min(0.9, max(0.001, share * noise.choice((0.3, 1.0, 1.0, 3.0, 8.0))))
        keys = [] if n % 23 in (14, 15, 16) else ["{}", *(k for k in ('{"host":"a"}', '{"host":"b"}') if noise.random() > 0.2)]
        total = np.array([1000 + noise.randrange(200) for _ in keys], np.int64)
        bad = np.floor(total * share).astype(np.float64)
        none = np.zeros(len(keys), np.bool_)
        rows = {
            "error_rate": MetricRows(
                "error_rate", keys, total, {"ratio": bad / total, "total": total.astype(np.float64), "bad": bad}, none
            ),
            "requests": MetricRows("requests", keys, total, {"count": bad}, none),
        }
        results.append(WindowResult("d", START + n * LENGTH, START + (n + 1) * LENGTH, rows if keys else {}, {}))
    return results


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_rules_of_every_kind_go_on_as_they_would_have_at_every_cut(kind):
    slos = (SLO,) if kind == "slo" else ()
    config = Settings(METRICS and tuple(expanded(_valid(KINDS[kind]), slos, {m.name: m for m in METRICS})), slos=slos)
    results = wandering(46)
    said = lines_of(Alerting(config), results)
    assert sum(len(window[2]) for window in said) > 3
    doubts = {doubt for cut in range(0, 47, 5) for doubt in check(config, results, cut, Hush((), {}), at_once=cut % 2 == 0)}
    assert {doubt.split(": ")[1] for doubt in doubts} <= {"looks further back than the stored windows go"}


def _valid(options):
    return [replace(each, keys=each.keys or ("" if each.kind == "composite" else "all")) for each in options]


def test_who_heard_is_taken_from_what_was_said_not_from_the_routes_of_now():
    results = rates(0.9, 0.9, 0.9, 0.0, 0.0)
    unbroken = lines_of(Alerting(Settings((rule(),))), results)
    before = [[line for window in unbroken[:3] for line in window[n]] for n in range(3)]
    config = Settings((rule(),), routes=(RouteOptions(channels=("elsewhere",)),))
    recalled = Recall(config, NO_POLICY, WindowOptions(length_ms=LENGTH), Log(before), None).before({"d": START + 3 * LENGTH})
    resumed = Alerting(config)
    resumed.restore(recalled.state)
    (resolved,) = [json.loads(line) for window in lines_of(resumed, results[3:]) for line in window[2]]
    assert (resolved["status"], resolved["channels"]) == ("resolved", ["chat", "pager"])


def test_what_other_limits_decided_goes_on_and_is_said():
    results = rates(0.9, 0.9, 0.9, 0.9)
    unbroken = lines_of(Alerting(Settings((rule(),))), results)
    before = [[line for window in unbroken[:3] for line in window[n]] for n in range(3)]
    config = Settings((rule(for_=9),))
    recalled = Recall(config, NO_POLICY, WindowOptions(length_ms=LENGTH), Log(before), None).before({"d": START + 3 * LENGTH})
    assert recalled.doubts == ["high_error_rate: 1 alerts were decided by other limits; they go on as they were"]
    resumed = Alerting(config)
    resumed.restore(recalled.state)
    (alert,) = resumed.firing("d")
    assert (alert["rule"], alert["state"], alert["start"]) == ("high_error_rate", "firing", START + LENGTH)


def test_an_alert_that_was_open_before_the_first_record_is_said_to_be_a_doubt():
    unbroken = lines_of(Alerting(Settings((rule(),))), rates(*[0.9] * 6))
    cut_off = [[line for window in unbroken[2:5] for line in window[n]] for n in range(3)]
    recall = Recall(Settings((rule(),)), NO_POLICY, WindowOptions(length_ms=LENGTH), Log(cut_off), None)
    assert recall.before({"d": START + 5 * LENGTH}).doubts == [
        "high_error_rate: 1 alerts were open before the first record that there is",
    ]
