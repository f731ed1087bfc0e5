"""Matcher: which alerts are meant, by their labels: `=`, `!=`, and the anchored regular expressions `=~` and `!~`.

A label that is missing equals the empty text. Labels hold text from log data, so an expression that could take exponential
time on a hostile value is refused at configuration.
"""

import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Match = dict[str, str] | tuple[str, ...]  # as a file has it: { team = "edge", host = "=~a.*" } or ['host=~"a.*"']

_WRITTEN = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_.\-]*)\s*(=~|!~|!=|=)\s*(.*?)\s*", re.DOTALL)
_OPERATORS = ("=~", "!~", "!=")
_LONGEST = 1000
_HOW = 'write name="text", name!="text", name=~"expression" or name!~"expression"'


class MatchError(ValueError):
    """A matcher that cannot be meant; the message says what is allowed."""


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on one label."""

    name: str
    operator: str
    value: str
    _regex: re.Pattern[str] | None = field(default=None, compare=False)

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether the label is as wanted."""
        value = labels.get(self.name, "")
        found = value == self.value if self._regex is None else self._regex.fullmatch(value) is not None
        return found == (self.operator[0] == "=")

    def __str__(self) -> str:
        escaped = self.value.replace("\\", "\\\\").replace('"', '\\"')
        return f'{self.name}{self.operator}"{escaped}"'


@dataclass(frozen=True, slots=True)
class Matchers:
    """Conditions that must all hold; none at all match every alert."""

    all: tuple[Matcher, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether the labels are as wanted."""
        for matcher in self.all:  # noqa: SIM110 (a generator costs as much as the matching)
            if not matcher.matches(labels):
                return False
        return True

    def names(self) -> frozenset[str]:
        """Give the labels that are looked at."""
        return frozenset(matcher.name for matcher in self.all)

    def parted(self, names: frozenset[str]) -> tuple["Matchers", "Matchers"]:
        """Give the conditions on some labels, and those on all others."""
        chosen = tuple(matcher for matcher in self.all if matcher.name in names)
        return Matchers(chosen), Matchers(tuple(matcher for matcher in self.all if matcher not in chosen))

    def equal(self, name: str) -> str | None:
        """Give the one value that a label must have, or None where more than one may do."""
        return next((m.value for m in self.all if m.name == name and m.operator == "="), None)

    def __str__(self) -> str:
        return ", ".join(map(str, self.all)) or "everything"


def parse_match(match: Match) -> Matchers:
    """Make matchers ready; raises MatchError."""
    if isinstance(match, Mapping):
        return Matchers(tuple(_of_table(name, value) for name, value in match.items()))
    return Matchers(tuple(parse_matcher(text) for text in match))


def parse_matcher(text: str) -> Matcher:
    """Read one matcher as people write it, the value with or without quotes; raises MatchError."""
    written = _WRITTEN.fullmatch(text)
    if written is None:
        raise MatchError(f"{text!r} is not a matcher; {_HOW}")
    name, operator, value = written.groups()
    if value.startswith('"'):
        if len(value) == 1 or not value.endswith('"'):
            raise MatchError(f"{text!r} has a quote that is not closed; {_HOW}")
        value = re.sub(r'\\(["\\])', r"\1", value[1:-1])
    return _made(name, operator, value)


def match_problems(match: Match, without: Iterable[str] = ()) -> Iterable[str]:
    """Yield what is wrong with a match; labels in `without` do not exist where it is used."""
    try:
        names = parse_match(match).names()
    except MatchError as error:
        yield str(error)
        return
    for name in sorted(names & frozenset(without)):
        yield f"there is no label {name!r} here: it is decided later"


def _of_table(name: str, value: str) -> Matcher:
    operator = next((each for each in _OPERATORS if value.startswith(each)), "")
    return _made(name, operator or "=", value[len(operator) :])


def _made(name: str, operator: str, value: str) -> Matcher:
    if not operator.endswith("~"):
        return Matcher(name, operator, value)
    if len(value) > _LONGEST:
        raise MatchError(f"the expression of {name} has {len(value)} characters; at most {_LONGEST} are allowed")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)  # what Python will read otherwise one day is not meant so today
            regex = re.compile(value, re.DOTALL)
    except (re.error, RecursionError, OverflowError, FutureWarning) as error:
        raise MatchError(f"{value!r} is not a regular expression: {error}") from error
    if _explodes(value):
        raise MatchError(f"{value!r} repeats what itself repeats, which can take for ever; write it without the inner repeat")
    return Matcher(name, operator, value, regex)


def _explodes(pattern: str) -> bool:
    """Tell whether a repeated group repeats or chooses within itself, or refers back: what backtracking may drown in."""
    plain = re.sub(r"\\[^1-9]", "x", pattern)
    plain = re.sub(r"\[\^?\]?[^\]]*\]", "x", plain)
    if re.search(r"\\[1-9]|\(\?P=", plain):
        return True
    risky = [False]  # a group each: whether something in it repeats without end, or is a choice
    for place, character in enumerate(plain):
        if character == "(":
            risky.append(False)
        elif character == ")" and len(risky) > 1:
            inner = risky.pop()
            repeated = _repeats(plain, place + 1)
            if inner and repeated:
                return True
            risky[-1] |= inner or repeated
        elif character == "|" or _repeats(plain, place):
            risky[-1] = True
    return False


def _repeats(pattern: str, place: int) -> bool:
    return pattern[place : place + 1] in ("*", "+") or re.match(r"\{\d*,\d*\}|\{\d{2,}\}", pattern[place:]) is not None
