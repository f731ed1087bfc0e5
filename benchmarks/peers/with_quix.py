"""The work of `benchmarks.peers` by Quix Streams: a tumbling window of its own aggregations and a collected column.

Settings, in its favour: the topic is keyed by host, so that nothing has to be grouped by way of a second topic; no changelog
topics, so its state could not be recovered; grace of a minute. Orders of the same host are kept, a record two hours later
closes the last windows, and it stops at the last row. p99 exact, by numpy when a window closes. It works in one thread.
Run, by the Python that has it: with_quix.py BROKERS TOPIC OUT ROWS
"""

import json
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import numpy as np
from quixstreams import Application
from quixstreams.dataframe.windows import Count, Mean
from quixstreams.dataframe.windows.aggregations import Aggregator, Collector

TIME = "EdgeTimeToFirstByteMs"


class Errors(Aggregator):  # type: ignore[misc]
    """Counts the answers of 400 and above."""

    def initialize(self):
        return 0

    def agg(self, old, new, timestamp):  # noqa: ARG002
        return old + (new["EdgeResponseStatus"] >= 400)

    def result(self, value):
        return value


class Percentile99(Collector):  # type: ignore[misc]
    """Keeps the values, and computes when the window closes."""

    def result(self, items):
        # It is asked at every record too, and then without values.
        return float(np.percentile(items, 99)) if items else None


def event_time(value, headers, timestamp, timestamp_type):  # noqa: ARG001
    return value["EdgeEndTimestamp"] // 1_000_000


def main():
    brokers, topic, out, rows = sys.argv[1:]
    with tempfile.TemporaryDirectory() as state, Path(out).open("w") as file:
        app = Application(
            broker_address=brokers,
            consumer_group=f"quix-{Path(out).parent.name}",
            auto_offset_reset="earliest",
            state_dir=state,
            use_changelog_topics=False,
            loglevel="WARNING",
        )
        frame = app.dataframe(app.topic(topic, timestamp_extractor=event_time))
        window = frame.tumbling_window(duration_ms=300_000, grace_ms=60_000)
        frame = window.agg(count=Count(), errors=Errors(), mean=Mean(TIME), p99=Percentile99(TIME)).final()

        def write(value, key, timestamp, headers):  # noqa: ARG001
            row = {"start": value["start"], "host": key.decode(), "count": value["count"]}
            rest = {"error_rate": value["errors"] / value["count"], "mean": value["mean"], "p99": value["p99"]}
            file.write(json.dumps(row | rest) + "\n")

        frame.update(write, metadata=True)
        app.run(count=int(rows), collect=False)
    print(json.dumps({"version": metadata.version("quixstreams")}))


if __name__ == "__main__":
    main()
