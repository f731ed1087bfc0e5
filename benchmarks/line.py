"""How fast is the whole line from Kafka, side by side with the naive flow of `naive.py`? Alternating runs, medians, ratio.

Usage: python -m benchmarks.line [--records N] [--runs N] [--batch 1 500] [--hosts N] [--dirt SHARE] [--processes N]

Both read the same topic (four partitions, a real broker on this machine) to its end, in a process each, and count the same
requests. Seconds are from the start of reading to the last row; edgewatch's hold planning, recovery store, snapshots and the
output files too. One JSON line a batch size.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.records import START, lines
from tests.kafka import topics
from tests.kafka.broker import Broker
from tests.kafka.topics import Sent

HERE = Path(__file__).parent
PARTITIONS = 4


def fill(brokers, name, records, batch):
    """Send the records, `batch` a message, messages dealt to partitions in turn."""
    topics.create(brokers, name, PARTITIONS, {"retention.ms": "-1"})
    messages = (
        Sent(None, b"\n".join(records[first : first + batch]), START + 900_000, n % PARTITIONS)
        for n, first in enumerate(range(0, len(records), batch))
    )
    topics.send(brokers, name, messages)


def naive(brokers, name):
    done = subprocess.run([sys.executable, "-m", "benchmarks.naive", brokers, name], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def ours(brokers, name, processes):
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "monitor.toml"
        config.write_text((HERE / "monitor.toml").read_text().replace("BROKERS", brokers).replace("TOPIC", name))
        out = Path(folder) / "out"
        command = [
            sys.executable,
            "-m",
            "flows.cli",
            "replay",
            "-c",
            str(config),
            "--out",
            str(out),
            "--processes",
            str(processes),
        ]
        subprocess.run(command, check=True, capture_output=True)
        return json.loads((out / "summary.json").read_bytes())


def compare(brokers, records, batch, options):
    """Run both in turn; gives the line to print."""
    name = f"bench-{batch}"
    fill(brokers, name, records, batch)
    seconds: dict[str, list[float]] = {"naive": [], "edgewatch": []}
    for _ in range(options.runs):
        if not options.alone:
            first = naive(brokers, name)
            assert options.dirt or first["records"] == len(records), first
            seconds["naive"].append(first["seconds"])
        second = ours(brokers, name, options.processes)
        assert second["records"] == len(records), second
        seconds["edgewatch"].append(second["seconds"])
    rates = {who: round(len(records) / statistics.median(took)) for who, took in seconds.items() if took}
    ratios = [a / b for a, b in zip(seconds["naive"], seconds["edgewatch"], strict=False)]
    return {
        "benchmark": "line",
        "batch": batch,
        "records": len(records),
        "hosts": options.hosts,
        "dirt": options.dirt,
        "processes": options.processes,
        "runs": options.runs,
        "records_per_second": rates,
        "ratio": round(statistics.median(ratios), 2) if ratios else None,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=300_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 500])
    parser.add_argument("--hosts", type=int, default=12)
    parser.add_argument("--dirt", type=float, default=0.0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--alone", action="store_true", help="without the naive flow (it cannot read dirt)")
    options = parser.parse_args()
    records = lines(options.records, hosts=options.hosts, dirt=options.dirt)
    with tempfile.TemporaryDirectory() as folder, Broker(Path(folder) / "kafka") as broker:
        for batch in options.batch:
            print(json.dumps(compare(broker.address, records, batch, options)), flush=True)


if __name__ == "__main__":
    main()
