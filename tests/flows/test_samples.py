"""Percentiles: numpy's where exact, within half a percent where sketched; which applies depends on the count alone."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.samples import QUANTILES, Samples, bucket_of, midpoint_of
from flows.snapshot import pack, unpack

VALUES = st.one_of(st.floats(-1e9, 1e9), st.floats(0, 1e4), st.integers(0, 50).map(float))
PAIRS = st.lists(st.tuples(st.integers(0, 3), VALUES), min_size=1, max_size=120)


WEIGHED = st.lists(st.tuples(st.integers(0, 3), VALUES, st.integers(1, 40)), min_size=1, max_size=60)


def samples_of(pairs, exact, size=4):
    samples = Samples(exact)
    samples.resize(size)
    extra = [weight - 1 for _, _, *weights in pairs for weight in weights]
    keys, values = np.array([pair[0] for pair in pairs], np.int32), np.array([pair[1] for pair in pairs]) + 0.0
    samples.add(keys, values, np.array(extra, np.int64) if any(extra) else None)
    return samples


def by_key(pairs):
    return {key: np.array([v for k, v in pairs if k == key]) for key in sorted({k for k, _ in pairs})}


@given(PAIRS)
def test_exact_statistics_are_numpys_and_fsums(pairs):
    statistics, sketched = samples_of(pairs, 1000).statistics()
    assert not sketched.any()
    for row, values in enumerate(by_key(pairs).values()):
        assert statistics["mean"][row] == math.fsum(values) / len(values)
        assert (statistics["min"][row], statistics["max"][row]) == (values.min(), values.max())
        for name, q in QUANTILES.items():
            assert statistics[name][row] == np.percentile(values, q)


@given(WEIGHED)
def test_weighted_percentiles_are_numpys_and_records_of_weight_one_change_nothing(weighed):
    statistics, _ = samples_of(weighed, 1000).statistics()
    for row, key in enumerate(sorted({key for key, _, _ in weighed})):
        values, weights = np.array([[v, w] for k, v, w in weighed if k == key]).T
        assert statistics["count"][row] == weights.sum()
        assert statistics["mean"][row] == math.fsum(values * weights) / weights.sum()
        for name, q in QUANTILES.items():
            plain = np.percentile(values, q)
            want = np.percentile(values, q, method="inverted_cdf", weights=weights) if weights.max() > 1 else plain
            assert statistics[name][row] == want


@given(PAIRS)
def test_sketched_percentiles_are_within_half_a_percent_of_the_neighbouring_ranks(pairs):
    statistics, sketched = samples_of(pairs, 1).statistics()
    for row, values in enumerate(by_key(pairs).values()):
        assert sketched[row] == (len(values) > 1)
        for name, q in QUANTILES.items():
            low, high = (np.percentile(values, q, method=m) for m in ("lower", "higher"))
            slack = 0.005 * max(abs(low), abs(high)) + 1e-300
            assert low - slack <= statistics[name][row] <= high + slack


@given(PAIRS, st.sampled_from([1, 5, 30, 1000]), st.integers(1, 20))
def test_sorting_some_keys_at_a_time_changes_nothing(pairs, exact, at_a_time):
    whole, sketched = samples_of(pairs, exact).statistics()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flows.samples._SORTED", at_a_time)
        parts, again = samples_of(pairs, exact).statistics()
    assert sketched.tolist() == again.tolist()
    assert {name: column.tobytes() for name, column in parts.items()} == {n: c.tobytes() for n, c in whole.items()}


@given(PAIRS | WEIGHED, st.sampled_from([1, 5, 30, 1000]), st.integers(0, 120), st.randoms())
def test_any_order_split_and_snapshot_gives_the_same_bytes(pairs, exact, cut, rng):
    want, want_sketched = samples_of(pairs, exact).statistics()
    shuffled = pairs[:]
    rng.shuffle(shuffled)
    whole = Samples(exact)
    whole.resize(4)
    for part in (shuffled[:cut], shuffled[cut:]):
        piece = samples_of(part, exact)
        if cut % 2:
            piece.statistics()  # compacts: what is folded early must not show
        piece = Samples.from_state(unpack(pack(piece.to_state())), exact)
        whole.absorb(piece, np.arange(4))
    got, sketched = whole.statistics()
    assert {k: v.tobytes() for k, v in got.items()} == {k: v.tobytes() for k, v in want.items()}
    assert sketched.tolist() == want_sketched.tolist()
    assert [c.tolist() for c in whole.histograms()] == [c.tolist() for c in samples_of(pairs, exact).histograms()]


@given(st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False))
def test_a_bucket_s_midpoint_is_within_two_to_the_minus_eight(value):
    middle = midpoint_of(bucket_of(np.array([value + 0.0])))[0]
    assert middle == value == 0 or abs(middle - value) <= abs(value) * 2**-8


def test_buckets_rise_with_the_value():
    values = np.sort(np.concatenate((np.random.default_rng(2).normal(0, 1e5, 5000), [0.0, 1e-300, -1e-300])))
    assert np.all(np.diff(bucket_of(values)) >= 0)


@pytest.mark.parametrize("exact", [1000, 200_000])
def test_many_chunks_are_compacted_without_a_trace(exact):
    rng = np.random.default_rng(3)
    values, keys = rng.lognormal(4, 1, 400_000), rng.integers(0, 3, 400_000).astype(np.int32)
    chunked, whole = Samples(exact), Samples(exact)
    for samples in (chunked, whole):
        samples.resize(3)
    for part in np.array_split(np.arange(len(values)), 97):
        chunked.add(keys[part], values[part])
    whole.add(keys, values)
    got, want = chunked.statistics()[0], whole.statistics()[0]
    assert {k: v.tolist() for k, v in got.items()} == {k: v.tolist() for k, v in want.items()}


@pytest.mark.parametrize("exact", [1, 100])
def test_values_at_the_ends_of_the_floats_have_finite_statistics(exact):
    samples = Samples(exact)
    samples.resize(2)
    samples.add(np.array([0, 0, 0, 1, 1], np.int32), np.array([-1.7e308, 1.7e308, 1.7e308, 1.5e308, 1.7e308]))
    statistics, _ = samples.statistics()
    assert all(np.isfinite(values).all() for values in statistics.values())
    assert statistics["mean"][1] == 1.6e308
    assert -1.7e308 <= statistics["p50"][0] <= 1.7e308
