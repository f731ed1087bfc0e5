"""Proposal: the word to people that an incident waits for one of them to post it on the status page.

It is an episode of its own, opened by the proposal and resolved when there is nothing left to decide. It goes to those
channels of the alert that people read without being paged, or to all such where the alert has none: a person who is awake
for the alert is who decides.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from sinks.notification import Notification

RULE = "statuspage_proposal"


@runtime_checkable
class TellsPeople(Protocol):
    """A channel that has something to say by other channels; delivery gives it `tell`, which raises `SpoolFull`."""

    tell: Callable[[Notification], None]


def to_nobody(notification: Notification) -> None:
    """Say it to nobody: for a channel that is used without delivery."""
    del notification


def readers(alert: Notification, people: Sequence[str]) -> tuple[str, ...]:
    """Give the channels to tell; `people` are those that people read without being paged."""
    return tuple(sorted(set(alert.channels) & set(people) or set(people)))


def proposed(alert: Notification, page: str, incident: dict[str, Any]) -> Notification:
    """Say that an incident of an alert was proposed for the page called `page`."""
    command = f"edgewatch status approve -c CONFIG {alert.episode}"
    lines = [f"It would say: {incident['body']}", f"Post it: {command}", f"Because of: {alert.title}"]
    title = f'Post "{incident["name"]}" on the status page?'
    return _said(alert, page, lines, title=title, status="firing", reason="first")


def settled(alert: Notification, page: str, *, posted: bool) -> Notification:
    """Say that the alert is over, and so what was proposed."""
    title = (
        "The posted incident on the status page is resolved" if posted else "The incident proposed for the status page is over"
    )
    return _said(alert, page, [f"Because of: {alert.title}"], title=title, status="resolved", reason="resolved")


def _said(alert: Notification, page: str, lines: list[str], **words: Any) -> Notification:
    fingerprint = hashlib.sha256(f"{RULE}|{page}|{alert.fingerprint}".encode()).hexdigest()[:16]
    episode = f"{fingerprint}:{alert.episode.rpartition(':')[2]}"
    return dataclasses.replace(
        alert,
        **words,
        id=hashlib.sha256(f"{RULE}|{page}|{alert.id}".encode()).hexdigest()[:32],
        rule=RULE,
        key={"page": page},
        fingerprint=fingerprint,
        episode=episode,
        dedup_key=f"edgewatch/{alert.environment}/{RULE}/{episode}",
        severity="warning",
        group=None,
        value=None,
        threshold=None,
        text=" ".join(lines),
        evidence={"lines": lines},
        provenance={},
    )
