"""Observe options: the `[observe]` table: what the program says of itself, and where it can be asked."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from flows.otlp_options import OtlpOptions
from sinks.sentry_project import dsn_problem

LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("auto", "json", "text")
OFF = "off"
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:]+\]|[^\s:/\[\]]+):(\d{1,5})")
TRACE_ID = "{trace_id}"
_LINK = re.compile(r"https?://[^\s<>|\"]+")
_LAST_PORT = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class ObserveOptions:
    """The `[observe]` table: what a run says of itself, and to whom."""

    listen: str = field(
        default="127.0.0.1:9187",
        metadata={"help": 'live: host:port of /livez, /readyz, /metrics and /status, open to all who reach it; or "off"'},
    )
    log_level: str = field(default="info", metadata={"help": "debug (not in production), info, warning or error"})
    log_format: str = field(
        default="auto", metadata={"help": "text, json, or auto: json of a service whose lines go to no terminal"}
    )
    log_topic: str = field(
        default="", metadata={"help": "topic of app_logs that takes a service's own lines too, so that rules see them"}
    )
    sentry_dsn: str = field(
        default="", repr=False, metadata={"secret": True, "help": "project that takes edgewatch's own errors"}
    )
    traces_sample_rate: float | None = field(
        default=None, metadata={"unit": "share", "help": "share of traces that Sentry gets; default 0.1 in production, else 1"}
    )

    otlp: OtlpOptions | None = field(
        default=None, metadata={"tables": True, "help": "a collector of OpenTelemetry that takes traces of windows"}
    )
    trace_url: str = field(
        default="", metadata={"help": "where a trace is looked at, for links in alerts: an address with {trace_id} in it"}
    )

    @property
    def address(self) -> tuple[str, int] | None:
        """Give host and port; None where nothing listens."""
        found = _ADDRESS.fullmatch(self.listen)
        return (found[1].strip("[]"), int(found[2])) if found else None

    def trace_link(self, trace_id: str | None) -> str:
        """Give the address of a trace; empty where there is none, or none is configured."""
        return self.trace_url.replace(TRACE_ID, trace_id) if trace_id else ""

    def problems(self) -> Iterable[tuple[str, str]]:
        """Yield (key, problem) for what the types cannot say."""
        if self.listen != OFF and (self.address is None or not 0 < self.address[1] <= _LAST_PORT):
            yield "listen", f'{self.listen!r} is not host:port such as 127.0.0.1:9187, or "off"'
        if self.log_level not in LOG_LEVELS:
            yield "log_level", f"{self.log_level!r} is not one of {', '.join(LOG_LEVELS)}"
        if self.log_format not in LOG_FORMATS:
            yield "log_format", f"{self.log_format!r} is not one of {', '.join(LOG_FORMATS)}"
        if self.sentry_dsn and (problem := dsn_problem(self.sentry_dsn)):
            yield "sentry_dsn", problem
        if self.trace_url and not (_LINK.fullmatch(self.trace_url) and TRACE_ID in self.trace_url):
            yield (
                "trace_url",
                f"{self.trace_url!r} is no address with {TRACE_ID} in it, such as https://traces.example.com/{TRACE_ID}",
            )
        if self.traces_sample_rate is not None and not 0 <= self.traces_sample_rate <= 1:
            yield "traces_sample_rate", f"must be from 0 to 1, not {self.traces_sample_rate:g}"
