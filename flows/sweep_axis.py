"""Sweep axis: what one `--sweep RULE.FIELD=A:B:STEP` means: a field of a rule, or of some of its keys, and its values.

Values are counted in decimals, so that 0.01:0.05:0.01 ends at 0.05.
"""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any

from flows.kinds import NO_DATA
from flows.moment import duration
from flows.options import ConfigError
from flows.rule import Override, RuleOptions, Thresholds

MOST_VALUES = 10_000

Value = float | int

_NUMBER, _WHOLE, _DURATIONS = "number", "whole number", "duration"
_BY_LIMITS = ("threshold", "change", "capacity", "event")
_HELD = ("threshold", "change", "budget", "capacity", "event")
_ALL = (*_HELD, "absence")
# Field -> what its values are, and the kinds of rules that have it.
_FIELDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "above.warning": (_NUMBER, _BY_LIMITS),
    "above.critical": (_NUMBER, _BY_LIMITS),
    "below.warning": (_NUMBER, ("threshold", "change")),
    "below.critical": (_NUMBER, ("threshold", "change")),
    "recover": (_NUMBER, _HELD),
    "for": (_WHOLE, _HELD),
    "for.warning": (_WHOLE, _HELD),
    "for.critical": (_WHOLE, _HELD),
    "clear": (_WHOLE, _HELD),
    "min_count": (_WHOLE, ("threshold", "change", "budget", "capacity")),
    "min_bad": (_WHOLE, ("threshold", "budget")),
    "cooldown": (_DURATIONS, _ALL),
    "repeat": (_DURATIONS, _ALL),
    "repeat_backoff": (_NUMBER, _ALL),
    "max_repeats": (_WHOLE, _ALL),
    "forget_after": (_DURATIONS, _ALL),
    "baseline.windows": (_WHOLE, ("change",)),
    "baseline.at_least": (_WHOLE, ("change",)),
    "capacity": (_NUMBER, ("capacity",)),
    "critical_at": (_NUMBER, ("budget",)),
    "after": (_WHOLE, ("absence",)),
}
_OF_KEYS = ("above.warning", "above.critical", "below.warning", "below.critical", "recover")


@dataclass(frozen=True, slots=True)
class Axis:
    """One field that is varied; `match` names the keys where it is not the whole rule. Durations are in ms."""

    text: str
    rule: str
    match: tuple[tuple[str, str], ...]
    field: str
    values: tuple[Value, ...]

    @property
    def name(self) -> str:
        """Give it as people write it."""
        keys = ",".join(f"{name}={value}" for name, value in self.match)
        return f"{self.rule}{{{keys}}}.{self.field}" if keys else f"{self.rule}.{self.field}"

    def shown(self, value: Value) -> str:
        """Write a value as a file has it."""
        return duration_text(int(value)) if _FIELDS[self.field][0] == _DURATIONS else number_text(value)

    def toml(self, value: Value) -> Value | str:
        """Give a value as TOML has it: whole numbers without a point."""
        if _FIELDS[self.field][0] == _DURATIONS:
            return duration_text(int(value))
        return int(value) if number_text(value).lstrip("-").isdigit() else value

    def of(self, options: RuleOptions) -> Value | None:
        """Give the value that a rule has now; None where it has none."""
        if self.match:
            found = next((each for each in options.overrides if each.match == dict(self.match)), None)
            return _limit_of(found, self.field) if found is not None else None
        if self.field.startswith(("above.", "below.")) or self.field == "recover":
            return _limit_of(options, self.field)
        table, _, name = self.field.partition(".")
        if table == "for":
            return _hold_of(options, name)
        if table == "baseline":
            return getattr(options.baseline, name) if options.baseline else None
        found_value: Value = getattr(options, _attribute(self.field))
        return found_value

    def put(self, options: RuleOptions, value: Value) -> RuleOptions:
        """Give the rule with a value in place."""
        if self.match:
            return _for_keys(options, dict(self.match), self.field, value)
        table, _, name = self.field.partition(".")
        changes: dict[str, Any]
        if table in ("above", "below"):
            changes = {table: replace(getattr(options, table) or Thresholds(), **{name: value})}
        elif table == "for":
            hold = {"warning": int(value), "critical": int(value)} if not name else {name: int(value)}
            changes = {"for_": replace(options.hold, **hold)}
        elif table == "baseline":
            baseline: Any = options.baseline
            changes = {"baseline": replace(baseline, **{name: int(value)})}
        else:
            changes = {_attribute(self.field): value}
        return replace(options, **changes)


