"""Statuspage's REST API (v1): components and incidents of one page, at the pace of its token.

Statuspage counts 60 calls a token in any 60 s and answers 420 or 429 beyond: both are retried. A call waits for its
turn in the delivery thread, for 1.4 s at most; a caller that made some calls need not start again for the next.
"""

import threading
import time
import urllib.parse
from typing import Any

import orjson

from sinks.clock import Clock
from sinks.http import Answer, HttpClient, retry_after
from sinks.notification import DeliveryError, Pace
from sinks.pace import TokenBucket

_CALLS = Pace(per_second=0.75, burst=15)  # 15 at once and 45 in the minute after are the 60
_SHORTEST_S = 0.01  # less than a clock may be able to tell
_ENHANCE_YOUR_CALM = 420
_PAGE_SIZE, _PAGES = 100, 20
_HINTS = {
    401: "the API key is refused",
    403: "the API key may not do this",
    404: "no such page, component or incident",
}


class StatuspageApi:
    """Calls under one page's URL; raises `DeliveryError`."""

    def __init__(self, http: HttpClient, *, url: str, api_key: str, clock: Clock) -> None:
        """Call nothing yet; `url` is the page's."""
        self._http, self._url, self._clock = http, url, clock
        self._turns = TokenBucket(_CALLS)
        self._headers = {"Authorization": f"OAuth {api_key}", "Content-Type": "application/json"}

    def component(self, identity: str) -> str:
        """Give the status that a component shows."""
        found = self._call("GET", f"components/{_quoted(identity)}")
        status = found.get("status") if isinstance(found, dict) else None
        if not isinstance(status, str):
            raise self._strange("a component without a status")
        return status

    def set_component(self, identity: str, status: str) -> None:
        """Change what a component shows."""
        self._call("PATCH", f"components/{_quoted(identity)}", {"component": {"status": status}})

    def unresolved(self, episode: str) -> str | None:
        """Give the unresolved incident of an episode, by its metadata."""
        for page in range(1, _PAGES + 1):
            params = {"page": str(page), "per_page": str(_PAGE_SIZE)}
            incidents = self._call("GET", "incidents/unresolved", params=params)
            if not isinstance(incidents, list):
                raise self._strange("no list of incidents")
            for each in incidents:
                if _episode(each) == episode:
                    return str(each["id"])
            if len(incidents) < _PAGE_SIZE:
                break
        return None

    def create(self, incident: dict[str, Any]) -> str:
        """Create an incident; gives its id."""
        made = self._call("POST", "incidents", {"incident": incident})
        return str(made.get("id", "")) if isinstance(made, dict) else ""

    def update(self, identity: str, changes: dict[str, Any]) -> None:
        """Change an incident; a `body` becomes an update that people read."""
        self._call("PATCH", f"incidents/{_quoted(identity)}", {"incident": changes})

    def _call(self, method: str, path: str, body: object = None, *, params: dict[str, str] | None = None) -> Any:
        self._wait()
        content = b"" if body is None else orjson.dumps(body)
        url = f"{self._url}/{path}"
        answer = self._http.request(method, url, content=content, headers=self._headers, params=params, whole=True)
        if not answer.ok:
            raise self._refused(answer)
        try:
            return orjson.loads(answer.body)
        except orjson.JSONDecodeError:
            if method == "GET":
                raise self._strange("no JSON") from None
            return None  # done, whatever words the answer has

    def _wait(self) -> None:
        while (seconds := self._turns.take(self._clock.now())) > 0:
            self._clock.wait(threading.Event(), max(seconds, _SHORTEST_S))

    def _refused(self, answer: Answer) -> DeliveryError:
        hint = _HINTS.get(answer.status)
        if answer.status != _ENHANCE_YOUR_CALM:
            return self._http.refused(answer, f"{hint}: {answer.text}" if hint else "")
        wait = retry_after(answer.headers.get("retry-after"), time.time())
        problem = f"HTTP {answer.status}: too many calls"
        return self._http.error(problem, retryable=True, retry_after=wait, code="rate_limited")

    def _strange(self, what: str) -> DeliveryError:
        return self._http.error(f"the answer is not Statuspage's: {what}", retryable=True, code="no_json")


def _episode(incident: object) -> object:
    metadata = incident.get("metadata") if isinstance(incident, dict) else None
    ours = metadata.get("edgewatch") if isinstance(metadata, dict) else None
    return ours.get("episode") if isinstance(ours, dict) else None


def _quoted(identity: str) -> str:
    return urllib.parse.quote(identity, safe="")
