"""How long do rules take at a barrier? 10 000 keys x 50 rules: evaluate one window and write its decision records.

Usage: python -m benchmarks.barrier [--keys N] [--rules N] [--runs N] [--policy]        (one JSON line; medians)

Seconds are of processor time (user and system), so that other work on the machine counts as little as it can.

Three kinds of window are timed: `quiet` (1 in 1 000 keys changes), `storm` (1 in 10 keys starts to fire at once), and
`churn` (1 in 10 keys is new). `held` follows the storm: what fires goes on firing, and nothing is said. `snapshot` is the
state after a quiet window. With `--policy` there are a silence, a mute time, two inhibitions, and routes with matchers and
groups.
"""

import argparse
import gc
import json
import statistics
import time
from dataclasses import dataclass, field

import numpy as np

from flows.alert import Alerting
from flows.inhibit import InhibitOptions
from flows.matcher import parse_match
from flows.metric import MetricOptions
from flows.mute import MuteOptions
from flows.policy import PolicyOptions
from flows.route import RouteOptions
from flows.rule import RuleOptions, Thresholds
from flows.silence import Silence
from flows.slo import SloOptions
from flows.window import MetricRows, WindowResult
from sinks.clickhouse import ClickHouseOptions

LENGTH_MS = 300_000
START_MS = 1_764_547_200_000
STATISTICS = ("mean", "p50", "p90", "p95", "p99")


@dataclass(frozen=True, slots=True)
class Setup:
    """What of a configuration the rules need: five statistics of ten metrics make 50 rules."""

    metrics: tuple[MetricOptions, ...]
    rules: tuple[RuleOptions, ...]
    environment: str = "benchmark"
    labels: dict[str, str] = field(default_factory=dict)
    routes: tuple[RouteOptions, ...] = (RouteOptions(channels=("chat",)),)
    clickhouse: ClickHouseOptions | None = None
    slos: tuple[SloOptions, ...] = ()


ROUTES = (
    RouteOptions(match={"host": "=~host-00.*"}, channels=("pager",), continue_=True),
    RouteOptions(match={"rule": "!=m0_mean"}, channels=("chat",), group_by=("rule",)),
)
POLICY = PolicyOptions(
    modes={"chat": "digest", "pager": "storm"},
    mutes=(MuteOptions(name="m", match={"host": "=~.*1.example.com"}),),
    inhibits=(
        InhibitOptions(source={"rule": "m0_mean"}, target={"rule": "=~m0_.*"}, equal=("host",)),
        InhibitOptions(source={"severity": "critical"}, target={"severity": "warning"}, equal=("host", "rule")),
    ),
)


class OneSilence:
    """A silence that is always in force."""

    def at(self, dataset: str, end: int) -> list[Silence]:
        """Give it."""
        matchers = parse_match({"host": "=~.*2.example.com"})
        return [Silence(id=dataset, matchers=matchers, author="me", reason="measured", start=0, end=end + 1)]

    def known(self, dataset: str, end: int) -> list[Silence]:
        """Give it."""
        return self.at(dataset, end)


def setup(rules: int, *, policy: bool) -> Setup:
    """Make the configuration of so many rules."""
    metrics = tuple(
        MetricOptions(name=f"m{n}", kind="distribution", dataset="d", value="x", unit="ms", group_by=("host",))
        for n in range((rules + 4) // 5)
    )
    limits = Thresholds(warning=100.0, critical=1000.0)
    named = [(metric.name, statistic) for metric in metrics for statistic in STATISTICS][:rules]
    made = tuple(RuleOptions(name=f"{m}_{s}", metric=m, statistic=s, above=limits) for m, s in named)
    return Setup(metrics, made, routes=ROUTES) if policy else Setup(metrics, made)


class Windows:
    """Makes windows of the same keys with other values."""

    def __init__(self, given: Setup, keys: int) -> None:
        """Name the keys once, as a group's keys live on between windows."""
        self._given = given
        self._random = np.random.default_rng(7)
        self._keys = [f'{{"host":"host-{n:06d}.example.com"}}' for n in range(keys + keys // 10)]
        self._size = keys
        self._ends = START_MS

    def make(self, bad: float, first: int = 0) -> WindowResult:
        """Make the next window; a share of `bad` keys is beyond the critical threshold, keys begin at `first`."""
        self._ends += LENGTH_MS
        keys = self._keys[first : first + self._size]
        metrics = {metric.name: self._rows(metric.name, list(keys), bad) for metric in self._given.metrics}
        return WindowResult("d", self._ends - LENGTH_MS, self._ends, metrics, {})

    def skip(self) -> None:
        """Leave one window out."""
        self._ends += LENGTH_MS

    def _rows(self, name: str, keys: list[str], bad: float) -> MetricRows:
        size = len(keys)
        columns = {}
        for statistic in STATISTICS:
            values = self._random.uniform(1, 79, size)
            columns[statistic] = np.where(self._random.random(size) < bad, values + 2000, values)
        return MetricRows(name, keys, self._random.integers(300, 9000, size), columns, np.zeros(size, np.bool_))


def timed(alerting: Alerting, window: WindowResult) -> tuple[float, float, int]:
    """Give seconds of processor time of evaluating and of writing all lines, and the number of decision records."""
    began = time.process_time()
    decisions = alerting.evaluate(window)
    evaluated = time.process_time()
    lines = [block.lines() for block in decisions.evaluations]
    for transition in decisions.transitions:
        transition.line()
    for notification in decisions.notifications:
        notification.line()
    return evaluated - began, time.process_time() - evaluated, sum(block.count(b"\n") for block in lines)


def main() -> None:
    """Time it, and print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=10_000)
    parser.add_argument("--rules", type=int, default=50)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--policy", action="store_true")
    chosen = parser.parse_args()
    gc.freeze()
    gc.set_threshold(1_000_000, 20, 50)  # as the engine has it
    given = setup(chosen.rules, policy=chosen.policy)
    kinds: dict[str, list[float]] = {n: [] for n in ("quiet", "quiet_lines", "snapshot", "storm", "held", "churn")}
    records = size = 0
    for _ in range(chosen.runs):
        alerting = Alerting(given, POLICY, OneSilence()) if chosen.policy else Alerting(given)
        windows = Windows(given, chosen.keys)
        timed(alerting, windows.make(0.0))
        evaluated, written, records = timed(alerting, windows.make(0.001))
        kinds["quiet"].append(evaluated + written)
        kinds["quiet_lines"].append(written)
        began = time.process_time()
        size = len(alerting.snapshot())
        kinds["snapshot"].append(time.process_time() - began)
        storm = windows.make(0.1)
        kinds["storm"].append(sum(timed(alerting, storm)[:2]))
        again = WindowResult("d", storm.start + LENGTH_MS, storm.end + LENGTH_MS, storm.metrics, {})
        windows.skip()
        kinds["held"].append(sum(timed(alerting, again)[:2]))
        kinds["churn"].append(sum(timed(alerting, windows.make(0.0, first=chosen.keys // 10))[:2]))
    medians = {f"{name}_s": round(statistics.median(found), 3) for name, found in kinds.items()}
    shape = {"keys": chosen.keys, "rules": chosen.rules, "policy": chosen.policy, "records": records, "snapshot_bytes": size}
    print(json.dumps({"benchmark": "barrier", **shape, "runs": chosen.runs, **medians}))


if __name__ == "__main__":
    main()
