"""The work of `benchmarks.peers` by chDB: one question to file() as JSONEachRow with the four columns' types given.

Settings: fields that are not asked for are skipped (the default), as many threads as asked for. p99 exact, by
quantileExactInclusive. Run, by the Python that has it: with_chdb.py FOLDER OUT THREADS
"""

import json
import sys
from importlib import metadata
from pathlib import Path

import chdb

QUERY = """
SELECT intDiv(EdgeEndTimestamp, 300000000000) * 300000 AS start, ClientRequestHost AS host, count() AS count,
    countIf(EdgeResponseStatus >= 400) / count() AS error_rate,
    avg(EdgeTimeToFirstByteMs) AS mean, quantileExactInclusive(0.99)(EdgeTimeToFirstByteMs) AS p99
FROM file('{folder}/*/*/*.ndjson', 'JSONEachRow',
    'EdgeEndTimestamp Int64, ClientRequestHost String, EdgeResponseStatus Int32, EdgeTimeToFirstByteMs Float64')
GROUP BY start, host
SETTINGS max_threads = {threads}, output_format_json_quote_64bit_integers = 0
"""


def main():
    folder, out, threads = sys.argv[1:]
    Path(out).write_bytes(chdb.query(QUERY.format(folder=folder, threads=threads), "JSONEachRow").bytes())
    print(json.dumps({"version": metadata.version("chdb")}))


if __name__ == "__main__":
    main()
