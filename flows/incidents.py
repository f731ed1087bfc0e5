"""Incidents: what is known to have gone wrong and when, from a file of labels, or as PagerDuty and Statuspage export it.

CSV: `start,end,name` with optional `rule` and `key` (JSON); PagerDuty's CSV export and both services' JSON are recognised by
their columns. An incident that edgewatch opened at PagerDuty names its rule in its key. In labels two that overlap are a
mistake; in an export they are one incident that was reported twice, so they are made one. Scheduled maintenance is no incident.
"""

import csv
import datetime
import difflib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from flows.output import canonical, rfc3339

_START = ("start", "started_at", "created_on", "created_at")
_END = ("end", "resolved_on", "resolved_at", "last_status_change_on", "last_status_change_at")
_NAME = ("name", "incident_name", "title", "description", "summary", "id")
_OPEN = ("triggered", "acknowledged", "investigating", "identified", "monitoring")
_MAINTENANCE = ("scheduled", "in_progress", "verifying", "completed")  # states of it at Statuspage
_OURS = "edgewatch/"  # dedup_key: edgewatch/ENVIRONMENT/RULE/EPISODE
_PARTS = 4


class IncidentError(Exception):
    """A file of incidents that cannot be used; the sentence names file, line and the way out."""


@dataclass(frozen=True, slots=True)
class Incident:
    """One incident [start, end) in ms UTC; without a rule or key it may be found by any."""

    start: int
    end: int
    name: str
    rule: str | None = None
    key: str | None = None  # canonical JSON

    def concerns(self, rule: str, key: str) -> bool:
        """Tell whether an alert of this rule and key is about it."""
        return self.rule in (None, rule) and self.key in (None, key)


def read_incidents(path: Path) -> list[Incident]:
    """Read a file, sorted by start; raises IncidentError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise IncidentError(f"{path}: cannot be read: {error.strerror}") from error
    rows = list(_json_rows(path, data) if data.lstrip()[:1] in (b"{", b"[") else _csv_rows(path, data))
    found = [incident for where, row in rows if (incident := _incident(path, where, row)) is not None]
    found.sort(key=lambda each: (each.start, each.end, each.name))
    if any("start" in row for _, row in rows):
        _refuse_overlaps(path, found)
        return found
    return _joined(found)


def within(incidents: Iterable[Incident], start: int, end: int) -> list[Incident]:
    """Give those that begin in [start, end)."""
    return [each for each in incidents if start <= each.start < end]


def labelled(path: Path, start: int, end: int) -> tuple[list[Incident], list[Incident]]:
    """Read a file: those that begin in [start, end) ms, and those outside; raises IncidentError where none is inside."""
    found = read_incidents(path)
    inside = within(found, start, end)
    if not inside:
        there = f"they are from {rfc3339(found[0].start)} to {rfc3339(found[-1].end)}" if found else "there is none"
        raise IncidentError(
            f"{path}: no incident begins in the range judged, {rfc3339(start)} to {rfc3339(end)}; {there}:"
            " give another --from and --to, or other labels"
        )
    return inside, [each for each in found if each not in inside]


def check_rules(path: Path, incidents: Iterable[Incident], rules: Iterable[str]) -> None:
    """Raise IncidentError where an incident names a rule that is not there: nothing could ever find it."""
    known = list(rules)
    for each in incidents:
        if each.rule is not None and each.rule not in known:
            near = difflib.get_close_matches(each.rule, known, 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise IncidentError(f"{path}: {each.name!r} names rule {each.rule!r}; {hint}there are: {', '.join(known)}")


def _csv_rows(path: Path, data: bytes) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise IncidentError(f"{path}: is not UTF-8 text") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    reader.fieldnames = columns = [_plain(name) for name in reader.fieldnames or []]
    for wanted, named in ((_START, "start"), (_END, "end")):
        if not any(column in columns for column in wanted):
            shown = ", ".join(columns) or "nothing"
            raise IncidentError(f"{path}: has no column {named!r} (or {', '.join(wanted[1:])}); its first line has: {shown}")
    for row in reader:
        yield f"line {reader.line_num}", {name: value for name, value in row.items() if name is not None}


def _plain(column: str) -> str:
    """Give a column's name as APIs write it: an export for people may have it as `Created On`."""
    return column.strip().lower().replace(" ", "_")


def _json_rows(path: Path, data: bytes) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise IncidentError(f"{path}: is not JSON: {error}") from error
    rows = found.get("incidents", found.get("data")) if isinstance(found, dict) else found
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise IncidentError(f"{path}: holds no list of incidents (an array, or an object with `incidents`)")
    for number, row in enumerate(rows, 1):
        yield f"incident {number}", row


def _incident(path: Path, where: str, row: Mapping[str, Any]) -> Incident | None:
    """Make an incident of a row; one that is not over yet is left out, because nobody knows when it ends."""
    start, end = (_first(row, names) for names in (_START, _END))
    if not end or str(row.get("status")).lower() in (*_OPEN, *_MAINTENANCE) or row.get("impact") == "maintenance":
        return None
    began, ended = _time(path, where, "start", start), _time(path, where, "end", end)
    if ended <= began:
        raise IncidentError(f"{path}, {where}: ends at {end}, which is not after its start {start}")
    rule = row.get("rule") or _rule_of(row.get("incident_key"))
    return Incident(began, ended, str(_first(row, _NAME) or where), rule or None, _key(path, where, row.get("key")))


def _first(row: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((row[name] for name in names if row.get(name)), None)


def _rule_of(incident_key: object) -> str | None:
    if not isinstance(incident_key, str) or not incident_key.startswith(_OURS):
        return None
    parts = incident_key.split("/")
    return parts[2] if len(parts) == _PARTS else None


def _key(path: Path, where: str, given: object) -> str | None:
    if not given:
        return None
    try:
        key = orjson.loads(given) if isinstance(given, str) else given
    except orjson.JSONDecodeError:
        key = None
    if not isinstance(key, dict) or not all(isinstance(value, str) for value in key.values()):
        raise IncidentError(f'{path}, {where}: key {given!r} is not an object of strings such as {{"ClientRequestHost":"a"}}')
    return canonical(key).decode()


def _time(path: Path, where: str, column: str, given: object) -> int:
    """Read RFC 3339, or `2025-12-01 08:00:00` as UTC (as PagerDuty's export and most tables have it)."""
    try:
        moment = datetime.datetime.fromisoformat(str(given))
    except ValueError as error:
        raise IncidentError(f"{path}, {where}: {column} {given!r} is not a time such as 2025-12-01T08:00:00Z") from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp() * 1000)


def _joined(incidents: Sequence[Incident]) -> list[Incident]:
    """Make those of one rule and key that overlap one incident, named after the first."""
    out: list[Incident] = []
    last: dict[tuple[str | None, str | None], int] = {}
    for each in incidents:
        place = last.get((each.rule, each.key))
        if place is not None and each.start < out[place].end:
            out[place] = replace(out[place], end=max(out[place].end, each.end))
            continue
        last[each.rule, each.key] = len(out)
        out.append(each)
    return out


def _refuse_overlaps(path: Path, incidents: Sequence[Incident]) -> None:
    last: dict[tuple[str | None, str | None], Incident] = {}
    for each in incidents:
        before = last.get((each.rule, each.key))
        if before is not None and each.start < before.end:
            raise IncidentError(
                f"{path}: {before.name!r} (to {rfc3339(before.end)}) and {each.name!r} (from {rfc3339(each.start)}) overlap:"
                " it would not be known which of them an alert found; make them one, or name their rule or key"
            )
        last[each.rule, each.key] = each
