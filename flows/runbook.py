"""Runbook: the first steps of a rule's runbook, read once from its file, so that an alert says what to do first.

A runbook may also be an address; then the alert carries the link alone. The file is Markdown: its first list holds the steps,
or the first one under the heading that `file.md#heading` names. It is looked for beside the configuration; the runbooks of
the built-in rules come with edgewatch.
"""

import re
import sys
import urllib.parse
from pathlib import Path

_OURS = "docs/runbooks/"  # a file of this folder that is not beside the configuration is edgewatch's own
_ROOT = Path(__file__).resolve().parents[1]
_SHARED = "share/edgewatch/runbooks"
_PREFIX = re.compile(r"https?://[^/\s][^\s#]*[/=]")
_STEPS = 3
_LONGEST = 200
_ITEM = re.compile(r" {0,3}(?:\d+[.)]|[-*+])\s+(.+)")
_HEADING = re.compile(r"#{1,6}\s+(.+?)\s*#*\s*")


def first_steps(folder: Path, link: str) -> tuple[str, ...]:
    """Give the first steps; none where the link is no file under or beside `folder`, or the file has no list."""
    name, _, anchor = link.partition("#")
    text = None if _is_address(link) else _read(folder, name)
    return _steps(text, anchor) if text is not None else ()


def steps_problem(folder: Path, link: str) -> str:
    """Say why alerts carry no steps; empty where they do, or where the runbook is an address."""
    name, _, anchor = link.partition("#")
    if _is_address(link):
        return ""
    text = _read(folder, name)
    if text is None:
        return f"no file {name} beside the configuration"
    if _steps(text, anchor):
        return ""
    return f"no list under a heading #{anchor} in {name}" if anchor else f"no list in {name}"


def link_of(runbook: str, prefix: str) -> str:
    """Give what people click: an address as it is, behind a `prefix` the name of a file, without one the file's path."""
    if _is_address(runbook) or not prefix:
        return runbook
    name, mark, anchor = runbook.partition("#")
    return prefix + urllib.parse.quote(name.rpartition("/")[2]) + mark + urllib.parse.quote(anchor)


def prefix_problem(prefix: str) -> str:
    """Say what is wrong with what links begin with; empty is well: there is none."""
    if not prefix or _PREFIX.fullmatch(prefix):
        return ""
    return f"{prefix!r} is not an address that a file name fits behind, as in https://wiki.example.com/runbooks/"


def _is_address(link: str) -> bool:
    return not link or "://" in link


def _read(folder: Path, name: str) -> str | None:
    places = [folder / name]
    if name.startswith(_OURS):
        places += _shipped(name.removeprefix(_OURS))
    for path in places:
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
    return None


def _shipped(name: str) -> list[Path]:
    """Give where a runbook of edgewatch's own may be: in the sources, or where an installation keeps data files."""
    prefixes = (_ROOT, *_ROOT.parents[2:3], Path(sys.prefix))  # of --target, of lib/python3.x/site-packages, of this Python
    return [_ROOT / _OURS / name, *(prefix / _SHARED / name for prefix in prefixes)]


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