def parse_axes(texts: Sequence[str], rules: Mapping[str, RuleOptions]) -> list[Axis]:
    """Read all of them; raises ConfigError, which names the text and what is allowed."""
    axes = [_parse(text, rules) for text in texts]
    for number, axis in enumerate(axes):
        for other in axes[:number]:
            if axis.name == other.name:
                raise ConfigError(f"--sweep {axis.text}", f"{axis.name} is given twice; give all its values in one")
            if axis.rule == other.rule and {axis.field.partition(".")[0], other.field.partition(".")[0]} == {"for"}:
                _refuse_for(axis, other)
    return axes


def sweepable(options: RuleOptions) -> list[str]:
    """Give the fields of a rule that can be varied."""
    if options.name.startswith(NO_DATA):
        return []
    side = "below." if options.above or options.kind in ("capacity", "event") else "above."
    return [
        name
        for name, (_, kinds) in _FIELDS.items()
        if options.kind in kinds and not name.startswith(side) and (name != "min_bad" or options.is_share)
    ]


def number_text(value: Value) -> str:
    """Write a number as TOML has it, as short as it is exact."""
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))  # noqa: PLR2004


def duration_text(ms: int) -> str:
    """Write a duration as TOML has it."""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if ms and ms % size == 0:
            return f"{ms // size}{unit}"
    return f"{ms}ms" if ms else "0s"


def _refuse_for(axis: Axis, other: Axis) -> None:
    if "for" in (axis.field, other.field):
        raise ConfigError(f"--sweep {axis.text}", "for sets both severities; give for.warning and for.critical, or for alone")


def _parse(text: str, rules: Mapping[str, RuleOptions]) -> Axis:
    where = f"--sweep {text}"
    rule = _rule_of(text, rules, where)
    rest, match = text[len(rule) :], dict[str, str]()
    if rest.startswith("{"):
        inside, closed, rest = rest[1:].partition("}")
        if not closed:
            raise ConfigError(where, "the brace is not closed; write RULE{label=value}.FIELD=A:B:STEP")
        match = dict(_pairs(inside, where))
    field, equals, values = rest.removeprefix(".").partition("=")
    if not rest.startswith(".") or not equals:
        raise ConfigError(where, "write RULE.FIELD=A:B:STEP, or RULE.FIELD=A,B,C")
    _check_field(field, rules[rule], where, of_keys=bool(match))
    found = tuple(dict.fromkeys(_values(values, _FIELDS[field][0], where)))
    return Axis(text, rule, tuple(sorted(match.items())), field, found)


