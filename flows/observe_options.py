"""Observe options: the `[observe]` table: what the program says of itself, and where it can be asked."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

LOG_LEVELS = ("debug", "info", "warning", "error")
OFF = "off"
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:]+\]|[^\s:/\[\]]+):(\d{1,5})")
_LAST_PORT = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class ObserveOptions:
    """The `[observe]` table."""

    NOT_YET = ("sentry_dsn",)

    listen: str = field(
        default="127.0.0.1:9187",
        metadata={"help": 'live: host:port of /livez, /readyz, /metrics and /status, open to all who reach it; or "off"'},
    )
    log_level: str = field(default="info", metadata={"help": "debug, info, warning or error"})

    @property
    def address(self) -> tuple[str, int] | None:
        """Give host and port; None where nothing listens."""
        found = _ADDRESS.fullmatch(self.listen)
        return (found[1].strip("[]"), int(found[2])) if found else None

    def problems(self) -> Iterable[tuple[str, str]]:
        """Yield (key, problem) for what the types cannot say."""
        if self.listen != OFF and (self.address is None or not 0 < self.address[1] <= _LAST_PORT):
            yield "listen", f'{self.listen!r} is not host:port such as 127.0.0.1:9187, or "off"'
        if self.log_level not in LOG_LEVELS:
            yield "log_level", f"{self.log_level!r} is not one of {', '.join(LOG_LEVELS)}"
