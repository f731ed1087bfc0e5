"""A topic: a real Kafka broker behind a gate that refuses, holds back and breaks what is produced."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from confluent_kafka import KafkaError, Message

from sinks.kafka_topic import KafkaTopicOptions
from tests import services
from tests.fakes.gate import Gate
from tests.kafka import topics
from tests.sinks.conformance.entry import Case, Entry, NotMeant, There, Told, to

_PASSWORD = "planted-kafka-password"
_LARGEST = 20_000
_PATIENCE_MS = 2000
# What a broker refuses for good, and what the client tries again by itself until the attempt's time is over.
_FINAL = (
    *(KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED, KafkaError.INVALID_RECORD),
    *(KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE, KafkaError.POLICY_VIOLATION),
    *(KafkaError.TOPIC_EXCEPTION, KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT),
)
_TRIED_AGAIN = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.NOT_ENOUGH_REPLICAS, KafkaError.KAFKA_STORAGE_ERROR)
_SAID = (KafkaError.THROTTLING_QUOTA_EXCEEDED, KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER)


@contextmanager
def _opened(request: pytest.FixtureRequest) -> Iterator[There]:
    brokers = request.getfixturevalue("brokers")
    if brokers.rpartition(":")[0] not in ("127.0.0.1", "localhost"):
        services.missing("kafka", "the gate needs a broker on this machine")
    name = request.getfixturevalue("topic")(1, max_message_bytes=_LARGEST)
    with ExitStack() as stack:
        gate = stack.enter_context(Gate(brokers))

        def meet(fault: int | str | None) -> None:
            gate.fault = fault

        yield There(
            options=KafkaTopicOptions(brokers=(gate.address,), topic=name, client={"sasl.password": _PASSWORD}),
            meet=meet,
            mend=lambda: meet(None),
            leave=stack.close,
            told=lambda: [_told(each) for each in _apart(topics.held(brokers, name))],
            shown=lambda: json.dumps(json.loads(topics.held(brokers, name)[-1].value() or b""), ensure_ascii=False),
            wrong=list,
        )


def _apart(messages: list[Message]) -> list[Message]:
    """Leave out repeats, as readers do: by the header `id`."""
    found: dict[object, Message] = {}
    for each in messages:
        found.setdefault(dict(each.headers() or [])["id"], each)
    return list(found.values())


def _told(message: Message) -> Told:
    said = json.loads(message.value() or b"")
    return Told(said["rule"], said["status"])


def _answers() -> Iterator[Case]:
    yield Case(
        name="no such topic", change=to(topic="not-there"), retried=False, code="UNKNOWN_TOPIC_OR_PART", words="not-there"
    )
    for code in _FINAL:
        yield Case(name=KafkaError(code).name(), fault=code, retried=False, code=KafkaError(code).name())
    for code in _TRIED_AGAIN:
        yield Case(name=KafkaError(code).name(), fault=code, retried=True, code="_MSG_TIMED_OUT", slow=True)
    for code in _SAID:
        yield Case(name=KafkaError(code).name(), fault=code, retried=True, code=KafkaError(code).name())


def _broken(fault: str, words: str) -> Case:
    return Case(name=fault, fault=fault, retried=True, words=words, slow=True)


KAFKA = Entry(
    name="kafka",
    kind="kafka",
    open=_opened,
    secrets=(_PASSWORD,),
    answers=tuple(_answers()),
    waits=NotMeant("a broker that throttles says for how long to the client, which keeps to it by itself"),
    breaks=(
        *(_broken(fault, "Message timed out") for fault in ("silent", "late", "lost")),
        _broken("reset", "Message timed out; 1/1 brokers are down"),
    ),
    away=(Case(name="nobody listens", retried=True, code="_TRANSPORT", words="127.0.0.1", slow=True),),
    false_success=NotMeant("a message is acknowledged by an error code of its own, and zero is the only success"),
    echoes=(
        Case(name="refused", fault=KafkaError.TOPIC_AUTHORIZATION_FAILED, retried=False),
        _broken("reset", ""),
    ),
    passing=KafkaError.THROTTLING_QUOTA_EXCEEDED,
    repeats=1,
    injections=NotMeant("value, key and headers of a message are bytes with a length, which no byte in them ends"),
    reads=("high_error_rate on api.example.com", "0.0731", "/api/checkout", "8f1a2b3c4d5e6f70"),
    too_large=(30_000, 3_000_000),  # the broker refuses the one, the client the other
    moved=NotMeant("a topic is a place: with another one the channel of that name is elsewhere, which a person chose"),
    patience_ms=_PATIENCE_MS,
    needs_kafka=True,
)
