"""OTLP options: the `[observe.otlp]` table: which collector of OpenTelemetry takes the traces of windows.

Without the table nothing is imported and nothing is sent.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

_ADDRESS = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")
_PATH = "/v1/traces"


@dataclass(frozen=True, slots=True, kw_only=True)
class OtlpOptions:
    """The `[observe.otlp]` table: traces of windows by OTLP over HTTP; needs the extra `otel`."""

    endpoint: str = field(metadata={"help": "address of the collector; /v1/traces is added where it is missing"})
    headers: dict[str, str] = field(
        default_factory=dict, repr=False, metadata={"secret": True, "help": "sent along, such as Authorization"}
    )
    service_name: str = field(default="edgewatch", metadata={"help": "service.name of the traces"})
    sample_rate: float | None = field(
        default=None, metadata={"unit": "share", "help": "share of traces that is sent; default 0.1 in production, else 1"}
    )

    @property
    def address(self) -> str:
        """Where traces are posted to."""
        base = self.endpoint.rstrip("/")
        return base if base.endswith(_PATH) else base + _PATH

    def problems(self) -> Iterable[tuple[str, str]]:
        """Yield (key, problem) for what the types cannot say."""
        if not _ADDRESS.fullmatch(self.endpoint):
            yield "endpoint", "is no address such as http://127.0.0.1:4318; what is secret belongs into `headers`"
        for name, value in self.headers.items():
            if not re.fullmatch(r"[A-Za-z0-9-]+", name) or not re.fullmatch(r"[\x20-\x7e]*", value):
                yield "headers", f"{name!r} is no header, or its value is not plain text in one line"
        if not self.service_name:
            yield "service_name", "must not be empty"
        if self.sample_rate is not None and not 0 <= self.sample_rate <= 1:
            yield "sample_rate", f"must be from 0 to 1, not {self.sample_rate:g}"
