"""Drill: a marked alert that goes the whole way through every channel of its rule's route, and is resolved again.

Each channel has a spool of its own that is thrown away, so a drill touches neither the spool of a run nor other channels.
Status pages are left out: what they show is public.
"""

import hashlib
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from flows.alert_state import SEVERITIES
from flows.config import Config
from flows.labels import Labels
from flows.notify import Notifier, Saying
from flows.output import canonical
from flows.route import Routes
from flows.rule import CRITICAL, WARNING, Rule, RuleOptions, compile_rule
from flows.shown import shown_of
from flows.transition import episode_of, fingerprint_of
from sinks.channels import destinations
from sinks.delivery import ChannelDestination, Delivery
from sinks.failure import notification_items
from sinks.notification import Notification
from sinks.spool import Spool
from sinks.statuspage import StatuspageOptions

_STOP_S = 5.0
_NOTE = "This is a drill: nothing is wrong."


@dataclass(frozen=True, slots=True)
class Arrival:
    """What became of a drill at one channel; `ok` is None where it was left out."""

    channel: str
    ok: bool | None
    words: str

    def as_dict(self) -> dict[str, str | bool | None]:
        """Give it as JSON has it."""
        return {"channel": self.channel, "ok": self.ok, "words": self.words}


def severities_of(options: RuleOptions) -> list[str]:
    """Give the severities that a rule can fire with, the worst first."""
    limits = options.thresholds
    return [name for name, limit in (("critical", limits.critical), ("warning", limits.warning)) if limit is not None]


def drill(config: Config, name: str, *, severity: str, at: int, timeout_s: float) -> Iterator[Arrival]:
    """Send an alert of the rule `name` and its resolve to each channel in turn; `at` (ms) is when it pretends to be."""
    said = notifications(config, name, severity=severity, at=at)
    for channel in said[0].channels:
        if isinstance(config.channels[channel], StatuspageOptions):
            yield Arrival(channel, None, "left out: what it shows is public")
            continue
        destination = destinations({channel: config.channels[channel]})[0]
        with tempfile.TemporaryDirectory(prefix="edgewatch-drill-") as folder:
            yield _sent(destination, [replace(each, channels=(channel,)) for each in said], Path(folder), timeout_s)


def notifications(config: Config, name: str, *, severity: str, at: int) -> list[Notification]:
    """Give the alert and its resolve, marked as a drill, as the rule would say them."""
    options = next(rule for rule in config.rules if rule.name == name)
    metric = next(metric for metric in config.metrics if metric.name == options.metric)
    rule = compile_rule(options, metric)
    labels = Labels(config.environment, config.labels)
    notifier = Notifier(config.environment, labels, Routes(config.routes, labels), shown_of(config, config.policy))
    key = canonical(dict.fromkeys(metric.group_by if rule.keys != "total" else (), "drill")).decode()
    code = CRITICAL if severity == "critical" else WARNING
    fired = _saying(rule, config.environment, key, code, at)
    over = msgspec.structs.replace(
        fired,
        reason="resolved",
        number=1,
        value=rule.shown(rule.recover if math.isfinite(rule.recover) else 0.0),
        peak=fired.value,
        breaches=1,
    )
    told = notifier.build(fired, frozenset())
    return [_marked(told.notification), _marked(notifier.build(over, told.heard).notification)]


def _saying(rule: Rule, environment: str, key: str, severity: int, at: int) -> Saying:  # one alert, made up
    fingerprint = fingerprint_of(environment, key, f"drill:{rule.options.name}")
    limit = rule.threshold(severity) or 0.0
    return Saying(
        rule=rule,
        window_start=at - 300_000,
        at=at,
        key=key,
        fingerprint=fingerprint,
        episode=episode_of(fingerprint, at),
        start=at,
        number=0,
        reason="first",
        severity=severity,
        value=rule.shown(limit + (abs(limit) * 0.5 or 1.0) * rule.sign),
        count=1000,
        level=SEVERITIES[severity] or "",
        peak=None,
        breaches=0,
        exemplars=(),
        limit=rule.threshold(severity),
    )


def _marked(notification: Notification) -> Notification:
    return replace(
        notification,
        id=hashlib.sha256(f"drill:{notification.id}".encode()).hexdigest()[:32],
        title=f"DRILL: {notification.title}",
        text=f"{_NOTE} {notification.text}",
        labels={**notification.labels, "drill": "true"},
    )


def _sent(destination: ChannelDestination, said: list[Notification], folder: Path, timeout_s: float) -> Arrival:
    """Deliver one by one, so that the channel sees an alert and then its end."""
    spool = Spool(folder / "spool.sqlite")
    delivery = Delivery(spool, [destination])
    delivery.start()
    try:
        for each in said:
            spool.put(notification_items(each))
            if not delivery.drain(timeout_s):
                break
        status = delivery.status()[0]
    finally:
        delivery.stop(_STOP_S)
        spool.close()
    if status.delivered == len(said):
        return Arrival(destination.name, ok=True, words="took the alert and its end")
    return Arrival(destination.name, ok=False, words=status.last_error or f"no answer within {timeout_s:g} s")
