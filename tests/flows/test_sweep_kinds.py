"""Sweeps over rules of other kinds than thresholds, with windows that are silent, against a backtest of each setting."""

import numpy as np
import pytest

from flows.backtest import Backtest
from flows.incidents import Incident
from flows.output import canonical
from flows.paging import Pages
from flows.score import Episode, score
from flows.sweep_outcome import Outcome
from flows.sweep_result import Asked, plan_of, range_of, with_rules
from flows.sweep_run import Pass
from flows.sweep_tally import BY_NOTIFICATION, FIT
from tests.flows.sweeps import CONFIG, LENGTH, START, config_of, history_of, host

WINDOWS = 220
KINDS = """
[[metric]]
name = "crashes"
kind = "count"
dataset = "http_requests"

[[rule]]
name = "silent"
kind = "absence"
metric = "latency"
keys = "all"
after = 3

[[rule]]
name = "full"
kind = "capacity"
metric = "latency"
statistic = "p99"
capacity = 2000

[[rule]]
name = "over"
kind = "budget"
metric = "latency"
statistic = "p99"
budgets = { a = 900, "*" = 700 }

[[rule]]
name = "crash"
kind = "event"
metric = "crashes"

[[rule]]
name = "jump"
kind = "change"
metric = "latency"
statistic = "p99"
above = { warning = 2.0, critical = 3.0 }
baseline = { windows = 6 }
"""


def cells():
    """Make noise on two hosts; b is silent at times, the whole source once, and records of crashes come seldom."""
    rng = np.random.default_rng(11)
    latency = {}
    for number in range(WINDOWS):
        if 150 <= number < 158:
            continue
        for name in ("a", "b"):
            if name == "b" and number % 60 in (10, 11, 12, 13, 14):
                continue
            value = 500 * float(rng.lognormal(0, 0.5))
            latency[number, host(name)] = ({"p99": value}, 200)
            latency[number, "{}"] = ({"p99": value}, 400)
    errors = {(n, "{}"): ({"bad": 0.0, "ratio": 0.0, "total": 9.0}, 9) for n in range(WINDOWS) if not 150 <= n < 158}
    crashes = {(n, "{}"): ({"count": 1.0, "rate": 0.1}, 1) for n in (40, 41, 90, 170, 171, 172)}
    return {"latency": latency, "errors": errors, "crashes": crashes}


@pytest.mark.slow
@pytest.mark.parametrize(
    "axes",
    [
        ("silent.after=2,4,6",),
        ("full.capacity=1000,1500", "full.above.critical=0.8,0.95"),
        ("over.critical_at=1.5,3", "over.for=1,2"),
        ("crash.for.critical=1,2", "crash.cooldown=0s,6h"),
        ("jump.baseline.windows=3,12", "jump.min_count=0,250"),
    ],
)
def test_each_setting_comes_to_what_its_backtest_says(axes):
    config = config_of(CONFIG + KINDS)
    asked = Asked(axes=axes, holdout=0.4)
    span = range_of(START + 20 * LENGTH, START + WINDOWS * LENGTH, LENGTH, asked, warm_up_ms=20 * LENGTH)
    incidents = [Incident(START + n * LENGTH, START + (n + 6) * LENGTH, str(n)) for n in range(30, 210, 30)]
    history, plan = history_of(config, cells(), at_a_time=3_000), plan_of(config, asked)
    outcome = Outcome(plan, Pass(history, plan, config, incidents, span).run(), incidents, span, BY_NOTIFICATION)
    said = [_alone(with_rules(config, plan.changed(number)), history, span) for number in range(plan.size)]
    assert len({str(each) for each in said}) > 1  # the settings do differ
    for number, (told, rung) in enumerate(said):
        inside = [each for each in incidents if each.start < span.cut]
        wanted = score(inside, told, grace_ms=span.grace_ms)
        part = outcome.part(number, FIT)
        assert (part.recall, part.delay) == (wanted.recall, wanted.delay)
        assert part.precision.n == sum(each.start <= span.cut for each in told)
        assert part.pages.count == sum(at <= span.cut for at in rung)


def _alone(config, history, span):
    """Give what one setting says: episodes as they are first heard of, and the times of pages."""
    tried, counted = Backtest(config), Pages(config.policy.pagers)
    told, rung, known = [], [], set()
    tried.warm(history, span.warm, span.start)
    for decided in tried.run(history, span.start, span.end):
        for each in decided.notifications:
            if counted.is_page(each):
                rung.append(each.at)
            if each.status == "resolved":
                known.discard(each.episode)
            elif each.episode not in known:
                known.add(each.episode)
                told.append(Episode(each.rule, canonical(each.key).decode(), each.severity, each.at, None))
    return told, rung
