"""The work of `benchmarks.peers` by DuckDB: one question to read_ndjson with the four columns' types given.

Settings: no detection of types, order of input not kept, as many threads as asked for. p99 exact, by quantile_cont.
Run, by the Python that has it: with_duckdb.py FOLDER OUT THREADS
"""

import json
import sys

import duckdb

QUERY = """
COPY (
    SELECT EdgeEndTimestamp // 300000000000 * 300000 AS "start", ClientRequestHost AS host, count(*) AS count,
        sum((EdgeResponseStatus >= 400)::INT)::DOUBLE / count(*) AS error_rate,
        avg(EdgeTimeToFirstByteMs) AS mean, quantile_cont(EdgeTimeToFirstByteMs, 0.99) AS p99
    FROM read_ndjson('{folder}/*/*/*.ndjson', columns = {{EdgeEndTimestamp: 'BIGINT', ClientRequestHost: 'VARCHAR',
        EdgeResponseStatus: 'INTEGER', EdgeTimeToFirstByteMs: 'DOUBLE'}})
    GROUP BY ALL
) TO '{out}' (FORMAT json)
"""


def main():
    folder, out, threads = sys.argv[1:]
    connection = duckdb.connect(config={"threads": int(threads), "preserve_insertion_order": False})
    connection.execute(QUERY.format(folder=folder, out=out))
    print(json.dumps({"version": duckdb.__version__}))


if __name__ == "__main__":
    main()
