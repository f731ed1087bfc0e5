"""Key numbers: whichever strings last, are forgotten or come without a number, a key has one number and its own name."""

import json
import pickle
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors import native
from connectors.batch import Lasting, Strings
from connectors.decoder import Decoder
from flows.group import Group, Grouping
from flows.key_numbers import Groups, KeyNumbers
from flows.partial import GroupPart
from tests import services
from tests.flows.logs import DATASETS, START

HOST = frozenset({"ClientRequestHost", "ClientIP"})


def grouped(texts, numbers=None, generation=0):
    """Give each text a group of its own."""
    codes = np.arange(len(texts))
    lasting = None if numbers is None else Lasting(np.array(numbers, np.int32), generation)
    return Groups(codes.astype(np.int32), [list(texts)], codes, lasting)


def read(*records):
    decoder = Decoder(DATASETS["http_requests"], HOST)
    found = decoder.decode([json.dumps({"EdgeEndTimestamp": START, **record}).encode() for record in records])
    return found.strings["ClientRequestHost"], found.strings["ClientIP"]


def lasting_of(column):
    if not native.available():
        services.missing("compiler")
    assert column.lasting is not None
    return column.lasting


BATCHES = st.lists(st.tuples(st.sets(st.integers(0, 30)), st.sampled_from("abc"), st.booleans(), st.booleans()), max_size=12)


@given(BATCHES)
def test_a_key_has_one_number_until_all_are_forgotten(batches):
    keys = KeyNumbers(("host",), 3)
    numbers: dict[str, int] = {}
    for wanted, generation, lasts, forgets in batches:
        if forgets:
            keys.clear()
            numbers.clear()
        texts = [f"h{each}" for each in sorted(wanted)]
        # A generation numbers the same strings in its own way, and some have no number.
        own = [-1 if each % 7 == 0 else each * 5 % 31 + ord(generation) for each in sorted(wanted)]
        given_numbers = keys.of(grouped(texts, own, ord(generation)) if lasts else grouped(texts))
        for text, number in zip(texts, given_numbers.tolist(), strict=True):
            assert numbers.setdefault(text, number) == number
        named = keys.named(given_numbers)
        assert named.texts() == [f'{{"host":"{text}"}}' for text in texts]
        assert keys.shards(given_numbers).tolist() == [zlib.crc32(key.encode()) % 3 for key in named.texts()]
    assert sorted(numbers.values()) == list(range(len(numbers)))


@given(
    st.lists(st.tuples(st.integers(0, 1), st.sets(st.integers(0, 20)), st.booleans()), max_size=12), st.sampled_from([4, 99])
)
def test_a_group_takes_keys_of_several_folds_and_of_other_processes(steps, most):
    folds = KeyNumbers(("host",), 1), KeyNumbers(("host",), 1)
    group, plain = (Group(Grouping(("host",), {}, 10, most)) for _ in range(2))
    for which, wanted, crosses in steps:
        texts = [f"h{each}" for each in sorted(wanted)]
        keys = folds[which].named(folds[which].of(grouped(texts)))
        part = GroupPart(0, 0, keys, np.ones(len(texts), np.int64), {})
        group.add(pickle.loads(pickle.dumps(part)) if crosses else part)  # noqa: S301 (its own)
        plain.add(pickle.loads(pickle.dumps(part)))  # noqa: S301
    assert (group.keys, group.seen.tolist()) == (plain.keys, plain.seen.tolist())


def test_a_string_keeps_its_number_from_batch_to_batch_and_over_columns():
    first, _ = read({"ClientRequestHost": "a.example"}, {"ClientRequestHost": "ä.example"}, {"ClientRequestHost": "x" * 200})
    again, other = read({"ClientRequestHost": "ä.example", "ClientIP": "a.example"}, {"ClientRequestHost": "new.example"})
    known = dict(zip(first.vocabulary, lasting_of(first).numbers.tolist(), strict=True))
    assert known["a.example"] != known["ä.example"]
    assert known["x" * 200] == -1
    found = dict(zip(again.vocabulary, lasting_of(again).numbers.tolist(), strict=True))
    assert found["ä.example"] == known["ä.example"]
    assert lasting_of(other).numbers.tolist() == [known["a.example"]]
    assert found["new.example"] not in known.values()


@pytest.mark.slow
def test_many_strings_are_forgotten_and_numbered_anew():
    column, _ = read({"ClientRequestHost": "kept.example"})
    before = lasting_of(column)
    for first in range(0, 140_000, 20_000):
        _, column = read(*({"ClientIP": f"ip{number}"} for number in range(first, first + 20_000)))
        assert column.vocabulary == [f"ip{number}" for number in range(first, first + 20_000)]
    column, other = read({"ClientRequestHost": "kept.example", "ClientIP": "ip139999"})
    after = lasting_of(column)
    assert after.generation > before.generation
    assert (column.vocabulary, other.vocabulary) == (["kept.example"], ["ip139999"])
    assert {*after.numbers.tolist()} != {*lasting_of(other).numbers.tolist()}


def test_numbers_of_strings_do_not_leave_the_process():
    column = Strings(np.array([0], np.int32), ["a"], Lasting(np.array([3], np.int32), 1))
    assert pickle.loads(pickle.dumps(column)).lasting is None  # noqa: S301 (its own)
