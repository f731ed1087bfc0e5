"""PromQL: which of a few known shapes an alert's expression has; what has none is refused by the part that stands in the way.

Why shapes: most expressions have no counterpart in windows of records, and one that is translated nearly right is worse than
none. The parser is promql-parser, whose grammar is Prometheus's own.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import promql_parser as promql

_FLIPPED = {">": "<", ">=": "<=", "<": ">", "<=": ">="}
_PERCENT = 100.0


class Untranslatable(Exception):
    """Why an expression is not translated, in words for its author."""


@dataclass(frozen=True, slots=True)
class Selector:
    """A metric's series: matchers are (label, operator, value), sorted; `range_s` 0 for an instant."""

    name: str
    matchers: tuple[tuple[str, str, str], ...]
    range_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A comparison: the value of `kind` over `of` (and `among`, of a ratio), by some labels, beyond a limit.

    `kind` is rate (a second), increase, ratio, quantile, mean, absent or value; `by` is None where each series is judged alone.
    It says nothing of fewer records than `least` a second.
    """

    kind: str
    of: Selector
    among: Selector | None = None
    by: tuple[str, ...] | None = None
    quantile: float = 0.0
    operator: str = ""
    limit: float = 0.0
    least: float = 0.0


def shape_of(text: str) -> Shape:
    """Read an alert's expression; raises Untranslatable."""
    try:
        tree = _bare(promql.parse(text))
    except ValueError as error:
        raise Untranslatable(f"{error}: {_one(text)}") from error
    if isinstance(tree, promql.BinaryExpr) and str(tree.op) == "and" and not (tree.modifier and tree.modifier.matching):
        return _guarded(tree)
    return _condition(tree)


def _guarded(tree: Any) -> Shape:
    """Take `ratio > N and total > M` as what it is for: nothing is said of little traffic."""
    judged = _condition(_bare(tree.lhs))
    try:
        traffic = _condition(_bare(tree.rhs))
    except Untranslatable:
        traffic = judged
    whole = judged.among or judged.of
    same = (traffic.of.name, traffic.of.matchers, traffic.by) == (whole.name, whole.matchers, judged.by)
    if not same or (judged.kind, traffic.kind, traffic.operator) != ("ratio", "rate", ">"):
        raise Untranslatable(f"and between conditions: write a rule for each, and one of kind composite: {_one(tree)}")
    return replace(judged, least=traffic.limit)


def _condition(tree: Any) -> Shape:
    if isinstance(tree, promql.Call) and tree.func.name in ("absent", "absent_over_time"):
        return Shape(kind="absent", of=_selector(tree.args[0]), by=())
    if isinstance(tree, promql.BinaryExpr) and str(tree.op) in ("and", "or", "unless"):
        raise Untranslatable(f"{tree.op} between conditions: write a rule for each, and one of kind composite: {_one(tree)}")
    if not isinstance(tree, promql.BinaryExpr) or str(tree.op) not in _FLIPPED:
        raise Untranslatable(f"no comparison with a number (> >= < <=) or absent(): {_one(tree)}")
    if tree.modifier is not None:
        raise Untranslatable(f"bool, on, ignoring or group_left on a comparison: {_one(tree)}")
    left, right, operator = _bare(tree.lhs), _bare(tree.rhs), str(tree.op)
    if (number := _number(left)) is not None:
        left, right, operator = right, left, _FLIPPED[operator]
    else:
        number = _number(right)
    if number is None:
        raise Untranslatable(f"it is compared with another series, not with a number: {_one(right)}")
    return _scaled(left, operator, number)


def _scaled(tree: Any, operator: str, limit: float) -> Shape:
    """Take a factor of 100 off a ratio in percent."""
    if isinstance(tree, promql.BinaryExpr) and str(tree.op) == "*":
        sides = (_bare(tree.lhs), _bare(tree.rhs))
        for side, other in (sides, sides[::-1]):
            if _number(side) == _PERCENT:
                return _scaled(other, operator, limit / _PERCENT)
        if isinstance(sides[0], promql.BinaryExpr):
            raise Untranslatable(f"arithmetic other than a ratio: {_one(tree)}")
    if isinstance(tree, promql.BinaryExpr) and str(tree.op) == "/":
        above = _bare(tree.lhs)
        if isinstance(above, promql.BinaryExpr) and str(above.op) == "*":  # 100 * a / b
            for side, other in ((above.lhs, above.rhs), (above.rhs, above.lhs)):
                if _number(_bare(side)) == _PERCENT:
                    return replace(_ratio(tree, _bare(other), _bare(tree.rhs)), operator=operator, limit=limit / _PERCENT)
        return replace(_ratio(tree, above, _bare(tree.rhs)), operator=operator, limit=limit)
    return replace(_value(tree), operator=operator, limit=limit)


