"""What do many keys and big windows cost? Records from memory through decoding, fold and windows, without Kafka.

Usage: python -m benchmarks.keys [--records N]      (one JSON line a case; microseconds a record, and what closing takes)

Cases: 10, 1 000 and 25 000 hosts; and one window of 2 000 000 records over 1 000 hosts, with its memory.
"""

import argparse
import gc
import json
import resource
import time
import tomllib
from pathlib import Path

import numpy as np

from benchmarks.records import START, lines
from connectors.batch import DONE, Mark
from connectors.dataset import DatasetOptions, build_dataset
from connectors.decoder import Decoder
from connectors.progress import NO_LIMIT, Chunk, Progress, Timing, read_batch
from flows.barrier import Barrier, Scope
from flows.metric import Fold, MetricOptions, compile_metrics
from flows.output import Block
from flows.partial import Partial
from flows.window import WindowOptions, Windows, layout_of

CHUNK = 5000
SHARDS = 8


class NoRules:
    """Judges nothing."""

    bonds = ()

    def __call__(self, result, partitions, beside=()):  # noqa: ARG002
        return []

    def early(self, event):  # noqa: ARG002
        return []

    def hears_silence(self, dataset):  # noqa: ARG002
        return False

    def snapshot(self):
        return b""

    def restore(self, state):
        """Nothing is kept."""


def metrics():
    given = tomllib.loads((Path(__file__).parent / "monitor.toml").read_text())["metric"]
    return [MetricOptions(**{k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}) for table in given]


def measure(records, hosts, span_ms):
    """Give seconds of (decoding, folding, windows, closing) and the rows of one run."""
    dataset = build_dataset(DatasetOptions(name="http_requests", kind="http_requests"))
    options = WindowOptions(allowed_lateness_ms=60_000)
    judged = frozenset({"error_rate", "response_time"})
    compiled = tuple(compile_metrics(metrics(), {"http_requests": dataset}, with_exemplars=judged)["http_requests"])
    layout = layout_of("http_requests", compiled, ("t/0",), options)
    fold = Fold(dataset, compiled, shards=SHARDS, pane_ms=options.pane_ms)
    windows = [Windows(layout, shard) for shard in range(SHARDS)]
    barrier = Barrier({"http_requests": layout}, SHARDS, NoRules(), Scope())
    decoder, progress = Decoder(dataset, fold.fields), Progress(topic="t", partition=0)
    timing = Timing(pane_ms=options.pane_ms, allowed_lateness_ms=options.allowed_lateness_ms)
    took = dict.fromkeys(("decode", "fold", "window", "close"), 0.0)
    made = 0
    while made < records:
        part = lines(min(50_000, records - made), hosts=hosts, seed=made, span_ms=span_ms)
        for first in range(0, len(part), CHUNK):
            payloads = part[first : first + CHUNK]
            chunk = Chunk(progress, timing, payloads, np.arange(len(payloads)), np.full(len(payloads), NO_LIMIT))
            a = time.perf_counter()
            batch = read_batch(decoder, [chunk])
            b = time.perf_counter()
            partials = fold(batch)
            c = time.perf_counter()
            for shard, partial in partials:
                windows[shard].add(partial)
            took["decode"] += b - a
            took["fold"] += c - b
            took["window"] += time.perf_counter() - c
        made += len(part)
    start, rows = time.perf_counter(), 0
    for shard in range(SHARDS):
        end = Partial("http_requests", shard, (Mark("t/0", DONE, made, 0, 0, START, START),), [], [])
        for result in windows[shard].add(end):
            rows += sum(each.data.count(b"\n") for each in barrier.add(result) if isinstance(each, Block))
    took["close"] = time.perf_counter() - start
    return took, rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=300_000)
    records = parser.parse_args().records
    gc.set_threshold(1_000_000, 20, 50)
    for hosts, count in ((10, records), (1000, records), (25_000, records), (1000, 2_000_000)):
        took, rows = measure(count, hosts, 290_000)
        line = {name: round(seconds / count * 1e6, 2) for name, seconds in took.items()}
        line |= {"total": round(sum(took.values()) / count * 1e6, 2)}
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(
            json.dumps(
                {
                    "benchmark": "keys",
                    "hosts": hosts,
                    "records": count,
                    "us_per_record": line,
                    "close_seconds": round(took["close"], 2),
                    "rows": rows,
                    "peak_memory_mb": memory,
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
