"""What the tests of rules and alerts share: histories of windows, rules, and what the definition makes of them."""

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from flows.alert import Alerting
from flows.hold import Hold
from flows.metric import MetricOptions
from flows.route import RouteOptions
from flows.rule import RuleOptions, Thresholds
from flows.window import MetricRows, WindowResult
from tests.acceptance import alerts as definition
from tests.flows import n_of_m

START = 1_764_547_200_000
LENGTH = 300_000
FILES = ("evaluations", "transitions", "notifications")
METRICS = (
    MetricOptions(name="error_rate", kind="ratio", dataset="d", bad="x >= 1", group_by=("host",)),
    MetricOptions(name="latency", kind="distribution", dataset="d", value="x", unit="ms"),
    MetricOptions(name="requests", kind="count", dataset="d", group_by=("host",)),
)
STATISTIC = {"error_rate": "ratio", "latency": "p99", "requests": "count"}
SCALE = {"error_rate": 1, "latency": 1000, "requests": 1000}
ROUTES = (RouteOptions(severity=("critical",), channels=("pager", "chat")), RouteOptions(channels=("chat", "mail")))
KEYS = tuple(
    json.dumps(key, separators=(",", ":"), ensure_ascii=False)
    for key in ({}, {"host": "a"}, {"host": 'b"(other)"'}, {"host": "\u00e9"}, {"host": "(other)"})
)


@dataclass
class Settings:
    """What of a configuration the rules need."""

    rules: tuple[RuleOptions, ...]
    environment: str = "test"
    labels: dict[str, str] = field(default_factory=lambda: {"team": "edge"})
    metrics: tuple[MetricOptions, ...] = METRICS
    routes: tuple[RouteOptions, ...] = ROUTES
    clickhouse: Any = None
    slos: tuple[Any, ...] = ()


def rule(**changes):
    """Give a rule on the error rate; `changes` replace options."""
    limits = Thresholds(warning=0.01, critical=0.05)
    options: dict[str, Any] = {"name": "high_error_rate", "metric": "error_rate", "statistic": "ratio", "above": limits}
    return RuleOptions(**(options | changes))


def result_of(n, cells, exemplars=None):
    """Make the n-th window; `cells` is (metric, key) -> (value, count)."""
    metrics = {}
    for metric, statistic in STATISTIC.items():
        chosen = sorted((key, *cell) for (name, key), cell in cells.items() if name == metric)
        if chosen:
            keys, values, counts = zip(*chosen, strict=True)
            column = {statistic: np.array(values, np.float64)}
            metrics[metric] = MetricRows(metric, list(keys), np.array(counts, np.int64), column, np.zeros(len(keys), np.bool_))
    return WindowResult("d", START + n * LENGTH, START + (n + 1) * LENGTH, metrics, exemplars or {})


def results_of(history):
    """Make the windows of a history."""
    return [result_of(n, cells) for n, cells in enumerate(history)]


def rates(*values):
    """Make windows in which host a has these error rates; None is a window without a row of it."""
    other = {("error_rate", "{}"): (0.0, 1000)}
    row = ("error_rate", '{"host":"a"}')
    return results_of([other if value is None else other | {row: (value, 1000)} for value in values])


def play(alerting, results):
    """Feed windows; gives the rows of the three files, in the order they come."""
    out: tuple[list, list, list] = ([], [], [])
    for result in results:
        decisions = alerting.evaluate(result)
        out[0].extend(line for block in decisions.evaluations for line in block.lines().splitlines(keepends=True))
        out[1].extend(transition.line() for transition in decisions.transitions)
        out[2].extend(notification.line() for notification in decisions.notifications)
    return out


def run(rules, results, restart_at=()):
    """Run rules over windows, restarted before the windows named; gives the lines of the three files."""
    alerting = Alerting(Settings(tuple(rules)))
    out: tuple[list, list, list] = ([], [], [])
    for n, result in enumerate(results):
        if n in restart_at:
            state = alerting.snapshot()
            alerting = Alerting(Settings(tuple(rules)))
            alerting.restore(state)
        for lines, more in zip(out, play(alerting, [result]), strict=True):
            lines.extend(more)
    return out


def wanted(rules, results):
    """Give what the definition makes of it, as rows of the three files in their order."""
    out = n_of_m.reference(_config_of(rules), _rows_of(results))
    files = []
    for rows, name in zip(out, ("window_end", "at", "at"), strict=True):
        stamped = [{**row, name: definition.iso(row[name])} for row in rows]
        files.append(sorted(stamped, key=lambda r: (r[name], r["rule"], definition.canonical(r["key"]).encode())))
    return files


