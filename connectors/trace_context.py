"""Trace context: which trace a record belongs to, by the headers that were passed on: W3C `traceparent` or `sentry-trace`.

Source: W3C Trace Context, 3.2 (version-trace-parent-flags; all zeros is invalid); Sentry's docs on trace propagation.
"""

import re
from typing import Any

_TRACE = re.compile(r"(?:[0-9a-f]{2}-)?([0-9a-f]{32})-([0-9a-f]{16})(?:-[0-9a-f]{1,2})?(?:-.*)?")
_HEADER = re.compile(
    rb'"(?:trace\.)?(?:[Tt]raceparent|[Ss]entry[-_][Tt]race)"\s*:\s*"([0-9A-Fa-f]{2}-[0-9A-Fa-f]{32}-[0-9A-Fa-f]{16}-[0-9A-Fa-f]{2}'
    rb'|[0-9A-Fa-f]{32}-[0-9A-Fa-f]{16}(?:-[01])?)"'
)
_ID = re.compile(r"[0-9a-f]{32}")
_NONE = "0" * 16


def trace_of(value: Any) -> tuple[str, str] | None:
    """Give (trace id, span id) of a header's value; None where it is none."""
    found = _TRACE.fullmatch(value.strip().lower()) if isinstance(value, str) else None
    if found is None or found[1] == _NONE * 2 or found[2] == _NONE:
        return None
    return found[1], found[2]


def trace_in(record: bytes) -> str | None:
    """Give the trace id of the first header that stands anywhere in a record (JSON); None where there is none.

    The bytes are looked through, because a record is read anew for this alone.
    """
    return next((found[0] for each in _HEADER.findall(record) if (found := trace_of(each.decode()))), None)


def trace_id_of(value: Any) -> str | None:
    """Give the trace id of a header's value, or of the id itself; None where it is none."""
    found = trace_of(value)
    if found is not None:
        return found[0]
    text = value.strip().lower().replace("-", "") if isinstance(value, str) else ""
    return text if _ID.fullmatch(text) and text != _NONE * 2 else None
