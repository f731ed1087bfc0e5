"""Expression: the one small language of `where`, `bad` and `good`, on columns.

`EdgeResponseStatus >= 500 and ClientRequestHost in ("a", "b")`: comparisons with literals, `in`, `contains`,
`starts_with`, `ends_with`, `and`, `or`, `not`, parentheses, and predicates that the dataset names (`is_user_request`).
An absent value takes part in no comparison: the comparison is false. String tests run on the vocabulary only.
"""

import difflib
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectors.batch import Batch

Mask = NDArray[np.bool_]
Literal = float | str | bool

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
    r"""|(?P<word>[A-Za-z_][A-Za-z0-9_.]*)|(?P<mark>==|!=|<=|>=|<|>|\(|\)|,))"""
)
_ORDER: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TEXT_TESTS: dict[str, Callable[[str, str], bool]] = {
    "contains": lambda value, part: part in value,
    "starts_with": str.startswith,
    "ends_with": str.endswith,
}
_RESERVED = frozenset({"and", "or", "not", "in", "true", "false", *_TEXT_TESTS})
_ALLOWED = "allowed after a field: == != < <= > >= in, not in, contains, starts_with, ends_with"


class ExpressionError(Exception):
    """An expression that cannot be read: what is wrong, and at which character."""


@dataclass(frozen=True, slots=True)
class _Compare:
    field: str
    test: str
    value: Literal

    def mask(self, batch: Batch) -> Mask:
        if self.field in batch.numbers:
            return self._numbers(batch.numbers[self.field])
        if self.field in batch.flags:
            flags = batch.flags[self.field]
            return np.asarray((flags >= 0) & _ORDER[self.test](flags, int(bool(self.value))))
        strings = batch.strings[self.field]
        test = _TEXT_TESTS.get(self.test) or _ORDER[self.test]
        found = np.array([*(bool(test(text, str(self.value))) for text in strings.vocabulary), False], np.bool_)
        return np.asarray(found[strings.codes])

    def _numbers(self, column: NDArray[np.float64]) -> Mask:
        found = _ORDER[self.test](column, self.value)
        return np.asarray(found & ~np.isnan(column) if self.test == "!=" else found)


@dataclass(frozen=True, slots=True)
class _In:
    field: str
    values: tuple[Literal, ...]
    negated: bool

    def mask(self, batch: Batch) -> Mask:
        if self.field in batch.numbers:
            column = batch.numbers[self.field]
            return np.asarray((np.isin(column, self.values) != self.negated) & ~np.isnan(column))
        if self.field in batch.flags:
            flags = batch.flags[self.field]
            return np.asarray((np.isin(flags, [int(bool(v)) for v in self.values]) != self.negated) & (flags >= 0))
        strings = batch.strings[self.field]
        chosen = frozenset(self.values)
        found = np.array([*((text in chosen) != self.negated for text in strings.vocabulary), False], np.bool_)
        return np.asarray(found[strings.codes])


@dataclass(frozen=True, slots=True)
class _Not:
    inner: "_Node"

    def mask(self, batch: Batch) -> Mask:
        return ~self.inner.mask(batch)


@dataclass(frozen=True, slots=True)
class _Both:
    left: "_Node"
    right: "_Node"
    either: bool

    def mask(self, batch: Batch) -> Mask:
        left, right = self.left.mask(batch), self.right.mask(batch)
        return left | right if self.either else left & right


