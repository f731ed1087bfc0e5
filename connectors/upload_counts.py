"""Upload counts: what the receiver took and refused since it started, as Prometheus reads it."""

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


class UploadCounts:
    """Counters by dataset; requests that name none count under an empty one."""

    def __init__(self) -> None:
        """Begin at 0."""
        self._registry = CollectorRegistry(auto_describe=False)
        by_status, by_dataset = ("dataset", "status"), ("dataset",)
        self._uploads = Counter("edgewatch_uploads", "Answers to uploads.", by_status, registry=self._registry)
        self._bytes = Counter("edgewatch_upload_bytes", "Bytes of uploads as they came.", by_dataset, registry=self._registry)
        self._records = Counter("edgewatch_upload_records", "Lines sent on.", by_dataset, registry=self._registry)
        self._dead = Counter("edgewatch_upload_dead_letters", "Lines that are no records.", by_dataset, registry=self._registry)
        self._in_flight = Gauge("edgewatch_uploads_in_flight", "Uploads that are not answered yet.", registry=self._registry)

    def answered(self, dataset: str, status: int, *, size: int, records: int, dead_letters: int) -> None:
        """Count one answer."""
        self._uploads.labels(dataset, str(status)).inc()
        self._bytes.labels(dataset).inc(size)
        self._records.labels(dataset).inc(records)
        self._dead.labels(dataset).inc(dead_letters)

    def text(self, in_flight: int) -> bytes:
        """Give the text of /metrics."""
        self._in_flight.set(in_flight)
        return generate_latest(self._registry)
