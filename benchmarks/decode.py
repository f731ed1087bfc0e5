"""What does decoding cost, clean and with 5 % dirt, one record a message and 500? Medians, in microseconds a record.

Usage: python -m benchmarks.decode [--records N] [--runs N]     (one JSON line a case)
"""

import argparse
import gc
import json
import statistics
import time

import numpy as np

from benchmarks.records import lines
from connectors.dataset import DatasetOptions, build_dataset
from connectors.decoder import Decoder
from connectors.progress import NO_LIMIT, Chunk, Progress, Timing, read_batch

CHUNK = 2500
FIELDS = frozenset({"ClientRequestHost", "EdgeResponseStatus", "EdgeTimeToFirstByteMs", "CacheCacheStatus", "ClientIP"})


def once(decoder, payloads, per_chunk):
    """Decode everything once; gives seconds and how many records and dead letters there were."""
    progress = Progress(topic="t", partition=0)
    timing = Timing(pane_ms=300_000, allowed_lateness_ms=60_000)
    start = time.perf_counter()
    for first in range(0, len(payloads), per_chunk):
        part = payloads[first : first + per_chunk]
        read_batch(decoder, [Chunk(progress, timing, part, np.arange(len(part)), np.full(len(part), NO_LIMIT))])
    return time.perf_counter() - start, progress.records, progress.dead


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    gc.set_threshold(1_000_000, 20, 50)
    decoder = Decoder(build_dataset(DatasetOptions(name="http_requests", kind="http_requests")), FIELDS)
    inputs = {dirt: lines(options.records, dirt=dirt) for dirt in (0.0, 0.05)}
    for batch in (1, 500):
        took: dict[float, list[float]] = {dirt: [] for dirt in inputs}
        for _ in range(options.runs):
            for dirt, records in inputs.items():  # in turn, so that a noisy moment meets both
                payloads = [b"\n".join(records[n : n + batch]) for n in range(0, len(records), batch)]
                seconds, read, _ = once(decoder, payloads, CHUNK // batch)
                assert read == len(records)
                took[dirt].append(seconds)
        cost = {dirt: statistics.median(seconds) / options.records * 1e6 for dirt, seconds in took.items()}
        line = {"benchmark": "decode", "batch": batch, "clean_us": round(cost[0.0], 2), "dirty_us": round(cost[0.05], 2)}
        print(json.dumps(line | {"ratio": round(cost[0.05] / cost[0.0], 2)}), flush=True)


if __name__ == "__main__":
    main()
