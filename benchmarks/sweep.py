"""How long does it take to judge a thousand settings of a rule over thirty days of a hundred keys? From windows in memory.

Usage: python -m benchmarks.sweep [--days N] [--keys N] [--noisy] [--check N]        (one JSON line)

100 hosts, noise with spikes of one window, and five labelled incidents of an hour. With `--noisy` half of the limits lie within
the noise, so that tens of thousands of alerts come and go. With `--check N`, N of the settings are also
judged by the evaluator, one at a time, and must come to the same.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np

from flows.alert import Alerting
from flows.config import loads
from flows.history import History, Rows
from flows.incidents import Incident
from flows.paging import Pages, pages
from flows.recommend import parse_budget
from flows.sweep_outcome import Outcome
from flows.sweep_result import Asked, Question, plan_of, range_of, sweep, with_rules
from flows.sweep_run import Pass
from flows.sweep_tally import BY_PAGE, PARTS

START, LENGTH, DAY = 1_764_547_200_000, 300_000, 288
CONFIG = """
environment = "production"
[channel.pagerduty]
routing_key = "0123456789abcdef0123456789abcdef"
[[metric]]
name = "latency"
kind = "distribution"
dataset = "http_requests"
value = "OriginResponseDurationMs"
group_by = ["ClientRequestHost"]
[[rule]]
name = "slow"
metric = "latency"
statistic = "p99"
above = { critical = 3000 }
min_count = 50
"""
HOLDS = ("slow.for.critical=1:5:1", "slow.clear=1:5:1")
AXES = ("slow.above.critical=1200:5100:100", *HOLDS)
NOISY = ("slow.above.critical=200:1175:25", *HOLDS)


class Columns:
    """A store of one metric in memory, full: (windows, keys)."""

    name = "memory"
    length_ms = LENGTH

    def __init__(self, days, keys):
        self.metrics = {"latency": ("p99",)}
        rng = np.random.default_rng(7)
        self._keys = [json.dumps({"ClientRequestHost": f"h{n:03}"}, separators=(",", ":")) for n in range(keys)]
        shape = days * DAY, keys
        usual = 200 * rng.lognormal(0, 0.4, keys)
        self._values = usual * rng.lognormal(0, 0.25, shape)
        self._values[rng.random(shape) < 0.0005] *= 8
        self._counts = rng.poisson(400, shape).astype(np.int64)
        self.incidents = []
        for day in np.linspace(1, days - 2, 5).astype(int).tolist():
            first = day * DAY + 150
            self._values[first : first + 12, day % keys] = rng.uniform(2000, 3500, 12)
            start = START + first * LENGTH
            self.incidents.append(Incident(start, start + 3_600_000, f"day {day}", "slow", self._keys[day % keys]))
        self.end = START + shape[0] * LENGTH

    def counts(self, _):
        return self.starts(()), np.full(len(self._values), len(self._keys))

    def starts(self, _):
        return START + np.arange(len(self._values), dtype=np.int64) * LENGTH

    def keys(self, _):
        return self._keys

    def rows(self, _, __, start, end, ___=None):
        rows = slice((start - START) // LENGTH, -(-(end - START) // LENGTH))
        values, counts = self._values[rows], self._counts[rows]
        starts = np.repeat(self.starts(())[rows], len(self._keys))
        codes = np.tile(np.arange(len(self._keys), dtype=np.int32), len(values))
        return Rows(self._keys, starts, codes, counts.ravel(), {"p99": values.ravel()}, np.zeros(values.size, np.bool_))


def pages_alone(question, history, number):
    """Give the pages of one setting in both parts, by the evaluator."""
    config = with_rules(question.config, question.plan.changed(number))
    alerting, counted = Alerting(config, config.policy), Pages(config.policy.pagers)
    at = []
    for window in history.windows(question.span.start, question.span.end):
        at += [said.at for said in alerting.evaluate(window).notifications if counted.is_page(said)]
    return [pages(each for each in at if (each > question.span.cut) == part) for part in PARTS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--keys", type=int, default=100)
    parser.add_argument("--noisy", action="store_true")
    parser.add_argument("--check", type=int, default=0)
    options = parser.parse_args()
    store = Columns(options.days, options.keys)
    config = loads(CONFIG, Path("monitor.toml"), secrets=False)
    history = History(store, config.metrics)
    asked = Asked(axes=NOISY if options.noisy else AXES, budget=parse_budget("2 pages/week"))
    span = range_of(START, store.end, LENGTH, asked, incidents=store.incidents)
    question = Question(config, CONFIG, plan_of(config, asked), asked, span, store.incidents)
    before = time.perf_counter()
    found = sweep(question, history)
    seconds = time.perf_counter() - before
    checked = 0
    if options.check:
        judged = Pass(history, question.plan, config, store.incidents, span).run()
        outcome = Outcome(question.plan, judged, store.incidents, span, BY_PAGE)
        for number in np.linspace(0, question.plan.size - 1, options.check).astype(int).tolist():
            assert [outcome.part(number, part).pages.count for part in PARTS] == pages_alone(question, history, number)
            checked += 1
    print(
        json.dumps(
            {
                "benchmark": "sweep",
                "settings": question.plan.size,
                "days": options.days,
                "keys": options.keys,
                "noisy": options.noisy,
                "seconds": round(seconds, 1),
                "evaluations_a_second": round(question.plan.size * options.days * DAY * options.keys / seconds),
                "same_as_the_evaluator": f"{checked} of {options.check} settings",
                "recommended": found.report["recommendation"]["values"],
                "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            }
        )
    )


if __name__ == "__main__":
    main()
