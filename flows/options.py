"""Options: a TOML table to a frozen options dataclass, with every problem of the table said at once.

A dataclass is the whole definition of its table: keys are field names (durations without `_ms`, keywords without `_`), and
`metadata` says what is a duration, a secret, or tables. So a new component needs no change here.
"""

import dataclasses
import difflib
import os
import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_NAMES = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "a table",
    list: "an array",
}


class ConfigError(Exception):
    """One problem of a configuration: the key, and what is wrong with its value and what is allowed."""

    def __init__(self, key: str, problem: str) -> None:
        """Take the key as the file has it."""
        super().__init__(f"{key}: {problem}" if key else problem)
        self.key = key
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Reader:
    """Converts tables; collects problems. Without `secrets`, `env:` and `file:` values are left as they are."""

    problems: list[ConfigError]
    folder: Path
    secrets: bool

    def table(self, kind: type[Any], given: object, path: str) -> Any:
        """Give an instance of the dataclass `kind`, or None where the table has problems."""
        if not isinstance(given, Mapping):
            return self._refuse(path, f"must be a table, not {_shown(given)}")
        before = len(self.problems)
        columns = {toml_key(column): column for column in dataclasses.fields(kind)}
        self._unknown(given, list(columns), getattr(kind, "NOT_YET", ()), path)
        hints = typing.get_type_hints(kind)
        values: dict[str, Any] = {}
        for key, column in columns.items():
            if key in given:
                values[column.name] = self._value(hints[column.name], given[key], f"{path}.{key}" if path else key, column)
            elif _required(column):
                self._refuse(f"{path}.{key}" if path else key, f"is missing; {column.metadata.get('help', 'it is needed')}")
        if len(self.problems) > before:
            return None
        made = kind(**values)
        unread = () if self.secrets else tuple(k for k, column in columns.items() if column.metadata.get("secret"))
        for key, problem in made.problems() if hasattr(made, "problems") else ():
            if key in unread:
                continue  # it stands as env:NAME here, so its form cannot be judged
            self._refuse(f"{path}.{key}" if path else key, problem)
        return made if len(self.problems) == before else None

    def _unknown(self, given: Mapping[str, Any], known: list[str], not_yet: tuple[str, ...], path: str) -> None:
        for key in given:
            where = f"{path}.{key}" if path else key
            if key in not_yet:
                self._refuse(where, "not yet: this version does not have it")
            elif key not in known:
                self._refuse(where, unknown(key, known))

    def _refuse(self, key: str, problem: str) -> None:
        self.problems.append(ConfigError(key, problem))

    def _value(  # noqa: PLR0911 (one return a kind of type)
        self, hint: Any, given: Any, path: str, column: "dataclasses.Field[Any] | None" = None
    ) -> Any:
        if column is not None and column.metadata.get("duration"):
            return self._duration(given, path)
        secret = column is not None and bool(column.metadata.get("secret"))
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if secret and origin not in (dict, tuple):
            return self._secret(given, path)
        if secret and isinstance(given, str):  # it may be the secret itself
            return self._refuse(path, f"must be {'a table' if origin is dict else 'an array'}, not a string")
        if origin in (typing.Union, types.UnionType):
            return self._union([kind for kind in arguments if kind is not type(None)], given, path)
        if column is not None and column.metadata.get("tables"):
            return self._tables(arguments[0], given, path)
        if origin is tuple:
            return self._array(arguments[0], given, path, column if secret else None)
        if origin is dict:
            return self._dict(arguments[1], given, path, secret=secret)
        if dataclasses.is_dataclass(hint):
            return self.table(typing.cast("type[Any]", hint), given, path)
        return self._plain(hint, given, path)

    def _dict(self, kind: Any, given: Any, path: str, *, secret: bool) -> Any:
        """Convert a table of any keys; one marked as secret may hold `env:` and `file:` beside plain values."""
        if not isinstance(given, Mapping):
            return self._refuse(path, f"must be a table, not {_shown(given)}")
        found = {key: self._value(kind, value, f"{path}.{key}") for key, value in given.items()}
        if not secret:
            return found
        return {k: self.resolve(v, f"{path}.{k}") if isinstance(v, str) else v for k, v in found.items()}

    def _plain(self, hint: type[Any], given: Any, path: str) -> Any:
        if hint is float and isinstance(given, int) and not isinstance(given, bool):
            return float(given)
        if type(given) is not hint:
            return self._refuse(path, f"must be {_NAMES.get(hint, hint)}, not {_shown(given)}")
        return given

    def _union(self, kinds: list[Any], given: Any, path: str) -> Any:
        for kind in kinds:
            if _fits(kind, given):
                return self._value(kind, given, path)
        names = " or ".join(dict.fromkeys(_named(kind) for kind in kinds))
        return self._refuse(path, f"must be {names}, not {_shown(given)}")

    def _array(self, kind: Any, given: Any, path: str, column: "dataclasses.Field[Any] | None") -> Any:
        if not isinstance(given, list):
            return self._refuse(path, f"must be an array, not {_shown(given)}")
        return tuple(self._value(kind, value, f"{path}[{n}]", column) for n, value in enumerate(given))

    def _tables(self, kind: type[Any], given: Any, path: str) -> Any:
        """Convert tables that a file has one by one, so they are counted from 1."""
        if not isinstance(given, list):
            return self._refuse(path, f"must be an array of tables, not {_shown(given)}")
        return tuple(self.table(kind, value, f"{path} #{number}") for number, value in enumerate(given, 1))

    def _duration(self, given: Any, path: str) -> int | None:
        match = _DURATION.fullmatch(given) if isinstance(given, str) else None
        if match is None:
            self._refuse(path, f'must be a duration such as "90s", "5m", "1h" or "1d", not {_shown(given)}')
            return None
        return round(float(match[1]) * _UNIT_MS[match[2]])

    def _secret(self, given: Any, path: str) -> str | None:
        if not isinstance(given, str):
            self._refuse(path, 'must be a string: "env:NAME", "file:PATH" or the secret itself')
            return None
        return self.resolve(given, path)

    def resolve(self, given: str, path: str) -> str:
        """Read `env:NAME` or `file:PATH`; the value shows in no message."""
        if not self.secrets:
            return given
        kind, _, rest = given.partition(":")
        if kind == "env":
            if rest not in os.environ:
                self._refuse(path, f"the environment variable {rest} is not set")
            return os.environ.get(rest, "")
        if kind == "file":
            try:
                return (self.folder / rest).read_text().strip()
            except OSError as error:
                self._refuse(path, f"the file {rest} cannot be read: {error.strerror}")
        return given


