"""Prometheus alert: a notification in the words of Prometheus and Alertmanager; pure.

A name that is taken already (an alert whose key has a `severity`) gets `exported_` in front, as Prometheus does it, so
that two alerts never become one.
"""

import re
from collections.abc import Callable, Mapping

from sinks.notification import Notification, number, rfc3339
from sinks.runbook import dashboard_of, runbook_of

NEVER = "0001-01-01T00:00:00Z"  # Go's zero time: Alertmanager's word for an end that is not known
_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_]")


def labels(notification: Notification, name_of: Callable[[str], str] = str) -> dict[str, str]:
    """Give the labels: the alert's own, its key, its configured labels; `name_of` makes names that are allowed."""
    found = {
        "alertname": notification.rule,
        "severity": notification.severity,
        "environment": notification.environment,
    }
    for given in (notification.key, notification.labels):
        _add(found, {name: value for name, value in given.items() if value}, name_of)
    return found


def group_labels(notification: Notification) -> dict[str, str]:
    """Give what is the same in all that is said about one alert: the labels of its identity, as `labels` has them."""
    found = {"alertname": notification.rule, "severity": notification.severity, "environment": notification.environment}
    _add(found, {name: value for name, value in notification.key.items() if value}, str)
    del found["severity"]  # it changes
    return found


def group_key(notification: Notification) -> str:
    """Give the group's key as Alertmanager writes one: the route, then the labels by name."""
    pairs = (f'{name}="{_quoted(value)}"' for name, value in sorted(group_labels(notification).items()))
    return "{}:{" + ", ".join(pairs) + "}"


def annotations(notification: Notification) -> dict[str, str]:
    """Give what people read about it."""
    found = {
        "summary": notification.title,
        "description": notification.text,
        "reason": notification.reason,
        "episode": notification.episode,
    }
    runbook = runbook_of(notification)
    if runbook is not None and runbook.address:
        found["runbook_url"] = runbook.address  # the name that Prometheus' own rules give it
    if dashboard_of(notification):
        found["dashboard_url"] = dashboard_of(notification)
    figures = {"value": notification.value, "threshold": notification.threshold}
    return found | {name: number(value) for name, value in figures.items() if value is not None}


def label_name(name: str) -> str:
    """Give a name that every Prometheus allows."""
    clean = _NOT_IN_A_NAME.sub("_", name)
    return clean if clean[:1].isalpha() or clean[:1] == "_" else f"_{clean}"


def starts_at(notification: Notification) -> str:
    """Give the start of the episode, which its name ends in, and never a time after the notification's own."""
    seconds = notification.episode.rpartition(":")[2]
    started = int(seconds) * 1000 if re.fullmatch(r"[0-9]{1,11}", seconds) else notification.at
    return rfc3339(min(started, notification.at))


def _add(found: dict[str, str], given: Mapping[str, str], name_of: Callable[[str], str]) -> None:
    for name, value in sorted(given.items()):
        free = name_of(name)
        while free in found:
            free = f"exported_{free}"
        found[free] = str(value)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
