"""Trace takers: Sentry and OpenTelemetry as those who take the traces of windows: their own samplers, their own ids.

Both get the same spans. Sentry knows no child of a transaction that has ended, so an attempt to deliver is a transaction of
its own there, with the window's as its parent; to OpenTelemetry it is a span like any other.
"""

import logging
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

from flows.config import Config
from flows.own_errors import sample_rate, secrets_of
from flows.window_trace import Span, Taker, Untraced, WindowTrace
from sinks.http import scrub

_log = logging.getLogger("edgewatch.traces")


def window_trace(config: Config, tables: Sequence[str], *, mode: str) -> Untraced:
    """Give what this process's windows are traced by: nothing where nobody takes traces. A replay is not traced.

    `tables` are the kinds of rows that go out.
    """
    takers: list[Taker] = []
    sdk = sys.modules.get("sentry_sdk")  # where nobody set it up it need not be imported
    client = sdk.get_client() if sdk is not None else None
    if client is not None and client.is_active() and client.options.get("traces_sample_rate"):
        takers.append(SentryTraces())
    if config.observe.otlp is not None and mode != "replay" and (made := _otlp(config)):
        takers.append(made)
    return WindowTrace(takers, tables=tables if config.clickhouse is not None else ()) if takers else Untraced()


def _otlp(config: Config) -> Taker | None:
    options = config.observe.otlp
    if options is None:
        return None
    try:
        from sinks.otlp import traces_to  # noqa: PLC0415  (an extra that need not be installed)
    except ImportError:
        _log.error("observe.otlp: no trace is sent, OpenTelemetry is not installed: pip install 'edgewatch[otel]'")
        return None
    rate = sample_rate(config.environment) if options.sample_rate is None else options.sample_rate
    named = {
        "service.name": options.service_name,
        "service.version": version("edgewatch"),
        "deployment.environment.name": config.environment,
    }
    secrets = secrets_of(config)
    provider, close = traces_to(options.address, options.headers, resource=named, share=rate, secrets=secrets)
    return OtlpTraces(provider.get_tracer("edgewatch", version("edgewatch")), secrets, close)


class SentryTraces:
    """Gives traces to the Sentry that takes edgewatch's own errors."""

    def begin(self, dataset: str, began: float, closed_up_to: str) -> Any:
        """Begin a transaction; Sentry's SDK decides whether it is kept."""
        import sentry_sdk  # noqa: PLC0415  (a run without it is spared the import)

        transaction = sentry_sdk.start_transaction(op="window", name=f"window of {dataset}", start_timestamp=began)
        transaction.set_tag("dataset", dataset)
        if closed_up_to:
            transaction.set_data("closed_up_to", closed_up_to)
        return transaction if transaction.sampled else None

    def finish(self, window: Any, stages: Sequence[Span], ended: float) -> None:
        """Add the stages, and send it."""
        for each in stages:
            window.start_child(op=each.name, name=each.name, start_timestamp=each.began).finish(end_timestamp=each.ended)
        window.finish(end_timestamp=ended)

    def delivered(self, window: Any, attempt: Span, destination: str, items: int) -> None:
        """Send a transaction of the same trace."""
        import sentry_sdk  # noqa: PLC0415  (as above)

        made = sentry_sdk.start_transaction(
            op=attempt.name,
            name=f"delivery to {destination}",
            start_timestamp=attempt.began,
            trace_id=window.trace_id,
            parent_span_id=window.span_id,
            parent_sampled=True,
            baggage=window.get_baggage(),
        )
        made.set_tag("destination", destination)
        made.set_data("items", items)
        made.set_status("unavailable" if attempt.error else "ok")
        if attempt.error:
            made.set_data("error", attempt.error)
        made.finish(end_timestamp=attempt.ended)

    def close(self) -> None:
        """Do nothing: the SDK sends the rest as the process ends."""


class OtlpTraces:
    """Gives traces to a tracer of OpenTelemetry."""

    def __init__(self, tracer: Any, secrets: tuple[str, ...], close: Callable[[], None]) -> None:
        """Take the tracer, what no span may hold, and what ends it."""
        self._tracer, self._secrets, self._end = tracer, secrets, close

    def begin(self, dataset: str, began: float, closed_up_to: str) -> Any:
        """Begin the root of a trace; the sampler decides whether it is kept."""
        from opentelemetry.context import Context  # noqa: PLC0415  (an extra that need not be installed)

        said = {"edgewatch.dataset": dataset} | ({"edgewatch.closed_up_to": closed_up_to} if closed_up_to else {})
        span = self._tracer.start_span(f"window of {dataset}", Context(), attributes=said, start_time=_ns(began))
        return span if span.is_recording() else None

    def finish(self, window: Any, stages: Sequence[Span], ended: float) -> None:
        """Add the stages, and end the root."""
        for each in stages:
            self._tracer.start_span(each.name, _under(window), start_time=_ns(each.began)).end(_ns(each.ended))
        window.end(_ns(ended))

    def delivered(self, window: Any, attempt: Span, destination: str, items: int) -> None:
        """Add a span, of which the collector hears after its parent's end."""
        from opentelemetry.trace import SpanKind, Status, StatusCode  # noqa: PLC0415  (as above)

        said = {"edgewatch.destination": destination, "edgewatch.items": items}
        span = self._tracer.start_span(
            attempt.name, _under(window), kind=SpanKind.CLIENT, attributes=said, start_time=_ns(attempt.began)
        )
        if attempt.error:
            span.set_status(Status(StatusCode.ERROR, scrub(attempt.error, self._secrets)))
        span.end(_ns(attempt.ended))

    def close(self) -> None:
        """Send what is left, or give it up soon."""
        self._end()


def _under(window: Any) -> Any:
    from opentelemetry.context import Context  # noqa: PLC0415  (as above)
    from opentelemetry.trace import set_span_in_context  # noqa: PLC0415  (as above)

    return set_span_in_context(window, Context())


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
