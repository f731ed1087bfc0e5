"""Notifications to say in tests."""

from typing import Any

from sinks.notification import Notification

EPISODE = "0123456789abcdef:1764547200"
PROVENANCE = {"partitions": [{"partition": "logpush/0", "from": 120, "to": 340}], "sql": "SELECT value FROM windows"}
CONTRIBUTED = "path /api/checkout contributes 71 % of the excess errors (640 of 902)"


def notification(**changes: Any) -> Notification:
    """Give a critical alert that fires; `changes` replace fields."""
    fields: dict[str, Any] = {
        "at": 1_764_547_500_000,
        "id": "a" * 32,
        "rule": "high_error_rate",
        "key": {"ClientRequestHost": "api.example.com"},
        "fingerprint": "0123456789abcdef",
        "episode": EPISODE,
        "dedup_key": f"edgewatch/production/high_error_rate/{EPISODE}",
        "status": "firing",
        "severity": "critical",
        "reason": "first",
        "channels": ("console", "pagerduty", "slack"),
        "group": None,
        "title": "high_error_rate on api.example.com",
        "text": "error_rate ratio 0.0731 is above 0.05 (12345 records)",
        "value": 0.0731,
        "threshold": 0.05,
        "labels": {"team": "edge"},
        "evidence": {
            "exemplars": [
                {
                    "reason": "error",
                    "value": 1.0,
                    "event_time": 1_764_547_312_000,
                    "ray_id": "8f1a2b3c4d5e6f70",
                }
            ],
            "contribution": [
                {
                    "dimension": "path",
                    "value": "/api/checkout",
                    "share": 0.71,
                    "count": 640,
                    "total": 902,
                    "of": "excess errors",
                    "sample": None,
                }
            ],
        },
        "environment": "production",
    }
    return Notification(**{**fields, **changes})


def story(*reasons: str, severities: tuple[str, ...] = ()) -> list[Notification]:
    """Give an episode's notifications, five minutes apart, with ids of their own; all critical by default."""
    out = []
    for place, reason in enumerate(reasons):
        severity = severities[place] if severities else "critical"
        resolved = reason in {"resolved", "forgotten"}
        out.append(
            notification(
                at=1_764_547_500_000 + 300_000 * place,
                id=f"{place:032x}",
                reason=reason,
                severity=severity,
                status="resolved" if resolved else "firing",
            )
        )
    return out
