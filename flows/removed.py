"""Removed: the end of alerts whose rule is gone from the configuration, or has become a rule on something else.

Nobody judges them any more, so nothing would ever resolve them. They end at the next window of their dataset (at any, where
that is gone too), and who heard that they fire hears that, by the same channels.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from flows.alert_state import FIRING, SEVERITIES, STATES
from flows.labels import SEVERITY_NAMES
from flows.notify import Told
from flows.rule import WARNING
from flows.transition import Transition, episode_of, fingerprint_of
from flows.window import WindowResult
from sinks.notification import Notification

REASON = "rule_removed"


class Removed:
    """Open alerts without a rule; plain values, so that a snapshot can hold those that no window has ended yet."""

    def __init__(self, labels: Mapping[str, str], datasets: frozenset[str]) -> None:
        """Take the labels that go on every alert, and the datasets that have windows."""
        self._labels = dict(labels)
        self._datasets = datasets
        self.open: list[dict[str, Any]] = []

    def take(self, rule: str, state: Mapping[str, Any], keys: list[str]) -> None:
        """Take what is open of a rule from its state in a snapshot (`Book.to_state`)."""
        columns, told = state["columns"], state["told"]
        for place, key in enumerate(keys):
            if columns["state"][place] >= FIRING or key in told:
                alert = {name: int(columns[name][place]) for name in ("state", "severity", "said", "start", "count")}
                environment, dataset = state["identity"][:2]
                named = {"environment": environment, "dataset": dataset, "rule": rule, "key": key}
                self.open.append({**alert, **named, "channels": sorted(told.get(key, ()))})

    def fingerprints(self) -> frozenset[str]:
        """Give the alerts that somebody heard of."""
        return frozenset(_fingerprint(alert) for alert in self.open if alert["channels"])

    def end(self, result: WindowResult) -> tuple[list[Transition], list[Told]]:
        """End the alerts of the window's dataset."""
        kept: list[dict[str, Any]] = []
        due: list[dict[str, Any]] = []
        for alert in self.open:
            waits = alert["dataset"] != result.dataset and alert["dataset"] in self._datasets
            (kept if waits else due).append(alert)
        self.open = kept
        moved = [_transition(alert, result.end) for alert in due if alert["state"] >= FIRING]
        return moved, [self._told(alert, result.end) for alert in due if alert["channels"]]

    def _told(self, alert: Mapping[str, Any], at: int) -> Told:
        rule, fingerprint, episode = alert["rule"], _fingerprint(alert), _episode(alert)
        key: dict[str, str] = orjson.loads(alert["key"])
        name = rule.replace("_", " ")
        where = f" on {', '.join(key.values())}" if key else ""
        notification = Notification(
            at=at,
            id=hashlib.sha256(f"{episode}|{alert['count']}".encode()).hexdigest()[:32],
            rule=rule,
            key=key,
            fingerprint=fingerprint,
            episode=episode,
            dedup_key=f"edgewatch/{alert['environment']}/{rule}/{episode}",
            status="resolved",
            severity=SEVERITY_NAMES[alert["said"] or alert["severity"] or WARNING],
            reason=REASON,
            channels=tuple(alert["channels"]),
            group=None,
            title=f"{name[:1].upper()}{name[1:]}{where}: not watched any more",
            text="The rule was taken out of the configuration, or judges something else now. Whether it is over is not known.",
            value=None,
            threshold=None,
            labels={**self._labels, **key},
            evidence={"exemplars": [], "contribution": None},
            environment=alert["environment"],
        )
        heard = frozenset(alert["channels"])
        return Told(notification, (), heard, heard)


def _fingerprint(alert: Mapping[str, Any]) -> str:
    return fingerprint_of(alert["environment"], alert["key"], alert["rule"])


def _episode(alert: Mapping[str, Any]) -> str:
    return episode_of(_fingerprint(alert), alert["start"])


def _transition(alert: Mapping[str, Any], at: int) -> Transition:
    moved = (STATES[alert["state"]], STATES[0], SEVERITIES[0], REASON)
    return Transition(at, alert["rule"], alert["key"], _fingerprint(alert), _episode(alert), *moved)
