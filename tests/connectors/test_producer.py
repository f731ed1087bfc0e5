"""The producer against a real broker: what arrives is what the traffic holds, in order, with the time it was produced."""

import json
import time
from collections.abc import Callable

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, Consumer, Message

from connectors.producer import ProduceError, produce
from connectors.traffic import START_MS, Traffic, TrafficOptions

TRAFFIC = Traffic(TrafficOptions(seed=3, hours=0.2, records_per_second=10))


def read(brokers: str, topic: str) -> dict[int, list[Message]]:
    """Give all messages of a topic by partition."""
    consumer = Consumer(
        {"bootstrap.servers": brokers, "group.id": "test", "auto.offset.reset": "earliest", "enable.partition.eof": True}
    )
    found: dict[int, list[Message]] = {}
    metadata = consumer.list_topics(topic, timeout=30).topics[topic]
    ends: set[int] = set()
    consumer.subscribe([topic])
    while len(ends) < len(metadata.partitions):
        for message in consumer.consume(1000, 0.5):
            if message.error():
                ends.add(message.partition())
            else:
                found.setdefault(message.partition(), []).append(message)
    consumer.close()
    return found


def lines(messages: dict[int, list[Message]]) -> list[str]:
    return sorted(line for each in messages.values() for m in each for line in m.value().decode().splitlines())


def texts(dataset: str) -> list[str]:
    return sorted(text for minute in TRAFFIC.minutes() for text in minute.datasets[dataset].texts)


def event_ms(line: str) -> int:
    return int(json.loads(line)["EdgeEndTimestamp"] // 1_000_000)


@pytest.mark.parametrize("batch", [1, 50])
def test_every_record_arrives_once(brokers: str, topic: Callable[..., str], batch: int) -> None:
    topics = {"http_requests": topic(), "performance": topic()}
    got = produce(TRAFFIC, brokers, topics, batch=batch)
    assert got.records == TRAFFIC.total
    for dataset, name in topics.items():
        messages = read(brokers, name)
        assert lines(messages) == texts(dataset)
    assert got.messages == TRAFFIC.total if batch == 1 else got.messages <= TRAFFIC.total / 50 + 2


def test_a_message_carries_the_time_of_producing_and_the_ray_id(brokers: str, topic: Callable[..., str]) -> None:
    name = topic()
    produce(TRAFFIC, brokers, {"http_requests": name}, batch=20)
    for messages in read(brokers, name).values():
        stamps = [message.timestamp() for message in messages]
        assert {kind for kind, _ in stamps} == {TIMESTAMP_CREATE_TIME}
        assert [ms for _, ms in stamps] == sorted(ms for _, ms in stamps)
        for message in messages:
            held = message.value().decode().splitlines()
            assert message.key().decode() == json.loads(held[0])["RayID"]
            assert START_MS <= max(map(event_ms, held)) <= message.timestamp()[1]


def test_at_a_rate_the_records_are_made_for_now(brokers: str, topic: Callable[..., str]) -> None:
    name = topic(retention_ms=3_600_000)
    before = int(time.time() * 1000)
    second = Traffic(TrafficOptions(hours=2 / 3600))
    got = produce(second, brokers, {"http_requests": name}, rate=200, batch=7)
    after = int(time.time() * 1000)
    messages = read(brokers, name)
    assert got.records == len(lines(messages)) == pytest.approx(400 * 0.88, rel=0.1)
    for each in messages.values():
        for message in each:
            assert before <= message.timestamp()[1] <= after
            assert before <= min(map(event_ms, message.value().decode().splitlines()))


def test_progress_counts_the_records_that_were_handed_over(brokers: str, topic: Callable[..., str]) -> None:
    seen: list[tuple[int, int]] = []
    topics = {"http_requests": topic(), "performance": topic()}
    produce(TRAFFIC, brokers, topics, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (TRAFFIC.total, TRAFFIC.total)


def test_a_missing_topic_is_named_with_the_way_to_make_it(brokers: str) -> None:
    with pytest.raises(ProduceError) as caught:
        produce(TRAFFIC, brokers, {"http_requests": "not.there"})
    got = str(caught.value)
    assert got.startswith(f"topic not.there is not there at {brokers}: make it with `kafka-topics.sh")
    assert "\n" not in got


def test_a_topic_that_would_delete_old_records_is_refused(brokers: str, topic: Callable[..., str]) -> None:
    name = topic(retention_ms=3_600_000)
    with pytest.raises(ProduceError, match=rf"topic {name} at .* keeps 1 h, these records are older"):
        produce(TRAFFIC, brokers, {"http_requests": name})
    assert read(brokers, name) == {}


def test_a_record_that_the_topic_refuses_is_an_error_that_names_it(brokers: str, topic: Callable[..., str]) -> None:
    name = topic(max_message_bytes=2_000)
    with pytest.raises(ProduceError, match=rf"topic {name} at .* did not take a record"):
        produce(TRAFFIC, brokers, {"http_requests": name}, batch=100, client={"compression.type": "none"})


@pytest.mark.slow
def test_a_broker_that_does_not_answer_is_named() -> None:
    with pytest.raises(ProduceError, match=r"no Kafka broker answers at 127\.0\.0\.1:1 .*kafka-compose\.yml"):
        produce(TRAFFIC, "127.0.0.1:1", {"http_requests": "any"})
