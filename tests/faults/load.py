"""Load: records at a constant rate, and a ledger of them that knows nothing of the product.

What is late is worked out here once more, from the definition: by the highest event time before it in its own partition.
"""

import copy
import json
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, Self

from confluent_kafka import KafkaError, KafkaException, Producer

WINDOW_MS, LATENESS_MS = 2000, 1000
CYCLE_MS, BAD_MS = 8_000, 4_000  # of every cycle, for so long host "a" fails
_TICK_S = 0.1
_LATE_MS = 8_000
_EACH = 50  # of so many records one is late, and one is garbage


class Ledger:
    """What was sent, as it has to be counted."""

    def __init__(self) -> None:
        self.sent = self.late = self.dead = 0
        self.windows: Counter[int] = Counter()  # by window start, ms
        self._high: dict[int, int] = {}

    def record(self, partition: int, time_ms: int) -> None:
        """Count a sound record, in the order of its partition."""
        self.sent += 1
        start = time_ms // WINDOW_MS * WINDOW_MS
        high = self._high.get(partition)
        if high is not None and start + WINDOW_MS <= high - LATENESS_MS:
            self.late += 1
        else:
            self.windows[start] += 1
        self._high[partition] = max(high or 0, time_ms)

    def silent(self, partition: int, time_ms: int) -> None:
        """Take note that a partition was silent until now, for so long that it was taken to be as far as the clock."""
        self._high[partition] = max(self._high.get(partition, 0), time_ms)

    def closed(self) -> int:
        """Give up to where windows have to be closed (ms) once all of it is read."""
        return (min(self._high.values(), default=0) - LATENESS_MS) // WINDOW_MS * WINDOW_MS

    def copy(self) -> "Ledger":
        """Give it as it is now."""
        return copy.deepcopy(self)

    def garbage(self) -> None:
        """Count what cannot be read."""
        self.sent += 1
        self.dead += 1


class Load:
    """Sends `rate` records a second, dealt to partitions in turn; brokers that are away get theirs when they are back."""

    def __init__(self, brokers: str, topic: str, *, partitions: int = 4, rate: int = 200, hosts: int = 3) -> None:
        self.topic, self.partitions, self.rate, self.hosts = topic, partitions, rate, hosts
        self.ledger = Ledger()
        self.on = True
        self.silent: set[int] = set()  # partitions that get nothing for now
        settings = {"bootstrap.servers": brokers, "linger.ms": 20, "log_level": 0, "acks": "all"}
        endless = {"enable.idempotence": True, "delivery.timeout.ms": 0, "queue.buffering.max.messages": 5_000_000}
        soon = {"reconnect.backoff.max.ms": 500, "topic.metadata.refresh.interval.ms": 2000}
        self._producer = Producer(settings | endless | soon | {"on_delivery": self._told})
        self._failed: list[str] = []
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._number = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self._producer.flush(10)

    def rest(self) -> "Pause":
        """Stop sending for the length of a `with`, all that was sent being with the brokers."""
        return Pause(self)

    def settled(self) -> bool:
        """Tell whether the brokers have all of it; AssertionError where they refused some."""
        assert self._failed == []
        return self._producer.flush(0.2) == 0

    def speak(self) -> None:
        """Have silent partitions get records again; they were taken for silent in the meantime."""
        with self._lock:
            for partition in self.silent:
                self.ledger.silent(partition, time.time_ns() // 1_000_000)
            self.silent = set()

    def widen(self, begins: Mapping[int, int]) -> None:
        """Send to new partitions, too, which are taken to be as far as `begins` says (ms) from their first record on."""
        with self._lock:
            for partition, time_ms in begins.items():
                self.ledger.silent(partition, time_ms)
            self.partitions += len(begins)

    def poison(self, *values: bytes | None) -> None:
        """Send what no decoder can read, one dead letter each, to the partitions in turn."""
        with self._lock:
            for number, value in enumerate(values):
                self._send(value, time.time_ns() // 1_000_000, number % self.partitions)
                self.ledger.garbage()

    def hostile(self, *records: Mapping[str, Any]) -> None:
        """Send records that can be read, whose values are aimed at what comes behind the decoder; they count as any other."""
        with self._lock:
            for number, record in enumerate(records):
                now, partition = time.time_ns() // 1_000_000, number % self.partitions
                self._send(json.dumps({"EdgeEndTimestamp": now, "EdgeResponseStatus": 503, **record}).encode(), now, partition)
                self.ledger.record(partition, now)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._end.is_set():
            if self.on:
                with self._lock:
                    for _ in range(max(int(self.rate * _TICK_S), 1)):
                        self._one()
            self._producer.poll(0)
            due = max(due + _TICK_S, time.monotonic() - 1)
            self._end.wait(max(due - time.monotonic(), 0))

    def _one(self) -> None:
        self._number += 1
        number, now = self._number, time.time_ns() // 1_000_000
        partition = number % self.partitions
        if partition in self.silent:
            return
        if number % _EACH == 0:
            self._send(b'{"EdgeEndTimestamp": "no', now, partition)
            self.ledger.garbage()
            return
        at = now - _LATE_MS if number % _EACH == _EACH // 2 else now - number % 7 * 30
        host = number % self.hosts
        bad = host == 0 and at % CYCLE_MS < BAD_MS
        record: dict[str, Any] = {
            "EdgeEndTimestamp": at,
            "ClientRequestHost": f"h{host}",
            "EdgeResponseStatus": 503 if bad else 200,
            "RayID": f"{number:016x}",
        }
        self._send(json.dumps(record).encode(), now, partition)
        self.ledger.record(partition, at)

    def _send(self, value: bytes | None, now: int, partition: int) -> None:
        while True:
            try:
                self._producer.produce(self.topic, value, None, partition, timestamp=now)
                return
            except KafkaException as error:
                # A topic that grew: brokers learn of it one after the other, and this client may ask one that knows less.
                if error.args[0].code() != KafkaError._UNKNOWN_PARTITION or self._end.is_set():
                    raise
                self._producer.poll(0.1)

    def _told(self, error: object, _: object) -> None:
        if error is not None:
            self._failed.append(str(error))


class Pause:
    """A time without records."""

    def __init__(self, load: Load) -> None:
        self._load = load

    def __enter__(self) -> Ledger:
        self._load.on = False
        with self._load._lock:
            pass
        deadline = time.monotonic() + 60
        while not self._load.settled():
            assert time.monotonic() < deadline, "the brokers did not take all"
        return self._load.ledger

    def __exit__(self, *_: object) -> None:
        self._load.on = True
