"""A Statuspage: the components and incidents of one page, and a limit of 60 calls in any 60 s of a clock."""

import json
import re
from typing import Any

from tests.fakes.clock import ManualClock
from tests.fakes.scripted import Answer, ScriptedServer, Seen, of_json

API_KEY = "planted-statuspage-key"
PAGE = "abc123"
COMPONENTS = {"api": "cmp_api_123", "database": "cmp_db_456", "cache": "cmp_cache_789", "websocket": "cmp_ws_012"}
_SHOWN = {"operational", "under_maintenance", "degraded_performance", "partial_outage", "major_outage"}
_STATES = {"investigating", "identified", "monitoring", "resolved"}
_IMPACTS = {"none", "maintenance", "minor", "major", "critical"}
_LIMIT, _SPAN_S = 60, 60.0


class FakeStatuspage(ScriptedServer):
    """`components` is status by id; `changes` lists what was set, `mailed` the incidents mailed.

    `posted` lists the states that incidents went through, by the id of the incident.
    """

    def __init__(self, port: int = 0, clock: ManualClock | None = None) -> None:
        """Start with all operational; without a clock calls are not limited."""
        super().__init__(port)
        self.components = dict.fromkeys(COMPONENTS.values(), "operational")
        self.incidents: list[dict[str, Any]] = []
        self.changes: list[tuple[str, str]] = []
        self.mailed: list[str] = []
        self.posted: list[tuple[str, str]] = []
        self.lost: list[str] = []  # calls whose next answer gets lost on the way
        self._clock = clock
        self._calls: list[float] = []

    @property
    def api_url(self) -> str:
        """The API."""
        return f"{self.url}/v1"

    @property
    def called(self) -> list[str]:
        """Give the calls, without the page's own path and without queries."""
        return [f"{seen.method} {seen.path.partition('?')[0].removeprefix(f'/v1/pages/{PAGE}/')}" for seen in self.seen]

    def reply(self, seen: Seen) -> Answer:
        """Answer as Statuspage does."""
        if self._limited():
            return of_json(420, {"error": "Enhance your calm"})
        if seen.headers.get("authorization") != f"OAuth {API_KEY}":
            return of_json(401, {"error": "Could not authenticate"})
        path, _, query = seen.path.partition("?")
        if not path.startswith(f"/v1/pages/{PAGE}/"):
            return of_json(404, {"error": "Not found"})
        call = f"{seen.method} {path.removeprefix(f'/v1/pages/{PAGE}/')}"
        answer = self._answer(call, query, seen)
        if call in self.lost:
            self.lost.remove(call)
            return Answer(fault="reset")
        return answer

    def _answer(self, call: str, query: str, seen: Seen) -> Answer:
        if component := re.fullmatch(r"(GET|PATCH) components/(\w+)", call):
            return self._component(component[2], seen)
        if call == "GET incidents/unresolved":
            return self._unresolved(query)
        if call == "POST incidents":
            return self._create(json.loads(seen.body)["incident"])
        if incident := re.fullmatch(r"PATCH incidents/(\w+)", call):
            return self._update(incident[1], json.loads(seen.body)["incident"])
        return of_json(404, {"error": "Not found"})

    def _limited(self) -> bool:
        if self._clock is None:
            return False
        now = self._clock.now()
        self._calls = [*(each for each in self._calls if now - each < _SPAN_S), now]
        return len(self._calls) > _LIMIT

    def _component(self, identity: str, seen: Seen) -> Answer:
        if identity not in self.components:
            return of_json(404, {"error": "Not found"})
        if seen.method == "PATCH":
            status = seen.json["component"]["status"]
            if status not in _SHOWN:
                return of_json(422, {"error": ["Status is not included in the list"]})
            self.components[identity] = status
            self.changes.append((identity, status))
        return of_json(200, {"id": identity, "name": identity, "status": self.components[identity]})

    def _unresolved(self, query: str) -> Answer:
        asked = dict(part.split("=") for part in query.split("&") if part)
        size, page = int(asked.get("per_page", "100")), int(asked.get("page", "1"))
        found = [each for each in reversed(self.incidents) if each["status"] != "resolved"]
        return of_json(200, found[size * (page - 1) : size * page])

    def _create(self, given: dict[str, Any]) -> Answer:
        wrong = _wrong(given)
        if not given.get("name"):
            wrong.append("Name can't be blank")
        if wrong:
            return of_json(422, {"error": wrong})
        made = {"id": f"inc{len(self.incidents)}", "updates": [], "metadata": {}, **given}
        self.incidents.append(made)
        return self._told(made, given, 201)

    def _update(self, identity: str, given: dict[str, Any]) -> Answer:
        found = next((each for each in self.incidents if each["id"] == identity), None)
        if found is None:
            return of_json(404, {"error": "Not found"})
        if wrong := _wrong(given):
            return of_json(422, {"error": wrong})
        found.update({name: value for name, value in given.items() if name != "body"})
        return self._told(found, given, 200)

    def _told(self, incident: dict[str, Any], given: dict[str, Any], status: int) -> Answer:
        for identity, shown in given.get("components", {}).items():
            self.components[identity] = shown
        if dict(self.posted).get(incident["id"]) != incident["status"]:
            self.posted.append((incident["id"], incident["status"]))
        if "body" in given:
            incident["updates"].append(given["body"])
        if given.get("deliver_notifications", True):
            self.mailed.append(incident["id"])
        return of_json(status, incident)


def _wrong(given: dict[str, Any]) -> list[str]:
    wrong = []
    if len(given.get("name", "")) > 255:
        wrong.append("Name is too long (maximum is 255 characters)")
    if len(given.get("body", "")) > 25_000:
        wrong.append("Body is too long (maximum is 25000 characters)")
    if given.get("status", "resolved") not in _STATES or given.get("impact_override", "none") not in _IMPACTS:
        wrong.append("Status or impact is not included in the list")
    if not all(isinstance(value, dict) for value in given.get("metadata", {}).values()):
        wrong.append("Metadata values must be objects")
    if not set(given.get("component_ids", ())) <= set(COMPONENTS.values()):
        wrong.append("Component is unknown")
    return wrong
