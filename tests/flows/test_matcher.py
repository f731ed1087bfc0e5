"""Matchers: the four operators, how they are written, and what is refused."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.matcher import Matcher, MatchError, Matchers, match_problems, parse_match, parse_matcher

LABELS = {"team": "edge", "host": "a.example.com", "empty": ""}


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("team=edge", True),
        ('team="edge"', True),
        (' team = "edge" ', True),
        ("team!=edge", False),
        ("team=edg", False),
        ('host=~"a\\..*"', True),
        ('host=~"a\\\\..*"', True),
        ("host=~example", False),
        ("host=~a|b", False),
        ("host=~(a|b).example.com", True),
        ("host!~.*[.]com", False),
        ("host!~com", True),
        ("missing=", True),
        ('missing=""', True),
        ("missing=~.*", True),
        ("missing=~.+", False),
        ("missing!=x", True),
        ("missing!~x", True),
        ("empty=", True),
    ],
)
def test_one_matcher_and_whether_it_matches(text, want):
    assert parse_matcher(text).matches(LABELS) is want


def test_a_table_means_equality_unless_the_value_begins_with_an_operator():
    match = parse_match({"team": "edge", "host": "=~a.*", "zone": "!=b", "path": "!~/x.*"})
    assert [(each.name, each.operator, each.value) for each in match.all] == [
        ("team", "=", "edge"),
        ("host", "=~", "a.*"),
        ("zone", "!=", "b"),
        ("path", "!~", "/x.*"),
    ]
    assert match.matches(LABELS)
    assert not match.matches(LABELS | {"zone": "b"})


def test_all_matchers_must_hold_and_none_match_everything():
    assert parse_match(("team=edge", "host=~a.*")).matches(LABELS)
    assert not parse_match(("team=edge", "host=~b.*")).matches(LABELS)
    assert Matchers().matches({})
    assert str(Matchers()) == "everything"


@given(st.text(), st.sampled_from(["=", "!="]))
def test_a_written_matcher_reads_back(value, operator):
    matcher = Matcher("host", operator, value)
    assert parse_matcher(str(matcher)) == matcher


@given(st.text(alphabet="abx", max_size=6), st.text(alphabet="abx.*|()[]+", max_size=6))
def test_an_expression_is_anchored_at_both_ends(value, pattern):
    try:
        matcher = parse_matcher(f'host=~"{pattern}"')
    except MatchError:
        return
    assert matcher.matches({"host": value}) == (re.fullmatch(pattern, value, re.DOTALL) is not None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("team", "is not a matcher; write name="),
        ("=edge", "is not a matcher"),
        ('team="edge', "not closed"),
        ("host=~(a", "is not a regular expression"),
        ("host=~[[a]", "is not a regular expression: Possible nested set"),
        ("host=~" + "a" * 1001, "at most 1000"),
        ("host=~(a+)+", "can take for ever"),
        ("host=~(a|aa)*b", "can take for ever"),
        ("host=~((a*)b?){2,}", "can take for ever"),
        (r"host=~(a)\1", "can take for ever"),
    ],
)
def test_a_matcher_that_cannot_be_meant_is_refused_in_words(text, words):
    with pytest.raises(MatchError, match=re.escape(words)):
        parse_matcher(text)
    assert words in next(iter(match_problems((text,))))


@pytest.mark.parametrize("pattern", ["a+b*", "(ab)+", r"[(*]+", r"\(a+\)+", "(a|b)c+", "a{3}", "(a.b){2}"])
def test_a_plain_expression_is_accepted(pattern):
    assert list(match_problems({"host": "=~" + pattern})) == []


def test_a_label_that_is_not_known_yet_is_refused():
    assert list(match_problems({"severity": "critical"}, without=["severity"])) == [
        "there is no label 'severity' here: it is decided later"
    ]
