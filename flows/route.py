"""Route: who hears of an alert, by its labels and severity.

The first route that fits takes the alert; one with `continue` takes it and lets those behind it have it too.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteOptions:
    """One `[[route]]` table; the first that holds the severity takes the notification."""

    NOT_YET = ("match", "group_by", "continue")

    severity: tuple[str, ...] = field(default=("warning", "critical"), metadata={"help": "severities it takes"})
    channels: tuple[str, ...] = field(metadata={"help": "names of channels"})

    def problems(self) -> Iterable[tuple[str, str]]:
        """Yield (key, problem) for what the types cannot say."""
        if not self.severity:
            yield "severity", "is empty, so the route takes nothing; leave it out for any severity"
        for name in self.severity:
            if name not in ("warning", "critical"):
                yield "severity", f"{name!r} is not a severity; allowed: warning, critical"
