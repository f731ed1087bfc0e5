"""The work of `benchmarks.peers` in the flow one writes first on Bytewax: the parts of `benchmarks/naive.py`, by host alone.

Settings: stock KafkaSource with batches of 1 000, orjson a record, EventClock that waits a day (so it loses nothing),
fold_window; p99 exact by numpy; one worker. Run: python -m benchmarks.peers.with_naive BROKERS TOPIC OUT ROWS
"""

import datetime
import json
import sys
from importlib import metadata
from pathlib import Path

import bytewax.operators as op
import bytewax.operators.windowing as win
import numpy as np
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.operators.windowing import EventClock, TumblingWindower
from bytewax.testing import TestingSink, run_main

from benchmarks.naive import UTC, Fold, event_time, records

ALIGNED = datetime.datetime(2025, 1, 1, tzinfo=UTC)


def row(host, window, fold):
    times = np.array(fold.times)
    return {
        "start": int(ALIGNED.timestamp() * 1000) + window * 300_000,
        "host": host,
        "count": fold.requests,
        "error_rate": fold.errors / fold.requests,
        "mean": float(times.mean()),
        "p99": float(np.percentile(times, 99)),
    }


def main():
    brokers, topic, out, _ = sys.argv[1:]
    rows: list = []
    dataflow = Dataflow("naive")
    messages = op.input("in", dataflow, KafkaSource([brokers], [topic], tail=False, batch_size=1000))
    parsed = op.flat_map("json", messages, records)
    keyed = op.map("key", parsed, lambda record: (record["ClientRequestHost"], (False, record)))
    clock = EventClock(event_time, datetime.timedelta(days=1))
    windower = TumblingWindower(length=datetime.timedelta(minutes=5), align_to=ALIGNED)
    folded = win.fold_window("fold", keyed, clock, windower, Fold, Fold.add, Fold.merge)
    op.output("out", folded.down, TestingSink(rows))
    run_main(dataflow)
    Path(out).write_text("".join(json.dumps(row(host, *found)) + "\n" for host, found in rows))
    print(json.dumps({"version": metadata.version("bytewax")}))


if __name__ == "__main__":
    main()