def _rule_of(text: str, rules: Mapping[str, RuleOptions], where: str) -> str:
    named = [name for name in rules if text.startswith((f"{name}.", f"{name}{{"))]
    if named:
        return max(named, key=len)
    given = re.split(r"[.{=]", text, maxsplit=1)[0]
    if given in rules:
        fields = ", ".join(sweepable(rules[given])) or "none"
        raise ConfigError(where, f"names no field of {given}; write RULE.FIELD=A:B:STEP; fields: {fields}")
    near = difflib.get_close_matches(given, rules, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(where, f"no rule {given!r}; {hint}there are: {', '.join(rules) or 'none'}")


def _pairs(text: str, where: str) -> Iterator[tuple[str, str]]:
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not equals or not name.strip():
            raise ConfigError(where, f"{part!r} does not say which keys are meant; write {{label=value,label=value}}")
        yield name.strip(), value.strip().strip('"')


def _check_field(field: str, options: RuleOptions, where: str, *, of_keys: bool) -> None:
    allowed = sweepable(options)
    if not allowed:
        raise ConfigError(where, _not_at_all(options))
    if of_keys:
        if options.kind not in ("threshold", "change", "capacity"):
            raise ConfigError(where, f"a rule of kind {options.kind} has no overrides, so its keys cannot differ")
        allowed = [name for name in allowed if name in _OF_KEYS]
    if field in allowed:
        return
    near = difflib.get_close_matches(field, allowed, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    whose = f"keys of {options.name}" if of_keys else f"{options.name}, a rule of kind {options.kind},"
    raise ConfigError(where, f"{whose} cannot be swept by {field!r}; {hint}allowed: {', '.join(allowed)}")


def _not_at_all(options: RuleOptions) -> str:
    if options.kind == "composite":
        return f"{options.name} is made of other rules; sweep those: {', '.join(options.members)}"
    if options.kind == "slo":
        how = "change the [[slo]] and compare with `edgewatch diff`"
        return f"{options.name} follows from its objective by fixed burn rates; {how}"
    return f"{options.name} follows from no_data of a rule; change that and compare with `edgewatch diff`"


def _values(text: str, kind: str, where: str) -> Iterator[Value]:
    if not text.strip():
        raise ConfigError(where, "names no value; write A:B:STEP or A,B,C")
    parts = text.split(":")
    if len(parts) == 1:
        yield from (_value(_decimal(part, kind, where), kind, where) for part in text.split(","))
        return
    if len(parts) != 3:  # noqa: PLR2004
        raise ConfigError(where, f"{text!r} is not A:B:STEP (from, to and step)")
    low, high, stride = (_decimal(part, kind, where) for part in parts)
    if stride <= 0:
        raise ConfigError(where, f"the step must be above 0, not {parts[2]}")
    if low > high:
        raise ConfigError(where, f"from {parts[0]} is beyond {parts[1]}; write the smaller one first")
    count = int((high - low) // stride) + 1
    if count > MOST_VALUES:
        raise ConfigError(where, f"is {count} values; at most {MOST_VALUES} are tried: use a larger step")
    yield from (_value(low + number * stride, kind, where) for number in range(count))


def _decimal(text: str, kind: str, where: str) -> Decimal:
    """Read a number, or a duration in ms."""
    given = text.strip()
    if kind == _DURATIONS:
        try:
            return Decimal(duration("0s" if given == "0" else given))
        except ValueError:
            raise ConfigError(where, f'{given!r} is not a duration such as "90s", "5m", "1h" or "1d"') from None
    try:
        number = Decimal(given)
    except InvalidOperation:
        raise ConfigError(where, f"{given!r} is not a {kind}") from None
    if not number.is_finite():
        raise ConfigError(where, f"{given!r} is not a number that a value can be compared with")
    return number


def _value(number: Decimal, kind: str, where: str) -> Value:
    if kind == _NUMBER:
        return float(number)
    if number != int(number):
        raise ConfigError(where, f"{number} is not a {kind}")
    return int(number)


def _attribute(field: str) -> str:
    return f"{field}_ms" if _FIELDS[field][0] == _DURATIONS else field


def _limit_of(options: RuleOptions | Override, field: str) -> float | None:
    if field == "recover":
        return options.recover
    side, _, name = field.partition(".")
    limits: Thresholds | None = getattr(options, side)
    found: float | None = getattr(limits, name) if limits else None
    return found


def _hold_of(options: RuleOptions, severity: str) -> int | None:
    """Give `for` of a severity, or the longer one; None where it is "n of m", which is on no axis."""
    hold = options.hold
    needed = [hold.for_warning, hold.for_critical] if not severity else [getattr(hold, f"for_{severity}")]
    return None if any(each.among for each in needed) else max(each.times for each in needed)


def _for_keys(options: RuleOptions, match: dict[str, str], field: str, value: Value) -> RuleOptions:
    """Put a limit of some keys in place: in the override that names them, or in a new one ahead of all others."""
    known = next((each for each in options.overrides if each.match == match), None)
    override = known or Override(match=match)
    side, _, name = field.partition(".")
    changes: dict[str, Any] = {"recover": float(value)}
    if name:
        changes = {side: replace(getattr(override, side) or Thresholds(), **{name: float(value)})}
    changed = replace(override, **changes)
    if known is None:
        return replace(options, overrides=(changed, *options.overrides))
    return replace(options, overrides=tuple(changed if each is known else each for each in options.overrides))
