"""The alert on delivery itself: what a destination did not take is said through the other channels.

One episode a destination: opened by the first loss, said again at most hourly, resolved by the next delivery.
A loss of such an alert makes none, so two broken channels cannot keep each other busy. Where there is no other channel, the
channel itself hears of its loss once it takes something again; until then a missing heartbeat is all that tells.
"""

import hashlib
import logging
from collections.abc import Sequence
from typing import Any

import msgspec
import orjson

from sinks.clock import Clock
from sinks.notification import Notification, one_line
from sinks.spool import Spool, SpoolItem, Waiting

RULE = "delivery_failed"
_REPEAT_MS = 3_600_000
_SELF = "edgewatch"  # under this name the spool remembers the open episodes
_SHOWN = 500
_log = logging.getLogger("edgewatch.delivery")


class FailureAlert:
    """Raises and resolves the alert. `speakers` are the destinations that people read."""

    def __init__(self, spool: Spool, speakers: Sequence[str], *, environment: str, clock: Clock) -> None:
        """Say nothing yet."""
        self._spool, self._speakers, self._environment, self._clock = (
            spool,
            tuple(speakers),
            environment,
            clock,
        )

    def lost(self, destination: str, items: Sequence[Waiting], error: str) -> None:
        """Say that `destination` did not take these items."""
        notifications = [notification for item in items if (notification := _read(item.payload))]
        notifications = [each for each in notifications if each.rule != RULE]
        if not notifications and destination in self._speakers:
            return
        now = int(self._clock.now()) * 1000
        memory = self._spool.memory(_SELF, destination)
        if memory and now - int(memory["said_at"]) < _REPEAT_MS:
            return
        if destination in self._speakers and len(self._speakers) == 1:
            _log.error("%s is the only channel: nobody can be told of what it did not take", destination)
        severity = "critical" if any(each.severity == "critical" for each in notifications) else "warning"
        memory = memory or {"start": str(now // 1000), "count": "0", "severity": severity}
        title = f"{destination} did not take {len(items)} item{'s' if len(items) > 1 else ''}"
        first = f"; first: {notifications[0].title}" if notifications else ""
        text = one_line(f"{error[:_SHOWN]}{first}. They are kept: edgewatch spool list")
        self._say(destination, memory, {"at": now, "status": "firing", "title": title, "text": text})

    def open(self, destination: str) -> bool:
        """Tell whether a destination lost something and has delivered nothing since, over restarts."""
        return bool(self._spool.memory(_SELF, destination))

    def well(self, destination: str) -> None:
        """Resolve the alert of a destination that delivered."""
        memory = self._spool.memory(_SELF, destination)
        if memory:
            title = f"{destination} takes items again"
            text = "What it did not take stays set aside: edgewatch spool retry"
            now = int(self._clock.now()) * 1000
            self._say(destination, memory, {"at": now, "status": "resolved", "title": title, "text": text})

    def _say(self, destination: str, memory: dict[str, str], said: dict[str, Any]) -> None:
        key = {"destination": destination}
        named = {"environment": self._environment, "key": key, "rule": RULE}
        fingerprint = hashlib.sha256(orjson.dumps(named, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
        episode, count = f"{fingerprint}:{memory['start']}", int(memory["count"])
        channels = tuple(sorted(name for name in self._speakers if name != destination))
        resolved = said["status"] == "resolved"
        if resolved and not channels and destination in self._speakers:
            channels = (destination,)
        notification = Notification(
            **said,
            id=hashlib.sha256(f"{episode}|{count}".encode()).hexdigest()[:32],
            rule=RULE,
            key=key,
            fingerprint=fingerprint,
            episode=episode,
            dedup_key=f"edgewatch/{self._environment}/{RULE}/{episode}",
            severity=memory["severity"],
            reason="resolved" if resolved else "repeat" if count else "first",
            channels=channels,
            group=None,
            value=None,
            threshold=None,
            labels={},
            evidence={},
            environment=self._environment,
        )
        self._spool.put(notification_items(notification))
        kept = {**memory, "count": str(count + 1), "said_at": str(said["at"])}
        self._spool.remember(_SELF, destination, {} if resolved else kept)


def notification_items(notification: Notification) -> list[SpoolItem]:
    """Give a notification's items for the spool, one a channel."""
    payload = notification.to_bytes()
    return [
        SpoolItem(f"{notification.id}/{channel}", channel, notification.episode, payload, notification.at)
        for channel in notification.channels
    ]


def _read(payload: bytes) -> Notification | None:
    try:
        return Notification.from_bytes(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
