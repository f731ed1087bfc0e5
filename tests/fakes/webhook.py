"""A receiver of webhooks: Alertmanager's version 4, signed as Standard Webhooks says; checks what it gets."""

import base64
import datetime as dt
import hashlib
import hmac
import json
import time
from typing import Any

from tests.fakes.scripted import Answer, ScriptedServer, Seen

HOOK = "/hooks/planted-hook-path?token=planted-hook-token"
SECRET = "whsec_cGxhbnRlZC1zaWduaW5nLXNlY3JldC1vbmU="
SECOND = "whsec_cGxhbnRlZC1zaWduaW5nLXNlY3JldC10d28="
_MEMBERS = {
    "version": str,
    "groupKey": str,
    "truncatedAlerts": int,
    "status": str,
    "receiver": str,
    "groupLabels": dict,
    "commonLabels": dict,
    "commonAnnotations": dict,
    "externalURL": str,
    "alerts": list,
}
_ALERT = {
    "status": str,
    "labels": dict,
    "annotations": dict,
    "startsAt": str,
    "endsAt": str,
    "generatorURL": str,
    "fingerprint": str,
}
_NEVER = "0001-01-01T00:00:00Z"


class FakeWebhook(ScriptedServer):
    """Keeps each body once an id; `wrong` lists what no client should send. `secret` empty: takes unsigned ones."""

    def __init__(self, port: int = 0) -> None:
        """Start with nothing received."""
        super().__init__(port)
        self.secret = SECRET
        self.received: dict[str, dict[str, Any]] = {}
        self.wrong: list[str] = []

    @property
    def hook_url(self) -> str:
        """The secret URL."""
        return f"{self.url}{HOOK}"

    def reply(self, seen: Seen) -> Answer:
        """Answer as a careful receiver does."""
        if seen.path != HOOK:
            return Answer(404, b"no such hook")
        if self.secret and not signed(seen, self.secret):
            return Answer(401, b"the signature is wrong")
        try:
            body = seen.json
        except json.JSONDecodeError:
            return Answer(400, b"no JSON")
        problems = [*_problems(body), *_times(body["alerts"][0])]
        self.wrong += problems
        if problems:
            return Answer(400, "; ".join(problems).encode())
        self.received[seen.headers["webhook-id"]] = body
        return Answer(200)


def signed(seen: Seen, secret: str) -> bool:
    """Verify a request step by step, as the text of Standard Webhooks has it: any of the signatures, not too old."""
    key = base64.b64decode(secret.split("_", 1)[1])
    timestamp = seen.headers["webhook-timestamp"]
    content = b".".join([seen.headers["webhook-id"].encode(), timestamp.encode(), seen.body])
    # RFC 2104 by hand: H(K xor opad, H(K xor ipad, text)).
    padded = key.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(each ^ 0x36 for each in padded) + content).digest()
    want = base64.b64encode(hashlib.sha256(bytes(each ^ 0x5C for each in padded) + inner).digest()).decode()
    given = seen.headers.get("webhook-signature", "").split(" ")
    fresh = abs(time.time() - int(timestamp)) < 300
    return fresh and any(hmac.compare_digest(each, f"v1,{want}") for each in given)


def _problems(body: dict[str, Any]) -> list[str]:
    problems = [name for name, kind in _MEMBERS.items() if type(body.get(name)) is not kind]
    problems += [f"unknown {name}" for name in body if name not in _MEMBERS and not name.startswith("x_")]
    alert = body["alerts"][0]
    problems += [name for name, kind in _ALERT.items() if type(alert.get(name)) is not kind]
    problems += [f"unknown {name}" for name in alert if name not in _ALERT]
    tables = [body["groupLabels"], body["commonLabels"], body["commonAnnotations"], alert["labels"], alert["annotations"]]
    problems += [f"{k} is no string" for table in tables for k, v in table.items() if not isinstance(v, str)]
    if body["version"] != "4" or {body["status"], alert["status"]} not in ({"firing"}, {"resolved"}):
        problems.append("version or status")
    if not body["groupLabels"].items() <= body["commonLabels"].items():
        problems.append("a group label that is no common one")
    return problems


def _times(alert: dict[str, Any]) -> list[str]:
    start = dt.datetime.fromisoformat(alert["startsAt"])
    if alert["status"] == "firing":
        return [] if alert["endsAt"] == _NEVER else ["an end while firing"]
    return [] if dt.datetime.fromisoformat(alert["endsAt"]) >= start else ["ends before it starts"]
