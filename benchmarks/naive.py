"""The flow a user writes first, to measure against: stock KafkaSource, orjson a record, EventClock, fold_window.

It computes the metrics of `benchmarks/monitor.toml`: requests, errors and times by host and in total, cache and clients in
total. It is given records in order, so that its
clock loses none. Run: python -m benchmarks.naive BROKERS TOPIC (prints one JSON line).
"""

import datetime
import json
import sys
import time

import bytewax.operators as op
import bytewax.operators.windowing as win
import numpy as np
import orjson
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.operators.windowing import EventClock, TumblingWindower
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main

CACHEABLE = {"hit", "stale", "updating", "revalidated", "miss", "expired"}
HITS = {"hit", "stale", "updating", "revalidated"}
UTC = datetime.UTC


class Fold:
    """What a window of one key gathers."""

    def __init__(self) -> None:
        self.requests = self.errors = self.asked = self.hits = 0
        self.times: list[float] = []
        self.clients: set[str] = set()

    def add(self, item: tuple[bool, dict]) -> "Fold":
        total, record = item
        self.requests += 1
        self.errors += record["EdgeResponseStatus"] >= 400
        self.times.append(record["EdgeTimeToFirstByteMs"])
        if not total:
            return self
        status = record["CacheCacheStatus"]
        self.asked += status in CACHEABLE
        self.hits += status in HITS
        self.clients.add(record["ClientIP"])
        return self

    def merge(self, other: "Fold") -> "Fold":
        self.requests += other.requests
        self.errors += other.errors
        self.times += other.times
        self.asked += other.asked
        self.hits += other.hits
        self.clients |= other.clients
        return self

    def row(self) -> dict:
        times = np.array(self.times)
        return {
            "requests": self.requests,
            "error_rate": self.errors / self.requests,
            "mean": float(times.mean()),
            "percentiles": np.percentile(times, [50, 90, 95, 99, 99.9]).tolist(),
            "cache_hit_rate": self.hits / self.asked if self.asked else None,
            "clients": len(self.clients),
        }


class Count(DynamicSink):
    """Counts what comes out."""

    requests = 0

    def build(self, step_id: str, worker_index: int, worker_count: int) -> StatelessSinkPartition:  # noqa: ARG002
        return CountPartition()


class CountPartition(StatelessSinkPartition):
    def write_batch(self, items: list) -> None:
        for key, (_, fold) in items:
            if key == "total":
                Count.requests += fold["requests"]


def records(message) -> list[dict]:
    return [orjson.loads(line) for line in message.value.splitlines()]


def event_time(item: tuple[bool, dict]) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(item[1]["EdgeEndTimestamp"] / 1e9, UTC)


def flow(brokers: str, topic: str) -> Dataflow:
    clock = EventClock(event_time, datetime.timedelta(days=1))
    windower = TumblingWindower(length=datetime.timedelta(minutes=5), align_to=datetime.datetime(2025, 1, 1, tzinfo=UTC))
    dataflow = Dataflow("naive")
    messages = op.input("in", dataflow, KafkaSource([brokers], [topic], tail=False, batch_size=1000))
    parsed = op.flat_map("json", messages, records)
    keyed = op.flat_map(
        "key", parsed, lambda record: [(record["ClientRequestHost"], (False, record)), ("total", (True, record))]
    )
    folded = win.fold_window("fold", keyed, clock, windower, Fold, Fold.add, Fold.merge)
    rows = op.map_value("row", folded.down, lambda item: (item[0], item[1].row()))
    op.output("out", rows, Count())
    return dataflow


if __name__ == "__main__":
    start = time.perf_counter()
    run_main(flow(sys.argv[1], sys.argv[2]))
    seconds = time.perf_counter() - start
    print(json.dumps({"who": "naive", "records": Count.requests, "seconds": round(seconds, 3)}))
