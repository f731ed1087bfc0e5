"""How fast is a replay of an archive by one and two processes, and what memory does it take? Whole program, medians.

Usage: python -m benchmarks.replay [--records N] [--runs N] [--times 1 4 16] [--processes 1 2]

Archives are gzip files of about 10 000 records each in four partitions, as Logpush writes them, over 20 minutes a part; a range
of N times the length has N times the records. The whole program is measured: planning, recovery store with snapshots, decision
records and output files. `peak_mb` is the largest resident set of a process, `cpu_s` the processor time of all processes, and
`with_start_s` counts the command from its first import. Contenders alternate, and their results have to be the same bytes.
"""

import argparse
import gzip
import hashlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.line import HERE
from benchmarks.records import lines
from sinks.files import OUTPUTS

PARTITIONS = 4
FILE = 10_000
STEP_MS = 1_200_000
TIME = re.compile(rb"\b1\d{18}\b")


def fill(folder, records, times, hosts=12, partitions=PARTITIONS, **like):
    """Write an archive of `times` parts, each the same records 20 minutes later; `like` is what benchmarks.records takes."""
    made = lines(records, hosts=hosts, span_ms=STEP_MS, **like)
    size = min(FILE, -(-records // partitions))
    for part in range(times):
        shift = part * STEP_MS * 1_000_000

        def later(found, shift=shift):
            return b"%d" % (int(found[0]) + shift)

        for number, first in enumerate(range(0, len(made), size)):
            place = folder / "http_requests" / f"p{number % partitions}"
            place.mkdir(parents=True, exist_ok=True)
            body = TIME.sub(later, b"\n".join(made[first : first + size]))
            (place / f"{part:04}_{number:04}.ndjson.gz").write_bytes(gzip.compress(body, 6, mtime=0))


def measure(archive, processes):
    """Replay once; gives seconds, processor seconds and the peak of the largest process."""
    with tempfile.TemporaryDirectory() as folder:
        config, out = Path(folder) / "monitor.toml", Path(folder) / "out"
        compiled = {"PYTHONPYCACHEPREFIX": str(archive.parent / "compiled"), "PYTHONDONTWRITEBYTECODE": ""}
        config.write_text((HERE / "monitor.toml").read_text().replace("BROKERS", "127.0.0.1:9092").replace("TOPIC", "none"))
        command = [sys.executable, "-m", "flows.cli", "replay", "-c", config, "--source", f"archive:{archive}", "--out", out]
        process = subprocess.Popen(
            [*map(str, command), "--processes", str(processes)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | compiled,  # as an installed package is, and the same in every run but the first
        )
        began = time.perf_counter()
        _, status, usage = os.wait4(process.pid, 0)
        whole = time.perf_counter() - began
        assert status == 0, status
        summary = json.loads((out / "summary.json").read_bytes())
        digest = hashlib.sha256(b"".join((out / f"{kind}.ndjson").read_bytes() for kind in OUTPUTS)).hexdigest()
    figures = summary["seconds"], whole, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
    return summary["records"], digest, *figures


def report(found, processes, times):
    """Print what runs of so many processes took."""
    records, seconds = found[0][0], statistics.median(each[2] for each in found)
    line = {
        "benchmark": "replay",
        "processes": processes,
        "times": times,
        "records": records,
        "runs": len(found),
        "seconds": round(seconds, 2),
        "records_per_second": round(records / seconds),
        "with_start_s": round(statistics.median(each[3] for each in found), 2),
        "cpu_s": round(statistics.median(each[4] for each in found), 2),
        "peak_mb": round(max(each[5] for each in found)),
    }
    print(json.dumps(line), flush=True)
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=200_000, help="of 20 minutes")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--times", type=int, nargs="+", default=[1, 4, 16], help="ranges, in parts of 20 minutes")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    for times in options.times:
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder) / "archive"
            fill(archive, options.records, times)
            measure(archive, 1)  # compiles
            found: dict[int, list] = {processes: [] for processes in options.processes}
            for _ in range(options.runs):  # contenders alternate
                for processes, runs in found.items():
                    runs.append(measure(archive, processes))
            assert len({run[1] for runs in found.values() for run in runs}) == 1, "results differ"
            taken = {processes: report(runs, processes, times) for processes, runs in found.items()}
            first = next(iter(taken))
            for processes, seconds in taken.items():
                line = {"processes": processes, "times_as_fast_as": first, "ratio": round(taken[first] / seconds, 2)}
                print(json.dumps({"benchmark": "replay", "times": times, **line}), flush=True)


if __name__ == "__main__":
    main()
