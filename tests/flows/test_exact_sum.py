"""Exact sums equal math.fsum, whatever the order, the split or the scale."""

import math
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from flows.exact_sum import ExactSums, times
from flows.snapshot import pack, unpack

FLOATS = st.one_of(
    st.floats(-1e280, 1e280, allow_nan=False),
    st.integers(-(2**53), 2**53).map(float),
    st.sampled_from([0.1, 1e-320, -1e-320, 2.0**-1074, 1e250, -1e250, 0.0]),
)
PAIRS = st.lists(st.tuples(st.integers(0, 4), FLOATS), max_size=60)


def sums_of(pairs, size=5):
    sums = ExactSums(size)
    sums.add(np.array([k for k, _ in pairs], np.int64), np.array([v for _, v in pairs], np.float64))
    return sums


def want(pairs, size=5):
    return [math.fsum(v for k, v in pairs if k == key) + 0.0 for key in range(size)]


@given(PAIRS)
def test_sums_are_rounded_once(pairs):
    assert sums_of(pairs).totals().tolist() == want(pairs)


@given(PAIRS, st.integers(0, 60), st.permutations(range(5)))
def test_any_split_and_renaming_gives_the_same_sums(pairs, cut, order):
    whole = ExactSums(5)
    for part in (pairs[:cut], pairs[cut:]):
        whole.absorb(ExactSums.from_state(unpack(pack(sums_of(part).to_state()))), np.array(order))
    got = whole.totals().tolist()
    assert [got[order[key]] for key in range(5)] == want(pairs)


def test_room_for_more_keys_keeps_what_is_there():
    sums = sums_of([(0, 0.1), (1, 3.0)], 2)
    sums.resize(3)
    sums.add(np.array([2, 0]), np.array([5.0, 0.2]))
    assert sums.totals().tolist() == [math.fsum([0.1, 0.2]), 3.0, 5.0]


def test_two_million_values_stay_exact():
    values = np.round(np.random.default_rng(1).lognormal(4, 1, 2_000_000), 3)
    sums = ExactSums(1)
    sums.add(np.zeros(len(values), np.int64), values)
    assert sums.totals()[0] == math.fsum(values)


def test_a_sum_beyond_the_largest_float_is_that_and_the_mean_is_still_the_mean():
    sums = sums_of([(0, 1e308), (0, 1e308), (1, -1.5e308), (1, -1.7e308), (2, 1.0), (2, 2.0)], 4)
    assert sums.totals().tolist() == [sys.float_info.max, -sys.float_info.max, 3.0, 0.0]
    assert sums.means(np.array([2, 2, 2, 0])).tolist() == [1e308, -1.6e308, 1.5, 0.0]


def test_what_comes_back_below_the_largest_float_is_exact_again():
    sums = sums_of([(0, 1e308), (0, 1e308), (0, -1e308), (0, 0.25)], 1)
    assert sums.totals().tolist() == [math.fsum([1e308, 0.25])]
    assert sums.means(np.array([4])).tolist() == [math.fsum([1e308, 0.25]) / 4]


def test_a_value_that_stands_for_many_is_at_most_the_largest_float():
    assert times(np.array([1e308, -1e308, 2.0]), np.array([10, 10, 10])).tolist() == [
        sys.float_info.max,
        -sys.float_info.max,
        20.0,
    ]
