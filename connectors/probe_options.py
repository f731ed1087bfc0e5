"""Probe options: the `[[probe]]` tables: which addresses are asked how often, and what an answer has to be.

Apart from the probes so that reading a configuration imports no HTTP client.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from connectors.record_path import RecordPath

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._:/-]{0,99}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_USED = re.compile(r"\$\{([^}]*)\}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a header's name (RFC 9110, 5.6.2)
_SOURCES = ("json", "header", "cookie", "regex")
_FIRST, _LAST = 100, 599
_SECOND_MS = 1000

Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOptions:
    """One request of a check, and what its answer has to be. `headers` show nowhere."""

    name: str = field(metadata={"help": "shows in alerts"})
    url: str = field(metadata={"help": "an address, or a path on the probe's host; ${NAME} is a variable"})
    method: str = field(default="GET", metadata={"help": ", ".join(_METHODS)})
    headers: dict[str, str] = field(
        default_factory=dict, repr=False, metadata={"secret": True, "help": "env: and file: are read; ${NAME} is a variable"}
    )
    body: str = field(default="", metadata={"help": "sent as it is; ${NAME} is a variable, escaped within JSON"})
    form: dict[str, str] = field(default_factory=dict, metadata={"help": "fields of a form to send instead"})
    status: tuple[int, ...] = field(default=(200,), metadata={"unit": "HTTP status", "help": "statuses that are well"})
    contains: tuple[str, ...] = field(default=(), metadata={"help": "texts that the body must hold"})
    lacks: tuple[str, ...] = field(default=(), metadata={"help": "texts that it must not hold"})
    equals: dict[str, Scalar] = field(default_factory=dict, metadata={"help": "JSON: path = value it must have"})
    extract: dict[str, str] = field(
        default_factory=dict, metadata={"help": "variable = json:PATH, header:NAME, cookie:NAME or regex:WITH (GROUP)"}
    )
    max_ms: int | None = field(default=None, metadata={"duration": True, "help": "longer is a failure"})

    def used(self) -> set[str]:
        """Give the names of the variables that the request needs."""
        texts = (self.url, self.body, *self.headers.values(), *self.form.values())
        return {name for text in texts for name in _USED.findall(text)}

    def problems(self) -> Iterable[tuple[str, str]]:
        """Yield (key, problem) for what the types cannot say."""
        if self.method not in _METHODS:
            yield "method", f"{self.method!r} is not one of {', '.join(_METHODS)}"
        if self.body and self.form:
            yield "form", "body and form exclude each other"
        if not self.url.startswith("/"):
            yield from wrong_address("url", self.url)
        yield from wrong_answer(self.status, self.equals)
        for name in self.headers:
            if not _TOKEN.fullmatch(name):
                yield "headers", f"{name!r} is no name of a header"
        for name, source in self.extract.items():
            if not _VARIABLE.fullmatch(name):
                yield "extract", f"{name!r} is no name of a variable: letters, digits and _"
            yield from _wrong_source(name, source)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeOptions:
    """One check and its timetable. `headers` and `variables` show nowhere."""

    name: str = field(metadata={"help": "shows in alerts; also decides when within the interval it runs"})
    url: str = field(metadata={"help": "the health endpoint; with steps, what their paths are on"})
    interval_ms: int = field(default=60_000, metadata={"duration": True, "help": "from one start to the next"})
    timeout_ms: int = field(default=10_000, metadata={"duration": True, "help": "of the whole check, name look-up included"})
    failed: int = field(default=2, metadata={"unit": "attempts", "help": "it is down when so many ..."})
    of: int = field(default=3, metadata={"unit": "attempts", "help": "... of the last so many attempts failed"})
    recheck_ms: int = field(default=10_000, metadata={"duration": True, "help": "after a failure, until that is decided"})
    location: str = field(default="", metadata={"help": "where it is asked from; default: --location, else local"})
    headers: dict[str, str] = field(
        default_factory=dict, repr=False, metadata={"secret": True, "help": "on requests to the url's own host"}
    )
    variables: dict[str, str] = field(
        default_factory=dict, repr=False, metadata={"secret": True, "help": "for ${NAME}; env: and file: are read"}
    )
    redirects: int = field(default=0, metadata={"unit": "redirects", "help": "how many are followed; never from https to http"})
    ca_file: str = field(default="", metadata={"help": "authorities to trust besides the system's (PEM)"})
    status: tuple[int, ...] = field(
        default=(200,), metadata={"unit": "HTTP status", "help": "without steps: statuses that are well"}
    )
    contains: tuple[str, ...] = field(default=(), metadata={"help": "without steps: texts that the body must hold"})
    lacks: tuple[str, ...] = field(default=(), metadata={"help": "without steps: texts that it must not hold"})
    equals: dict[str, Scalar] = field(default_factory=dict, metadata={"help": "without steps: JSON path = value it must have"})
    max_ms: int | None = field(default=None, metadata={"duration": True, "help": "without steps: longer is a failure"})
    step: tuple[StepOptions, ...] = field(
        default=(), metadata={"tables": True, "help": "[[probe.step]]: requests, one after the other"}
    )

    def steps(self) -> tuple[StepOptions, ...]:
        """Give the requests; without steps it is a GET of the url."""
        if self.step:
            return self.step
        made = StepOptions(
            name="",
            url=self.url,
            status=self.status,
            contains=self.contains,
            lacks=self.lacks,
            equals=self.equals,
            max_ms=self.max_ms,
        )
        return (made,)

    def problems(self) -> Iterable[tuple[str, str]]:
        """Yield (key, problem) for what the types cannot say."""
        if not _NAME.fullmatch(self.name):
            yield "name", f"{self.name!r} is no name: letters, digits, spaces and . _ : / -, 100 at most"
        yield from wrong_address("url", self.url)
        yield from wrong_answer(self.status, self.equals)
        yield from self._wrong_times()
        if not 1 <= self.failed <= self.of <= 100:  # noqa: PLR2004 (attempts that are remembered)
            yield "failed", "must be from 1 to `of`, and that 100 at most"
        if self.redirects < 0:
            yield "redirects", "must be 0 or more"
        for name in (*self.headers, *self.variables):
            if not _TOKEN.fullmatch(name) or (name in self.variables and not _VARIABLE.fullmatch(name)):
                yield "headers" if name in self.headers else "variables", f"{name!r} is no name"
        if self.step:
            for key in ("status", "contains", "lacks", "equals", "max_ms"):
                if getattr(self, key) != type(self).__dataclass_fields__[key].default and getattr(self, key):
                    yield key.removesuffix("_ms"), "with steps, each step says this for itself"
        yield from self._unknown_variables()

    def _wrong_times(self) -> Iterator[tuple[str, str]]:
        if self.interval_ms < _SECOND_MS:
            yield "interval", 'must be at least "1s"'
        if not 0 < self.timeout_ms <= 600_000:  # noqa: PLR2004 (ten minutes)
            yield "timeout", 'must be above 0 and "10m" at most'
        if self.recheck_ms < _SECOND_MS:
            yield "recheck", 'must be at least "1s"'

    def _unknown_variables(self) -> Iterator[tuple[str, str]]:
        known = set(self.variables)
        texts = StepOptions(name="", url=self.url, headers=self.headers)
        for number, step in enumerate((texts, *self.step)):
            for name in sorted(step.used() - known):
                where = f"step #{number}" if number else "url"
                yield where, f"${{{name}}} is neither one of variables nor extracted by an earlier step"
            known |= step.extract.keys()


def wrong_address(key: str, url: str) -> Iterator[tuple[str, str]]:
    """Yield (key, problem) of what is no address to ask."""
    plain = _USED.sub("x", url)
    try:
        parts = urlsplit(plain)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        sound = False
    if not sound:
        yield key, f"{url!r} is no address such as https://api.example.com/api/health/all"
    elif "@" in parts.netloc:
        yield key, 'holds a password: give it by headers, as in { Authorization = "env:NAME" }'


def wrong_answer(status: tuple[int, ...], equals: dict[str, Scalar]) -> Iterator[tuple[str, str]]:
    """Yield (key, problem) of what no answer can be."""
    if not status or any(not _FIRST <= each <= _LAST for each in status):
        yield "status", f"must be statuses from {_FIRST} to {_LAST}, one at least"
    for path in equals:
        try:
            RecordPath.parse(path)
        except ValueError as error:
            yield "equals", str(error)


def _wrong_source(name: str, source: str) -> Iterator[tuple[str, str]]:
    kind, _, rest = source.partition(":")
    if kind not in _SOURCES or not rest:
        yield "extract", f"{name}: {source!r} is not json:PATH, header:NAME, cookie:NAME or regex:WITH (GROUP)"
    elif kind == "json":
        try:
            RecordPath.parse(rest)
        except ValueError as error:
            yield "extract", f"{name}: {error}"
    elif kind == "regex":
        try:
            groups = re.compile(rest).groups
        except re.error as error:
            yield "extract", f"{name}: is no regular expression: {error}"
        else:
            if groups != 1:
                yield "extract", f"{name}: a regular expression has one group here, not {groups}"
