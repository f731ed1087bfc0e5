"""Record path: where a value stands inside a JSON record: `checks.database.latencyMs`, `Exceptions[0].Name`, `Logs[#]`.

A path is names joined by points; `[n]` is an element of an array, `[#]` the number of its elements. A key of the record that
is spelled as the whole path comes first: some write `{"service.name": ...}`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

_STEP = re.compile(r"([^.\[\]]+)|\[(\d{1,6}|#)\]")
_PATH = re.compile(r"[^.\[\]]+(\[(\d{1,6}|#)\])*(\.[^.\[\]]+(\[(\d{1,6}|#)\])*)*")
_COUNT = -1


@dataclass(frozen=True, slots=True)
class RecordPath:
    """A parsed path."""

    text: str
    steps: tuple[str | int, ...]

    @staticmethod
    def parse(text: str) -> "RecordPath":
        """Parse a path; raises ValueError."""
        if not _PATH.fullmatch(text):
            raise ValueError(f"{text!r} is no path such as checks.database.latencyMs or items[0].name")
        steps = [name or (_COUNT if number == "#" else int(number)) for name, number in _STEP.findall(text)]
        return RecordPath(text, tuple(steps))

    @property
    def is_key(self) -> bool:
        """Tell whether it is nothing but a key of the record."""
        return len(self.steps) == 1

    def of(self, record: Mapping[str, Any]) -> Any:
        """Give the value, or None."""
        if self.text in record:
            return record[self.text]
        value: Any = record
        for step in self.steps:
            if isinstance(step, str):
                value = value.get(step) if isinstance(value, dict) else None
            elif not isinstance(value, list):
                return None
            elif step == _COUNT:
                value = len(value)
            else:
                value = value[step] if step < len(value) else None
        return value


@dataclass(frozen=True, slots=True)
class Place:
    """Where a column's value comes from: the first path that has one, and what is made of it."""

    paths: tuple[RecordPath, ...]
    made: Callable[[Any], Any] | None = None

    @staticmethod
    def at(*paths: str, made: Callable[[Any], Any] | None = None) -> "Place":
        """Take paths as text; raises ValueError."""
        return Place(tuple(map(RecordPath.parse, paths)), made)

    def of(self, record: Mapping[str, Any]) -> Any:
        """Give the value, or None."""
        for path in self.paths:
            value = path.of(record)
            if value is not None:
                return value if self.made is None else self.made(value)
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordShape:
    """What the file of a dataset says whose values stand deeper than their keys; `fallbacks` stand in for absent values."""

    event_time: Mapping[str, Place]
    fields: Mapping[str, tuple[Literal["number", "string", "flag"], Place]]
    identity: str | None = None
    fallbacks: Mapping[str, Place] = field(default_factory=dict)
    predicates: Mapping[str, str] = field(default_factory=dict)
    paths: frozenset[str] = frozenset()
    folded: frozenset[str] = frozenset()
    dimensions: tuple[str, ...] = ()
