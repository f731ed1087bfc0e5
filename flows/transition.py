"""Transition: one change of state or severity of one alert, and the identity of an alert."""

import hashlib
from functools import lru_cache

import msgspec
import orjson

from flows.output import canonical, rfc3339


class Transition(msgspec.Struct, frozen=True):
    """One change of state or severity of one alert; `key` is canonical JSON."""

    at: int
    rule: str
    key: str
    fingerprint: str
    episode: str
    before: str
    after: str
    severity: str | None
    reason: str

    def line(self) -> bytes:
        """Give the line of `transitions.ndjson`."""
        record = {
            "at": rfc3339(self.at),
            "rule": self.rule,
            "key": orjson.Fragment(self.key),
            "fingerprint": self.fingerprint,
            "episode": self.episode,
            "from": self.before,
            "to": self.after,
            "severity": self.severity,
            "reason": self.reason,
        }
        return canonical(record) + b"\n"


def fingerprint_of(environment: str, key: str, rule: str) -> str:
    """Give the identity of an alert: 16 hex digits of the sha256 of canonical {environment, key, rule}."""
    return hashlib.sha256((_named(environment, rule) % key).encode()).hexdigest()[:16]


def episode_of(fingerprint: str, start: int) -> str:
    """Give the identity of an episode: the alert's, and when (ms) it began, to the second."""
    return f"{fingerprint}:{start // 1000}"


@lru_cache(4096)
def _named(environment: str, rule: str) -> str:
    """Give what is hashed, with a place for the key."""
    parts = [canonical(text).decode().replace("%", "%%") for text in (environment, rule)]
    return f'{{"environment":{parts[0]},"key":%s,"rule":{parts[1]}}}'
