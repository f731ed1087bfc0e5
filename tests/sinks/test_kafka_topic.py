"""Kafka topic: what arrives on a real broker, and which errors a retry can mend."""

import dataclasses
import json
import logging
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError

from flows.options import Reader
from sinks.delivery import ChannelDestination, Delivery
from sinks.failure import notification_items
from sinks.kafka_topic import KafkaTopic, KafkaTopicOptions, build
from sinks.notification import DeliveryError, Notification
from sinks.spool import Spool
from tests.fakes.clock import ManualClock
from tests.fakes.notifications import PROVENANCE, notification, story
from tests.kafka import topics
from tests.kafka.broker import Login
from tests.kafka.fixtures import OwnBroker

PASSWORD = "planted-kafka-password"
MINUTE = 60.0


def options(address: str = "127.0.0.1:9", name: str = "alerts", **changes: Any) -> KafkaTopicOptions:
    known: dict[str, Any] = {"brokers": (address,), "topic": name, "timeout_ms": 20_000}
    return KafkaTopicOptions(**{**known, **changes})


def channel(brokers: str, topic: str, **changes: Any) -> KafkaTopic:
    return KafkaTopic("kafka", options(brokers, topic, **changes))


def login(password: str) -> dict[str, str]:
    plain = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": "edgewatch"}
    return {**plain, "sasl.password": password}


def refused(there: KafkaTopic, said: Notification | None = None) -> DeliveryError:
    with pytest.raises(DeliveryError) as raised:
        there.send(said or notification(), {})
    return raised.value


def ids(brokers: str, topic: str) -> list[str]:
    return [json.loads(message.value() or b"")["id"] for message in topics.held(brokers, topic)]


def test_a_notification_arrives_with_its_provenance_under_its_fingerprint(brokers: str, topic: Callable[..., str]) -> None:
    name = topic(1)
    said = notification(provenance=PROVENANCE)
    assert channel(brokers, name).send(said, {"kept": "x"}) == {"kept": "x"}
    (got,) = topics.held(brokers, name)
    assert (got.value(), got.key()) == (said.document(), b"0123456789abcdef")
    assert dict(got.headers() or []) == {
        "id": b"a" * 32,
        "episode": b"0123456789abcdef:1764547200",
        "status": b"firing",
    }


def test_an_alert_stays_in_order_on_one_partition_and_alerts_spread(brokers: str, topic: Callable[..., str]) -> None:
    name = topic(4)
    there = channel(brokers, name)
    keys = [f"{n:016x}" for n in range(12)]
    for said in story("first", "repeat", "escalated", "resolved"):
        for key in keys:
            there.send(dataclasses.replace(said, fingerprint=key), {})
    parts = [topics.held(brokers, name, partition) for partition in range(4)]
    told = {
        key: [(n, json.loads(m.value())["reason"]) for n, part in enumerate(parts) for m in part if m.key() == key.encode()]
        for key in keys
    }
    assert [[reason for _, reason in each] for each in told.values()] == [["first", "repeat", "escalated", "resolved"]] * 12
    assert [len({place for place, _ in each}) for each in told.values()] == [1] * 12
    assert sum(map(bool, parts)) > 1


@pytest.mark.slow
def test_what_waited_for_a_broker_arrives_in_order(own_broker: OwnBroker, spool: Spool, clock: ManualClock) -> None:
    """Killed, then started again, then frozen: what was in flight may come twice, nothing is lost or overtakes."""
    broker = own_broker()
    topics.create(broker.address, "alerts", 1, {})
    delivery = Delivery(spool, [ChannelDestination(channel(broker.address, "alerts", timeout_ms=2000))], clock=clock)
    lane = delivery.lanes["kafka"]
    said = [dataclasses.replace(each, channels=("kafka",)) for each in story("first", "repeat", "escalated", "resolved")]
    spool.put(notification_items(said[0]))
    while spool.queued(["kafka"]):
        clock.at += max(lane.step(), 0.1)
    for each in said[1:]:
        spool.put(notification_items(each))
    broker.kill()
    lane.step()
    broker.start()
    clock.at += MINUTE
    broker.pause()
    lane.step()
    broker.resume()
    waited = lane.status()
    while spool.queued(["kafka"]):
        clock.at += max(lane.step(), 0.1)
    got = ids(broker.address, "alerts")
    assert (waited.delivered, waited.attempts, lane.status().dead) == (1, 3, 0)
    assert [each for n, each in enumerate(got) if each not in got[:n]] == [each.id for each in said]
    assert sorted(got) == got