def toml_key(column: "dataclasses.Field[Any]") -> str:
    """Give the key of a field in TOML."""
    name = column.name.removesuffix("_ms") if column.metadata.get("duration") else column.name
    return name.removesuffix("_")


def unknown(key: str, known: list[str]) -> str:
    """Say that a key is not known, and which one was probably meant."""
    near = difflib.get_close_matches(key, known, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown key; {hint}allowed: {', '.join(known)}"


def no_such(what: str, name: str, known: Mapping[str, Any]) -> str:
    """Say that nothing has a name, and which one was probably meant."""
    near = difflib.get_close_matches(name, known, 1)
    listed = f"; there are: {', '.join(known)}" if len(known) <= 12 else ""  # noqa: PLR2004
    return f"no {what} {name!r}" + (f"; did you mean {near[0]!r}?" if near else listed)


def documented(kind: type[Any]) -> Iterator[tuple[str, Any, str]]:
    """Give (key, default, help) of each field, for the example file and the reference."""
    for column in dataclasses.fields(kind):
        default = column.default
        if default is dataclasses.MISSING and column.default_factory is not dataclasses.MISSING:
            default = column.default_factory()
        yield toml_key(column), default, column.metadata.get("help", "")


def _fits(kind: Any, given: Any) -> bool:
    """Tell whether a value can be of one of several kinds."""
    origin = typing.get_origin(kind) or kind
    if dataclasses.is_dataclass(kind) or origin is dict:
        return isinstance(given, Mapping)
    if origin is tuple:
        return isinstance(given, list)
    return type(given) is kind or (kind is float and type(given) is int)


def _named(kind: Any) -> str:
    origin = typing.get_origin(kind) or kind
    if origin is tuple:
        return "an array"
    return "a table" if dataclasses.is_dataclass(kind) else _NAMES.get(origin, str(kind))


def _required(column: "dataclasses.Field[Any]") -> bool:
    return column.default is dataclasses.MISSING and column.default_factory is dataclasses.MISSING


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return "a table"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."  # noqa: PLR2004
