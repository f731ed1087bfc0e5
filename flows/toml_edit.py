"""TOML edit: a configuration's text with some fields of its rules changed and all else as it was, comments included.

tomlkit keeps what people wrote. A file without metrics and rules gets the built-in pack that applies to it, so that there is
something to change.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import tomlkit
from tomlkit.items import AoT, InlineTable, Item

from flows.sweep_axis import Axis, Value, number_text

Change = tuple[Axis, Value]


def edited(text: str, changes: Iterable[Change], pack: str, names: Sequence[str]) -> str:
    """Give the text with the changes; `pack` is the built-in one, of which `names` (metrics and rules) apply."""
    document: Any = tomlkit.parse(text)
    if "metric" not in document and "rule" not in document:
        document = tomlkit.parse(text.rstrip("\n") + "\n\n" + chosen(pack, names))
    for axis, value in changes:
        _put(_rule(document, axis.rule), axis, value)
    return str(tomlkit.dumps(document))


def snippet(text: str, changes: Sequence[Change]) -> str:
    """Give the changed keys alone, each rule's as the `[[rule]]` table that has them; `text` is the edited file."""
    document: Any = tomlkit.parse(text)
    out = []
    for name in dict.fromkeys(axis.rule for axis, _ in changes):
        rule = _rule(document, name)
        keys = dict.fromkeys(_key(axis) for axis, _ in changes if axis.rule == name)
        lines = [f"{key} = {inline(rule[key])}" for key in keys]
        out.append("\n".join(["[[rule]]", f"name = {inline(name)}", *lines]))
    return "\n\n".join(out) + "\n" if out else ""


def chosen(pack: str, names: Sequence[str]) -> str:
    """Give those metrics and rules of the pack whose names are among `names`."""
    document: Any = tomlkit.parse(pack)
    kept: Any = tomlkit.document()
    for key in ("metric", "rule"):
        tables = tomlkit.aot()
        for table in document[key]:
            if table["name"] in names:
                tables.append(table)
        kept[key] = tables
    return str(tomlkit.dumps(kept))


def inline(value: Any) -> str:
    """Write a value on one line."""
    plain = value.unwrap() if isinstance(value, Item) else value
    match plain:
        case dict():
            return "{ " + ", ".join(f"{_inline_key(key)} = {inline(each)}" for key, each in plain.items()) + " }"
        case list():
            return "[" + ", ".join(map(inline, plain)) + "]"
        case bool():
            return str(plain).lower()
        case float() | int():
            return number_text(plain)
    return str(tomlkit.item(plain).as_string())


def _rule(document: Any, name: str) -> Any:
    return next(table for table in document["rule"] if table["name"] == name)


def _key(axis: Axis) -> str:
    """Give the key of the rule's table that an axis changes."""
    return "overrides" if axis.match else axis.field.partition(".")[0]


def _put(rule: Any, axis: Axis, value: Value) -> None:
    shown = axis.toml(value)
    place = _override(rule, dict(axis.match)) if axis.match else rule
    table, _, name = axis.field.partition(".")
    if not name:
        place[table] = shown
        return
    if table == "for" and not hasattr(place.get("for"), "keys"):
        held = place.get("for")
        plain: Any = held.unwrap() if isinstance(held, Item) else held
        place["for"] = _table({"warning": 2, "critical": 1} if plain is None else {"warning": plain, "critical": plain})
    if table not in place:
        place[table] = _table({})
    place[table][name] = shown


def _override(rule: Any, match: dict[str, str]) -> Any:
    """Find the override of some keys, or put a new one ahead of the others."""
    known = rule.get("overrides")
    for each in known or ():
        if dict(each["match"]) == match:
            return each
    if known is None:
        rule["overrides"] = tomlkit.array()
        known = rule["overrides"]
    if isinstance(known, AoT):
        fresh: Any = tomlkit.table()
        fresh["match"] = _table(match)
        known.insert(0, fresh)
    else:
        known.insert(0, _table({"match": _table(match)}))
    return known[0]


def _table(values: dict[str, Any]) -> InlineTable:
    out = tomlkit.inline_table()
    out.update(values)
    return out


def _inline_key(key: str) -> str:
    bare = key.replace("_", "").replace("-", "")
    return key if bare.isascii() and bare.isalnum() else str(tomlkit.item(key).as_string())
