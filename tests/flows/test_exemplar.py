"""Exemplars: which records of a batch can be among those that a key is shown by."""

import numpy as np
import pytest

from flows.exemplar import PER_KEY, Candidates, Exemplars, first_of_each
from flows.exemplar_gate import ExemplarGate


@pytest.mark.parametrize("keys", [1, 7, 900])
@pytest.mark.parametrize("ranks", [1, 5, 10**9])
def test_of_many_records_the_first_of_each_key_are_found_with_all_that_tie(keys, ranks):
    random = np.random.default_rng(keys * ranks)
    count = 5_000
    key, rank = random.integers(0, keys, count).astype(np.int32), -random.integers(0, ranks, count).astype(np.float64)
    time = random.integers(0, 50, count)
    rows = sorted(zip(key.tolist(), rank.tolist(), time.tolist(), range(count), strict=True))
    want = set()
    for number in range(keys):
        mine = [row for row in rows if row[0] == number]
        want |= {row[3] for row in mine if row[:3] <= mine[min(PER_KEY, len(mine)) - 1][:3]}
    assert set(first_of_each(key, rank, time).tolist()) == want


@pytest.mark.parametrize(("keys", "ranks"), [(1, 1), (40, 3), (40, 10**9), (3_000, 10**9)])
def test_what_the_gate_keeps_back_would_not_have_been_shown_and_with_few_keys_it_is_most(keys, ranks):
    random = np.random.default_rng(keys * ranks)
    limits = ExemplarGate().of(0, 1, 2)
    all_of_them, let_through, count = Exemplars(), Exemplars(), 0
    for batch in range(12):
        size = 2_000
        key, rank = random.integers(0, keys, size).astype(np.int32), -random.integers(0, ranks, size).astype(np.float64)
        time = random.integers(0, 5, size)
        ray = np.array([f"{number % 7}" for number in range(size)], object)
        place, none = np.full(size, "t/0", object), np.full(size, None, object)
        offset = np.arange(size) + batch * size
        whole = Candidates(key, rank, -rank, time, ray, place, offset, np.zeros(size, np.int64), none)
        all_of_them.add(whole)
        places = limits.admit(key, rank, time)
        let_through.add(whole.take(places))
        count += len(places)
    want, got = all_of_them.best(), let_through.best()
    rows = sorted(zip(*(getattr(want, name).tolist() for name in ("key", "rank", "time", "ray", "offset")), strict=True))
    assert rows == list(zip(*(getattr(got, name).tolist() for name in ("key", "rank", "time", "ray", "offset")), strict=True))
    assert keys == 3_000 or len(rows) == PER_KEY * keys
    if keys * ranks == 40 * 10**9:
        assert count < 24_000 / 8
