"""Own template: what a channel's own `title` and `text` give for a notification, and whether they can work at all."""

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Any

from sinks.notification import Notification, one_line
from sinks.template import AbsentError, TemplateError, absent, cleaned, compiled, rendered

_LIMITS = {"title": 300, "text": 5000}  # characters
_FIELDS = tuple(each.name for each in dataclasses.fields(Notification))


def problem_of(source: str, key: str, more: Mapping[str, Any]) -> str | None:
    """Say why a template does not compile or cannot work, whatever the alert is; `more` are names beside its fields."""
    try:
        compiled(source, (*_FIELDS, *more))
        _try(source, key, more)
    except TemplateError as error:
        return str(error)
    return None


def words_of(source: str, key: str, notification: Notification, more: Mapping[str, Any]) -> str:
    """Render a notification's title or text; raises TemplateError."""
    said = rendered(source, _told(notification, more), limit=_LIMITS[key])
    if key == "text":
        return said
    title = one_line(said)
    if not title:
        raise TemplateError("it gives no text")
    return title


def _told(notification: Notification, more: Mapping[str, Any]) -> dict[str, Any]:
    return {name: cleaned(getattr(notification, name)) for name in _FIELDS} | {name: cleaned(v) for name, v in more.items()}


def _try(source: str, key: str, more: Mapping[str, Any]) -> None:
    """Render for an alert without labels, key and evidence; that these are not there says nothing, all else does."""
    empty = dict.fromkeys(("key", "labels", "evidence"), _Nothing())
    with contextlib.suppress(AbsentError):
        rendered(source, _told(_ANY, more) | empty, limit=_LIMITS[key])


class _Nothing(dict[str, Any]):
    """A table of which every entry is absent."""

    def get(self, key: str, default: Any = None) -> Any:
        """Give the default, and what is absent where there is none."""
        return absent(key) if default is None else default


_ANY = Notification(
    at=1_764_547_500_000,
    id="0" * 32,
    rule="rule",
    key={},
    fingerprint="0" * 16,
    episode=f"{'0' * 16}:1764547200",
    dedup_key=f"edgewatch/production/rule/{'0' * 16}:1764547200",
    status="firing",
    severity="critical",
    reason="first",
    channels=("channel",),
    group="0" * 16,
    title="Rule: 7 % (critical above 5 %)",
    text="metric was 7 %.",
    value=0.07,
    threshold=0.05,
    labels={},
    evidence={},
    environment="production",
)
