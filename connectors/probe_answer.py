"""Probe answer: what came back to one request of a check, whether it is as it has to be, and what later requests need of it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import orjson

from connectors.probe_options import StepOptions
from connectors.record_path import RecordPath

_USED = re.compile(r"\$\{([^}]*)\}")
_SHOWN = 80  # characters of what was found
_SHORTEST = 4  # what is shorter stands in every text


class CheckFailed(Exception):
    """A check that failed: `kind` is one word of `KINDS`, the text one sentence without secrets."""

    KINDS = (
        *("dns", "connect", "tls", "timeout", "protocol"),
        *("redirect", "status", "body", "assertion", "extract", "slow", "unhealthy"),
    )

    def __init__(self, kind: str, words: str) -> None:
        """Take the kind and the sentence."""
        super().__init__(words)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with its whole body; `elapsed_ms` is from the look-up of the name to the last byte."""

    status: int
    headers: Mapping[str, str]
    cookies: Mapping[str, str]
    body: bytes = field(repr=False)
    elapsed_ms: float

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")

    @property
    def content(self) -> dict[str, Any]:
        """The body as a JSON object; empty where it is none."""
        try:
            found = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return {}
        return found if isinstance(found, dict) else {}


def judge(step: StepOptions, answer: Answer) -> None:
    """Raise CheckFailed for the first thing that an answer lacks: status, body, then time."""
    if answer.status not in step.status:
        wanted = " or ".join(map(str, step.status))
        raise CheckFailed("status", f"HTTP {answer.status} where {wanted} is expected")
    text = answer.text
    for each in step.contains:
        if each not in text:
            raise CheckFailed("assertion", f"the body does not hold {each!r}")
    for each in step.lacks:
        if each in text:
            raise CheckFailed("assertion", f"the body holds {each!r}")
    content = answer.content if step.equals else {}
    for path, wanted_value in step.equals.items():
        found = RecordPath.parse(path).of(content)
        if found != wanted_value or isinstance(found, bool) != isinstance(wanted_value, bool):
            raise CheckFailed("assertion", f"{path} is {_shown(found)}, not {wanted_value!r}")
    if step.max_ms is not None and answer.elapsed_ms > step.max_ms:
        raise CheckFailed("slow", f"took {answer.elapsed_ms:.0f} ms of {step.max_ms} ms")


def refuse_unhealthy(content: Mapping[str, Any]) -> None:
    """Raise CheckFailed where an endpoint says that it is unhealthy, whatever its status."""
    if str(content.get("overall")).lower() == "unhealthy":
        raise CheckFailed("unhealthy", "the endpoint says that it is unhealthy")


def extracted(step: StepOptions, answer: Answer) -> dict[str, str]:
    """Give the variables that a step takes out of its answer; raises CheckFailed where one is not there."""
    found: dict[str, str] = {}
    for name, source in step.extract.items():
        value = _taken(source, answer)
        if value is None:
            raise CheckFailed("extract", f"there is no {name} in the answer ({source})")
        found[name] = value
    return found


def fill(text: str, variables: Mapping[str, str], *, within: str = "") -> str:
    """Put variables into a text; `within` says how they are escaped: `url`, `json` or not at all."""

    def put(found: re.Match[str]) -> str:
        value = variables[found[1]]
        if within == "url":
            return quote(value, safe="")
        return orjson.dumps(value)[1:-1].decode() if within == "json" else value

    return _USED.sub(put, text)


def blot(text: str, secrets: Sequence[str]) -> str:
    """Take secrets out of a text for people."""
    for secret in sorted({each for each in secrets if len(each) >= _SHORTEST}, key=lambda each: (-len(each), each)):
        text = text.replace(secret, "***")
    return text


def _taken(source: str, answer: Answer) -> str | None:
    kind, _, rest = source.partition(":")
    if kind == "header":
        return answer.headers.get(rest)
    if kind == "cookie":
        return answer.cookies.get(rest)
    if kind == "regex":
        found = re.search(rest, answer.text)
        return found[1] if found else None
    value = RecordPath.parse(rest).of(answer.content)
    if isinstance(value, str):
        return value
    return None if value is None or isinstance(value, dict | list) else orjson.dumps(value).decode()


def _shown(value: object) -> str:
    if value is None:
        return "not there"
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
