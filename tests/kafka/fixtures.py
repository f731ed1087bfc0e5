"""Fixtures on a real Kafka: `broker`, `brokers` and `topic` share one for the session, `own_broker` starts one apart."""

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest
from confluent_kafka import KafkaException

from tests import services
from tests.fakes.authority import Authority
from tests.kafka import topics
from tests.kafka.broker import Broker, Login, missing


class OwnBroker(Protocol):
    """Starts a broker of the test's own; it is stopped at the test's end."""

    def __call__(self, *, login: Login | None = None, authority: Authority | None = None) -> Broker: ...


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The broker that EDGEWATCH_TEST_KAFKA names."""

    address: str


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker | Elsewhere]:
    """Give the session's broker: not to be stopped or paused."""
    if address := os.environ.get("EDGEWATCH_TEST_KAFKA"):
        yield Elsewhere(address)
        return
    _need_kafka()
    with Broker(tmp_path_factory.mktemp("kafka")) as started:
        yield started


@pytest.fixture(scope="session")
def brokers(broker: Broker | Elsewhere) -> str:
    """Give the host:port of the session's broker."""
    return broker.address


@pytest.fixture
def topic(brokers: str) -> Iterator[Callable[..., str]]:
    """Give a maker of topics on the session's broker that keep what is sent; they go with the test."""
    made: list[str] = []

    def make(
        partitions: int = 4, *, name: str | None = None, retention_ms: int = -1, max_message_bytes: int | None = None
    ) -> str:
        name = name or f"t-{uuid.uuid4().hex[:12]}"
        settings = {"retention.ms": str(retention_ms)}
        if max_message_bytes is not None:
            settings["max.message.bytes"] = str(max_message_bytes)
        topics.create(brokers, name, partitions, settings)
        made.append(name)
        return name

    yield make
    for each in made:
        with contextlib.suppress(KafkaException):  # the test may have deleted it
            topics.delete(brokers, each)


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[OwnBroker]:
    """Give a maker of brokers of the test's own: to stop, pause, kill, log in to."""
    _need_kafka()
    with contextlib.ExitStack() as stack:
        count = iter(range(100))

        def make(*, login: Login | None = None, authority: Authority | None = None) -> Broker:
            return stack.enter_context(Broker(tmp_path / f"kafka-{next(count)}", login=login, authority=authority))

        yield make


def _need_kafka() -> None:
    if lack := missing():
        services.missing("kafka", lack)
