"""SQL: the query of the rows that a decision was made on, for people to run; each kind of rule has its own rows."""

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import orjson

from flows.kind_options import Baseline
from flows.output import rfc3339
from flows.slo import DAY_MS, span_start

if TYPE_CHECKING:
    from flows.notify import Saying

_ROW = "window_start, window_end, metric, key, statistic, value, count, method"
_BACK_S = {"day": 86_400, "week": 7 * 86_400}


def sql_of(saying: "Saying", database: str) -> str:
    """Give the query."""
    options = saying.rule.options
    rows = f"{database}.window_metrics FINAL WHERE run = '' AND metric = {_quoted(options.metric)} AND {of_key(saying.key)}"
    one, end = f"statistic = {_quoted(options.statistic)}", _time(saying.at)
    match options.kind:
        case "change":
            return f"SELECT {_ROW} FROM {rows} AND {one} AND {_looked_at(saying)} ORDER BY window_end"  # noqa: S608
        case "absence":
            return f"SELECT {_ROW} FROM {rows} AND window_end <= {end} ORDER BY window_end DESC LIMIT 20"  # noqa: S608
        case "slo":
            return _slo(saying, rows)
        case "composite":
            names = ", ".join(map(_quoted, options.members))
            return (
                f"SELECT rule, key, level, state_after, severity, value, count FROM {database}.evaluations FINAL"  # noqa: S608
                f" WHERE run = '' AND rule IN ({names}) AND ({of_key(saying.key)} OR empty(key)) AND window_end = {end}"
            )
    span = f"window_start = {_time(saying.window_start)} AND window_end = {end}"
    return f"SELECT {_ROW} FROM {rows} AND {one} AND {span}"  # noqa: S608


def _looked_at(saying: "Saying") -> str:
    """Say which windows a change compares."""
    baseline = saying.rule.options.baseline or Baseline()
    step_s = _BACK_S.get(baseline.against, (saying.at - saying.window_start) // 1000)
    first = saying.at - baseline.looks_at * step_s * 1000
    span = f"window_end BETWEEN {_time(first)} AND {_time(saying.at)}"
    return f"{span} AND (toUnixTimestamp(window_end) - {saying.at // 1000}) % {step_s} = 0"


def _slo(saying: "Saying", rows: str) -> str:
    """Sum up the records over the pair of windows that decided, or over the longest where none is named."""
    rates = saying.facts.get("slo", {}).get("burn_rates", ())
    pair: Mapping[str, int] = next((each for each in rates if each["limit"] == saying.limit), {})
    long, short = (span_start(saying.at, pair.get(name, 3 * DAY_MS)) for name in ("long_ms", "short_ms"))
    return (
        f"SELECT statistic, sum(value) AS long, sumIf(value, window_start >= {_time(short)}) AS short FROM {rows}"  # noqa: S608
        f" AND statistic IN ('total', 'bad', 'good') AND window_start >= {_time(long)} AND window_end <= {_time(saying.at)}"
        " GROUP BY statistic"
    )


@lru_cache(16_384)
def of_key(key: str) -> str:
    """Give the condition on a key (canonical JSON)."""
    pairs = ", ".join(f"{_quoted(name)}, {_quoted(value)}" for name, value in orjson.loads(key).items())
    return f"key = map({pairs})" if pairs else "empty(key)"


@lru_cache(4096)
def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


@lru_cache(64)
def _time(ms: int) -> str:
    return f"toDateTime('{rfc3339(ms)[:-1].replace('T', ' ')}', 'UTC')"
