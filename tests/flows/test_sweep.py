"""A sweep over settings against the evaluator, run once a setting."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.alert import Alerting
from flows.alert_state import NOTICES, SEVERITIES
from flows.labels import Labels
from flows.output import canonical
from flows.rule import Hold, Override, RuleOptions, Thresholds, compile_rule
from flows.sweep import Readings, Sweep, same_signal
from tests.flows.history import METRICS, STATISTIC, Settings, histories, results_of, rules

LABELS = Labels("test", {"team": "edge"})


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


def one_by_one(options, results):
    """Give (at, key, reason, severity) as the evaluator says it under one setting."""
    alerting = Alerting(Settings((options,)))
    said = [told for result in results for told in alerting.evaluate(result).notifications]
    return [(each.at, canonical(each.key).decode(), each.reason, each.severity) for each in said]


def at_once(options, results):
    compiled = [compile_rule(each, next(m for m in METRICS if m.name == each.metric)) for each in options]
    assert same_signal(compiled)
    readings = readings_of(compiled[0], results)
    said = Sweep(compiled, readings.keys, LABELS).run(readings)
    out: list[list[tuple]] = [[] for _ in options]
    for at, setting, key, notice, severity in zip(
        said.at.tolist(), said.setting.tolist(), said.key.tolist(), said.notice.tolist(), said.severity.tolist(), strict=True
    ):
        out[setting].append((at, readings.keys[key], NOTICES[notice], SEVERITIES[severity]))
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


@settings(max_examples=120, deadline=None)
@given(st.data(), rules("r"), histories())
def test_many_settings_at_once_say_what_each_says_alone(data, options, history):
    results = results_of(history)
    chosen = [options, *others(options, data.draw)]
    assert at_once(chosen, results) == [one_by_one(each, results) for each in chosen]


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
