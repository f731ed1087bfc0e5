"""Silence request: what a person asks for on the command line or in the dashboard, checked and made into the event."""

import datetime
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.controls import Controls, ExpireEvent, SilenceEvent, append
from flows.firing import read_firing
from flows.matcher import Matchers
from flows.moment import duration
from flows.output import rfc3339
from flows.silence import LONGEST_MS, Silence


class BadRequest(ValueError):
    """A silence that cannot be meant: `field` is what is wrong with the rest of the sentence."""

    def __init__(self, field: str, problem: str) -> None:
        """Take the field's name, empty where it is about all of it."""
        super().__init__(problem)
        self.field = field


def event(matchers: Matchers, span: tuple[int, int], *, author: str, reason: str, now: int) -> SilenceEvent:
    """Make the event; `span` is start (ms, 0: at once) and end. Raises BadRequest."""
    return SilenceEvent(
        id=secrets.token_hex(4),
        match=tuple(map(str, matchers.all)),
        author=said("author", author),
        reason=said("reason", reason),
        start=span[0],
        end=span[1],
        at=now,
    )


def span(start: str | None, end: str | None, length: str | None, now: int) -> tuple[int, int]:
    """Give start (ms, 0: at once) and end of a silence that ends at a time or after a length. Raises BadRequest."""
    if (end is None) == (length is None):
        raise BadRequest("", "a silence needs an end: give either --for or --end")
    began = moment("start", start) if start is not None else 0
    first = max(began, now)
    ended = moment("end", end) if end is not None else first + _length(str(length))
    if ended <= first:
        raise BadRequest("", f"it would be over already: it ends at {shown(ended)}")
    if ended - first > LONGEST_MS:
        raise BadRequest("", "a silence lasts 7d at most; what comes again is a [[mute]] of the configuration")
    return began, ended


def moment(field: str, text: str) -> int:
    """Read a time with its zone as ms. Raises BadRequest."""
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise BadRequest(field, "give a time such as 2025-12-01T00:00:00Z") from None
    if found.tzinfo is None:
        raise BadRequest(field, f"say the zone, as in {text}Z")
    return int(found.timestamp() * 1000)


def said(field: str, text: str) -> str:
    """Give a text that must not be empty. Raises BadRequest."""
    if not text.strip():
        raise BadRequest(field, "is empty: people want to know")
    return text.strip()


def word(silence: Silence, now: int) -> str:
    """Say whether a silence is over, waits or holds at a time (ms)."""
    return "over" if silence.end <= now else "waits" if silence.start > now else "holds"


def matched(path: Path, matchers: Matchers) -> tuple[list[Mapping[str, Any]], int]:
    """Give which of the alerts that are open now are matched, and how many are open."""
    alerts = [alert for each in read_firing(path).values() for alert in each["alerts"]]
    return [alert for alert in alerts if matchers.matches(alert["labels"])], len(alerts)


def unknown(controls: Path, ids: Sequence[str]) -> list[str]:
    """Give those that are no silences that have not ended."""
    known = {silence.id for silence in Controls(controls).silences()}
    return [each for each in ids if each not in known]


def expire(controls: Path, name: str, now: int) -> None:
    """End a silence; durable when it returns."""
    append(controls, [ExpireEvent(id=secrets.token_hex(4), silence=name, at=now)])


def shown(ms: int) -> str:
    """Write a time in ms to the second."""
    return rfc3339(ms // 1000 * 1000)


def _length(text: str) -> int:
    try:
        return duration(text)
    except ValueError:
        raise BadRequest("for", "give a length such as 30m, 2h or 1d") from None
