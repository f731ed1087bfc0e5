"""What tests do to topics: create, fill, read, cut off at the front, widen, delete."""

import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic  # type: ignore[attr-defined]

_WAIT_S = 30.0


class Sent(NamedTuple):
    """A message to send."""

    key: bytes | None
    value: bytes | None
    timestamp: int  # ms UTC: when it was produced
    partition: int


def create(brokers: str, name: str, partitions: int, settings: Mapping[str, str], *, copies: int = 1) -> None:
    """Make a topic and wait until it takes messages."""
    admin = _admin(brokers)
    deadline = time.monotonic() + _WAIT_S
    while True:
        try:
            admin.create_topics([NewTopic(name, partitions, copies, config=dict(settings))])[name].result(_WAIT_S)
            break
        except KafkaException as error:
            # A busy machine kept the broker from its own controller for a moment.
            if "fenced" not in error.args[0].str() or time.monotonic() > deadline:
                raise
            time.sleep(0.2)
    while len(admin.list_topics(name, timeout=_WAIT_S).topics[name].partitions) < partitions:
        pass


def send(brokers: str, topic: str, messages: Iterable[Sent]) -> int:
    """Send messages, each to the partition it names, in order; give how many the broker has."""
    failed: list[str] = []

    def told(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(str(error))

    producer = Producer(
        {"bootstrap.servers": brokers, "enable.idempotence": True, "linger.ms": 5, "on_delivery": told, "log_level": 0}
    )
    count = 0
    for key, value, timestamp, partition in messages:
        while True:
            try:
                producer.produce(topic, value, key, partition, timestamp=timestamp)
                break
            except BufferError:
                producer.poll(0.1)
        count += 1
    left = producer.flush(_WAIT_S * 2)
    if left or failed:
        raise AssertionError(f"{topic}: {left} messages without an answer, {len(failed)} refused {failed[:1]}")
    return count


def held(brokers: str, topic: str, partition: int = 0) -> list[Message]:
    """Give all messages of a partition."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "test", "log_level": 0})
    low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_WAIT_S)
    consumer.assign([TopicPartition(topic, partition, low)])
    found: list[Message] = []
    while len(found) < high - low:
        found += [message for message in consumer.consume(100, 0.2) if message.error() is None]
    consumer.close()
    return found


def leaders(brokers: str, topic: str) -> dict[int, int]:
    """Give partition -> the broker that leads it."""
    found = _admin(brokers).list_topics(topic, timeout=_WAIT_S).topics[topic].partitions
    return {number: each.leader for number, each in found.items()}


def end(brokers: str, topic: str, partition: int = 0) -> int:
    """Give the offset behind the last message of a partition."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "test", "log_level": 0})
    _, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_WAIT_S)
    consumer.close()
    return int(high)


def delete_before(brokers: str, topic: str, offsets: Mapping[int, int]) -> None:
    """Delete what lies before an offset of a partition, as retention does."""
    admin = _admin(brokers)  # its answers are lost with it
    asked = admin.delete_records([TopicPartition(topic, p, at) for p, at in offsets.items()])
    for future in asked.values():
        future.result(_WAIT_S)


def widen(brokers: str, topic: str, partitions: int) -> None:
    """Give a topic more partitions."""
    admin = _admin(brokers)
    admin.create_partitions([NewPartitions(topic, partitions)])[topic].result(_WAIT_S)


def delete(brokers: str, topic: str) -> None:
    """Delete a topic."""
    admin = _admin(brokers)
    admin.delete_topics([topic])[topic].result(_WAIT_S)


def _admin(brokers: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": brokers, "log_level": 0})
