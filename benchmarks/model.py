"""What does a record cost, by its size, keys, dirt and partitions? A model by least squares, and how far it is off.

Usage: python -m benchmarks.model [--records N] [--runs N]      (a JSON line a case, then the prices and their error)

Cases are replays of archives by the real engine (see scaling.py), four windows each, one thing changed at a time, or two.
A record's cost is taken as a sum of prices: of a record, of a kilobyte, of a key in a window (a host that has records there),
of a dirty record and of a partition, each times how many of it there are a record. Errors are of cases that the prices were
not made from: each case is left out in turn. Least of `--runs`, as what else runs on a machine only adds.
"""

import argparse
import gzip
import json
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.replay import fill
from benchmarks.scaling import measure

WINDOWS = 4
PRICES = ("record", "kilobyte", "key in a window", "dirty record", "partition")
PLAIN: dict[str, Any] = {"hosts": 100, "partitions": 4, "size": 0, "dirt": 0.0}
CASES: list[dict[str, Any]] = [
    {"hosts": 1},
    {"hosts": 100},
    {"hosts": 1_000},
    {"hosts": 10_000},
    {"hosts": 100_000},
    {"partitions": 1},
    {"partitions": 16},
    {"partitions": 64},
    {"size": 300},
    {"size": 2_000},
    {"size": 4_000},
    {"dirt": 0.05},
    {"hosts": 10_000, "size": 2_000},
    {"hosts": 1_000, "dirt": 0.05},
]


def case(like, records, runs):
    """Give microseconds of processor time a record, and how many of each priced thing there are a record."""
    with tempfile.TemporaryDirectory() as name:
        archive = Path(name) / "archive"
        fill(archive, records, 1, **like)
        found = []
        for _ in range(runs):
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                found.append(pool.submit(measure, archive, records, "20s").result()[1])
        sample = np.mean([len(line) for line in sampled(archive)])
    in_window = records / WINDOWS
    keys = WINDOWS * like["hosts"] * (1 - np.exp(-in_window / like["hosts"]))
    return min(found), [1.0, sample / 1000, keys / records, like["dirt"], like["partitions"] / records]


def sampled(archive):
    """Give the lines of one file."""
    return gzip.decompress(next(iter(sorted(archive.rglob("*.gz")))).read_bytes()).split(b"\n")


def solved(amounts, costs):
    """Give the prices (microseconds) that fit best, by relative error."""
    weights = 1 / costs
    return np.linalg.lstsq(amounts * weights[:, None], costs * weights, rcond=None)[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    costs, amounts = [], []
    for change in CASES:
        cost, amount = case(PLAIN | change, options.records, options.runs)
        costs.append(cost)
        amounts.append(amount)
        print(json.dumps({"benchmark": "model", **change, "bytes": round(amount[1] * 1000), "us_per_record": round(cost, 2)}))
    cost, amount = np.array(costs), np.array(amounts)
    errors = []
    for left_out in range(len(cost)):
        rest = np.arange(len(cost)) != left_out
        errors.append(float(amount[left_out] @ solved(amount[rest], cost[rest]) / cost[left_out] - 1))
    prices = {name: round(float(price), 2) for name, price in zip(PRICES, solved(amount, cost), strict=True)}
    print(json.dumps({"benchmark": "model", "records": options.records, "us_a": prices}))
    worst = int(np.argmax(np.abs(errors)))
    middle = float(np.median(np.abs(errors)))
    line = {"median_error": round(middle, 3), "largest_error": round(errors[worst], 3), "of": CASES[worst]}
    print(json.dumps({"benchmark": "model", **line}), flush=True)


if __name__ == "__main__":
    main()
