"""Whole sweeps against the evaluator run once a setting, and what is recommended where a person can see what is right."""

import io
import tomllib
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from flows.alert import Alerting
from flows.incidents import Incident
from flows.kinds import expanded
from flows.options import ConfigError
from flows.output import canonical
from flows.paging import Pages, pages
from flows.recommend import parse_budget
from flows.score import Episode, score
from flows.sweep_outcome import Outcome, points_of
from flows.sweep_plan import Plan
from flows.sweep_result import Asked, Question, plan_of, range_of, sweep, with_rules
from flows.sweep_run import Pass
from flows.sweep_table import print_sweep
from flows.sweep_tally import BY_NOTIFICATION, BY_PAGE, FIT, HELD_OUT
from tests.flows.sweeps import CONFIG, DAY, LENGTH, START, config_of, history_of, host

DAYS = 10
MORE = """
[[rule]]
name = "jump"
kind = "change"
metric = "latency"
statistic = "p99"
above = { warning = 2.0, critical = 3.0 }
baseline = { windows = 6 }

[[rule]]
name = "both"
kind = "composite"
all = ["slow", "failing"]

[[mute]]
name = "night"
match = { rule = "failing" }
times = ["00:00-06:00"]
except_critical = false
"""
SLOW_HOURS = ((1, 10, 2600), (3, 14, 3400), (5, 2, 2500), (8, 20, 2900))  # day, hour, ms on host a


def traffic(seed=3):
    """Make ten days of two hosts: noise, some spikes of one window, and what is slow in four labelled hours."""
    rng = np.random.default_rng(seed)
    latency = {}
    for number in range(DAYS * DAY):
        for name, usual in (("a", 600.0), ("b", 400.0)):
            value = usual * float(rng.lognormal(0, 0.2))
            value = value * 4.5 if rng.random() < 0.004 else value
            for day, hour, worst in SLOW_HOURS:
                if name == "a" and day * DAY + hour * 12 <= number < day * DAY + (hour + 1) * 12:
                    value = worst * float(rng.uniform(0.95, 1.2))
            latency[number, host(name)] = ({"p50": value / 3, "p99": value}, int(rng.integers(5, 500)))
    errors = {(n, "{}"): ({"ratio": 0.3 if n % 700 < 3 else 0.01}, 400) for n in range(DAYS * DAY)}
    return {"latency": latency, "errors": errors}


def labels(*rows):
    """Give incidents from (day, hour, rule); each lasts an hour."""
    found = []
    for day, hour, *rule in rows:
        start = START + (day * 24 + hour) * 3_600_000
        found.append(Incident(start, start + 3_600_000, f"day {day}", *rule))
    return found


INCIDENTS = labels(*((day, hour) for day, hour, _ in SLOW_HOURS))
CUT = START + 2 * DAY * LENGTH
END = START + DAYS * DAY * LENGTH


def question(axes, text=CONFIG, incidents=INCIDENTS, **asked):
    config = config_of(text)
    wanted = Asked(axes=tuple(axes), **asked)
    return Question(
        config, text, plan_of(config, wanted), wanted, range_of(START, END, LENGTH, wanted, incidents=incidents), incidents
    )


def one_by_one(asked, history, number):
    """Give what the evaluator comes to under one setting: per part (pages, found, delay), by who is told of."""
    config = with_rules(asked.config, asked.plan.changed(number))
    alerting, counted = Alerting(config, config.policy), Pages(config.policy.pagers)
    told, rung = [], []
    for window in history.windows(asked.span.start, asked.span.end):
        for each in alerting.evaluate(window).notifications:
            if each.rule == "both":
                continue  # left out of a sweep
            found = Episode(each.rule, canonical(each.key).decode(), each.severity, each.at, None)
            if counted.is_page(each):
                rung.append(found)
            if each.reason in ("first", "reopened"):
                told.append(found)
    out = {}
    for name, episodes in ((BY_PAGE, rung), (BY_NOTIFICATION, told)):
        parts = []
        for part in (FIT, HELD_OUT):
            inside = [each for each in asked.incidents if (each.start >= asked.span.cut) == (part == HELD_OUT)]
            got = score(inside, episodes, grace_ms=asked.span.grace_ms)
            rang = [each for each in rung if (each.start > asked.span.cut) == (part == HELD_OUT)]
            by_rule = [[e.start for e in rang if e.rule == rule] for rule in {e.rule for e in rang}]
            parts.append((sum(map(pages, by_rule)), got.recall.k, got.delay))
        out[name] = parts
    return out


