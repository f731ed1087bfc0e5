"""How much memory does a process need? One window of many records over many keys, from a real broker, whole process.

Usage: python -m benchmarks.memory [--records N] [--hosts N] [--batch 1 500]      (one JSON line a batch size)

The peak is the process's resident set, as the kernel counted it: interpreter, librdkafka's queues and all.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.line import HERE, PARTITIONS
from benchmarks.records import START, lines
from tests.kafka import topics
from tests.kafka.broker import Broker
from tests.kafka.topics import Sent

STEP = 100_000
SPAN_MS = 290_000  # within one window


def fill(brokers, name, options, batch):
    """Send the records a part at a time: two million of them do not fit comfortably."""
    topics.create(brokers, name, PARTITIONS, {"retention.ms": "-1"})
    for made in range(0, options.records, STEP):
        part = lines(min(STEP, options.records - made), hosts=options.hosts, span_ms=SPAN_MS, seed=made)
        messages = (
            Sent(None, b"\n".join(part[first : first + batch]), START + SPAN_MS, n % PARTITIONS)
            for n, first in enumerate(range(0, len(part), batch))
        )
        topics.send(brokers, name, messages)


def measure(brokers, name, options, batch):
    with tempfile.TemporaryDirectory() as folder:
        config, out = Path(folder) / "monitor.toml", Path(folder) / "out"
        config.write_text((HERE / "monitor.toml").read_text().replace("BROKERS", brokers).replace("TOPIC", name))
        command = [sys.executable, "-m", "flows.cli", "replay", "-c", str(config), "--out", str(out)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        assert status == 0, status
        summary = json.loads((out / "summary.json").read_bytes())
        assert summary["records"] == options.records, summary
    return {
        "benchmark": "memory",
        "batch": batch,
        "records": options.records,
        "hosts": options.hosts,
        "seconds": summary["seconds"],
        "peak_mb": round(usage.ru_maxrss / 1024),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=2_000_000)
    parser.add_argument("--hosts", type=int, default=1_000)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 500])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Broker(Path(folder) / "kafka") as broker:
        for batch in options.batch:
            name = f"memory-{batch}"
            fill(broker.address, name, options, batch)
            print(json.dumps(measure(broker.address, name, options, batch)), flush=True)


if __name__ == "__main__":
    main()
