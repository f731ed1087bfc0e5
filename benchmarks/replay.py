"""How fast is a replay of an archive by one and two processes, and what memory does it take? Whole program, medians.

Usage: python -m benchmarks.replay [--records N] [--runs N] [--times 1 4 16]

Archives are gzip files of about 10 000 records each in four partitions, as Logpush writes them, over 20 minutes a part; a range
of N times the length has N times the records. The whole program is measured: planning, recovery store with snapshots, decision
records and output files. `peak_mb` is the largest resident set of a process, `cpu_s` the processor time of all.
"""

import argparse
import gzip
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.line import HERE
from benchmarks.records import lines

PARTITIONS = 4
FILE = 10_000
STEP_MS = 1_200_000
TIME = re.compile(rb"\b1\d{18}\b")


def fill(folder, records, times):
    """Write an archive of `times` parts, each the same records 20 minutes later."""
    made = lines(records, span_ms=STEP_MS)
    for part in range(times):
        shift = part * STEP_MS * 1_000_000

        def later(found, shift=shift):
            return b"%d" % (int(found[0]) + shift)

        for number, first in enumerate(range(0, len(made), FILE)):
            place = folder / "http_requests" / f"p{number % PARTITIONS}"
            place.mkdir(parents=True, exist_ok=True)
            body = TIME.sub(later, b"\n".join(made[first : first + FILE]))
            (place / f"{part:04}_{number:04}.ndjson.gz").write_bytes(gzip.compress(body, 6, mtime=0))


def measure(archive, processes):
    """Replay once; gives seconds, processor seconds and the peak of the largest process."""
    with tempfile.TemporaryDirectory() as folder:
        config, out = Path(folder) / "monitor.toml", Path(folder) / "out"
        config.write_text((HERE / "monitor.toml").read_text().replace("BROKERS", "127.0.0.1:9092").replace("TOPIC", "none"))
        command = [sys.executable, "-m", "flows.cli", "replay", "-c", config, "--source", f"archive:{archive}", "--out", out]
        process = subprocess.Popen(
            [*map(str, command), "--processes", str(processes)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        assert status == 0, status
        summary = json.loads((out / "summary.json").read_bytes())
    return summary["records"], summary["seconds"], usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def report(archive, processes, runs, times):
    found = [measure(archive, processes) for _ in range(runs)]
    records, seconds = found[0][0], statistics.median(each[1] for each in found)
    line = {
        "benchmark": "replay",
        "processes": processes,
        "times": times,
        "records": records,
        "runs": runs,
        "seconds": round(seconds, 2),
        "records_per_second": round(records / seconds),
        "cpu_s": round(statistics.median(each[2] for each in found), 2),
        "peak_mb": round(max(each[3] for each in found)),
    }
    print(json.dumps(line), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=200_000, help="of 20 minutes")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--times", type=int, nargs="+", default=[1, 4, 16], help="ranges, in parts of 20 minutes")
    options = parser.parse_args()
    for times in options.times:
        with tempfile.TemporaryDirectory() as folder:
            fill(Path(folder), options.records, times)
            for processes in (1, 2):
                report(folder, processes, options.runs, times)


if __name__ == "__main__":
    main()