@pytest.fixture(scope="module")
def cells():
    return traffic()


AXES = [
    "slow.above.critical=1500:3500:250",
    "slow.for.critical=1:2:1",
    "failing.above.critical=0.1,0.35",
    "jump.baseline.windows=6,12",
]


@pytest.mark.slow
def test_a_sweep_comes_to_what_the_evaluator_says_one_setting_at_a_time(cells):
    asked = replace(asked := question(AXES, CONFIG + MORE), span=replace(asked.span, end=START + 4 * DAY * LENGTH, cut=CUT))
    history = history_of(asked.config, cells, at_a_time=5_000)
    judged = Pass(history, asked.plan, asked.config, asked.incidents, asked.span).run()
    assert judged.left_out == {"both": "is made of slow, failing, of which slow, failing is swept"}
    for number in np.random.default_rng(1).choice(asked.plan.size, 3, replace=False).tolist():
        wanted = one_by_one(asked, history, number)
        for name in (BY_PAGE, BY_NOTIFICATION):
            outcome = Outcome(asked.plan, judged, asked.incidents, asked.span, name)
            parts = [outcome.part(number, part) for part in (FIT, HELD_OUT)]
            assert [(each.pages.count, each.recall.k, each.delay) for each in parts] == wanted[name]
            columns = outcome.columns()
            assert columns.pages[number].tolist() == [each.pages.count for each in parts]
            assert columns.found[number].tolist() == [each.recall.k for each in parts]
            assert [None if d > 2**62 else d for d in columns.delay[number].tolist()] == [each.delay for each in parts]


@pytest.mark.slow
def test_under_a_budget_the_limit_between_noise_and_incidents_is_recommended(cells):
    asked = question(AXES[:2], budget=parse_budget("8 pages/week"))
    found = sweep(asked, history_of(asked.config, cells))
    advice = found.report["recommendation"]
    # One spike of a window reaches 2 700 ms and more; an hour of 2 400 ms and more is an incident.
    assert advice["values"]["slow.for.critical"] == "2"
    assert 1500 <= float(advice["values"]["slow.above.critical"]) <= 2250
    assert (advice["fit"]["recall"]["k"], advice["fit"]["recall"]["n"], advice["keeps_budget"]) == (3, 3, True)
    assert (advice["held_out"]["recall"]["k"], advice["held_out"]["missed"]) == (1, [])
    rules = tomllib.loads(advice["toml"])["rule"]
    assert [set(rule) for rule in rules] == [{"name", "above", "for"}]
    assert config_of(found.text).rules == with_rules(asked.config, found.rules).rules
    assert "# the 99th percentile" in found.text


def test_what_is_configured_now_is_shown_beside_the_front(cells):
    asked = question(["slow.above.critical=2000:4000:500"])
    report = sweep(asked, history_of(asked.config, cells)).report
    assert report["current"]["values"] == {"slow.above.critical": "3000"}
    front = [
        (row["fit"]["recall"]["k"], row["fit"]["pages"], row["fit"]["time_to_detect_ms"]["median"]) for row in report["front"]
    ]
    better = [[a != b and a[0] >= b[0] and a[1] <= b[1] and (a[2] or 9e9) <= (b[2] or 9e9) for a in front] for b in front]
    assert not any(map(any, better))
    assert sum(point["on_front"] for point in report["points"]) == len(front)
    assert sum(point["settings"] for point in report["points"]) == report["settings"] == 5


def test_without_an_incident_in_the_newest_part_it_is_said_that_nothing_is_tested(cells):
    asked = question(AXES[:1], incidents=INCIDENTS[:3])
    words = " ".join(sweep(asked, history_of(asked.config, cells)).recommendation.words)
    assert "no labelled incident began then, so it is not tested whether it finds incidents" in words
    assert "3 incidents prove little" in words


def test_without_an_incident_in_the_earlier_part_nothing_is_recommended(cells):
    asked = question(AXES[:1], incidents=INCIDENTS[3:])
    found = sweep(asked, history_of(asked.config, cells))
    assert (found.recommendation.number, found.text, found.report["recommendation"]["values"]) == (None, "", None)
    assert "no labelled incident began in the part that settings are fitted on" in found.recommendation.words[0]


