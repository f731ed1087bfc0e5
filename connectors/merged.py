"""Merged: a request's record that holds its subrequests inside, as Logpush writes it where asked to, as records of their own.

A subrequest has what it says itself; where it says nothing of its time or its parent, it takes those of the request. What is
inside and is no object stays where it is. Source: Cloudflare's documentation of `merge_subrequests`.
"""

import contextlib
import json
from collections.abc import Callable, Sequence
from typing import Any

import orjson

NAME = "Subrequests"
KEY = f'"{NAME}"'.encode()


def unmerged(row: bytes, event_time: Sequence[str], *, own_times: bool = True) -> list[bytes]:
    """Give the records of a line, the request first; the line as it is where it holds no subrequests or cannot be read.

    Without `own_times` subrequests have the times of their request, whatever they say.
    """
    if KEY not in row:
        return [row]
    parent, written = _read(row)
    inside = parent.get(NAME) if isinstance(parent, dict) else None
    if not isinstance(inside, list) or not any(isinstance(each, dict) for each in inside):
        return [row]
    given = {name: parent[name] for name in event_time if name in parent}
    given |= {"ParentRayID": parent.get("RayID"), "WorkerSubrequest": True}
    unsaid = frozenset() if own_times else frozenset(event_time)
    found = [{name: value for name, value in each.items() if name not in unsaid} for each in inside if isinstance(each, dict)]
    children = [{**given, **each} for each in found]
    rest = [each for each in inside if not isinstance(each, dict)]
    own = {name: value for name, value in parent.items() if name != NAME} | ({NAME: rest} if rest else {})
    for write in (written, _odd):  # a number that was read can be too large to be written, what is nested too deep
        with contextlib.suppress(TypeError, ValueError, RecursionError):
            return [write(each) for each in (own, *children)]
    return [row]


def _read(row: bytes) -> tuple[Any, Callable[[Any], bytes]]:
    """Read what strict readers refuse too: invalid UTF-8, lone surrogates, numbers of any size."""
    try:
        return orjson.loads(row), orjson.dumps
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(row.decode("utf-8", "surrogateescape")), _odd
    except (ValueError, RecursionError):
        return None, _odd


def _odd(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
