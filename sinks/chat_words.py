"""Chat words: what every chat says of a notification, before a chat's own escaping and limits; pure."""

import itertools
import re

from sinks.notification import Notification, key_text, one_line, provenance_lines, rfc3339
from sinks.runbook import dashboard_of, evidence_beside

EVIDENCE_LINES = 10
_MARKS = {"critical": "\N{LARGE RED CIRCLE}", "warning": "\N{LARGE ORANGE CIRCLE}"}
_USUAL = ("", "production")
_RESOLVED = "\N{LARGE GREEN CIRCLE}"
_LINK = re.compile(r"https?://[!#-&*-;=?-Z^_a-z{|}~]{3,500}")  # no spaces, quotes, <>, (), [] or backslashes


def headline(notification: Notification) -> str:
    """Give the title with its mark, and where it is unless that is production: a phone shows no more than this."""
    resolved = notification.status == "resolved"
    mark = _RESOLVED if resolved else _MARKS.get(notification.severity, "")
    over = notification.reason if notification.reason == "fired and resolved" else "resolved"
    where = "" if notification.environment in _USUAL else f" ({one_line(notification.environment)})"
    return f"{mark} {over if resolved else notification.severity}: {one_line(notification.title)}{where}"


def facts(notification: Notification) -> dict[str, str]:
    """Give what belongs in a table, by name; the labels come last.

    Value and threshold are not there: the title has them, with their unit.
    """
    found = {"Rule": notification.rule, "Key": key_text(notification.key), "Severity": notification.severity}
    found |= {name: value for name, value in notification.labels.items() if name not in notification.key}
    return {one_line(name): one_line(value) for name, value in found.items()}


def evidence(notification: Notification) -> list[str]:
    """Give the first lines of the evidence; runbook and dashboard have a place of their own.

    Offsets and SQL are a click away where there is a dashboard; where there is none they come last.
    """
    source = () if dashboard_of(notification) else provenance_lines(notification.provenance)
    return list(itertools.islice(itertools.chain(evidence_beside(notification), source), EVIDENCE_LINES))


def context(notification: Notification) -> str:
    """Give the small print: where, when, why, and of which episode."""
    words = (notification.environment, rfc3339(notification.at), notification.reason, notification.episode)
    return one_line(" | ".join(words))


def is_link(value: str) -> bool:
    """Tell whether the value of a label is an address, and nothing that a chat could read as more."""
    return _LINK.fullmatch(value) is not None


def cut(text: str, limit: int) -> str:
    """Cut a text to `limit` characters."""
    return text if len(text) <= limit else text[: max(limit - 1, 0)] + "\N{HORIZONTAL ELLIPSIS}"
