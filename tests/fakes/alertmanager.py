"""An Alertmanager: takes alerts by API v2, checks them as it does, and tells which fire at a time."""

import datetime as dt
import json
import re
from typing import Any

from tests.fakes.scripted import Answer, ScriptedServer, Seen, of_json

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
Labels = frozenset[tuple[str, str]]


class FakeAlertmanager(ScriptedServer):
    """`alerts` holds (start, end) by labels, `changed` every alert whose times were news, as it came.

    `wrong` lists what no client should send.
    """

    def __init__(self, port: int = 0, *, authorization: str = "") -> None:
        """Start without alerts."""
        super().__init__(port)
        self.authorization = authorization
        self.alerts: dict[Labels, tuple[dt.datetime, dt.datetime]] = {}
        self.changed: list[dict[str, Any]] = []
        self.wrong: list[str] = []

    def reply(self, seen: Seen) -> Answer:
        """Answer as Alertmanager does."""
        if seen.path != "/prefix/api/v2/alerts":
            return Answer(404, b"404 page not found")
        if seen.headers.get("authorization", "") != self.authorization:
            return Answer(401, b"Unauthorized")
        try:
            given: list[dict[str, Any]] = json.loads(seen.body)
        except json.JSONDecodeError:
            return of_json(400, "parsing alerts body failed")
        problems = [problem for alert in given for problem in _problems(alert)]
        self.wrong += problems
        if problems:
            return of_json(400, "; ".join(problems))
        for alert in given:
            identity = frozenset(alert["labels"].items())
            if self.alerts.get(identity) != _times(alert):
                self.changed.append(alert)
            self.alerts[identity] = _times(alert)
        return of_json(200, {})

    def firing(self, at: str) -> list[dict[str, str]]:
        """Give the labels of what fires at a time, in order of arrival."""
        now = dt.datetime.fromisoformat(at)
        return [dict(labels) for labels, (start, end) in self.alerts.items() if start <= now < end]


def _times(alert: dict[str, Any]) -> tuple[dt.datetime, dt.datetime]:
    return dt.datetime.fromisoformat(alert["startsAt"]), dt.datetime.fromisoformat(alert["endsAt"])


def _problems(alert: dict[str, Any]) -> list[str]:
    labels, start_and_end = alert.get("labels") or {}, _times(alert)
    problems = [
        f"invalid name {name!r}" for table in (labels, alert["annotations"]) for name in table if not _NAME.fullmatch(name)
    ]
    problems += [
        f"{name} is no string" for table in (labels, alert["annotations"]) for name, v in table.items() if type(v) is not str
    ]
    problems += [f"{name} is empty" for name, value in labels.items() if not value]
    problems += [f"unknown {name}" for name in alert if name not in {"labels", "annotations", "startsAt", "endsAt"}]
    if not labels:
        problems.append("at least one label pair required")
    if start_and_end[1] < start_and_end[0]:
        problems.append("start time must be before end time")
    return problems
