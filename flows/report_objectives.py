"""Report objectives: what share of records was good over the range, and what is left of the error budget of the period.

The budget is that of the objective's own period (such as 30 days) up to the end of the range, as far as there are windows.
"""

from collections.abc import Mapping, Sequence

import orjson

from flows.kinds import SLO
from flows.metric import TOTAL, MetricOptions
from flows.report_measures import Content
from flows.report_source import Range, Source, Tally
from flows.slo import SloOptions

_MOST = 5
_OTHER = ':"(other)"'


def objectives(source: Source, slos: Sequence[SloOptions], metrics: Mapping[str, MetricOptions], over: Range) -> list[Content]:
    """Give a row an objective: its share over the range, its budget over its period, and the keys that are worst."""
    out = []
    for slo in slos:
        name = f"{SLO}{slo.name}" if slo.threshold_ms is not None else slo.metric
        row: Content = {"name": slo.name, "metric": slo.metric, "objective": slo.objective, "period_ms": slo.period_ms}
        options = metrics.get(name)
        if options is None or name not in source.metrics:
            out.append(row | {"left_out": f"no rows of {name}"})
            continue
        shares = _shares(source, options, over)
        period = _shares(source, options, Range(max(over.end - slo.period_ms, 0), over.end))
        whole, budget = shares.get(TOTAL), period.get(TOTAL)
        out.append(
            row
            | {"range": whole and _attained(*whole, slo.objective), "period": budget and _attained(*budget, slo.objective)}
            | {"worst": _worst(period, slo.objective)}
        )
    return out


def _shares(source: Source, options: MetricOptions, over: Range) -> dict[str, tuple[float, float]]:
    """Give (good, bad) by key."""
    counted = "bad" if options.bad else "good"
    tallies = source.tally(options.name, ["total", counted], over)
    if "total" not in tallies or counted not in tallies:
        return {}
    total, part = _sums(tallies["total"]), _sums(tallies[counted])
    bad = {key: part.get(key, 0.0) if options.bad else total[key] - part.get(key, 0.0) for key in total}
    return {key: (total[key] - bad[key], bad[key]) for key in total}


def _sums(tally: Tally) -> dict[str, float]:
    return dict(zip(tally.names, tally.total.tolist(), strict=True))


def _attained(good: float, bad: float, objective: float) -> Content:
    total = good + bad
    allowed = total * (1 - objective)
    share = good / total if total else None
    return {
        "good": int(good),
        "bad": int(bad),
        "attained": share,
        "met": share is None or share >= objective,
        "budget_left": 1 - bad / allowed if allowed else None,
    }


def _worst(shares: Mapping[str, tuple[float, float]], objective: float) -> list[Content]:
    rows = [
        {"key": orjson.loads(key), **_attained(good, bad, objective)}
        for key, (good, bad) in shares.items()
        if key != TOTAL and _OTHER not in key and bad
    ]
    rows.sort(key=lambda row: (row["budget_left"] if row["budget_left"] is not None else 1.0, orjson.dumps(row["key"])))
    return rows[:_MOST]
