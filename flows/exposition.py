"""Exposition: a self report as Prometheus reads it, by its own client library: names, units and escaping are its business.

Names end in their unit (seconds, ratio) and counters in `_total`, as Prometheus's naming rules have it.
"""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import CollectorRegistry

from flows.self_report import SelfReport

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_PARTITION = ("dataset", "topic", "partition")


def exposed(report: SelfReport) -> bytes:
    """Give the text of /metrics."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(report))
    return generate_latest(registry)


class _Collector:
    def __init__(self, report: SelfReport) -> None:
        self._report = report

    def collect(self) -> Iterator[Metric]:
        report = self._report
        build = GaugeMetricFamily("edgewatch_build_info", "The configuration that runs.", labels=("config", "environment"))
        build.add_metric([report.version, report.environment], 1)
        yield build
        yield GaugeMetricFamily("edgewatch_uptime_seconds", "Since the process started.", report.uptime_s)
        yield GaugeMetricFamily("edgewatch_idle_seconds", "How long some lane has not been asked for records.", report.idle_s)
        if report.snapshot_s is not None:
            yield GaugeMetricFamily("edgewatch_snapshot_age_seconds", "Since state was last written.", report.snapshot_s)
        yield GaugeMetricFamily("edgewatch_blind", "Whether the line does not see what is going on.", float(bool(report.blind)))
        yield from self._partitions()
        yield from self._datasets()
        yield from self._destinations()

    def _partitions(self) -> Iterator[Metric]:
        lag = GaugeMetricFamily("edgewatch_lag_messages", "Messages that wait to be read.", labels=_PARTITION)
        delay = GaugeMetricFamily(
            "edgewatch_watermark_delay_seconds", "How far the watermark is behind the clock.", labels=_PARTITION
        )
        records = CounterMetricFamily("edgewatch_records", "Records read.", labels=_PARTITION)
        late = CounterMetricFamily("edgewatch_late_records", "Records that came after their window.", labels=_PARTITION)
        dead = CounterMetricFamily("edgewatch_dead_letters", "Records that could not be decoded.", labels=_PARTITION)
        for each in self._report.partitions:
            labels = [each.dataset, each.topic, each.partition]
            if each.lag is not None:
                lag.add_metric(labels, each.lag)
            if each.watermark is not None:
                delay.add_metric(labels, (self._report.at - each.watermark) / 1000)
            records.add_metric(labels, each.records)
            late.add_metric(labels, each.late)
            dead.add_metric(labels, each.dead)
        yield from (lag, delay, records, late, dead)

    def _datasets(self) -> Iterator[Metric]:
        age = GaugeMetricFamily(
            "edgewatch_barrier_age_seconds",
            "How far the end of the last closed window is behind the clock.",
            labels=("dataset",),
        )
        firing = GaugeMetricFamily("edgewatch_alerts_firing", "Alerts that are open.", labels=("dataset", "severity"))
        for each in self._report.datasets:
            if each.closed is not None:
                age.add_metric([each.dataset], (self._report.at - each.closed) / 1000)
            for severity in sorted(each.firing):
                firing.add_metric([each.dataset, severity], each.firing[severity])
        yield from (age, firing)

    def _destinations(self) -> Iterator[Metric]:
        labels = ("destination",)
        queued = GaugeMetricFamily("edgewatch_spool_items", "Items that wait to be delivered.", labels=labels)
        oldest = GaugeMetricFamily("edgewatch_spool_oldest_seconds", "How long the oldest of them has waited.", labels=labels)
        down = GaugeMetricFamily("edgewatch_destination_down", "Whether its circuit breaker is open.", labels=labels)
        attempts = CounterMetricFamily("edgewatch_delivery_attempts", "Attempts since the start.", labels=labels)
        delivered = CounterMetricFamily("edgewatch_delivered_items", "Items delivered since the start.", labels=labels)
        dead = CounterMetricFamily("edgewatch_given_up_items", "Items given up since the start.", labels=labels)
        for each in self._report.destinations:
            queued.add_metric([each.destination], each.queued)
            oldest.add_metric([each.destination], each.oldest_s)
            down.add_metric([each.destination], each.down_s is not None)
            attempts.add_metric([each.destination], each.attempts)
            delivered.add_metric([each.destination], each.delivered)
            dead.add_metric([each.destination], each.dead)
        yield from (queued, oldest, down, attempts, delivered, dead)
