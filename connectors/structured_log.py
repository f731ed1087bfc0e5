"""Structured log: the standard `logging` module writing the JSON lines that `app_logs` reads, for any Python service.

Nothing but the standard library is imported, so the file may also be copied. A line is `{"timestamp", "level", "levelValue",
"message", "service", "version", "environment", ..., "error": {"name", "message", "stack"}, "cf": {"ray", "colo"}}`: levels are
debug 10, info 20, warn 30, error 40, critical 50. In production there are no debug lines, and stacks at critical alone.
"""

import datetime
import json
import logging
import math
import sys
from collections.abc import Callable, Mapping
from typing import Any, TextIO

PRODUCTION = "production"
LEVELS = {"debug": 10, "info": 20, "warn": 30, "error": 40, "critical": 50}

_NAMES = {value: name for name, value in LEVELS.items()}
_STEP = 10
_DEEPEST = 8
_FIXED = frozenset(("timestamp", "level", "levelValue", "message", "service", "version", "environment", "error", "cf"))
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class LineFormatter(logging.Formatter):
    """Makes one line of JSON of a record; what `extra` holds stands beside the fields above, and never in their place.

    `extra={"cf": {"ray": ..., "colo": ...}}`, or `cfRay` and `cfColo`, say where at Cloudflare it happened.
    """

    def __init__(self, *, service: str, version: str, environment: str, scrub: Callable[[str], str] | None = None) -> None:
        """Take what every line says; `scrub` takes secrets out of every text of a line."""
        super().__init__()
        self._context = {"service": service, "version": version, "environment": environment}
        self._stacks = environment != PRODUCTION
        self._scrub = scrub or str

    def format(self, record: logging.LogRecord) -> str:
        """Give the line, without a newline; it never raises for what a line holds."""
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD and not name.startswith("_")}
        line: dict[str, Any] = {
            "timestamp": _rfc3339(record.created),
            "level": level_name(record.levelno),
            "levelValue": level_value(record.levelno),
            "message": record.getMessage(),
            **self._context,
            "logger": record.name,
            **{name: value for name, value in extra.items() if name not in _FIXED},
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = self._error(record)
        line["cf"] = _place(extra)
        return json.dumps(self._clean(line, 0), ensure_ascii=False, separators=(",", ":"))

    def _error(self, record: logging.LogRecord) -> dict[str, str]:
        assert record.exc_info is not None  # noqa: S101 (narrows the type)
        error = record.exc_info[1]
        found = {"name": type(error).__name__, "message": str(error)}
        if self._stacks or record.levelno >= logging.CRITICAL:
            found["stack"] = self.formatException(record.exc_info)
        return found

    def _clean(self, value: Any, depth: int) -> Any:
        """Give what JSON can hold: no NaN, no surrogate, nothing without an end."""
        if value is None or isinstance(value, bool | int):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if isinstance(value, Mapping) and depth < _DEEPEST:
            return {self._text(name): self._clean(each, depth + 1) for name, each in value.items()}
        if isinstance(value, list | tuple | set | frozenset) and depth < _DEEPEST:
            return [self._clean(each, depth + 1) for each in value]
        return self._text(value)

    def _text(self, value: Any) -> str:
        return self._scrub(str(value)).encode("utf-8", "replace").decode()


def set_up(  # noqa: PLR0913 (what a service is, and where its lines go)
    *,
    service: str,
    version: str,
    environment: str,
    level: str = "info",
    stream: TextIO | None = None,
    scrub: Callable[[str], str] | None = None,
) -> logging.Handler:
    """Write all lines of this process as JSON, to standard error unless told; gives the handler. Raises ValueError."""
    if level not in LEVELS:
        raise ValueError(f"level {level!r} is not one of {', '.join(LEVELS)}")
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(LineFormatter(service=service, version=version, environment=environment, scrub=scrub))
    logging.basicConfig(level=least_level(LEVELS[level], environment), handlers=[handler], force=True)
    return handler


def least_level(level: int, environment: str) -> int:
    """Give the level from which on lines are written: debugging is off in production."""
    return max(level, logging.INFO) if environment == PRODUCTION else level


def level_value(number: int) -> int:
    """Give a level of `logging` as the next lower one that lines know."""
    return min(max(number // _STEP * _STEP, LEVELS["debug"]), LEVELS["critical"])


def level_name(number: int) -> str:
    """Give the name of a level of `logging`."""
    return _NAMES[level_value(number)]


def _place(extra: Mapping[str, Any]) -> dict[str, Any]:
    given = extra.get("cf")
    found = dict(given) if isinstance(given, Mapping) else {}
    found.setdefault("ray", extra.get("cfRay"))
    found.setdefault("colo", extra.get("cfColo"))
    return {name: value for name, value in found.items() if value is not None}


def _rfc3339(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