@pytest.mark.slow
def test_a_password_opens_the_door_and_a_wrong_one_is_final_and_shown_nowhere(
    own_broker: OwnBroker, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    broker = own_broker(login=Login(user="edgewatch", password=PASSWORD))
    topics.create(broker.address, "alerts", 1, {})
    right = channel(broker.sasl_address, "alerts", client=login(PASSWORD))
    wrong = channel(broker.sasl_address, "alerts", client=login(PASSWORD + "-wrong"), timeout_ms=3000)
    with caplog.at_level(logging.DEBUG):
        right.send(notification(), {})
        error = refused(wrong)
    assert (error.retryable, error.code, ids(broker.address, "alerts")) == (False, "_AUTHENTICATION", ["a" * 32])
    printed = capfd.readouterr()
    shown = [repr(each) for each in (right, wrong, right._options, error, error.__cause__)]
    assert PASSWORD not in " ".join([str(error), caplog.text, printed.out, printed.err, *shown])


@pytest.mark.parametrize(
    ("code", "retried"),
    [
        (KafkaError._ALL_BROKERS_DOWN, True),
        (KafkaError._MSG_TIMED_OUT, True),
        (KafkaError._TIMED_OUT, True),
        (KafkaError._QUEUE_FULL, True),
        (KafkaError.LEADER_NOT_AVAILABLE, True),
        (KafkaError.NOT_ENOUGH_REPLICAS, True),
        (KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND, True),
        (KafkaError.NOT_LEADER_FOR_PARTITION, True),
        (KafkaError.REQUEST_TIMED_OUT, True),
        (KafkaError.KAFKA_STORAGE_ERROR, True),
        (KafkaError.THROTTLING_QUOTA_EXCEEDED, True),
        (KafkaError._AUTHENTICATION, False),
        (KafkaError.CLUSTER_AUTHORIZATION_FAILED, False),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, False),
        (KafkaError.TOPIC_EXCEPTION, False),
        (KafkaError.INVALID_RECORD, False),
        (KafkaError.MSG_SIZE_TOO_LARGE, False),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, False),
    ],
)
def test_what_only_a_person_can_mend_is_not_retried(code: int, retried: bool) -> None:  # noqa: FBT001
    got = channel("127.0.0.1:9", "alerts")._error(KafkaError(code))
    assert (got.retryable, got.code) == (retried, KafkaError(code).name())


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"brokers": ()}, "brokers", "name at least one"),
        ({"brokers": ("localhost",)}, "brokers", "is not host:port"),
        ({"topic": "a b"}, "topic", "is not the name of a topic"),
        ({"topic": ""}, "topic", "is not the name of a topic"),
        ({"client": {"acks": "1"}}, "client", "acks: set by the channel itself"),
        ({"client": {"bootstrap.servers": "x:1"}}, "client", "set by the channel itself"),
        ({"client": {"compresion.type": "lz4"}}, "client", 'No such configuration property: "compresion.type"'),
        ({"client": {"compression.type": "tight"}}, "client", 'Invalid value "tight"'),
        ({"client": {"ssl.key.password": PASSWORD, "compression.type": PASSWORD}}, "client", "***"),
    ],
)
def test_wrong_options_are_refused_without_secrets(changes: dict[str, Any], key: str, words: str) -> None:
    ((got, problem),) = options(**changes).problems()
    assert (got, words in problem, PASSWORD in problem) == (key, True, False)


def test_right_options_are_not(tmp_path: Path) -> None:
    made = options(client={**login(PASSWORD), "compression.type": "zstd", "linger.ms": 5})
    assert (list(made.problems()), build("copy", made).name, PASSWORD in repr(made)) == ([], "copy", False)


def test_the_clients_secrets_come_from_the_environment_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EW_KAFKA_PASSWORD", PASSWORD)
    (tmp_path / "user").write_text("edgewatch\n")
    given = tomllib.loads("""
        brokers = ["127.0.0.1:9"]
        topic = "alerts"
        [client]
        "sasl.username" = "file:user"
        "sasl.password" = "env:EW_KAFKA_PASSWORD"
        "linger.ms" = 5
    """)
    got = [Reader([], tmp_path, secrets).table(KafkaTopicOptions, given, "channel.kafka").client for secrets in (True, False)]
    assert got[0] == {"sasl.username": "edgewatch", "sasl.password": PASSWORD, "linger.ms": 5}
    assert got[1]["sasl.password"] == "env:EW_KAFKA_PASSWORD"
