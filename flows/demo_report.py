"""Demo report: what the demonstration shows at its end, all of it asked from the stored tables in SQL.

Percentiles over hours come from the stored histograms: counts of buckets add up, percentiles do not. Unique
clients of windows do not add up either (who comes back is counted again), so the most in one window is shown.
"""

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from connectors.incident import MINUTE_MS, Incident
from sinks.clickhouse import Queries

_GRACE_MS = 15 * MINUTE_MS  # an alert may come a window or two after the end
_DAY_MS = 24 * 60 * MINUTE_MS
_QUERY = (
    "SELECT window_start, round(value) AS p99 FROM window_metrics FINAL WHERE metric = 'response_time'"
    " AND statistic = 'p99' AND key['ClientRequestHost'] = 'app.example.com' ORDER BY p99 DESC LIMIT 5"
    " FORMAT PrettyCompact"
)

_MEASURES = """
    SELECT
        key['ClientRequestHost'] AS host,
        sumIf(value, metric = 'requests' AND statistic = 'count') AS requests,
        sumIf(value, metric = 'error_rate' AND statistic = 'bad') AS errors,
        sumIf(value, metric = 'error_rate' AND statistic = 'total') AS answers,
        sumIf(value, metric = 'cache_hit_rate' AND statistic = 'good') AS served,
        sumIf(value, metric = 'cache_hit_rate' AND statistic = 'total') AS asked,
        maxIf(value, metric = 'unique_clients' AND statistic = 'distinct') AS clients
    FROM window_metrics FINAL
    WHERE run = '' AND key['ClientRequestHost'] NOT IN ('', '(other)')
    GROUP BY host
    ORDER BY requests DESC, host
"""
# Bucket b > 0 holds the values whose float64, cut to its top 19 bits, is b - 1; the middle stands for them.
_PERCENTILES = """
    SELECT
        key['ClientRequestHost'] AS host,
        quantileExactWeighted(0.5)(middle, n) AS p50,
        quantileExactWeighted(0.99)(middle, n) AS p99
    FROM (
        SELECT key, n, sign(bucket) * if(bucket = 0, 0., reinterpretAsFloat64(
            bitShiftLeft(toInt64(abs(bucket)) - 1, 45) + bitShiftLeft(toInt64(1), 44))) AS middle
        FROM window_histograms FINAL
        ARRAY JOIN buckets AS bucket, counts AS n
        WHERE run = '' AND metric = 'response_time'
    )
    GROUP BY host
"""
_SLOWEST = """
    SELECT
        toUnixTimestamp(window_start) AS start,
        key['ClientRequestHost'] AS host,
        maxIf(value, statistic = 'p99') AS p99,
        maxIf(value, statistic = 'max') AS slowest,
        maxIf(count, statistic = 'p99') AS requests
    FROM window_metrics FINAL
    WHERE run = '' AND metric = 'response_time' AND key['ClientRequestHost'] NOT IN ('', '(other)')
    GROUP BY start, host
    ORDER BY p99 DESC, start, host
    LIMIT 3
"""
_RAYS = """
    SELECT
        toUnixTimestamp(window_start) AS start,
        key['ClientRequestHost'] AS host,
        argMax(ray_id, value) AS ray
    FROM exemplars FINAL
    WHERE run = '' AND metric = 'response_time' AND reason = 'slowest'
    GROUP BY start, host
"""
_NOTIFICATIONS = """
    SELECT toUnixTimestamp(at) AS at, rule, toJSONString(key) AS key, status, severity, reason, episode
    FROM notifications FINAL
    WHERE run = ''
    ORDER BY at, rule, key
"""
_EVALUATIONS = """
    SELECT toUnixTimestamp(window_end) AS at, rule, toJSONString(key) AS key, level
    FROM evaluations FINAL
    WHERE run = ''
    ORDER BY at, rule, key
"""
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Account:
    """What the run itself knows: where it lies, what was labelled, how much was read in which time."""

    directory: Path
    incidents: tuple[Incident, ...]
    records: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one labelled incident: the alerts that found it, or why there was none."""

    incident: Incident
    severity: str = ""
    after_ms: int | None = None
    resolved_ms: int | None = None
    missed: str = ""


def print_report(database: Queries, account: Account, out: Console) -> None:
    """Print the tables and where to look further."""
    out.print()
    _print_hosts(database, out)
    _print_slowest(database, out)
    alerts = database.query(_NOTIFICATIONS)
    evaluations = database.query(_EVALUATIONS)
    _print_findings([find(each, alerts, evaluations) for each in account.incidents], out)
    _print_others(others(account.incidents, alerts), account.incidents, out)
    _print_end(account, out)


def find(incident: Incident, alerts: Iterable[Row], evaluations: Iterable[Row]) -> Finding:
    """Look for the first alert of the incident's rule and key, from its start until shortly after its end."""
    own = [row for row in alerts if (row["rule"], row["key"]) == (incident.rule, incident.key)]
    firing = [row for row in own if row["status"] == "firing" and _during(incident, row)]
    if not firing:
        return Finding(incident, missed=_why_missed(incident, evaluations))
    episode = firing[0]["episode"]
    severity = "critical" if any(row["severity"] == "critical" for row in firing) else "warning"
    ends = [row["at"] * 1000 for row in own if row["episode"] == episode and row["status"] == "resolved"]
    return Finding(incident, severity, firing[0]["at"] * 1000 - incident.start_ms, max(ends, default=None))