def shown(lines, rows):
    """Give the rows of lines, each reduced to the fields that the definition's row has."""
    fields = list(rows[0]) if rows else []
    return [{name: row[name] for name in fields} for row in map(json.loads, lines)]


def _rows_of(results):
    return [
        {
            "window_end": definition.iso(result.end // 1000),
            "metric": name,
            "key": json.loads(key),
            "statistic": statistic,
            "value": int(value) if statistic == "count" else value,
            "count": count,
        }
        for result in results
        for name, rows in result.metrics.items()
        for statistic, column in rows.statistics.items()
        for key, value, count in zip(rows.keys, column.tolist(), rows.counts.tolist(), strict=True)
    ]


def _config_of(rules):
    return {
        "environment": "test",
        "metric": [{"name": m.name, "dataset": m.dataset, "group_by": list(m.group_by)} for m in METRICS],
        "route": [{"severity": list(r.severity), "channels": list(r.channels)} for r in ROUTES],
        "rule": [_toml_of(chosen) for chosen in rules],
    }


def _toml_of(chosen):
    """Give the rule as the configuration file has it; what is not said there is left out here."""
    out = {name: getattr(chosen, name) for name in ("name", "metric", "statistic", "min_count", "clear")}
    side = "above" if chosen.above else "below"
    out[side] = {n: v for n in ("warning", "critical") if (v := getattr(chosen.thresholds, n)) is not None}
    hold = chosen.for_
    out["for"] = {"warning": hold.warning, "critical": hold.critical} if isinstance(hold, Hold) else hold
    for name in ("repeat", "cooldown", "forget_after"):
        out[name] = f"{getattr(chosen, name + '_ms') // 1000}s"
    optional = {"keys": chosen.keys or None, "recover": chosen.recover}
    return out | {name: value for name, value in optional.items() if value is not None}


# Values on, beside and between the limits below, for ratios; other metrics have a thousand times as much.
VALUES = (0.0, 0.004, 0.008, 0.01, 0.011, 0.03, 0.04, 0.05, 0.06, 0.5, 0.9, 0.95, 0.96, 0.97, 0.99, 0.992, 1.0)
LIMITS = ((0.01, 0.05), (0.01, None), (None, 0.05), (0.04, 0.04))
MINUTES = (0, 5, 10, 15, 30, 60)


@st.composite
def rules(draw, name="r"):
    """Draw a rule."""
    metric = draw(st.sampled_from(sorted(STATISTIC)))
    above = draw(st.booleans())
    limits = [None if v is None else (v if above else 1 - v) * SCALE[metric] for v in draw(st.sampled_from(LIMITS))]
    thresholds = Thresholds(warning=limits[0], critical=limits[1])
    counts = st.integers(1, 3)
    needed = st.one_of(counts, counts, st.sampled_from(["2 of 3", "2 of 5", "3 of 4", "1 of 2", "3 of 3"]))
    return RuleOptions(
        name=name,
        metric=metric,
        statistic=STATISTIC[metric],
        keys=draw(st.sampled_from(["", "groups", "total", "all"])),
        above=thresholds if above else None,
        below=None if above else thresholds,
        recover=draw(st.sampled_from([None, thresholds.mild])),
        min_count=draw(st.sampled_from([0, 50])),
        for_=draw(st.one_of(needed, st.builds(Hold, warning=needed, critical=needed))),
        clear=draw(counts),
        repeat_ms=draw(st.sampled_from(MINUTES)) * 60_000,
        cooldown_ms=draw(st.sampled_from(MINUTES)) * 60_000,
        forget_after_ms=draw(st.sampled_from([0, 600_000, 86_400_000])),
    )


@st.composite
def histories(draw, longest=30):
    """Draw windows in which values last for a while; some windows have no row of a key, some none at all."""
    length = draw(st.integers(1, longest))
    windows: list[dict] = [{} for _ in range(length)]
    spell = st.tuples(
        st.one_of(st.none(), st.tuples(st.sampled_from(VALUES), st.sampled_from([5, 100, 1000]))), st.integers(1, 4)
    )
    for metric in draw(st.sets(st.sampled_from(sorted(STATISTIC)), min_size=1)):
        for key in draw(st.sets(st.sampled_from(KEYS), min_size=1)):
            cells = [cell for cell, times in draw(st.lists(spell, max_size=12)) for _ in range(times)]
            for window, cell in zip(windows, cells, strict=False):
                if cell is not None:
                    window[metric, key] = (cell[0] * SCALE[metric], cell[1])
    return windows
