"""How fast is the whole line from Kafka, side by side with the naive flow of `naive.py`? Alternating runs, medians, ratio.

Usage: python -m benchmarks.line [--records N] [--runs N] [--batch 1 500] [--hosts N] [--dirt SHARE] [--processes N]
       [--partitions N]

Both read the same topic (a real broker on this machine) to its end, in a process each, and count the same requests. Seconds
are from the start of reading to the last row; edgewatch's hold planning, recovery store, snapshots and the output files too.
Processor time is that of whole programs, starting included, and of the broker meanwhile. One JSON line a batch size.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.cpu_time import used_s
from benchmarks.records import START, lines
from tests.kafka import topics
from tests.kafka.broker import Broker
from tests.kafka.topics import Sent

HERE = Path(__file__).parent
PARTITIONS = 4


def fill(brokers, name, records, batch, partitions=PARTITIONS):
    """Send the records, `batch` a message, messages dealt to partitions in turn."""
    topics.create(brokers, name, partitions, {"retention.ms": "-1"})
    messages = (
        Sent(None, b"\n".join(records[first : first + batch]), START + 900_000, n % partitions)
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
        command = [sys.executable, "-m", "flows.cli", "replay", "-c", str(config), "--out", str(out)]
        command += ["--processes", str(processes)]
        subprocess.run(command, check=True, capture_output=True)
        return json.loads((out / "summary.json").read_bytes())


class Meter:
    """Processor time of the programs that were run, and of the broker beside them, in seconds."""

    def __init__(self, broker):
        self._broker = broker
        self.took: dict[str, list[float]] = {}

    def _now(self):
        ran = os.times()
        return ran.children_user + ran.children_system, used_s(self._broker)

    def run(self, who, call, *arguments):
        before = self._now()
        out = call(*arguments)
        for name, since, now in zip((who, f"broker for {who}"), before, self._now(), strict=True):
            self.took.setdefault(name, []).append(now - since)
        return out

    def per_million(self, records):
        return {who: round(statistics.median(took) / records * 1e6, 2) for who, took in self.took.items()}


def compare(broker, records, batch, options):
    """Run both in turn; gives the line to print."""
    name, brokers, meter = f"bench-{batch}", broker.address, Meter(broker.pid)
    fill(brokers, name, records, batch, options.partitions)
    seconds: dict[str, list[float]] = {"naive": [], "edgewatch": []}
    for _ in range(options.runs):
        if not options.alone:
            first = meter.run("naive", naive, brokers, name)
            assert options.dirt or first["records"] == len(records), first
            seconds["naive"].append(first["seconds"])
        second = meter.run("edgewatch", ours, brokers, name, options.processes)
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
        "partitions": options.partitions,
        "processes": options.processes,
        "runs": options.runs,
        "records_per_second": rates,
        "processor_seconds_per_million": meter.per_million(len(records)),
        "ratio": round(statistics.median(ratios), 2) if ratios else None,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=300_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 500])
    parser.add_argument("--hosts", type=int, default=12)
    parser.add_argument("--dirt", type=float, default=0.0)
    parser.add_argument("--partitions", type=int, default=PARTITIONS)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--alone", action="store_true", help="without the naive flow (it cannot read dirt)")
    options = parser.parse_args()
    records = lines(options.records, hosts=options.hosts, dirt=options.dirt)
    with tempfile.TemporaryDirectory() as folder, Broker(Path(folder) / "kafka") as broker:
        for batch in options.batch:
            print(json.dumps(compare(broker, records, batch, options)), flush=True)


if __name__ == "__main__":
    main()
