"""Acknowledge: what a pager hears when a person silences an alert that it was told of: somebody knows.

It is one message more of the episode, at the barrier at which the silence takes effect: behind the trigger and before the
resolve, durable as they are. It says nothing new to people, so it is not written down as a notification.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from flows.labels import SEVERITY_NAMES
from sinks.notification import Notification

REASON = "acknowledged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """An open alert, and who has heard of it; `key` is canonical JSON, `severity` a code."""

    rule: str
    key: str
    fingerprint: str
    episode: str
    severity: int
    heard: frozenset[str]


def acknowledgements(silenced: Iterable[Known], pagers: frozenset[str], environment: str, at: int) -> Iterable[Notification]:
    """Give what the pagers among those who heard of an alert are told, an alert each."""
    for alert in silenced:
        channels = tuple(sorted(alert.heard & pagers))
        if channels:
            yield Notification(
                at=at,
                id=hashlib.sha256(f"{alert.episode}|{REASON}|{at}".encode()).hexdigest()[:32],
                rule=alert.rule,
                key=orjson.loads(alert.key),
                fingerprint=alert.fingerprint,
                episode=alert.episode,
                dedup_key=f"edgewatch/{environment}/{alert.rule}/{alert.episode}",
                status="firing",
                severity=SEVERITY_NAMES[alert.severity],
                reason=REASON,
                channels=channels,
                group=None,
                title=f"Silenced by a person: {alert.rule.replace('_', ' ')}",
                text="",
                value=None,
                threshold=None,
                labels={},
                evidence={},
                environment=environment,
            )
