"""Report measures: requests, performance, cache, database and users over a range, from the sums of windows.

Percentiles of a range come from its merged histograms; where none are kept they are given by window and say so. A mean of
percentiles is never made. Distinct counts of windows do not add up, so the most in one window is given.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flows.metric import TOTAL, MetricOptions
from flows.report_source import Range, Source, Tally
from flows.samples import QUANTILES, bucket_percentiles

Content = dict[str, Any]

USERS = ("unique_users", "unique_clients")
POOL = ("active", "idle", "waiting")
_POOLS = ("db_pool_", "pool_")  # a gauge of one's own, else that of the built-in pack
_CACHE = {"size": "runtime_cache_size", "evictions": "runtime_cache_evictions"}
_BUILT_IN = {"requests", "error_rate", "server_error_rate", "response_time", "origin_response_time", "cache_hit_rate"}
_BUILT_IN |= {"cache_latency", "db_latency", *USERS}


@dataclass(slots=True)
class Look:
    """A source, the configured metrics that have rows in it, and the range; `used` are the metrics that were looked at."""

    source: Source
    metrics: dict[str, MetricOptions]
    over: Range
    length_ms: int
    used: set[str] = field(default_factory=set)

    def kind(self, name: str, kind: str) -> MetricOptions | None:
        """Give a metric of this name and kind that has rows."""
        found = self.metrics.get(name)
        if found is None or found.kind != kind or name not in self.source.metrics:
            return None
        self.used.add(name)
        return found

    def total(self, metric: str, statistics: Sequence[str]) -> dict[str, Content]:
        """Give the sums of a metric's total by statistic, as plain numbers."""
        tallies = self.source.tally(metric, statistics, self.over)
        return {name: row for name, tally in tallies.items() if (row := row_of(tally, TOTAL)) is not None}


def row_of(tally: Tally, name: str) -> Content | None:
    """Give one row of a tally as plain numbers."""
    at = tally.place(name)
    if at is None:
        return None
    whole = {each: int(getattr(tally, each)[at]) for each in ("windows", "records", "low_at", "high_at")}
    return whole | {each: float(getattr(tally, each)[at]) for each in ("total", "weighted", "low", "high")}


def measures(look: Look) -> Content:
    """Give all sections; one without its metrics holds only `left_out`, which says what is missing."""
    sections = {
        "requests": _requests(look),
        "performance": _performance(look),
        "cache": _cache(look),
        "database": _database(look),
        "users": _users(look),
    }
    return sections | {"other": _other(look)}


def _requests(look: Look) -> Content:
    out: Content = {}
    if look.kind("requests", "count"):
        rows = look.total("requests", ["count", "rate"])
        if "count" in rows:
            covered = rows["count"]["windows"] * look.length_ms / 1000
            out |= {"total": int(rows["count"]["total"]), "per_second": rows["count"]["total"] / covered}
            out["busiest"] = {"at": rows["rate"]["high_at"], "per_second": rows["rate"]["high"]}
            out["quietest"] = {"at": rows["rate"]["low_at"], "per_second": rows["rate"]["low"]}
    for name, bad in (("error_rate", "errors"), ("server_error_rate", "server_errors")):
        share = ratio(look, name)
        if share is not None:
            out |= {bad: share["bad"], name: share["ratio"], f"worst_{name}": share["worst"]}
            out.setdefault("total", share["total"])
    return out or _left_out("no rows of the metrics requests, error_rate or server_error_rate")


def _performance(look: Look) -> Content:
    names = (("response_time", "response_time"), ("origin_response_time", "origin"))
    out = {part: found for name, part in names if (found := distribution(look, name)) is not None}
    return out or _left_out("no rows of the metrics response_time or origin_response_time")


def _cache(look: Look) -> Content:
    out: Content = {}
    share = ratio(look, "cache_hit_rate")
    if share is not None:
        hits = share["total"] - share["bad"]
        out |= {"asked": share["total"], "hits": hits, "misses": share["bad"]}
        out |= {"hit_rate": hits / share["total"] if share["total"] else None, "worst_hit_rate": share["worst"]}
    found = distribution(look, "cache_latency")
    if found is not None:
        out["latency"] = found
    out |= {part: gauge for part, name in _CACHE.items() if (gauge := _gauge(look, name)) is not None}
    return out or _left_out("no rows of the metrics cache_hit_rate or cache_latency")


def _database(look: Look) -> Content:
    out: Content = {}
    found = distribution(look, "db_latency")
    if found is not None:
        out["latency"] = found
    pool = {}
    for part in POOL:
        found = next((gauge for name in _POOLS if (gauge := _gauge(look, f"{name}{part}")) is not None), None)
        if found is not None:
            pool[part] = found
    if pool:
        out["pool"] = pool
    return out or _left_out("no rows of the metrics db_latency or pool_active, pool_idle, pool_waiting")


def _users(look: Look) -> Content:
    name = next((each for each in USERS if look.kind(each, "distinct")), None)
    rows = look.total(name, ["distinct"]) if name else {}
    if not rows:
        return _left_out(f"no rows of the metric {' or '.join(USERS)}")
    return {"metric": name, **_distinct(rows["distinct"])}


def _distinct(row: Content) -> Content:
    return {
        "most": {"at": row["high_at"], "value": int(row["high"])},
        "least": {"at": row["low_at"], "value": int(row["low"])},
        "mean_by_window": row["total"] / row["windows"],
    }


