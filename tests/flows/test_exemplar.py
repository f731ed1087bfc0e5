"""Exemplars: which records of a batch can be among those that a key is shown by."""

import numpy as np
import pytest

from flows.exemplar import PER_KEY, first_of_each


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
