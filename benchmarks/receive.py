"""How many records a second does the receiver take, each confirmed by a real broker, and is its memory flat? One run.

Usage: python -m benchmarks.receive [--uploads N] [--records N] [--clients N]      (one JSON line)

Clients POST gzip uploads over keep-alive connections; an upload counts when 200 came back. At the end the topic is asked how
many messages it holds. Uploads are sent in turn from a few that were made before: making them is not what is measured. The
memory is the receiver's resident set, sampled after every tenth upload, and the most it ever had, whole process. For memory:
--uploads 1000.
"""

import argparse
import gzip
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
from confluent_kafka import Consumer, TopicPartition

from benchmarks.records import lines
from tests.kafka import topics
from tests.kafka.broker import Broker

PARTITIONS = 4
KINDS = 4
CONFIG = """
[input.kafka]
brokers = ["{brokers}"]
topics = {{ requests = "http_requests" }}

[receive]
listen = "127.0.0.1:0"
dead_letters = ""
"""


@contextmanager
def receiver(folder: Path, brokers: str) -> Iterator[tuple[int, str]]:
    """Start the command; give its process id and URL."""
    config = folder / "monitor.toml"
    config.write_text(CONFIG.format(brokers=brokers))
    command = [sys.executable, "-m", "flows.cli", "receive", "-c", str(config)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        first = process.stderr.readline()
        found = re.search(r"http://\S+?/logpush/", first)
        assert found, first + process.stderr.read()
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield process.pid, found[0] + "http_requests"
    finally:
        process.terminate()
        assert process.wait(60) == 0


def resident_mb(pid: int, *, peak: bool = False) -> float:
    found = re.search(rf"{'VmHWM' if peak else 'VmRSS'}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


def processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def messages_in(brokers: str, topic: str) -> int:
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "benchmark"})
    found = [consumer.get_watermark_offsets(TopicPartition(topic, n), timeout=30) for n in range(PARTITIONS)]
    consumer.close()
    return sum(high - low for low, high in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uploads", type=int, default=100)
    parser.add_argument("--records", type=int, default=14_000, help="of an upload: 14 000 are about 10 MB")
    parser.add_argument("--clients", type=int, default=4)
    options = parser.parse_args()
    plain = [b"\n".join(lines(options.records, seed=seed)) for seed in range(KINDS)]
    bodies = [gzip.compress(each, 6) for each in plain]
    sizes: list[float] = []
    with tempfile.TemporaryDirectory() as name, Broker(Path(name) / "kafka") as broker:
        topics.create(broker.address, "requests", PARTITIONS, {"retention.ms": "-1"})
        with receiver(Path(name), broker.address) as (pid, url), httpx.Client(timeout=60) as client:

            def upload(number: int) -> int:
                headers = {"Content-Encoding": "gzip"}
                answer = client.post(url, content=bodies[number % KINDS], headers=headers)
                assert answer.status_code == 200, answer.text
                if number % 10 == 0:
                    sizes.append(resident_mb(pid))
                return int(answer.json()["records"])

            upload(0)  # connections and topics are known from here on
            before, began = processor_s(pid), time.perf_counter()
            with ThreadPoolExecutor(options.clients) as pool:
                records = sum(pool.map(upload, range(options.uploads)))
            seconds = time.perf_counter() - began
            used = processor_s(pid) - before
            peak = resident_mb(pid, peak=True)
        assert records == options.uploads * options.records
        held = messages_in(broker.address, "requests")
    half = len(sizes) // 2
    found = {
        "benchmark": "receive",
        "uploads": options.uploads,
        "upload_mb": round(len(plain[0]) / 1e6, 1),
        "gzip_mb": round(len(bodies[0]) / 1e6, 2),
        "records": records,
        "messages": held,
        "records_per_second": round(records / seconds),
        "receiver_us_a_record": round(used / records * 1e6, 2),
        "resident_mb_first_half": round(max(sizes[:half] or sizes)),
        "resident_mb_second_half": round(max(sizes[half:])),
        "resident_mb_peak": round(peak),
    }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
