"""Incident words: what a public incident says; pure.

It names components and what happens to them, or what the page's owner wrote instead (`own`: the channel's templates). Hosts,
paths and figures of the alert are added only where asked for, and then as text: Statuspage reads HTML in a body.
"""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from sinks.notification import Notification, one_line
from sinks.own_words import text_lines

_NAME, _DETAILS = 255, 5_000
_BODY = 25_000
_IMPACTS = {"degraded_performance": "minor", "partial_outage": "major", "major_outage": "critical"}
_UPDATES = {
    "escalated": "The problems with {} have become worse. We are still investigating.",
    "de-escalated": "The problems with {} have become less severe. We are still investigating.",
    "resolved": "Automated monitoring sees {} working as usual again.",
    "resolved in part": "One of the problems with {} is over. We are still investigating another one.",
    "forgotten": "Automated monitoring no longer watches {}. This incident is closed.",
}


def incident(
    notification: Notification, names: Sequence[str], status: str, *, own: Mapping[str, str], details: bool
) -> dict[str, Any]:
    """Give the incident of an alert on the components called `names`, the worst of which is called `status`."""
    what = _list(names)
    body = f"Automated monitoring has found problems with {what}. We are investigating."
    ours = {"episode": notification.episode, "rule": notification.rule, "environment": notification.environment}
    return {
        "name": (own.get("title") or f"Problems with {what}")[:_NAME],
        "status": "investigating",
        "impact_override": _IMPACTS[status],
        "body": _whole(_own(own) or body, notification, details=details),
        "metadata": {"edgewatch": ours},
    }


def update(notification: Notification, names: Sequence[str], *, own: Mapping[str, str], details: bool) -> dict[str, Any] | None:
    """Give what is added to the incident while the alert fires, None where it is no news in public."""
    if notification.reason not in {"escalated", "de-escalated"}:
        return None
    body = _own(own) or _UPDATES[notification.reason].format(_list(names))
    return {"body": _whole(body, notification, details=details)}


def closing(
    notification: Notification, names: Sequence[str], *, still: bool, own: Mapping[str, str], details: bool
) -> dict[str, Any]:
    """Give what ends the incident; `still` says that another alert on the components goes on."""
    unknown = notification.reason in {"forgotten", "rule_removed"}
    reason = "resolved in part" if still else "forgotten" if unknown else "resolved"
    body = _own(own) or _UPDATES[reason].format(_list(names) or "the affected components")
    return {"body": _whole(body, notification, details=details), "status": "resolved"}


def _own(own: Mapping[str, str]) -> str:
    return html.escape("\n".join(text_lines(own.get("text", ""))), quote=False)


def _list(names: Sequence[str]) -> str:
    return one_line(", ".join(names))


def _whole(body: str, notification: Notification, *, details: bool) -> str:
    if details:
        said = one_line(f"{notification.title}: {notification.text}")[:_DETAILS]
        body = f"{body[: _BODY // 4]}\n\n{html.escape(said, quote=False)}"
    return body[:_BODY]
