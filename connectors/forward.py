"""Forward: messages to Kafka, and the word of Kafka that all messages of one upload are there.

Guarantee: idempotent with acks=all, so no message is there twice or in another order because of a retry inside librdkafka.
A receipt that is fulfilled says that every message of it was written by all in-sync replicas; one that failed says nothing
of any of them.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient

from connectors.kafka_client import Watch, topics_there
from connectors.source import SourceError

_log = logging.getLogger(__name__)

_QUEUE_KB = 65_536  # bytes that wait in the client, whatever the number of uploads
_FULL_S = 0.01
_POLL_S = 0.1
_ASK_S = 8.0
_LOOK_S = 1.0
_CONSUMER_ONLY = ("group.", "auto.offset", "fetch.", "enable.auto", "enable.partition", "isolation.", "queued.", "session.")

Setting = str | int | float | bool
Headers = Sequence[tuple[str, bytes]]


class NotTaken(Exception):
    """Kafka does not take messages now: one sentence that names it."""


class TopicMissing(Exception):
    """A topic is not there, or no broker answers: one sentence, with the way out."""


class Receipt:
    """Counts the messages of one upload that Kafka has not confirmed; `confirmed` ends when all were, or with NotTaken."""

    def __init__(self) -> None:
        """Begin with nothing sent."""
        self._lock = threading.Lock()
        self._open = 1  # the sender itself, until it says that all is sent
        self.confirmed: Future[None] = Future()

    def add(self) -> None:
        """Take note of one more message."""
        with self._lock:
            self._open += 1

    def end(self) -> None:
        """Take note that all is sent, or that one message was confirmed."""
        with self._lock:
            self._open -= 1
            last = self._open == 0
        if last and not self.confirmed.done():
            self.confirmed.set_result(None)

    def fail(self, reason: str) -> None:
        """Take note that a message was not taken; the first reason counts."""
        with self._lock:
            if not self.confirmed.done():
                self.confirmed.set_exception(NotTaken(reason))


def shared_settings(brokers: Sequence[str], client: Mapping[str, Setting]) -> dict[str, Setting]:
    """Give librdkafka's settings that any client of these brokers needs, without those of consumers."""
    kept = {key: value for key, value in client.items() if not key.startswith(_CONSUMER_ONLY)}
    return {**kept, "bootstrap.servers": ",".join(brokers), "log_level": 0}


def check_topics(settings: Mapping[str, Setting], topics: Sequence[str]) -> None:
    """Raise TopicMissing where no broker answers or a topic is not there."""
    brokers = str(settings["bootstrap.servers"])
    watch = Watch(brokers)
    try:
        made: dict[str, Any] = {**settings, "error_cb": watch.on_error}
        there = topics_there(AdminClient(made), watch, _ASK_S)
    except KafkaException as error:
        raise TopicMissing(f"[input.kafka.client] is not taken: {error.args[0].str()}") from error
    except SourceError as error:
        raise TopicMissing(str(error)) from error
    for topic in topics:
        if topic not in there:
            raise TopicMissing(
                f"topic {topic} is not there at {brokers}: make it with `kafka-topics.sh --bootstrap-server"
                f" {brokers.split(',', maxsplit=1)[0]} --create --topic {topic} --partitions 4 --config retention.ms=-1`"
            )


class Forwarder:
    """One producer and the thread that hears Kafka's answers."""

    def __init__(self, brokers: Sequence[str], client: Mapping[str, Setting], *, ack_timeout_ms: int) -> None:
        """Take host:port of brokers and more settings of librdkafka; nothing is sent yet."""
        self._brokers = ", ".join(brokers)
        self._timeout_s = ack_timeout_ms / 1000
        settings = shared_settings(brokers, client)
        own: dict[str, object] = {
            "compression.type": "lz4",
            "linger.ms": 5,
            "queue.buffering.max.kbytes": _QUEUE_KB,
            "queue.buffering.max.messages": 200_000,
            "message.timeout.ms": ack_timeout_ms,
            **settings,
            "enable.idempotence": True,  # with it come acks=all and the order within a partition
            "error_cb": self._on_error,
        }
        self._client = Producer(own)
        self._away = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="kafka-answers", daemon=True)
        self._thread.start()

    @property
    def away(self) -> bool:
        """Tell whether no broker can be reached."""
        return self._away.is_set()

    def send(self, receipt: Receipt, topic: str, value: bytes, key: bytes, *, headers: Headers = ()) -> None:
        """Queue a message, stamped now; waits while the queue is full. Raises NotTaken."""
        deadline = time.monotonic() + self._timeout_s
        told = partial(self._told, receipt)
        receipt.add()
        while True:
            try:
                now = time.time_ns() // 1_000_000
                self._client.produce(topic, value, key or None, timestamp=now, on_delivery=told, headers=list(headers))
                return
            except BufferError:
                if time.monotonic() > deadline:
                    raise NotTaken(f"Kafka at {self._brokers} is slower than what comes in") from None
                time.sleep(_FULL_S)
            except KafkaException as error:
                raise NotTaken(f"topic {topic} at {self._brokers} does not take a message: {error.args[0].str()}") from error

    def close(self) -> None:
        """Wait for what is queued, then end."""
        self._client.flush(self._timeout_s)
        self._stop.set()
        self._thread.join()

    def _told(self, receipt: Receipt, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self._back()
            receipt.end()
        else:
            receipt.fail(f"topic {message.topic()} at {self._brokers} did not take a message: {error.str()}")

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN and not self._away.is_set():
            self._away.set()
            _log.warning("Kafka at %s cannot be reached: uploads are asked to come again", self._brokers)

    def _back(self) -> None:
        if self._away.is_set():
            self._away.clear()
            _log.warning("Kafka at %s is back", self._brokers)

    def _listen(self) -> None:
        """Hear answers; while the brokers are away, ask for them: uploads that are turned away would never find out."""
        while not self._stop.is_set():
            self._client.poll(_POLL_S)
            if self._away.is_set():
                with contextlib.suppress(KafkaException):
                    self._client.list_topics(timeout=_LOOK_S)
                    self._back()
