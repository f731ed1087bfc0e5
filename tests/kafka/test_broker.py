"""The broker of the tests: what it keeps over a kill, and what its helpers do."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.kafka.broker import Login
from tests.kafka.fixtures import OwnBroker
from tests.kafka.topics import Sent, create, delete_before, send, widen

_YEARS_AGO = 1_577_836_800_000

_PARENT = """
import os, pathlib, sys
from tests.kafka.broker import Broker
broker = Broker(pathlib.Path(sys.argv[1]))
broker.start()
print(broker.pid, flush=True)
os._exit(0)
"""


def held(brokers: str, topic: str, partition: int, **more: str) -> list[tuple[bytes | None, bytes | None, int]]:
    """Give (key, value, timestamp) of all messages of a partition."""
    consumer = Consumer(
        {"bootstrap.servers": brokers, "group.id": "test", "enable.partition.eof": True, "log_level": 0, **more}
    )
    low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=30)
    consumer.assign([TopicPartition(topic, partition, low)])
    found: list[Message] = []
    while len(found) < high - low:
        found += [message for message in consumer.consume(100, 0.2) if message.error() is None]
    consumer.close()
    return [(message.key(), message.value(), message.timestamp()[1]) for message in found]


def test_messages_keep_their_partition_order_and_old_timestamps(brokers: str, topic: Callable[..., str]) -> None:
    name = topic(2)
    sent = [Sent(b"k", b"%d" % n, _YEARS_AGO + n, n % 2) for n in range(10)]
    assert send(brokers, name, sent) == 10
    for partition in range(2):
        got = held(brokers, name, partition)
        assert got == [(b"k", s.value, s.timestamp) for s in sent if s.partition == partition]


def test_tombstones_and_messages_without_a_key_can_be_sent(brokers: str, topic: Callable[..., str]) -> None:
    name = topic(1)
    send(brokers, name, [Sent(b"k", None, _YEARS_AGO, 0), Sent(None, b"v", _YEARS_AGO, 0)])
    assert held(brokers, name, 0) == [(b"k", None, _YEARS_AGO), (None, b"v", _YEARS_AGO)]


def test_the_front_of_a_partition_can_be_deleted_and_a_topic_widened(brokers: str, topic: Callable[..., str]) -> None:
    name = topic(1)
    send(brokers, name, [Sent(None, b"%d" % n, _YEARS_AGO, 0) for n in range(5)])
    delete_before(brokers, name, {0: 3})
    widen(brokers, name, 3)
    assert [value for _, value, _ in held(brokers, name, 0)] == [b"3", b"4"]
    assert len(AdminClient({"bootstrap.servers": brokers}).list_topics(name).topics[name].partitions) == 3


@pytest.mark.slow
def test_a_killed_broker_comes_back_at_its_port_with_its_data(own_broker: OwnBroker) -> None:
    broker = own_broker()
    create(broker.address, "kept", 1, {"retention.ms": "-1"})
    send(broker.address, "kept", [Sent(b"k", b"v", _YEARS_AGO, 0)])
    broker.kill()
    broker.start()
    assert held(broker.address, "kept", 0) == [(b"k", b"v", _YEARS_AGO)]


@pytest.mark.slow
def test_a_login_is_taken_and_a_wrong_password_refused(own_broker: OwnBroker) -> None:
    broker = own_broker(login=Login(user="edgewatch", password="planted"))
    create(broker.address, "guarded", 1, {"retention.ms": "-1"})
    send(broker.address, "guarded", [Sent(b"k", b"v", _YEARS_AGO, 0)])
    sasl = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": "edgewatch"}
    assert len(held(broker.sasl_address, "guarded", 0, **sasl, **{"sasl.password": "planted"})) == 1
    refused: list[KafkaError] = []
    client = Consumer(
        {
            "bootstrap.servers": broker.sasl_address,
            "group.id": "test",
            "log_level": 0,
            "error_cb": refused.append,
            **sasl,
            "sasl.password": "guess",
        }
    )
    with pytest.raises(KafkaException):
        client.list_topics(timeout=5)
    while not refused:
        client.poll(0.1)
    client.close()
    assert refused[0].code() == KafkaError._AUTHENTICATION


@pytest.mark.slow
@pytest.mark.usefixtures("own_broker")
def test_a_broker_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    parent = subprocess.run(
        [sys.executable, "-c", _PARENT, str(tmp_path)], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    process = Path("/proc") / parent.stdout.strip()
    while process.exists() and "\nState:\tZ" not in (process / "status").read_text():
        pass