def others(incidents: Iterable[Incident], alerts: Iterable[Row]) -> list[Row]:
    """Give the first alert of each episode that is not of a labelled incident's own rule and key."""
    labelled = tuple(incidents)
    first: dict[str, Row] = {}
    for row in alerts:
        found = any((row["rule"], row["key"]) == (each.rule, each.key) and _during(each, row) for each in labelled)
        if row["status"] == "firing" and not found:
            first.setdefault(row["episode"], row)
    return list(first.values())


def _during(incident: Incident, row: Row) -> bool:
    return bool(incident.start_ms < row["at"] * 1000 <= incident.end_ms + _GRACE_MS)


def _why_missed(incident: Incident, evaluations: Iterable[Row]) -> str:
    own = [row for row in evaluations if (row["rule"], row["key"]) == (incident.rule, incident.key)]
    levels = {row["level"] for row in own if _during(incident, row)}
    if "critical" in levels or "warning" in levels:
        return "over the threshold, but not for long enough"
    if "ok" in levels:
        return "never over the threshold: too short for a window"
    return "too few records in a window to judge" if levels else "no window with records"


def _print_hosts(database: Queries, out: Console) -> None:
    percentiles = {row["host"]: row for row in database.query(_PERCENTILES)}
    table = _table(
        "Hosts (user requests of the whole span)",
        "Host",
        "Requests",
        "Errors",
        "p50 ms",
        "p99 ms",
        "Cache hits",
        "Clients *",
    )
    for row in database.query(_MEASURES):
        own = percentiles.get(row["host"], {})
        table.add_row(
            row["host"],
            _count(row["requests"]),
            _percent(row["errors"], row["answers"]),
            _count(own.get("p50")),
            _count(own.get("p99")),
            _percent(row["served"], row["asked"]),
            _count(row["clients"]),
        )
    out.print(table)
    out.print("Errors: status >= 400. p50, p99: from histograms. * The most in one window.\n", style="dim")


def _print_slowest(database: Queries, out: Console) -> None:
    rays = {(row["start"], row["host"]): row["ray"] for row in database.query(_RAYS)}
    rows = database.query(_SLOWEST)
    long = _is_long([row["start"] * 1000 for row in rows])
    table = _table("Slowest windows", "Window", "Host", "p99 ms", "Slowest ms", "Requests", "Slowest ray")
    for row in rows:
        span = _span(row["start"] * 1000, row["start"] * 1000 + 5 * MINUTE_MS, long=long)
        ray = rays.get((row["start"], row["host"])) or "-"
        figures = (_count(row["p99"]), _count(row["slowest"]), _count(row["requests"]))
        table.add_row(span, row["host"], *figures, ray)
    out.print(table)
    out.print()


