"""Self view: makes the self report of a live run out of its parts: lanes, watcher, spool, delivery and open alerts.

It reads what is there and asks nobody, so that a probe answers at once, whatever hangs.
"""

import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from connectors.plan import Plan, PlannedPartition
from connectors.vitals import Vitals
from flows.board import Board
from flows.config import Config
from flows.firing import read_firing
from flows.self_report import AlertReport, DatasetReport, DestinationReport, PartitionReport, SelfReport
from flows.watch import Watcher
from sinks.delivery import Delivery
from sinks.spool import Spool

_SHOWN = 100


class SelfView:
    """Gives a report when asked; safe from any thread."""

    def __init__(  # noqa: PLR0913 (the parts that it looks at, all named)
        self,
        config: Config,
        *,
        plan: Plan,
        vitals: Vitals,
        board: Board,
        firing: Path,
        spool: Spool,
        delivery: Delivery,
        watcher: Watcher | None,
    ) -> None:
        """Take the parts of the process that has the output."""
        self._config, self._plan, self._vitals, self._board = config, plan, vitals, board
        self._firing, self._spool, self._delivery, self._watcher = firing, spool, delivery, watcher
        self._started = time.monotonic()
        self._snapshot: float | None = None

    def snapshot_written(self) -> None:
        """Take note that state was written."""
        self._snapshot = time.monotonic()

    def report(self) -> SelfReport:
        """Give how the run is now."""
        now = time.monotonic()
        ends = self._watcher.ends if self._watcher is not None else {}
        open_alerts = read_firing(self._firing)
        return SelfReport(
            at=time.time_ns() // 1_000_000,
            version=self._config.version,
            environment=self._config.environment,
            uptime_s=now - self._started,
            idle_s=self._board.idle_s(self._started),
            snapshot_s=None if self._snapshot is None else now - self._snapshot,
            blind=self._watcher.findings if self._watcher is not None else (),
            partitions=tuple(self._partition(each, ends.get(each.name)) for each in self._plan.partitions),
            datasets=tuple(_dataset(name, open_alerts.get(name, {})) for name in sorted(self._plan.by_dataset())),
            alerts=_alerts(open_alerts),
            destinations=self._destinations(),
        )

    def _partition(self, planned: PlannedPartition, end: int | None) -> PartitionReport:
        vital = self._vitals.read(planned.name)
        return PartitionReport(
            topic=planned.topic,
            partition=str(planned.partition),
            dataset=planned.dataset,
            position=vital.position if vital else planned.start,
            end=end,
            watermark=vital.high - planned.allowed_lateness_ms if vital and vital.high is not None else None,
            records=vital.records if vital else 0,
            late=vital.late if vital else 0,
            dead=vital.dead if vital else 0,
        )

    def _destinations(self) -> tuple[DestinationReport, ...]:
        now, oldest = time.time(), self._spool.oldest()
        return tuple(
            DestinationReport(
                destination=each.destination,
                queued=each.queued,
                oldest_s=max(now - oldest[each.destination] / 1000, 0.0) if each.destination in oldest else 0.0,
                attempts=each.attempts,
                delivered=each.delivered,
                dead=each.dead,
                down_s=None if each.down_since is None else max(now - each.down_since, 0.0),
                last_error=each.last_error if each.down_since is not None else "",
            )
            for each in self._delivery.status()
        )


def _dataset(name: str, known: Mapping[str, Any]) -> DatasetReport:
    firing = Counter(each["labels"].get("severity", "") for each in known.get("alerts", ()))
    return DatasetReport(dataset=name, closed=known.get("at"), firing=dict(sorted(firing.items())))


def _alerts(datasets: Mapping[str, Mapping[str, Any]]) -> tuple[AlertReport, ...]:
    found = [
        AlertReport(rule=each["rule"], state=each["state"], start=each["start"], labels=each["labels"])
        for known in datasets.values()
        for each in known.get("alerts", ())
    ]
    found.sort(key=lambda each: (each.labels.get("severity") != "critical", each.start, each.rule, sorted(each.labels.items())))
    return tuple(found[:_SHOWN])
