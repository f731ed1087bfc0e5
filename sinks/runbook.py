"""Runbook: what to do first, and where to look further, for channels that give these a place of their own; pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from sinks.notification import Notification, evidence_lines, one_line

_ADDRESS = re.compile(r"https?://[!#-&*-;=?-Z^_a-z{}~]{3,500}")  # no spaces, quotes, <>, (), [], | or backslashes


@dataclass(frozen=True, slots=True)
class Runbook:
    """Where to read on, and the first steps; what is over needs none."""

    link: str
    steps: tuple[str, ...]

    @property
    def address(self) -> str:
        """The link where it is an address that can be clicked, and nothing that a reader could take for more; else empty."""
        return self.link if _ADDRESS.fullmatch(self.link) else ""

    def numbered(self) -> list[str]:
        """Give the steps, each behind its number."""
        return [f"{place}. {step}" for place, step in enumerate(self.steps, 1)]


def runbook_of(notification: Notification) -> Runbook | None:
    """Give the notification's runbook, if it names one."""
    found = notification.evidence.get("runbook")
    link = one_line(str(found.get("link") or "")) if isinstance(found, dict) else ""
    if not isinstance(found, dict) or not link:
        return None
    steps = found.get("steps") if notification.status != "resolved" else None
    return Runbook(link, tuple(one_line(str(step)) for step in steps) if isinstance(steps, list | tuple) else ())


def dashboard_of(notification: Notification) -> str:
    """Give the address of the alert's view, or nothing."""
    found = notification.evidence.get("dashboard")
    return found if isinstance(found, str) and _ADDRESS.fullmatch(found) else ""


def evidence_beside(notification: Notification) -> Iterable[str]:
    """Write the evidence for people, one fact a line, but for the runbook and the dashboard."""
    beside = {"runbook", "dashboard"}
    return evidence_lines({name: value for name, value in notification.evidence.items() if name not in beside})
