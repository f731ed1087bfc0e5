"""App error options: the `[app_errors]` table: the Sentry project of the platform's own code, and how much it is told."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from sinks.sentry_project import dsn_problem


@dataclass(frozen=True, slots=True, kw_only=True)
class AppErrorOptions:
    """The `[app_errors]` table: where `edgewatch errors` sends the platform's own exceptions."""

    dsn: str = field(repr=False, metadata={"secret": True, "help": "DSN of the project that takes the platform's errors"})
    per_minute: int = field(
        default=60, metadata={"unit": "events/min", "help": "events a minute at most; what is beyond is counted and logged"}
    )
    every_ms: int = field(
        default=300_000, metadata={"duration": True, "help": "of errors alike, one event in so long, by their own time"}
    )
    timeout_ms: int = field(default=10_000, metadata={"duration": True, "help": "how long one call may take"})

    def problems(self) -> Iterable[tuple[str, str]]:
        """Yield (key, problem) for what the types cannot say."""
        if problem := dsn_problem(self.dsn):
            yield "dsn", problem
        if self.per_minute < 1:
            yield "per_minute", "must be at least 1"
        if self.every_ms < 1_000:  # noqa: PLR2004 (a second)
            yield "every", 'must be at least "1s"'
