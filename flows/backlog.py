"""Backlog: what people hear of alerts that were decided long after their time, when a run has caught up; pure.

Of an episode that is still open its last word is said, and only that; the end of one that was heard of before is said as what
it is; all that began and ended within the backlog is one digest.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from flows.acknowledge import REASON as ACKNOWLEDGED
from flows.grouping import listed, rank
from flows.output import rfc3339
from sinks.notification import Notification

RULE = "caught_up"
_BEGINS = frozenset({"first", "reopened"})


class Ended(NamedTuple):
    """An episode that began and ended within the backlog: its worst notification, and when it was (ms)."""

    worst: Notification
    start: int
    end: int


def last_word(said: Sequence[Notification], *, known: bool) -> Notification | None:
    """Give what a channel is told of an episode, of all that would have been said to it; None where it is over and unheard of.

    `known` says that the channel had something of the episode before. What is told keeps its own id.
    """
    first, last = said[0], said[-1]
    heard = _heard(first, known=known)
    if last.reason == ACKNOWLEDGED and not heard:
        # A pager acknowledges only what it was paged for.
        last = next(each for each in reversed(said) if each.reason != ACKNOWLEDGED)
    if last.status == "resolved":
        return last if heard else None
    if not heard:
        # A de-escalation opens nothing at a channel: it says that something is open which they do not know.
        return last if last.reason != "de-escalated" else dataclasses.replace(last, reason="first")
    escalated = last.severity == "critical" and last.reason != ACKNOWLEDGED and any(each.reason == "escalated" for each in said)
    return dataclasses.replace(last, reason="escalated") if escalated else last


def ended(said: Sequence[Notification]) -> Ended:
    """Sum up an episode that is over."""
    return Ended(min((each for each in said if each.status == "firing"), key=rank, default=said[-1]), said[0].at, said[-1].at)


def digest(environment: str, channel: str, found: Sequence[Ended]) -> Notification:
    """Tell a channel of all that began and ended while the run was behind: the worst ten, and how many more."""
    ranked = sorted(found, key=lambda each: rank(each.worst))
    named = "|".join([environment, channel, *sorted(each.worst.id for each in found)])
    name = hashlib.sha256(named.encode()).hexdigest()
    at = max(each.end for each in found)
    episode = f"{name[:16]}:{at // 1000}"
    lines = listed([f"{each.worst.title} ({_minute(each.start)} to {_minute(each.end)} UTC)" for each in ranked])
    one = len(found) == 1
    return Notification(
        at=at,
        id=name[:32],
        rule=RULE,
        key={},
        fingerprint=name[:16],
        episode=episode,
        dedup_key=f"edgewatch/{environment}/{RULE}/{episode}",
        status="resolved",
        severity=ranked[0].worst.severity,
        reason="digest",
        channels=(channel,),
        group=None,
        title=f"{len(found)} incident{'' if one else 's'} began and ended while edgewatch was behind",
        text="; ".join(lines),
        value=None,
        threshold=None,
        labels={},
        evidence={"lines": lines},
        environment=environment,
    )


def _heard(first: Notification, *, known: bool) -> bool:
    """Tell whether a channel knew an episode as open when the first of what is held was said."""
    if first.reason in _BEGINS:
        return False
    # These go to those only that have heard.
    return known or first.status == "resolved" or first.reason in ("de-escalated", ACKNOWLEDGED)


def _minute(ms: int) -> str:
    return rfc3339(ms)[:16].replace("T", " ")
