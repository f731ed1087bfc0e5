"""The expression language against a plain evaluator, record by record, and its errors as people read them."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.batch import Batch, Place, Strings
from connectors.http_requests import PREDICATES
from flows.expression import Expression, ExpressionError

KINDS = {"n": "number", "m": "number", "s": "string", "f": "flag"}


def batch_of(records):
    count = len(records)
    vocabulary = sorted({r["s"] for r in records if r["s"] is not None})
    codes = [vocabulary.index(r["s"]) if r["s"] is not None else -1 for r in records]
    return Batch(
        dataset="d",
        times=np.zeros(count, np.int64),
        late=np.zeros(count, np.bool_),
        numbers={k: np.array([np.nan if r[k] is None else r[k] for r in records], np.float64) for k in "nm"},
        strings={"s": Strings(np.array(codes, np.int32), vocabulary)},
        flags={"f": np.array([{True: 1, False: 0, None: -1}[r["f"]] for r in records], np.int8)},
        identity=[None] * count,
        place=Place([], np.zeros(count, np.int32), np.zeros(count, np.int64), np.zeros(count, np.int32)),
        marks=(),
    )


RECORD = st.fixed_dictionaries(
    {
        "n": st.one_of(st.none(), st.integers(-2, 3).map(float)),
        "m": st.one_of(st.none(), st.floats(-5, 5)),
        "s": st.one_of(st.none(), st.sampled_from(["", "a", "ab", "b", "ba"])),
        "f": st.one_of(st.none(), st.booleans()),
    }
)
LEAF = st.one_of(
    st.tuples(st.sampled_from("nm"), st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), st.integers(-2, 3)),
    st.tuples(
        st.just("s"), st.sampled_from(["==", "!=", "contains", "starts_with", "ends_with"]), st.sampled_from(["", "a", "b"])
    ),
    st.tuples(st.just("f"), st.sampled_from(["==", "!="]), st.booleans()),
    st.tuples(st.sampled_from("n"), st.sampled_from(["in", "not in"]), st.lists(st.integers(-2, 3), min_size=1, max_size=3)),
    st.tuples(st.just("s"), st.sampled_from(["in", "not in"]), st.lists(st.sampled_from(["a", "ab"]), min_size=1, max_size=3)),
)
TREE = st.recursive(
    LEAF, lambda t: st.one_of(st.tuples(st.just("not"), t), st.tuples(st.sampled_from(["and", "or"]), t, t)), max_leaves=8
)


def literal(value):
    return (
        {True: "true", False: "false"}[value]
        if isinstance(value, bool)
        else f'"{value}"'
        if isinstance(value, str)
        else str(value)
    )


def text_of(tree):
    if tree[0] == "not":
        return f"not ({text_of(tree[1])})"
    if tree[0] in ("and", "or"):
        return f"({text_of(tree[1])}) {tree[0]} ({text_of(tree[2])})"
    field, test, value = tree
    return (
        f"{field} {test} ({', '.join(map(literal, value))})" if isinstance(value, list) else f"{field} {test} {literal(value)}"
    )


def holds(tree, record):
    if tree[0] == "not":
        return not holds(tree[1], record)
    if tree[0] in ("and", "or"):
        sides = (holds(side, record) for side in tree[1:])
        return all(sides) if tree[0] == "and" else any(sides)
    field, test, value = tree
    have = record[field]
    if have is None:
        return False
    plain = {
        "==": lambda: have == value,
        "!=": lambda: have != value,
        "<": lambda: have < value,
        "<=": lambda: have <= value,
        ">": lambda: have > value,
        ">=": lambda: have >= value,
        "contains": lambda: value in have,
        "starts_with": lambda: have.startswith(value),
        "ends_with": lambda: have.endswith(value),
        "in": lambda: have in value,
        "not in": lambda: have not in value,
    }
    return plain[test]()


@given(TREE, st.lists(RECORD, max_size=12))
def test_columns_give_what_a_plain_evaluator_gives(tree, records):
    expression = Expression.parse(text_of(tree))
    assert expression.check(KINDS) == []
    assert expression.mask(batch_of(records)).tolist() == [holds(tree, record) for record in records]


@pytest.mark.parametrize(
    ("source", "subrequest", "parent", "want"),
    [
        ("eyeball", None, None, True),
        ("edgeWorkerFetch", None, None, False),
        ("healthcheck", False, "00", False),
        (None, None, None, True),
        (None, False, "00", True),
        (None, False, "", True),
        ("", True, None, False),
        (None, None, "76486432482f826f", False),
    ],
)
def test_whose_requests_are_user_requests(source, subrequest, parent, want):
    record = {"n": None, "m": None, "s": None, "f": subrequest}
    batch = batch_of([record])
    strings = {
        name: Strings(np.array([-1 if value is None else 0], np.int32), [] if value is None else [value])
        for name, value in (("ClientRequestSource", source), ("ParentRayID", parent))
    }
    values = {name: getattr(batch, name) for name in batch.__slots__}
    batch = Batch(**(values | {"strings": strings, "flags": {"WorkerSubrequest": batch.flags["f"]}}))
    assert Expression.parse("is_user_request", PREDICATES).mask(batch).tolist() == [want]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "an empty expression"),
        ("n", "expected a test of n"),
        ("n >=", 'expected a number, a "string", true or false, found the end at character 5'),
        ("n >= 1 m", "expected `and`, `or` or the end, found 'm' at character 8"),
        ("(n == 1", "expected `)`"),
        ("n in ()", "found ')' at character 7"),
        ("n ~ 1", "unexpected '~' at character 3"),
        ("n not 1", "expected `in`"),
        ("1 == n", "expected a field, a predicate, `not` or `(`, found '1' at character 1"),
    ],
)
def test_an_error_names_the_place_and_what_is_allowed(text, words):
    with pytest.raises(ExpressionError, match=re.escape(words)):
        Expression.parse(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nn == 1", "unknown field 'nn'; did you mean 'n'?"),
        ('n == "a"', "n is a number, but 'a' is not"),
        ("s > 3", "s is a string; > is for numbers"),
        ('n contains "1"', "n is a number; contains is for strings"),
        ("f == 1", "f is a flag, but 1.0 is not"),
        ("s in (1)", "s is a string, but 1.0 is not"),
    ],
)
def test_types_are_checked_before_anything_runs(text, problem):
    assert Expression.parse(text).check(KINDS) == [problem]


def test_a_predicate_that_uses_itself_is_refused():
    with pytest.raises(ExpressionError, match="uses itself"):
        Expression.parse("p", {"p": "n == 1 or p"})
