"""The work of `benchmarks.peers` by Pathway: the Kafka connector in static mode, a tumbling window by host, its reducers.

Settings, in its favour: static mode reads what is there, and commits so seldom that each window is computed once; no
persistence. The connector parses only the schema's four fields. p99 exact: the values as an array, and numpy. Threads as
PATHWAY_THREADS says.
Run, by the Python that has it: with_pathway.py BROKERS TOPIC OUT ROWS
"""

import json
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pathway as pw

_ONCE_MS = 600_000


class Record(pw.Schema):  # type: ignore[misc]
    EdgeEndTimestamp: int
    ClientRequestHost: str
    EdgeResponseStatus: int
    EdgeTimeToFirstByteMs: float


@pw.udf(deterministic=True)
def percentile99(values: np.ndarray) -> float:
    return float(np.percentile(values, 99))


def settle(out):
    """Keep the rows that hold in the end: a window that was computed more than once is taken back in between (diff -1)."""
    rows: dict[tuple[int, str], dict] = {}
    changes = [json.loads(line) for line in out.read_bytes().splitlines()]
    for change in sorted(changes, key=lambda each: (each["time"], each["diff"])):
        key = change["start"], change["host"]
        if change["diff"] > 0:
            rows[key] = change
        else:
            rows.pop(key, None)
    out.write_text("".join(json.dumps(row) + "\n" for row in rows.values()))


def main():
    brokers, topic, out, _ = sys.argv[1:]
    settings = {"bootstrap.servers": brokers, "group.id": "pathway", "auto.offset.reset": "earliest"}
    records = pw.io.kafka.read(settings, topic, schema=Record, format="json", mode="static", autocommit_duration_ms=_ONCE_MS)
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
    settle(Path(out))
    print(json.dumps({"version": metadata.version("pathway")}))


if __name__ == "__main__":
    main()
