"""Runbook: the first steps of a rule's runbook, read once from its file, so that an alert says what to do first.

A runbook may also be an address; then the alert carries the link alone. The file is Markdown: its first list holds the steps,
or the first one under the heading that `file.md#heading` names.
"""

import re
from pathlib import Path

_STEPS = 3
_LONGEST = 200
_ITEM = re.compile(r" {0,3}(?:\d+[.)]|[-*+])\s+(.+)")
_HEADING = re.compile(r"#{1,6}\s+(.+?)\s*#*\s*")


def first_steps(folder: Path, link: str) -> tuple[str, ...]:
    """Give the first steps; none where the link is no file under or beside `folder`, or the file has no list."""
    name, _, anchor = link.partition("#")
    if "://" in name or not name:
        return ()
    try:
        text = (folder / name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ()
    return _steps(text, anchor)


def _steps(text: str, anchor: str) -> tuple[str, ...]:
    found: list[str] = []
    reading = not anchor
    for line in text.splitlines():
        heading = _HEADING.fullmatch(line)
        if heading:
            if found:
                break
            reading = reading or _slug(heading[1]) == anchor
        item = _ITEM.fullmatch(line) if reading else None
        if item:
            found.append(item[1].strip()[:_LONGEST])
    return tuple(found[:_STEPS])


def _slug(heading: str) -> str:
    """Give the anchor of a heading as Markdown viewers make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
