"""OTLP: spans by HTTP to a collector of OpenTelemetry, made and encoded by its own SDK, sent by the client of all channels.

Why not the SDK's own sender: it follows redirects with the headers, which hold a secret, and writes addresses into the log.
Guarantee: best effort. Spans wait in a queue of limited length, a thread sends them; what does not fit or is refused is lost.
"""

import gzip
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from sinks.http import HttpClient
from sinks.notification import DeliveryError

_QUEUE, _AT_ONCE, _EVERY_MS = 4096, 512, 2000
_TOTAL_S, _TRIES, _LONGEST_WAIT_S = 5.0, 3, 5.0
_LAST_S = 3.0  # what a process that ends waits for its last spans
_SAY_EVERY_S = 300.0
_log = logging.getLogger("edgewatch.traces")


def traces_to(
    address: str, headers: Mapping[str, str], *, resource: Mapping[str, str], share: float, secrets: tuple[str, ...] = ()
) -> tuple[TracerProvider, Callable[[], None]]:
    """Give what makes tracers, of which a `share` of all traces is sent, and what ends it within some seconds."""
    exporter = CollectorExporter(address, headers, secrets)
    processor = BatchSpanProcessor(
        exporter,
        max_queue_size=_QUEUE,
        schedule_delay_millis=_EVERY_MS,
        max_export_batch_size=_AT_ONCE,
    )
    sampler = ParentBased(TraceIdRatioBased(share))
    provider = TracerProvider(sampler=sampler, resource=Resource(dict(resource)), shutdown_on_exit=False)
    provider.add_span_processor(processor)

    def close() -> None:
        exporter.shutdown()  # what is sent from here on is tried once
        ending = threading.Thread(target=provider.shutdown, name="last-spans", daemon=True)
        ending.start()
        ending.join(_LAST_S)

    return provider, close


class CollectorExporter(SpanExporter):
    """Sends spans as one request, which is tried again a few times where the collector is away or asks to wait."""

    def __init__(self, address: str, headers: Mapping[str, str], secrets: tuple[str, ...]) -> None:
        """Open no connection yet."""
        self._address = address
        self._headers = {**headers, "Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
        self._http = HttpClient("observe.otlp", secrets=(*secrets, *headers.values()), total=_TOTAL_S)
        self._ended = threading.Event()
        self._said_at = float("-inf")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans."""
        body = gzip.compress(encode_spans(spans).SerializeToString(), 1)
        for left in reversed(range(_TRIES)):
            try:
                answer = self._http.request("POST", self._address, content=body, headers=self._headers)
                if answer.ok:
                    return SpanExportResult.SUCCESS
                raise self._http.refused(answer)
            except DeliveryError as error:
                wait = min(error.retry_after or 1.0, _LONGEST_WAIT_S)
                if not error.retryable or not left or self._ended.wait(wait):
                    self._say(len(spans), error)
                    break
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Try nothing a second time any more."""
        self._ended.set()

    def _say(self, spans: int, error: DeliveryError) -> None:
        """Log a loss, now and then."""
        now = time.monotonic()
        if now - self._said_at >= _SAY_EVERY_S:
            self._said_at = now
            _log.warning("%d spans are lost, alerts are not: %s", spans, error)
