"""Notify: from a decision to what people read: routing, title and text, evidence and provenance.

A de-escalation and a resolve go to all that heard of the episode, also when the routes have changed since.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
import orjson

from flows.dashboard import alert_link
from flows.exemplar import Exemplar
from flows.labels import SEVERITY_NAMES, Labels
from flows.observe_options import TRACE_ID
from flows.output import canonical, rfc3339
from flows.route import Routes
from flows.rule import Rule
from flows.shown import Shown
from flows.sql import sql_of
from flows.wording import words_of
from sinks.notification import Notification

ENDED = ("resolved", "forgotten")


class Saying(msgspec.Struct, frozen=True, kw_only=True):
    """What is known when something is said of one alert; `number` counts the episode's notifications from 0.

    One is made for each alert of a storm: a struct takes a fifth of the time that a dataclass takes.
    """

    rule: Rule
    window_start: int
    at: int
    key: str
    fingerprint: str
    episode: str
    start: int
    number: int
    reason: str
    severity: int
    value: float | None
    count: int
    level: str
    peak: float | None
    breaches: int
    exemplars: tuple[Exemplar, ...]
    limit: float | None = None  # the threshold shown
    facts: Mapping[str, Any] = msgspec.field(default_factory=dict)  # what the rule's kind says besides
    second: frozenset[str] | None = None  # those who hear by a second route alone


class Told(NamedTuple):
    """A notification, the routes that took its alert, and who had heard of the episode `before` and has `heard` now."""

    notification: Notification
    taken: tuple[int, ...]
    before: frozenset[str]
    heard: frozenset[str]


class Notifier:
    """Builds notifications; pure, so a replay says the same words."""

    def __init__(self, environment: str, labels: Labels, routes: Routes, shown: Shown) -> None:
        """Take who hears, and what notifications say besides the decision itself."""
        self._environment = environment
        self._labels = labels
        self._shown = shown
        self.routes = routes

    def build(
        self,
        saying: Saying,
        before: frozenset[str],
        partitions: Sequence[Mapping[str, Any]] | None = None,
        contribution: Sequence[Mapping[str, Any]] | None = None,
    ) -> Told:
        """Give the notification, and who has heard of the episode now; `before` is who had.

        `partitions` is what the window was read from, None where there is no window yet.
        """
        ended = saying.reason in ENDED
        taken = self.routes.taken(saying.rule, saying.key, saying.severity)
        channels = self.routes.channels(taken) if saying.second is None else saying.second
        before, heard = _hearing(saying.reason, before, channels)
        key: dict[str, str] = orjson.loads(saying.key)
        title, text = words_of(saying, key)
        name = saying.rule.options.name
        notification = Notification(
            at=saying.at,
            id=hashlib.sha256(f"{saying.episode}|{saying.number}".encode()).hexdigest()[:32],
            rule=name,
            key=key,
            fingerprint=saying.fingerprint,
            episode=saying.episode,
            dedup_key=f"edgewatch/{self._environment}/{name}/{saying.episode}",
            status="resolved" if ended else "firing",
            severity=SEVERITY_NAMES[saying.severity],
            reason=saying.reason,
            channels=_in_order(heard if ended or saying.reason == "de-escalated" else channels),
            group=None,
            title=title,
            text=text,
            value=saying.value,
            threshold=saying.limit,
            labels=self._labels.shown(saying.rule, key),
            evidence=self._evidence(saying, contribution),
            environment=self._environment,
            provenance={} if partitions is None else {"partitions": partitions, "sql": sql_of(saying, self._shown.database)},
        )
        return Told(notification, taken, before, heard)

    def heard(
        self, subject: tuple[Rule, str, int], reason: str, before: frozenset[str], second: frozenset[str] | None
    ) -> frozenset[str]:
        """Give who has heard of the episode of an alert (rule, key, severity) once this is said of it, to `second` if given."""
        channels = self.routes.channels(self.routes.taken(*subject)) if second is None else second
        return _hearing(reason, before, channels)[1]

    def _evidence(self, saying: Saying, contribution: Sequence[Mapping[str, Any]] | None) -> dict[str, Any]:
        name, shown = saying.rule.options.name, self._shown
        evidence: dict[str, Any] = {
            "exemplars": [_evidence(each, shown.trace_url) for each in saying.exemplars],
            # Null says that contribution was not worked out; an empty list says that nothing stands out.
            "contribution": contribution,
            "window": _window(saying.window_start, saying.at),
            "n": saying.count,
            "rule_version": shown.versions.get(name),
        }
        evidence |= saying.facts
        if saying.rule.options.runbook:
            evidence["runbook"] = {"link": saying.rule.options.runbook, "steps": list(shown.runbooks.get(name, ()))}
        if shown.dashboard:
            evidence["dashboard"] = alert_link(shown.dashboard, name, saying.key, saying.at)
        return evidence


def provenance_line(saying: Saying, notification: Notification) -> bytes:
    """Give the line of `provenance.ndjson` of a notification."""
    exemplars = [
        {"partition": chosen.partition, "offset": chosen.offset, "index": chosen.index, "ray_id": chosen.ray_id}
        for chosen in saying.exemplars
    ]
    return canonical({"id": notification.id, "exemplars": exemplars, **notification.provenance}) + b"\n"


def _hearing(reason: str, before: frozenset[str], channels: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Give who had heard of the episode, and who has."""
    before = frozenset() if reason in ("first", "reopened") else before
    return before, before if reason in ENDED else before | channels


@lru_cache(16)
def _window(start: int, end: int) -> dict[str, str]:
    """Write a window; all alerts of a barrier share it."""
    return {"start": rfc3339(start), "end": rfc3339(end)}


@lru_cache(1024)
def _in_order(names: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(names))


def _evidence(chosen: Exemplar, trace_url: str) -> dict[str, Any]:
    trace = {"trace_id": chosen.trace_id} if chosen.trace_id else {}
    if chosen.trace_id and trace_url:
        trace["trace"] = trace_url.replace(TRACE_ID, chosen.trace_id)
    return {
        "reason": chosen.reason,
        "value": chosen.value,
        "event_time": rfc3339(chosen.event_time),
        "ray_id": chosen.ray_id,
        **trace,
    }
