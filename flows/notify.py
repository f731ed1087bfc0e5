"""Notify: from a decision to what people read: routing, title and text, evidence and provenance.

Routing: the first route whose severities hold the severity takes it; a de-escalation and a resolve go to all that heard of
the episode, also when the routes have changed since.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from flows.exemplar import Exemplar
from flows.metric import MetricOptions
from flows.output import canonical, rfc3339
from flows.rule import CRITICAL, Rule
from flows.window import MetricRows, WindowResult
from sinks.notification import Notification

_SEVERITY_NAMES = ("", "warning", "critical")
_ENDED = ("resolved", "forgotten")


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteOptions:
    """One `[[route]]` table; the first that holds the severity takes the notification."""

    NOT_YET = ("match", "group_by", "continue")

    severity: tuple[str, ...] = field(default=(), metadata={"help": "severities it takes; empty: any"})
    channels: tuple[str, ...] = field(metadata={"help": "names of channels"})

    def problems(self) -> Iterable[tuple[str, str]]:
        """Yield (key, problem) for what the types cannot say."""
        for name in self.severity:
            if name not in ("warning", "critical"):
                yield "severity", f"{name!r} is not a severity; allowed: warning, critical"


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """What is known of one alert when something is said of it; `number` counts its notifications from 0."""

    fingerprint: str
    episode: str
    key: str
    start: int
    number: int
    severity: int
    peak: float
    breaches: int


class Notifier:
    """Builds notifications; pure, so a replay says the same words."""

    def __init__(
        self,
        environment: str,
        labels: dict[str, str],
        routes: Sequence[RouteOptions],
        metrics: Mapping[str, MetricOptions],
    ) -> None:
        """Take what notifications say besides the decision itself."""
        self._environment = environment
        self._labels = labels
        self._routes = tuple(routes)
        self._metrics = dict(metrics)

    def channels(self, severity: int) -> frozenset[str]:
        """Give the channels of the first route that takes the severity."""
        name = _SEVERITY_NAMES[severity]
        for route in self._routes:
            if not route.severity or name in route.severity:
                return frozenset(route.channels)
        return frozenset()

    def build(  # noqa: PLR0913
        self,
        rule: Rule,
        told: Episode,
        reason: str,
        result: WindowResult,
        rows: MetricRows | None,
        heard: frozenset[str],
    ) -> tuple[Notification, frozenset[str], bytes]:
        """Give the notification, who has heard of the episode now, and the provenance line."""
        options = rule.options
        status = "resolved" if reason in _ENDED else "firing"
        channels = self.channels(told.severity)
        if status == "firing":
            heard = heard | channels
        value, count = _row(rows, told.key, options.statistic)
        words = _Words(self._metrics[options.metric], rule, told, reason, value, count, result)
        shown = result.exemplars.get((options.metric, told.key), ())
        key: dict[str, str] = orjson.loads(told.key)
        notification = Notification(
            at=result.end,
            id=hashlib.sha256(f"{told.episode}|{told.number}".encode()).hexdigest()[:32],
            rule=options.name,
            key=key,
            fingerprint=told.fingerprint,
            episode=told.episode,
            dedup_key=f"edgewatch/{self._environment}/{options.name}/{told.episode}",
            status=status,
            severity=_SEVERITY_NAMES[told.severity],
            reason=reason,
            channels=tuple(sorted(heard if status == "resolved" or reason == "de-escalated" else channels)),
            group=None,
            title=words.title(),
            text=words.text(),
            value=value,
            threshold=rule.threshold(told.severity),
            labels={**self._labels, **key},
            # Contribution is not worked out by this version: null says so, an empty list would say that nothing stands out.
            evidence={"exemplars": [_evidence(chosen) for chosen in shown], "contribution": None},
            environment=self._environment,
        )
        return notification, heard, _provenance(notification.id, rule, told.key, result, shown)


def _row(rows: MetricRows | None, key: str, statistic: str) -> tuple[float | None, int]:
    if rows is None or key not in rows.keys:
        return None, 0
    place = rows.keys.index(key)
    return float(rows.statistics[statistic][place]), int(rows.counts[place])


def _evidence(chosen: Exemplar) -> dict[str, Any]:
    return {
        "reason": chosen.reason,
        "value": chosen.value,
        "event_time": rfc3339(chosen.event_time),
        "ray_id": chosen.ray_id,
    }


def _provenance(name: str, rule: Rule, key: str, result: WindowResult, shown: tuple[Exemplar, ...]) -> bytes:
    ranges: dict[str, list[int]] = {}
    for chosen in shown:
        low, high = ranges.get(chosen.partition, [chosen.offset, chosen.offset])
        ranges[chosen.partition] = [min(low, chosen.offset), max(high, chosen.offset)]
    record = {
        "id": name,
        "exemplars": [{"ray_id": c.ray_id, "partition": c.partition, "offset": c.offset, "index": c.index} for c in shown],
        "offsets": {partition: {"from": low, "to": high} for partition, (low, high) in ranges.items()},
        "sql": sql_of(rule, key, result.start),
    }
    return canonical(record) + b"\n"


def sql_of(rule: Rule, key: str, window_start: int) -> str:
    """Give the query that shows the row a decision was made on."""
    pairs = ", ".join(f"'{_quoted(name)}', '{_quoted(text)}'" for name, text in sorted(orjson.loads(key).items()))
    conditions = (
        f"metric = '{_quoted(rule.options.metric)}'",
        f"statistic = '{rule.options.statistic}'",
        f"window_start = parseDateTimeBestEffort('{rfc3339(window_start)}', 'UTC')",
        f"key = map({pairs})",
    )
    return "SELECT window_start, key, statistic, value, count FROM window_metrics FINAL WHERE " + " AND ".join(conditions)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


@dataclass(frozen=True, slots=True)
class _Words:
    """What a person reads at three in the morning."""

    metric: MetricOptions
    rule: Rule
    told: Episode
    reason: str
    value: float | None
    count: int
    result: WindowResult

    def title(self) -> str:
        name = self.rule.options.name.replace("_", " ")
        where = ", ".join(orjson.loads(self.told.key).values()) or "all traffic"
        head = f"{name[:1].upper()}{name[1:]}: {where}"
        if self.reason in _ENDED:
            return f"{head}: back to normal" if self.reason == "resolved" else f"{head}: no data any more"
        return head if self.value is None else f"{head}: {self._show(self.value)}"

    def text(self) -> str:
        return " ".join(filter(None, [self._now(), self._why(), self._history()]))

    def _now(self) -> str:
        what = (
            f"{self.metric.name} {self.rule.options.statistic}" if self.rule.options.statistic != "ratio" else self.metric.name
        )
        span = f"{_clock(self.result.start)}-{_clock(self.result.end)} UTC"
        if self.value is None:
            return f"{what}: no row in {span}."
        return f"{what} was {self._show(self.value)} over {self.count} records, {span}."

    def _why(self) -> str:
        side = "above" if self.rule.sign > 0 else "below"
        limits = [
            f"{name} {side} {self._show(limit)}"
            for name, limit in (("critical", self.rule.threshold(CRITICAL)), ("warning", self.rule.threshold(1)))
            if limit is not None
        ]
        return f"Thresholds: {', '.join(limits)}; clear at {self._show(self.rule.recover)}."

    def _history(self) -> str:
        minutes = (self.result.end - self.told.start) // 60_000
        worst = "" if np.isnan(self.told.peak) else f"worst {self._show(self.told.peak)}, "
        spoken = {
            "escalated": "Escalated to critical.",
            "de-escalated": "Down to warning.",
            "reopened": "Firing again within the cooldown.",
            "repeat": f"Still firing after {minutes} min.",
            "resolved": f"Resolved after {minutes} min: {worst}{self.told.breaches} bad windows.",
            "forgotten": f"Closed after {minutes} min: the key has had no row for too long.",
        }
        return spoken.get(self.reason, "")

    def _show(self, value: float) -> str:
        if self.rule.options.statistic == "ratio":
            return f"{value * 100:.3g} %"
        whole = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004
        return f"{whole} {self.metric.unit}".rstrip()


def _clock(ms: int) -> str:
    return rfc3339(ms)[11:16]
