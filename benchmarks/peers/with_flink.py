"""The work of `benchmarks.peers` by Flink SQL: a TUMBLE window over a bounded Kafka table, in streaming mode.

Settings: local cluster in one JVM, parallelism 2, Flink's own defaults for memory; heap state, no checkpoints (in its
favour); watermark a minute behind. Python only hands over the SQL and takes the rows. p99 exact, by its PERCENTILE.
Run, by the Python that has it: with_flink.py BROKERS TOPIC OUT ROWS [JAR of the Kafka connector]
"""

import datetime
import json
import sys
from importlib import metadata
from pathlib import Path

from pyflink.table import EnvironmentSettings, TableEnvironment

TABLE = """
CREATE TABLE records (
    EdgeEndTimestamp BIGINT,
    ClientRequestHost STRING,
    EdgeResponseStatus INT,
    EdgeTimeToFirstByteMs DOUBLE,
    ts AS TO_TIMESTAMP_LTZ(EdgeEndTimestamp / 1000000, 3),
    WATERMARK FOR ts AS ts - INTERVAL '60' SECOND
) WITH (
    'connector' = 'kafka',
    'topic' = '{topic}',
    'properties.bootstrap.servers' = '{brokers}',
    'properties.group.id' = 'flink',
    'scan.startup.mode' = 'earliest-offset',
    'scan.bounded.mode' = 'latest-offset',
    'format' = 'json'
)
"""
QUERY = """
SELECT window_start, ClientRequestHost, COUNT(*),
    CAST(SUM(CASE WHEN EdgeResponseStatus >= 400 THEN 1 ELSE 0 END) AS DOUBLE) / COUNT(*),
    AVG(EdgeTimeToFirstByteMs), PERCENTILE(EdgeTimeToFirstByteMs, 0.99)
FROM TUMBLE(TABLE records, DESCRIPTOR(ts), INTERVAL '5' MINUTES)
GROUP BY window_start, window_end, ClientRequestHost
"""


def main():
    brokers, topic, out, _, jar = sys.argv[1:]
    table = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    for name, value in {
        "pipeline.jars": Path(jar).absolute().as_uri(),
        "parallelism.default": "2",
        "table.local-time-zone": "UTC",
    }.items():
        table.get_config().set(name, value)
    table.execute_sql(TABLE.format(brokers=brokers, topic=topic))
    with table.execute_sql(QUERY).collect() as rows, Path(out).open("w") as file:
        for start, host, count, error_rate, mean, p99 in rows:
            ms = int(start.replace(tzinfo=datetime.UTC).timestamp() * 1000)
            row = {"start": ms, "host": host, "count": count, "error_rate": error_rate, "mean": mean, "p99": p99}
            file.write(json.dumps(row) + "\n")
    print(json.dumps({"version": metadata.version("apache-flink")}))


if __name__ == "__main__":
    main()