def _print_findings(findings: list[Finding], out: Console) -> None:
    if not findings:
        return
    long = _is_long([each.incident.start_ms for each in findings])
    out.print("Labelled incidents", style="bold")
    for each in findings:
        incident = each.incident
        host = incident.key.split('"')[3]
        when = _span(incident.start_ms, incident.end_ms, long=long)
        out.print(f"{incident.name} on {host}, {when}", highlight=False)
        out.print(f"  {_outcome(each)}", highlight=False)
    out.print()


def _outcome(finding: Finding) -> str:
    if finding.after_ms is None:
        return f"[bold red]missed[/]: {finding.missed}"
    colour = "red" if finding.severity == "critical" else "yellow"
    end = f"resolved {_clock(finding.resolved_ms)}" if finding.resolved_ms else "still firing at the end"
    by = f"by {finding.incident.rule} ([{colour}]{finding.severity}[/])"
    return f"[bold green]found[/] after {_length(finding.after_ms)} {by}, {end}"


def _print_others(rows: list[Row], incidents: Iterable[Incident], out: Console) -> None:
    if not rows:
        out.print("No other alert.\n", style="dim")
        return
    out.print("Other alerts", style="bold")
    for row in rows:
        during = next((each.name for each in incidents if _during(each, row)), "")
        cause = f", during {during}" if during else ""
        out.print(f"{row['rule']} ({row['severity']}) at {_clock(row['at'] * 1000)}{cause}", highlight=False)
    out.print()


def _print_end(account: Account, out: Console) -> None:
    rate = account.records / account.seconds if account.seconds else 0
    done = f"{_count(account.records)} records in {account.seconds:.1f} s: {_count(rate)} records/s"
    out.print(
        f"[bold]{done}[/], from the files to rows in ClickHouse and alerts.\n",
        highlight=False,
        soft_wrap=True,
    )
    out.print("[bold]Look further[/]: serve the tables in one shell, ask them in another", highlight=False)
    lines = (
        f"  edgewatch clickhouse --dir {account.directory / 'clickhouse'}",
        f"  curl 'http://127.0.0.1:8123/?database=edgewatch' --data-binary \"{_QUERY}\"",
    )
    for line in lines:
        out.print(line, highlight=False, markup=False, soft_wrap=True)
    out.print("\nOr look at them in a browser: edgewatch demo --serve", highlight=False)


def _table(title: str, *headings: str) -> Table:
    """Make a table without lines, so that it is as good in a file: names and times left, numbers right."""
    table = Table(title=title, box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.title_justify, table.title_style = "left", "bold"
    for heading in headings:
        left = heading in {"Window", "Host", "Slowest ray"}
        table.add_column(heading, justify="left" if left else "right", no_wrap=True)
    return table


def _count(value: float | None) -> str:
    return "-" if value is None else f"{round(value):,}".replace(",", " ")


def _percent(part: float, total: float) -> str:
    return f"{100 * part / total:.2f} %" if total else "-"


def _is_long(times: list[int]) -> bool:
    return bool(times) and max(times) // _DAY_MS != min(times) // _DAY_MS


def _span(start_ms: int, end_ms: int, *, long: bool) -> str:
    day = f"{_moment(start_ms):%d %b} " if long else ""
    return f"{day}{_clock(start_ms)}-{_clock(end_ms)}"


def _clock(ms: int) -> str:
    return f"{_moment(ms):%H:%M}"


def _moment(ms: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(ms // 1000, datetime.UTC)


def _length(ms: int) -> str:
    minutes, seconds = divmod(ms // 1000, 60)
    return f"{minutes} min {seconds:02d} s"
