"""The work of `benchmarks.peers` by Pathway: the Kafka connector in static mode, a tumbling window by host, its reducers.

Settings, in its favour: static mode reads what is there and computes each window once; no persistence. The connector parses
only the schema's four fields. p99 exact: the values as an array, and numpy. Threads as PATHWAY_THREADS says.
Run, by the Python that has it: with_pathway.py BROKERS TOPIC OUT ROWS
"""

import json
import sys
from importlib import metadata

import numpy as np
import pathway as pw


class Record(pw.Schema):  # type: ignore[misc]
    EdgeEndTimestamp: int
    ClientRequestHost: str
    EdgeResponseStatus: int
    EdgeTimeToFirstByteMs: float


@pw.udf(deterministic=True)
def percentile99(values: np.ndarray) -> float:
    return float(np.percentile(values, 99))


def main():
    brokers, topic, out, _ = sys.argv[1:]
    settings = {"bootstrap.servers": brokers, "group.id": "pathway", "auto.offset.reset": "earliest"}
    records = pw.io.kafka.read(settings, topic, schema=Record, format="json", mode="static")
    timed = records.select(
        host=pw.this.ClientRequestHost,
        ms=pw.this.EdgeEndTimestamp // 1_000_000,
        error=pw.cast(int, pw.this.EdgeResponseStatus >= 400),
        value=pw.this.EdgeTimeToFirstByteMs,
    )
    windows = timed.windowby(timed.ms, window=pw.temporal.tumbling(duration=300_000, origin=0), instance=timed.host)
    reduced = windows.reduce(
        start=pw.this._pw_window_start,
        host=pw.this._pw_instance,
        count=pw.reducers.count(),
        errors=pw.reducers.sum(pw.this.error),
        mean=pw.reducers.avg(pw.this.value),
        values=pw.reducers.ndarray(pw.this.value),
    )
    rows = reduced.select(
        pw.this.start,
        pw.this.host,
        pw.this.count,
        pw.this.mean,
        error_rate=pw.this.errors / pw.this.count,
        p99=percentile99(pw.this["values"]),
    )
    pw.io.jsonlines.write(rows, out)
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)
    print(json.dumps({"version": metadata.version("pathway")}))


if __name__ == "__main__":
    main()
