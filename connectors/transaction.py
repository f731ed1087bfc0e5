"""Transaction: messages to Kafka that become readable together with the word that their file is done, or not at all.

Guarantee: exactly once for readers with `isolation.level=read_committed`, as the flow is. The same identity started again first
ends what its predecessor left open (Kafka's fencing), then reads which files are done.
"""

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import NoReturn

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from connectors.committed import committed
from connectors.forward import Headers, NotTaken, Setting, shared_settings

_START_S = 60.0
_COMMIT_S = 60.0
_FULL_S = 0.1


class TakenOver(Exception):
    """Another process follows with the same identity: it goes on, this one ends."""


class Transaction:
    """A transactional producer; one transaction at a time."""

    def __init__(self, brokers: Sequence[str], client: Mapping[str, Setting], *, identity: str, timeout_ms: int) -> None:
        """Take over from whoever had the identity. Raises NotTaken."""
        self._brokers = ", ".join(brokers)
        self._client = Producer(
            {
                "compression.type": "lz4",
                "linger.ms": 5,
                "queue.buffering.max.kbytes": 65_536,
                "message.timeout.ms": timeout_ms,
                **shared_settings(brokers, client),
                "transactional.id": identity,
                "transaction.timeout.ms": timeout_ms,
            }
        )
        try:
            self._client.init_transactions(_START_S)
        except KafkaException as error:
            self._refuse(error)

    def begin(self) -> None:
        """Begin; what is sent is not readable yet."""
        try:
            self._client.begin_transaction()
        except KafkaException as error:
            self._refuse(error)

    def send(self, topic: str, value: bytes, key: bytes, *, headers: Headers = ()) -> None:
        """Queue a message, stamped now; waits while the queue is full. Raises NotTaken, TakenOver."""
        while True:
            try:
                now = time.time_ns() // 1_000_000
                self._client.produce(topic, value, key or None, timestamp=now, headers=list(headers))
                self._client.poll(0)
                return
            except BufferError:
                self._client.poll(_FULL_S)
            except KafkaException as error:
                self._refuse(error)

    def commit(self) -> None:
        """Make all of it readable. Raises NotTaken where none of it is, TakenOver."""
        while True:
            try:
                self._client.commit_transaction(_COMMIT_S)
                return
            except KafkaException as error:
                if not error.args[0].retriable():
                    self._refuse(error)

    def abort(self) -> None:
        """Forget what was sent; where that fails, the next transaction or the broker does it."""
        with contextlib.suppress(KafkaException):
            self._client.abort_transaction(_COMMIT_S)

    def _refuse(self, error: KafkaException) -> NoReturn:
        found: KafkaError = error.args[0]
        if found.code() in (KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED):
            raise TakenOver("another process took this folder over; only one may follow it") from error
        if found.fatal():
            raise TakenOver(f"Kafka at {self._brokers} ended this producer: {found.str()}; start again") from error
        raise NotTaken(f"Kafka at {self._brokers} did not take a file: {found.str()}") from error


def ensure_compacted(settings: Mapping[str, Setting], topic: str) -> None:
    """Make a compacted topic where it is not there. Raises NotTaken."""
    admin = AdminClient(dict(settings))
    wanted = NewTopic(topic, num_partitions=1, config={"cleanup.policy": "compact"})
    try:
        admin.create_topics([wanted])[topic].result(_START_S)
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise NotTaken(f"topic {topic} cannot be made: {error.args[0].str()}") from error


def read_all(settings: Mapping[str, Setting], topic: str) -> dict[str, bytes]:
    """Give the last value by key of all that was committed to a topic. Raises NotTaken."""
    keyed = ((message.key(), message.value() or b"") for message in committed(settings, topic))
    return {key.decode(): value for key, value in keyed if key is not None}
