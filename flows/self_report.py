"""Self report: what a live run knows of itself at one moment; the one source of /metrics, /readyz, /status and `edgewatch top`.

Values only, so that what is shown in four places cannot differ between them.
"""

import msgspec


class PartitionReport(msgspec.Struct, frozen=True, kw_only=True):
    """One partition: next offset to read, the broker's end (None: it did not answer), watermark (ms), counts."""

    topic: str
    partition: str
    dataset: str
    position: int | None
    end: int | None
    watermark: int | None
    records: int
    late: int
    dead: int

    @property
    def lag(self) -> int | None:
        """Give how many messages wait to be read; None where that is not known."""
        return None if self.end is None or self.position is None else max(self.end - self.position, 0)


class DatasetReport(msgspec.Struct, frozen=True, kw_only=True):
    """One dataset: up to where its windows are closed (ms; None: none yet), and its open alerts by severity."""

    dataset: str
    closed: int | None
    firing: dict[str, int]


class AlertReport(msgspec.Struct, frozen=True, kw_only=True):
    """One open alert: its rule, state, the end of its first window (ms), and its labels (severity among them)."""

    rule: str
    state: str
    start: int
    labels: dict[str, str]


class DestinationReport(msgspec.Struct, frozen=True, kw_only=True):
    """One destination of the spool: what waits and since when (s), and how delivery does since the start."""

    destination: str
    queued: int
    oldest_s: float
    attempts: int
    delivered: int
    dead: int
    down_s: float | None
    last_error: str


class SelfReport(msgspec.Struct, frozen=True, kw_only=True):
    """All of it at `at` (ms); `idle_s` is how long some lane has not been asked, `snapshot_s` the age of the last snapshot.

    `alerts` are the first hundred that are open, critical ones first.
    """

    at: int
    version: str
    environment: str
    uptime_s: float
    idle_s: float
    snapshot_s: float | None
    blind: tuple[str, ...]
    partitions: tuple[PartitionReport, ...]
    datasets: tuple[DatasetReport, ...]
    alerts: tuple[AlertReport, ...]
    destinations: tuple[DestinationReport, ...]

    @property
    def records(self) -> int:
        """Give the records read from all partitions since their first."""
        return sum(each.records for each in self.partitions)


def unready(report: SelfReport, *, hang_after_s: float) -> list[str]:
    """Say why a run does not do its work; nothing where it does."""
    problems = [f"blind: {each}" for each in report.blind]
    if hang_after_s and report.idle_s > hang_after_s:
        problems.append(f"no progress for {report.idle_s:.0f} s")
    silent = [each for each in report.partitions if each.end is None]
    if silent and len(silent) == len(report.partitions):
        problems.append("the broker has not answered yet")
    problems += [
        f"{each.destination} is down, {each.queued} waiting: {each.last_error}"
        for each in report.destinations
        if each.down_s is not None
    ]
    return problems