_Node = _Compare | _In | _Not | _Both


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression; immutable, and the same text gives an equal one."""

    text: str
    _root: _Node

    @classmethod
    def parse(cls, text: str, predicates: Mapping[str, str] | None = None) -> "Expression":
        """Parse; `predicates` are named expressions that may stand alone. Raises ExpressionError."""
        return cls(text, _Parser(text, predicates or {}).whole())

    @property
    def fields(self) -> frozenset[str]:
        """Give the columns used, those of predicates included."""
        return frozenset(leaf.field for leaf in _leaves(self._root))

    def mask(self, batch: Batch) -> Mask:
        """Tell for each record (n,) whether it holds."""
        return self._root.mask(batch)

    def check(self, kinds: Mapping[str, str]) -> list[str]:
        """Give what is wrong with the fields used: unknown ones, and literals of another type."""
        problems = []
        for leaf in _leaves(self._root):
            kind = kinds.get(leaf.field)
            if kind is None:
                near = difflib.get_close_matches(leaf.field, kinds, 1)
                problems.append(f"unknown field {leaf.field!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
                continue
            problems += _mismatches(leaf, kind)
        return list(dict.fromkeys(problems))


def _mismatches(leaf: _Compare | _In, kind: str) -> list[str]:
    test = leaf.test if isinstance(leaf, _Compare) else "in"
    values = (leaf.value,) if isinstance(leaf, _Compare) else leaf.values
    if kind != "string" and test in _TEXT_TESTS:
        return [f"{leaf.field} is a {kind}; {test} is for strings"]
    if kind != "number" and test in ("<", "<=", ">", ">="):
        return [f"{leaf.field} is a {kind}; {test} is for numbers"]
    wanted = {"number": float, "string": str, "flag": bool}[kind]
    return [f"{leaf.field} is a {kind}, but {_shown(v)} is not" for v in values if type(v) is not wanted]


def _shown(value: Literal) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _leaves(node: _Node) -> list[_Compare | _In]:
    if isinstance(node, _Not):
        return _leaves(node.inner)
    if isinstance(node, _Both):
        return _leaves(node.left) + _leaves(node.right)
    return [node]


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    place: int


def _tokens(text: str) -> list[_Token]:
    out, place = [], 0
    while text[place:].strip():
        match = _TOKEN.match(text, place)
        if match is None:
            at = place + len(text[place:]) - len(text[place:].lstrip())
            raise ExpressionError(f"unexpected {text[at]!r} at character {at + 1}")
        kind = match.lastgroup or ""
        out.append(_Token(kind, match[kind], match.start(kind)))
        place = match.end()
    return [*out, _Token("end", "", len(text))]


class _Parser:
    """Recursive descent: or, and, not, test."""

    def __init__(self, text: str, predicates: Mapping[str, str], within: tuple[str, ...] = ()) -> None:
        self._tokens = _tokens(text)
        self._next = 0
        self._predicates = predicates
        self._within = within

    def whole(self) -> _Node:
        if len(self._tokens) == 1:
            raise ExpressionError("an empty expression")
        node = self._either()
        if self._peek().kind != "end":
            raise self._error("`and`, `or` or the end")
        return node

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._tokens[self._next]
        self._next += 1
        return token

    def _is(self, *texts: str) -> bool:
        token = self._peek()
        return token.kind in ("word", "mark") and token.text in texts

    def _error(self, expected: str) -> ExpressionError:
        token = self._peek()
        found = f"{token.text!r}" if token.text else "the end"
        return ExpressionError(f"expected {expected}, found {found} at character {token.place + 1}")

    def _expect(self, mark: str) -> None:
        if not self._is(mark):
            raise self._error(f"`{mark}`")
        self._take()

    def _either(self) -> _Node:
        node = self._both()
        while self._is("or"):
            self._take()
            node = _Both(node, self._both(), either=True)
        return node

    def _both(self) -> _Node:
        node = self._negated()
        while self._is("and"):
            self._take()
            node = _Both(node, self._negated(), either=False)
        return node

    def _negated(self) -> _Node:
        if self._is("not"):
            self._take()
            return _Not(self._negated())
        if self._is("("):
            self._take()
            node = self._either()
            self._expect(")")
            return node
        return self._test()

    def _test(self) -> _Node:
        token = self._peek()
        if token.kind != "word" or token.text in _RESERVED:
            raise self._error("a field, a predicate, `not` or `(`")
        self._take()
        if self._is(*_ORDER, *_TEXT_TESTS):
            return _Compare(token.text, self._take().text, self._literal())
        negated = self._is("not")
        if negated or self._is("in"):
            self._next += negated
            if not self._is("in"):
                raise self._error("`in`")
            self._take()
            return _In(token.text, self._list(), negated)
        if token.text in self._predicates:
            return self._predicate(token.text)
        raise self._error(f"a test of {token.text} ({_ALLOWED})")

    def _predicate(self, name: str) -> _Node:
        if name in self._within:
            raise ExpressionError(f"the predicate {name} uses itself")
        return _Parser(self._predicates[name], self._predicates, (*self._within, name)).whole()

    def _list(self) -> tuple[Literal, ...]:
        self._expect("(")
        values = [self._literal()]
        while self._is(","):
            self._take()
            if self._is(")"):
                break
            values.append(self._literal())
        self._expect(")")
        return tuple(values)

    def _literal(self) -> Literal:
        token = self._peek()
        if token.kind == "number":
            self._take()
            return float(token.text)
        if token.kind == "text":
            self._take()
            return re.sub(r"\\(.)", r"\1", token.text[1:-1])
        if self._is("true", "false"):
            return self._take().text == "true"
        raise self._error('a number, a "string", true or false')
