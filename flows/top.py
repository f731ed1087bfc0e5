"""Top: a running edgewatch on the terminal: what comes in, how far windows are, what fires, what waits to be delivered.

Drawn from the report that the run itself gives, in 80 columns, so that it works over ssh.
"""

from collections import deque

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from flows.self_report import PartitionReport, SelfReport, unready
from sinks.notification import duration, one_line

_BARS = "▁▂▃▄▅▆▇█"
_POINTS = 56  # beside 23 columns of words
_ALERTS, _FEWEST = 10, 3
_BESIDE = 11  # rows of words, headings and the prompt
_LEAST = {"firing": 22, "severity": 8, "since": 12}


class Top:
    """Takes reports one after the other, and draws the last with what went before."""

    def __init__(self, *, hang_after_s: float) -> None:
        """Start without a past."""
        self._hang_after_s = hang_after_s
        self._last: SelfReport | None = None
        self._rates: deque[float] = deque(maxlen=_POINTS)
        self._lags: deque[float] = deque(maxlen=_POINTS)

    def take(self, report: SelfReport) -> None:
        """Take a report; a run that was started again counts its records from its snapshot."""
        last = self._last
        if last is not None and report.at > last.at:
            self._rates.append(max(report.records - last.records, 0) / ((report.at - last.at) / 1000))
        self._lags.append(float(sum(part.lag or 0 for part in report.partitions)))
        self._last = report

    def draw(self, rows: int | None = None) -> RenderableType:
        """Give what is shown; of a terminal of so many rows, alerts take what is left."""
        report = self._last
        if report is None:
            return Text("waiting for the first report")
        problems = unready(report, hang_after_s=self._hang_after_s)
        state = Text(one_line("; ".join(problems)), "bold red") if problems else Text("sees, and delivers", "green")
        head = Text.assemble(
            ("edgewatch ", "bold"),
            f"{report.environment}  config {report.version}  up {duration(int(report.uptime_s) * 1000)}  ",
            f"snapshot {_age(report.snapshot_s)}",
        )
        rate = self._rates[-1] if self._rates else 0.0
        flow = Text(f"{rate:>10,.0f} records/s  {sparkline(self._rates)}")
        lag = Text(f"{self._lags[-1]:>10,.0f} waiting    {sparkline(self._lags)}")
        most = _ALERTS if rows is None else max(rows - _BESIDE - len(report.datasets) - len(report.destinations), _FEWEST)
        return Group(head, state, flow, lag, _datasets(report), _destinations(report), _alerts(report, most))


def sparkline(values: deque[float] | list[float]) -> str:
    """Draw values as bars from 0 to the largest."""
    most = max(values, default=0.0)
    return "".join(_BARS[min(int(value / most * len(_BARS)), len(_BARS) - 1)] if most else _BARS[0] for value in values)


def _datasets(report: SelfReport) -> Table:
    table = _table("dataset", "records", "lag", "watermark", "closed", "late", "dead letters")
    for each in report.datasets:
        parts = [part for part in report.partitions if part.dataset == each.dataset]
        records = sum(part.records for part in parts)
        lags = [part.lag for part in parts]
        lag = "?" if any(lag is None for lag in lags) else f"{sum(lag or 0 for lag in lags):,}"
        marks = [part.watermark for part in parts if part.watermark is not None]
        mark = _age((report.at - min(marks)) / 1000) if marks else "-"
        closed = _age((report.at - each.closed) / 1000) if each.closed is not None else "-"
        table.add_row(each.dataset, f"{records:,}", lag, mark, closed, _share(parts, "late"), _share(parts, "dead"))
    return table


def _destinations(report: SelfReport) -> Table:
    table = _table("destination", "waiting", "oldest", "delivered", "given up", "state")
    for each in report.destinations:
        state = Text("up", "green") if each.down_s is None else Text(f"down for {_age(each.down_s)}", "red")
        oldest = _age(each.oldest_s) if each.queued else "-"
        table.add_row(each.destination, f"{each.queued:,}", oldest, f"{each.delivered:,}", f"{each.dead:,}", state)
    return table


def _alerts(report: SelfReport, most: int) -> Table:
    table = _table("firing", "severity", "since", "key")
    total = sum(sum(each.firing.values()) for each in report.datasets)
    for each in report.alerts[:most]:
        severity = each.labels.get("severity", "")
        key = " ".join(f"{k}={v}" for k, v in sorted(each.labels.items()) if k not in ("rule", "severity", "environment"))
        style = "red" if severity == "critical" else "yellow"
        table.add_row(
            each.rule, Text(severity, style), _age((report.at - each.start) / 1000), Text(one_line(key), overflow="ellipsis")
        )
    if total > most:
        table.add_row(f"and {total - most:,} more", "", "", "")
    elif not total:
        table.add_row("nothing", "", "", "")
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, expand=True, pad_edge=False, header_style="dim", padding=(0, 1, 0, 0))
    for number, name in enumerate(columns):
        right = number and name not in ("state", "severity", "key")
        least, ratio = _LEAST.get(name), 1 if name == "key" else None
        table.add_column(name, justify="right" if right else "left", no_wrap=True, min_width=least, ratio=ratio)
    return table


def _share(parts: list[PartitionReport], name: str) -> str:
    count, records = sum(getattr(part, name) for part in parts), sum(part.records for part in parts)
    return f"{count / records:.2%}" if count else "0"


def _age(seconds: float | None) -> str:
    return "-" if seconds is None else duration(max(int(seconds), 0) * 1000)
