"""Committed: what was committed to a topic, read once up to its end; for topics that say what was done or refused."""

from collections.abc import Iterator, Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from connectors.forward import NotTaken, Setting

ASK_S = 60.0
POLL_S = 1.0

_MANY = 1000


def committed_consumer(settings: Mapping[str, Setting]) -> Consumer:
    """Give a client that reads what is committed, of partitions that are assigned to it; it says where each ends."""
    return Consumer(
        {
            **settings,
            "group.id": "edgewatch-committed",  # every client must have one; none is joined
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
        }
    )


def committed(settings: Mapping[str, Setting], topic: str, most: int | None = None) -> Iterator[Message]:
    """Give the messages of a topic, of each partition at most the last `most`; none where there is no such topic.

    Raises NotTaken.
    """
    consumer = committed_consumer(settings)
    try:
        known = consumer.list_topics(timeout=ASK_S).topics.get(topic)
        left = set(known.partitions) if known is not None else set()
        ends = {each: consumer.get_watermark_offsets(TopicPartition(topic, each), timeout=ASK_S) for each in left}
        starts = {each: low if most is None else max(low, high - most) for each, (low, high) in ends.items()}
        consumer.assign([TopicPartition(topic, each, start) for each, start in starts.items()])
        while left:
            for message in consumer.consume(_MANY, POLL_S):
                error = message.error()
                if error is None:
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:
                    left.discard(message.partition())
                else:
                    raise NotTaken(f"topic {topic} cannot be read: {error.str()}")
    except KafkaException as error:
        raise NotTaken(f"topic {topic} cannot be read: {error.args[0].str()}") from error
    finally:
        consumer.close()