def ratio(look: Look, name: str) -> Content | None:
    """Give total, bad, the share (of good ones where the metric counts those) and the worst window."""
    options = look.kind(name, "ratio")
    if options is None:
        return None
    counted = "bad" if options.bad else "good"
    rows = look.total(name, ["total", counted, "ratio"])
    if "total" not in rows:
        return None
    total, part = int(rows["total"]["total"]), int(rows[counted]["total"])
    worst = "high" if options.bad else "low"
    return {
        "total": total,
        "bad": part if options.bad else total - part,
        "ratio": part / total if total else None,
        "worst": {"at": rows["ratio"][f"{worst}_at"], "value": rows["ratio"][worst]} if "ratio" in rows else None,
    }


def distribution(look: Look, name: str) -> Content | None:
    """Give count, mean, extremes and percentiles; `percentiles` says whether they are of the range or by window."""
    options = look.kind(name, "distribution")
    rows = look.total(name, ["mean", "min", "max", "p99"]) if options else {}
    if options is None or "mean" not in rows:
        return None
    count = rows["mean"]["records"]
    out: Content = {"unit": options.unit, "count": count, "mean": rows["mean"]["weighted"] / count if count else None}
    out |= {"min": rows["min"]["low"], "max": rows["max"]["high"]}
    out["worst_p99"] = {"at": rows["p99"]["high_at"], "value": rows["p99"]["high"]}
    buckets = look.source.buckets(name, look.over)
    if buckets is not None and TOTAL in buckets:
        return out | {"percentiles": "range", **bucket_percentiles(*buckets[TOTAL], out["min"], out["max"])}
    course = look.source.course(name, list(QUANTILES), look.over, look.length_ms)
    middle = {each: float(np.median(course.low[each])) for each in QUANTILES if len(course.starts)}
    return out | {"percentiles": "by window", **middle}


def _gauge(look: Look, name: str) -> Content | None:
    rows = look.total(name, ["mean", "min", "max"]) if look.kind(name, "gauge") else {}
    if "mean" not in rows:
        return None
    mean = rows["mean"]["weighted"] / rows["mean"]["records"] if rows["mean"]["records"] else None
    return {"mean": mean, "min": rows["min"]["low"], "max": rows["max"]["high"]}


def _other(look: Look) -> list[Content]:
    """Give what a configuration measures beyond the built-in metrics, each by its kind."""
    out = []
    for name, options in look.metrics.items():
        if name in look.used or name in _BUILT_IN or name not in look.source.metrics:
            continue
        found = _by_kind(look, options)
        if found is not None:
            out.append({"metric": name, "kind": options.kind, "unit": options.unit, **found})
    return out


def _by_kind(look: Look, options: MetricOptions) -> Content | None:
    match options.kind:
        case "ratio":
            found = ratio(look, options.name)
            return found and found | {"counts": "bad" if options.bad else "good"}
        case "distribution":
            return distribution(look, options.name)
        case "gauge":
            return _gauge(look, options.name)
    look.used.add(options.name)
    rows = look.total(options.name, [{"count": "count", "sum": "sum", "distinct": "distinct"}[options.kind]])
    for row in rows.values():
        return _distinct(row) if options.kind == "distinct" else {"total": row["total"]}
    return None


def stretches(look: Look, edges: Sequence[int]) -> list[Content]:
    """Give a row a stretch of time (a day): requests, error rate, percentiles, hit rate, most users."""
    rows: dict[str, Content] = {str(edge): {"start": edge} for edge in edges[:-1]}
    for put, metric, kind, statistics in (
        ("requests", "requests", "count", ("count",)),
        ("error_rate", "error_rate", "ratio", ("bad", "total")),
        ("hit_rate", "cache_hit_rate", "ratio", ("good", "total")),
        ("response_time", "response_time", "distribution", ("mean", "min", "max")),
        *(("users", each, "distinct", ("distinct",)) for each in USERS),
    ):
        if look.kind(metric, kind):
            _put(rows, put, look.source.stretches(metric, statistics, edges))
    if look.kind("response_time", "distribution"):
        for name, buckets in (look.source.bucket_stretches("response_time", edges) or {}).items():
            limits = rows[name].pop("_limits", (0.0, float("inf")))
            rows[name] |= bucket_percentiles(*buckets, *limits)
    return [{key: value for key, value in row.items() if key != "_limits"} for row in rows.values() if len(row) > 1]


def _put(rows: dict[str, Content], put: str, tallies: dict[str, Tally]) -> None:
    for name, row in rows.items():
        found = {each: one for each, tally in tallies.items() if (one := row_of(tally, name)) is not None}
        if not found:
            continue
        match put:
            case "requests":
                row[put] = int(found["count"]["total"])
            case "users":
                row[put] = int(found["distinct"]["high"])
            case "response_time":
                row["mean"] = found["mean"]["weighted"] / found["mean"]["records"] if found["mean"]["records"] else None
                row["_limits"] = (found["min"]["low"], found["max"]["high"])
            case _:
                part = next(iter(found.keys() - {"total"}), None)
                if part is not None and "total" in found and found["total"]["total"]:
                    row[put] = found[part]["total"] / found["total"]["total"]


def _left_out(words: str) -> Content:
    return {"left_out": words}