def test_a_budget_that_no_setting_keeps_is_said_to_be_so(cells):
    asked = question(AXES[:1], budget=parse_budget("0 pages/week"))
    found = sweep(asked, history_of(asked.config, cells)).report["recommendation"]
    assert found["values"] is None
    assert "No setting keeps the budget (0 pages/week): the fewest pages are" in found["words"][0]


def test_settings_that_contradict_themselves_are_counted_and_never_recommended(cells):
    asked = question(["slow.above.critical=500:3000:500"])
    report = sweep(asked, history_of(asked.config, cells)).report
    assert (report["settings"], report["contradictory"]) == (6, 1)
    assert report["contradiction"] == "slow.above critical (500) is milder than warning (1000)"
    assert sum(point["settings"] for point in report["points"]) == 5


def test_a_rule_that_nobody_is_paged_by_is_scored_by_what_anybody_is_told(cells):
    asked = question(["slow.above.warning=1500:2500:500"], CONFIG.replace("critical = 3000", "critical = 90000"))
    report = sweep(asked, history_of(asked.config, cells)).report
    assert (report["found_by"], report["recommendation"]["fit"]["recall"]["k"]) == (BY_NOTIFICATION, 3)


def test_limits_of_some_keys_are_swept_alone_and_the_file_has_them_as_overrides(cells):
    asked = question(["slow{ClientRequestHost=a}.above.critical=1700:2100:200"], incidents=INCIDENTS)
    found = sweep(asked, history_of(asked.config, cells))
    (rule,) = tomllib.loads(found.report["recommendation"]["toml"])["rule"]
    assert (rule["name"], [each["match"] for each in rule["overrides"]]) == ("slow", [{"ClientRequestHost": "a"}])
    assert config_of(found.text).rules == with_rules(asked.config, found.rules).rules
    out = io.StringIO()
    print_sweep(found.report, Console(file=out, width=40))
    pasted = out.getvalue()
    assert tomllib.loads(pasted[pasted.index("[[rule]]") :])["rule"] == [rule]  # no line was folded


@pytest.mark.slow
def test_settings_that_come_to_the_same_are_represented_by_the_one_in_their_middle(cells):
    asked = question(["failing.above.critical=0.1:0.29:0.01"], incidents=labels((0, 0, "failing")))
    history = history_of(asked.config, cells)
    judged = Pass(history, asked.plan, asked.config, asked.incidents, asked.span).run()
    outcome = Outcome(asked.plan, judged, asked.incidents, asked.span, BY_PAGE)
    (point,) = points_of(asked.plan, outcome.columns())
    assert (point.alike, asked.plan.values(point.number)) == (20, (0.19,))
    out = io.StringIO()
    print_sweep(sweep(asked, history).report, Console(file=out, width=200))
    assert "(1 incident)" in out.getvalue()


def test_the_range_is_never_cut_within_an_incident():
    asked = Asked(axes=("slow.clear=1",), holdout=0.5)
    middle = START + 50 * LENGTH
    across = Incident(middle - 5 * LENGTH - 1000, middle + LENGTH, "across")
    over = Incident(middle - 30 * LENGTH, middle - 20 * LENGTH, "over")
    cuts = [range_of(START, START + 100 * LENGTH, LENGTH, asked, incidents=each).cut for each in ([], [over], [over, across])]
    assert cuts == [middle, middle, middle - 6 * LENGTH]


def test_too_many_settings_are_refused_with_their_number():
    config = config_of()
    with pytest.raises(ConfigError, match="1000 x 1000 = 1000000 settings; at most 20000"):
        plan_of(config, Asked(axes=("slow.above.critical=1001:2000:1", "slow.min_count=1:1000:1")))
    with pytest.raises(ConfigError, match=r"none of the 3 settings is one that a rule can have: slow.above critical"):
        plan_of(config, Asked(axes=("slow.above.critical=1:3:1",)))
    with pytest.raises(ConfigError, match="--holdout 1: must be a share"):
        plan_of(config, Asked(axes=("slow.clear=1",), holdout=1.0))


def test_a_rule_in_the_plan_is_the_rule_that_the_changed_file_has():
    config = config_of(CONFIG + MORE)
    rules, metrics = {rule.name: rule for rule in config.rules}, {metric.name: metric for metric in config.metrics}
    plan = Plan([], rules, metrics)
    assert (plan.size, plan.sound.tolist(), plan.changed(0)) == (1, [True], {})
    assert expanded([replace(rules["slow"], clear=3)], [], metrics)[0].clear == 3