def _ratio(whole: Any, above: Any, below: Any) -> Shape:
    if whole.modifier is not None:
        raise Untranslatable(f"a ratio with on, ignoring or group_left: {_one(whole)}")
    top, bottom = _value(above), _value(below)
    if {top.kind, bottom.kind} - {"rate", "increase"} or top.kind != bottom.kind:
        raise Untranslatable(f"a ratio of other things than rates of counters: {_one(whole)}")
    if top.by != bottom.by or top.of.range_s != bottom.of.range_s:
        raise Untranslatable(f"both sides of a ratio need the same labels and the same range: {_one(whole)}")
    if (top.of.name, bottom.of.name) == (_stem(top.of.name) + "_sum", _stem(top.of.name) + "_count"):
        if top.of.matchers != bottom.of.matchers:
            raise Untranslatable(f"a mean of two different selections: {_one(whole)}")
        return replace(top, kind="mean", of=replace(top.of, name=_stem(top.of.name)))
    if top.of.name != bottom.of.name or not set(bottom.of.matchers) <= set(top.of.matchers):
        raise Untranslatable(f"a ratio whose upper part is not a part of the lower one: {_one(whole)}")
    return replace(top, kind="ratio", among=bottom.of)


def _value(tree: Any) -> Shape:
    by: tuple[str, ...] | None = None
    if isinstance(tree, promql.Call) and tree.func.name == "histogram_quantile":
        quantile = _number(_bare(tree.args[0]))
        inner = _value(_bare(tree.args[1]))
        if quantile is None or inner.kind != "rate" or not inner.of.name.endswith("_bucket"):
            raise Untranslatable(f"a quantile of other things than rates of buckets: {_one(tree)}")
        labels = None if inner.by is None else tuple(each for each in inner.by if each != "le")
        return Shape(kind="quantile", of=replace(inner.of, name=_stem(inner.of.name)), by=labels, quantile=quantile)
    if isinstance(tree, promql.AggregateExpr):
        by, inside = _labels(tree), _bare(tree.expr)
        inner = _value(inside)
        if inner.by is not None:
            raise Untranslatable(f"an aggregate of an aggregate: {_one(tree)}")
        if str(tree.op) != "sum" and inner.kind != "value":
            raise Untranslatable(f"{tree.op} over series; sum is translated: {_one(tree)}")
        return replace(inner, by=by)
    if isinstance(tree, promql.Call):
        if tree.func.name not in ("rate", "irate", "increase"):
            raise Untranslatable(f"the function {tree.func.name}: {_one(tree)}")
        return Shape(kind="increase" if tree.func.name == "increase" else "rate", of=_selector(tree.args[0]))
    if isinstance(tree, promql.VectorSelector):
        return Shape(kind="value", of=_selector(tree))
    raise Untranslatable(f"no shape that is known: {_one(tree)}")


def _labels(tree: Any) -> tuple[str, ...]:
    if tree.param is not None:
        raise Untranslatable(f"{tree.op} over series: {_one(tree)}")
    if tree.modifier is None:
        return ()
    if tree.modifier.type != promql.AggModifierType.By:
        raise Untranslatable(f"without (...): name the labels that stay, with by (...): {_one(tree)}")
    return tuple(sorted(tree.modifier.labels))


def _selector(given: Any) -> Selector:
    tree, range_s = _bare(given), 0.0
    if isinstance(tree, promql.MatrixSelector):
        range_s, tree = tree.range.total_seconds(), tree.vector_selector
    if not isinstance(tree, promql.VectorSelector):
        raise Untranslatable(f"a range of something else than a metric: {_one(tree)}")
    if tree.offset is not None or tree.at is not None:
        raise Untranslatable(f"offset or @ (for earlier values see rules of kind change): {_one(tree)}")
    matchers = list(tree.matchers.matchers)
    if tree.matchers.or_matchers:
        raise Untranslatable(f"or between matchers: {_one(tree)}")
    words = {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}
    found = [(each.name, words[str(each.op).rpartition(".")[2]], each.value) for each in matchers]
    names = [value for name, _, value in found if name == "__name__"]
    name = tree.name or (names[0] if names else "")
    return Selector(name, tuple(sorted(each for each in found if each[0] != "__name__")), range_s)


def _number(tree: Any) -> float | None:
    """Give the value of a number, or of arithmetic of numbers alone."""
    if isinstance(tree, promql.NumberLiteral):
        return float(tree.val)
    if isinstance(tree, promql.UnaryExpr):
        inner = _number(_bare(tree.expr))
        return None if inner is None else -inner
    if isinstance(tree, promql.BinaryExpr) and str(tree.op) in "+-*/":
        left, right = _number(_bare(tree.lhs)), _number(_bare(tree.rhs))
        if left is None or right is None or (str(tree.op) == "/" and right == 0):
            return None
        return {"+": left + right, "-": left - right, "*": left * right}.get(str(tree.op), left / (right or 1))
    return None


def _bare(tree: Any) -> Any:
    while isinstance(tree, promql.ParenExpr):
        tree = tree.expr
    return tree


def _stem(name: str) -> str:
    return re.sub(r"_(bucket|sum|count)$", "", name)


def _one(tree: Any) -> str:
    return " ".join(str(tree).split())


def alternatives(pattern: str) -> Iterator[str]:
    """Give the parts of a regular expression that is only a choice: `a|b`, `(a|b)`; raises Untranslatable for any other."""
    inner = pattern[1:-1] if pattern.startswith("(") and pattern.endswith(")") else pattern
    if not re.fullmatch(r"[\w./:|-]*", inner):
        raise Untranslatable(f"the regular expression {pattern!r}: only a choice of words is translated")
    yield from inner.split("|")
