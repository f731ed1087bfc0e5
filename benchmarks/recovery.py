"""What memory a run takes that reads a full topic without ClickHouse, and how soon it is live again after a kill -9.

Usage: python -m benchmarks.recovery [--records N] [--seconds N] [--processes N]      (a JSON line a part)

Broker, load and run are on this machine. First the topic is full and ClickHouse stopped: the rate at which the run reads up to
the end is its peak here, and its largest process must stay below the stated bound. Then ClickHouse is back and records come at
half of that rate (NDJSON of 500); after `seconds` one process is killed, and it counts when windows of 2 s close as time goes
on again and less than 1 000 messages wait a partition.
"""

import argparse
import json
import os
import signal
import tempfile
import threading
import time
from pathlib import Path

from confluent_kafka import Producer

from benchmarks.soak import Samples
from sinks.embedded import Embedded
from tests.faults.line import Hook, Line
from tests.kafka import topics
from tests.kafka.broker import Broker
from tests.runs import wait_until

PARTITIONS, BATCH, TOPIC = 4, 500, "t"
BOUND_MB = 512  # of a process, as docs/operations.md states it
_NOW = b"1111111111111111111"
_TICK_S = 0.05


def message():
    """Give a message whose event times are still to be filled in."""
    lines = [
        json.dumps(
            {"EdgeEndTimestamp": int(_NOW), "ClientRequestHost": f"h{n % 12}", "EdgeResponseStatus": 200, "RayID": f"{n:016x}"}
        )
        for n in range(BATCH)
    ]
    return "\n".join(lines).encode()


class Stream(threading.Thread):
    """Sends `rate` records a second until it is ended; what it cannot keep up with it leaves out, and says so in `sent`."""

    def __init__(self, brokers, rate):
        super().__init__(daemon=True)
        self._producer = Producer({"bootstrap.servers": brokers, "linger.ms": 5, "log_level": 0, "compression.type": "lz4"})
        self._rate, self._body = rate, message()
        self.end = threading.Event()
        self.sent = 0
        self.number = 0

    def send(self, now_ns):
        """Send a message to the partitions in turn."""
        body = self._body.replace(_NOW, b"%d" % now_ns)
        while True:
            try:
                self._producer.produce(TOPIC, body, partition=self.number % PARTITIONS, timestamp=now_ns // 1_000_000)
                break
            except BufferError:
                self._producer.poll(0.05)
        self.number += 1
        self.sent += BATCH

    def fill(self, records, span_s):
        """Send that many records of the last `span_s` seconds, in order."""
        count = records // BATCH
        first = time.time_ns() - span_s * 1_000_000_000
        for n in range(count):
            self.send(first + n * span_s * 1_000_000_000 // count)
        self._producer.flush(60)

    def run(self):
        due = time.monotonic()
        while not self.end.is_set():
            for _ in range(max(int(self._rate * _TICK_S / BATCH), 1)):
                self.send(time.time_ns())
            self._producer.poll(0)
            due = max(due + _TICK_S, time.monotonic() - _TICK_S)
            time.sleep(max(due - time.monotonic(), 0))
        self._producer.flush(10)


class There:
    """What `Samples` looks at."""

    def __init__(self, line):
        self.line = line


def read_of(line):
    report = line.report()
    return -1 if report is None else report.records


def full_topic(line, records):
    """Start the run on a full topic; gives the rate at which it is read, and the largest process (MB)."""
    samples = Samples(There(line))
    samples.start()
    line.start()
    wait_until(lambda: read_of(line) > 0, what="the first record")
    first, begun = read_of(line), time.monotonic()
    wait_until(lambda: read_of(line) >= records, what="the end of the topic")
    took = time.monotonic() - begun
    samples.end.set()
    samples.join()
    return (records - first) / took, max(held for _, held, _ in samples.rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=4_000_000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Broker(folder / "kafka") as broker, Embedded(folder / "clickhouse") as clickhouse, Hook() as hook:
            clickhouse._port = int(clickhouse.url.rsplit(":", 1)[1])
            clickhouse.stop()
            topics.create(broker.address, TOPIC, PARTITIONS, {"retention.ms": "-1"})
            line = Line(
                folder, brokers=broker.address, topic=TOPIC, hook=hook.hook_url, clickhouse=clickhouse.url, hang_after="30s"
            )
            line.processes = options.processes
            Stream(broker.address, 0).fill(options.records, 600)
            try:
                peak, held = full_topic(line, options.records)
                said = {"records": options.records, "processes": options.processes}
                said |= {"peak_records_per_second": round(peak), "largest_process_mb": round(held), "bound_mb": BOUND_MB}
                print(json.dumps(said), flush=True)
                assert held <= BOUND_MB
                clickhouse.start()
                stream = Stream(broker.address, peak / 2)
                stream.start()
                line.until_live()
                time.sleep(options.seconds)
                before, known = line.children(), stream.sent
                begun = time.monotonic()
                os.kill(before[-1], signal.SIGKILL)
                wait_until(lambda: not {*before} & {*line.children()}, what="a new start")
                line.until_live()
                took = time.monotonic() - begun
                rate = (stream.sent - known) / took
                stream.end.set()
                stream.join()
                print(
                    json.dumps(
                        {
                            "asked_records_per_second": round(peak / 2),
                            "sent_records_per_second": round(rate),
                            "live_again_s": round(took, 1),
                        }
                    ),
                    flush=True,
                )
            finally:
                line.kill()


if __name__ == "__main__":
    main()
