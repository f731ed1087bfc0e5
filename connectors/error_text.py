"""Error text: what tells errors apart in the words of exceptions: the error's name, and its message without what changes.

A fingerprint is meant to be read: it groups rows and shows in alerts.
"""

import re
from functools import lru_cache
from typing import Any

_LONGEST = 200  # characters
_NAME = re.compile(r"(?:Uncaught (?:\(in promise\) )?)?([A-Za-z_$][\w$.]*(?:Error|Exception))\b")
# What differs between two occurrences of the same error, in the order in which it is looked for.
_CHANGING = (
    (re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"), ":id"),
    (re.compile(r"https?://\S+"), ":url"),
    (re.compile(r"\S+@\S+\.\w+"), ":mail"),
    (re.compile(r"\b(?=[0-9a-fA-F]*[0-9])[0-9a-fA-F]{12,}\b"), ":id"),
    (re.compile(r"\d+(?:\.\d+)*"), ":n"),
)


def message_of(value: Any) -> str | None:
    """Give a message, which Logpush writes as a string or as an array of what was logged."""
    if isinstance(value, list):
        return " ".join(str(each).strip() for each in value)
    return value if isinstance(value, str) else None


def name_of(value: Any) -> str | None:
    """Give the name that a message begins with, as in `Uncaught TypeError: x is not a function`."""
    found = _NAME.match(message_of(value) or "")
    return found[1] if found else None


def fingerprint_of(value: Any) -> str | None:
    """Give the first line of a message with placeholders for identifiers, numbers, addresses."""
    message = message_of(value)
    if not message or not message.strip():
        return None
    return _without_changing(message.strip().splitlines()[0][: 2 * _LONGEST])


@lru_cache(16_384)
def _without_changing(text: str) -> str:
    for pattern, placeholder in _CHANGING:
        text = pattern.sub(placeholder, text)
    return text[:_LONGEST]
