"""The work of `benchmarks.peers` by Polars: scan_ndjson with the four columns' types given, in the streaming engine.

Settings: lazy, engine "streaming", as many threads as asked for (POLARS_MAX_THREADS). p99 exact, by quantile "linear".
Run, by the Python that has it: with_polars.py FOLDER OUT THREADS
"""

import json
import os
import sys
from pathlib import Path


def main():
    folder, out, threads = sys.argv[1:]
    os.environ["POLARS_MAX_THREADS"] = threads
    import polars as pl  # noqa: PLC0415 - it takes the number of threads when it is loaded

    columns = {
        "EdgeEndTimestamp": pl.Int64,
        "ClientRequestHost": pl.String,
        "EdgeResponseStatus": pl.Int32,
        "EdgeTimeToFirstByteMs": pl.Float64,
    }
    value = pl.col("EdgeTimeToFirstByteMs")
    rows = (
        pl.scan_ndjson(sorted(Path(folder).glob("*/*/*.ndjson")), schema=columns)
        .group_by(start=pl.col("EdgeEndTimestamp") // 300_000_000_000 * 300_000, host="ClientRequestHost")
        .agg(
            count=pl.len(),
            error_rate=(pl.col("EdgeResponseStatus") >= 400).sum() / pl.len(),
            mean=value.mean(),
            p99=value.quantile(0.99, "linear"),
        )
    )
    rows.collect(engine="streaming").write_ndjson(out)
    print(json.dumps({"version": pl.__version__}))


if __name__ == "__main__":
    main()
