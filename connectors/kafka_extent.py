"""Kafka extent: from when to when the messages of partitions were produced, for those who asked for another time."""

import time
from collections.abc import Callable, Iterable

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from connectors.event_time import moment_words
from connectors.kafka_client import Watch, open_consumer
from connectors.kafka_options import KafkaOptions
from connectors.plan import PlannedPartition
from connectors.source import SourceError

_WAIT_S = 5.0
_SOON_S = 0.2
_ASK_S = 3.0
_LEADER_MOVES = frozenset({KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE})
AWAY = frozenset({KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._RESOLVE})
_UNKNOWN = frozenset({KafkaError._UNKNOWN_PARTITION, KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART})


def extents(consumer: Consumer, partitions: Iterable[PlannedPartition]) -> list[str]:
    """Say of each partition what is there: `topic/0: 2025-12-01 00:00:00 to ... UTC`. Raises KafkaException."""
    out = []
    for planned in partitions:
        place = TopicPartition(planned.topic, int(planned.partition))
        low, high = consumer.get_watermark_offsets(place, timeout=_WAIT_S)
        first = produced_at(consumer, planned, low) if low < high else None
        last = produced_at(consumer, planned, high - 1) if low < high else None
        out.append(f"{planned.name}: {_words(first, last)}")
    return out


def low_and_high(
    consumer: Consumer, place: TopicPartition, *, timeout_s: float, refused: Callable[[], bool] = lambda: False
) -> tuple[int, int]:
    """Give the first offset of a partition and the one behind its last, also as its leader moves. Raises KafkaException.

    Once the client is `refused` nothing is waited for: that a person has to mend.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        left = min(max(deadline - time.monotonic(), 1.0), _ASK_S)
        try:
            low, high = consumer.get_watermark_offsets(place, timeout=left)
        except KafkaException as error:
            code = error.args[0].code()
            consumer.poll(0)  # has the client say what is wrong with its connections
            if code in _UNKNOWN and (why := _why_unknown(consumer, place.topic, left)) is not None:
                raise KafkaException(why) from error
            if refused() or code not in _LEADER_MOVES | AWAY | _UNKNOWN or time.monotonic() > deadline:
                raise
            time.sleep(_SOON_S)
        else:
            return int(low), int(high)


def _why_unknown(consumer: Consumer, topic: str, timeout_s: float) -> KafkaError | None:
    """Ask what the broker says of a topic that the client does not find: perhaps that its user has no right to it."""
    try:
        there = consumer.list_topics(topic, timeout=timeout_s).topics.get(topic)
    except KafkaException:
        return None
    return there.error if there is not None and there.error is not None and Watch.is_refusal(there.error) else None


def produced_at(consumer: Consumer, planned: PlannedPartition, offset: int) -> int | None:
    """Give when the message at an offset, or the next one behind it, was produced (ms); None where none comes."""
    consumer.assign([TopicPartition(planned.topic, int(planned.partition), offset)])
    deadline = time.monotonic() + _WAIT_S
    try:
        while time.monotonic() < deadline:
            for message in consumer.consume(1, 0.2):
                if message.error() is not None:
                    return None  # the end: what is there is no message
                stamp = int(message.timestamp()[1])
                return stamp if stamp >= 0 else None
    finally:
        consumer.unassign()
    return None


def what_is_there(options: KafkaOptions, partitions: Iterable[PlannedPartition]) -> list[str]:
    """Say what is there, with a client of its own; nothing where the brokers do not answer."""
    try:
        consumer = open_consumer(options, Watch(", ".join(options.brokers)))
    except SourceError:
        return []
    try:
        return extents(consumer, partitions)
    except KafkaException:
        return []
    finally:
        consumer.close()


def _words(first: int | None, last: int | None) -> str:
    if first is None:
        return "no message"
    return f"produced from {moment_words(first)} to {moment_words(first if last is None else last)}"
