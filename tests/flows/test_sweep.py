"""A sweep over settings against the evaluator, run once a setting."""

from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.alert import Alerting
from flows.alert_state import SEVERITIES
from flows.hold import Hold
from flows.matcher import parse_match
from flows.mute import MuteOptions
from flows.output import canonical
from flows.paging import Pages, Paging
from flows.policy import NO_SILENCES, PolicyOptions
from flows.rule import Override, RuleOptions, Thresholds, compile_rule
from flows.silence import Silence
from flows.sweep import Readings, Sweep, same_signal
from flows.withhold import REASONS
from tests.flows.history import LENGTH, METRICS, START, STATISTIC, Settings, histories, results_of, rules

PLAIN = PolicyOptions(pagers=frozenset({"pager"}))


def readings_of(rule, results):
    """Take the readings of a rule out of windows; windows without any row are not judged."""
    judged = [result for result in results if any(rows.keys for rows in result.metrics.values())]
    wanted = {"groups": lambda key: key != "{}", "total": lambda key: key == "{}", "all": lambda _: True}[rule.keys]
    tables = [result.metrics.get(rule.options.metric) for result in judged]
    keys = sorted({key for rows in tables if rows for key in rows.keys if wanted(key) and ':"(other)"' not in key})
    values, counts = np.full((len(judged), len(keys)), np.nan), np.zeros((len(judged), len(keys)), np.int64)
    for number, rows in enumerate(tables):
        for place, key in enumerate(rows.keys if rows else ()):
            if key in keys:
                values[number, keys.index(key)] = rows.statistics[rule.options.statistic][place]
                counts[number, keys.index(key)] = rows.counts[place]
    ends = np.array([result.end for result in judged], np.int64)
    return Readings(ends, keys, values, counts, ~np.isnan(values))


@dataclass
class Policed(Settings):
    """Settings with pagers and mute times."""

    policy: PolicyOptions = PLAIN


class Held:
    """One silence, in force at some window ends."""

    def __init__(self, *ends):
        self._ends = ends

    def at(self, dataset, end):
        whole = Silence(id="s", matchers=parse_match({"host": "a"}), author="", reason="", start=0, end=2**62)
        return [whole] if end in self._ends else []

    known = at


def one_by_one(options, results, policy=PLAIN, silences=NO_SILENCES):
    """Give (at, key, reason, severity, page) as the evaluator says it under one setting."""
    alerting, pages = Alerting(Settings((options,)), policy, silences), Pages(policy.pagers)
    said = [told for result in results for told in alerting.evaluate(result).notifications]
    return [(each.at, canonical(each.key).decode(), each.reason, each.severity, pages.is_page(each)) for each in said]


def at_once(options, results, policy=PLAIN, silences=NO_SILENCES, chunk=1000):
    """Give the same for several settings in one sweep; keys are learnt chunk by chunk."""
    compiled = [compile_rule(each, next(m for m in METRICS if m.name == each.metric)) for each in options]
    assert same_signal(compiled)
    sweep = Sweep(compiled, Paging(Policed(tuple(options), policy=policy), silences))
    out: list[list[tuple]] = [[] for _ in options]
    for first in range(0, len(results), chunk):
        said = sweep.run(readings_of(compiled[0], results[first : first + chunk]))
        for at, setting, key, reason, severity, begins, page in zip(
            *(getattr(said, column.name).tolist() for column in fields(said)), strict=True
        ):
            del begins
            out[setting].append((at, sweep.keys[key], REASONS[reason], SEVERITIES[severity], page))
    return out


def others(options, draw):
    """Give settings that differ from a rule's in what a sweep can vary."""
    scale = 1000 if options.metric != "error_rate" else 1
    limits = st.sampled_from([0.01, 0.02, 0.05, 0.2])
    for _ in range(3):
        low, high = sorted((draw(limits) * scale, draw(limits) * scale), reverse=options.below is not None)
        side = {"above" if options.above else "below": Thresholds(warning=low, critical=high)}
        hold = Hold(warning=draw(st.integers(1, 3)), critical=draw(st.integers(1, 2)))
        yield replace(options, **side, recover=None, for_=hold, clear=draw(st.integers(1, 3)), overrides=())


@pytest.mark.slow
@settings(max_examples=70, deadline=None)
@given(st.data(), rules("r"), histories())
def test_many_settings_at_once_say_what_each_says_alone(data, options, history):
    results = results_of(history)
    chosen = [options, *others(options, data.draw)]
    assert at_once(chosen, results, chunk=data.draw(st.sampled_from([1, 4, 1000]))) == [one_by_one(e, results) for e in chosen]


@pytest.mark.slow
@settings(max_examples=70, deadline=None)
@given(st.data(), rules("r"), histories())
def test_what_mutes_and_silences_withhold_is_made_good_in_every_setting(data, options, history):
    results = results_of(history)
    chosen = [options, *others(options, data.draw)]
    spans = data.draw(st.sampled_from([("00:10-00:35",), ("00:20-00:30", "01:00-01:30"), ("00:05-02:00",)]))
    exempt = data.draw(st.booleans())
    policy = replace(PLAIN, mutes=(MuteOptions(name="m", times=spans, except_critical=exempt),))
    silenced = Held(*(START + n * LENGTH for n in data.draw(st.sets(st.integers(1, 30)))))
    assert at_once(chosen, results, policy, silenced) == [one_by_one(each, results, policy, silenced) for each in chosen]


def test_a_page_is_the_first_word_that_reaches_a_pager_until_the_alert_is_over():
    hot = {("error_rate", '{"host":"a"}'): (0.2, 1000)}
    mild, calm = ({("error_rate", '{"host":"a"}'): (value, 1000)} for value in (0.02, 0.0))
    rule = RuleOptions(
        name="r",
        metric="error_rate",
        statistic="ratio",
        above=Thresholds(warning=0.01, critical=0.05),
        for_=1,
        repeat_ms=600_000,
    )
    results = results_of([mild, hot, hot, hot, mild, calm, calm, *[calm] * 12, hot])
    (said,) = at_once([rule], results)
    assert said == one_by_one(rule, results)
    assert [(reason, severity, page) for _, _, reason, severity, page in said] == [
        ("first", "warning", False),
        ("escalated", "critical", True),
        ("repeat", "critical", False),
        ("repeat", "critical", False),
        ("resolved", "critical", False),
        ("first", "critical", True),
    ]


def test_an_override_holds_for_its_keys_in_every_setting():
    override = Override(match={"host": "a"}, above=Thresholds(critical=0.5))
    base = RuleOptions(name="r", metric="error_rate", statistic="ratio", above=Thresholds(critical=0.05), overrides=(override,))
    rows = {("error_rate", '{"host":"a"}'): (0.2, 1000), ("error_rate", '{"host":"b"}'): (0.2, 1000)}
    first, second = at_once([base, replace(base, overrides=())], results_of([rows]))
    assert ([key for _, key, *_ in first], len(second)) == (['{"host":"b"}'], 2)


def test_rules_that_judge_something_else_are_no_settings_of_one():
    base = RuleOptions(name="r", metric="error_rate", statistic="ratio", above=Thresholds(critical=0.05))
    found = [
        same_signal([compile_rule(each, METRICS[0]) for each in (base, other)])
        for other in (
            replace(base, clear=5),
            replace(base, keys="total"),
            replace(base, above=None, below=Thresholds(critical=0.05)),
        )
    ]
    assert found == [True, False, False]
    assert STATISTIC["error_rate"] == "ratio"
