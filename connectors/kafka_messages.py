"""Kafka messages: what a consumer has fetched, by partition, in order: natively, or by the objects of confluent-kafka.

Natively (`_consume.c`) no message becomes a Python object. It reaches into the client that confluent-kafka made, so only with
versions of it that were tried; elsewhere, or where EDGEWATCH_NATIVE=0 or EDGEWATCH_CONSUME=0 say so, the objects are read,
with the same results.
"""

import functools
import os
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import NamedTuple, Protocol

import numpy as np
from confluent_kafka import Consumer, KafkaError, Message, cimpl
from numpy.typing import NDArray

from connectors import native
from connectors.block import Block

try:
    from connectors import _consume
except ImportError:  # built without a C compiler
    _consume = None  # type: ignore[assignment]

# Version of confluent-kafka -> the size of its Consumer there: what begins with the object's head and librdkafka's handle.
_TRIED = {"2.16.1": 176}

Place = tuple[str, int]  # topic and partition


class Run(NamedTuple):
    """Messages of one partition in order: payloads, offsets (n,) int64 and timestamps (n,) int64 ms, -1 where one has none."""

    place: Place
    payloads: Sequence[bytes | None]
    offsets: NDArray[np.int64]
    stamps: NDArray[np.int64]


class Event(NamedTuple):
    """What a client says of a partition instead of a message: its end, or an error. `offset` is None where it has none."""

    place: Place
    error: KafkaError
    offset: int | None


Fetched = tuple[list[Run], list[Event]]  # runs in order of their places


class Messages(Protocol):
    """Takes what a consumer has fetched; made before its partitions are assigned."""

    def take(self, most: int) -> Fetched:
        """Take at most `most` messages and events, of those that are there; the client's callbacks are called meanwhile."""

    def close(self) -> None:
        """Let go, before the consumer is closed."""


def messages_of(consumer: Consumer, places: Iterable[Place]) -> Messages:
    """Take the messages of a consumer's partitions, natively where that can be."""
    return NativeMessages(consumer, places) if available() else PlainMessages(consumer)


@functools.cache
def _fits() -> bool:
    """Tell whether the client is one that was tried."""
    return _TRIED.get(version("confluent-kafka")) == cimpl.Consumer.__basicsize__


def available() -> bool:
    """Tell whether messages can be taken natively, and shall be."""
    wanted = native.available() and os.environ.get("EDGEWATCH_CONSUME", "1") != "0"
    return wanted and _consume is not None and _fits()


class PlainMessages:
    """Takes them as confluent-kafka's objects."""

    def __init__(self, consumer: Consumer) -> None:
        """Take the consumer."""
        self._consumer = consumer

    def take(self, most: int) -> Fetched:
        """Take what is there."""
        return _sorted(self._consumer.consume(most, 0))  # waiting for more would hold up the other lanes

    def close(self) -> None:
        """Nothing is held."""


class NativeMessages:
    """Takes them as blocks; what is of no partition, and the callbacks, come by polling the consumer still."""

    def __init__(self, consumer: Consumer, places: Iterable[Place]) -> None:
        """Lead the queues of these partitions apart."""
        self._consumer = consumer
        self._places = sorted(places)
        self._queue = _consume.open(cimpl.__file__, consumer, tuple(self._places))

    def take(self, most: int) -> Fetched:
        """Take what is there."""
        told = self._consumer.poll(0)
        runs, events = _sorted([told]) if told is not None else ([], [])
        found = _consume.consume(self._queue, most)
        if found is None:
            return runs, events
        data, counts, table, said = found
        offsets, stamps, start, size = np.frombuffer(table, np.int64).reshape(4, -1)
        first = 0
        for place, count in zip(self._places, counts, strict=True):
            if count:
                rows = slice(first, first + count)
                runs.append(Run(place, Block(data, start[rows], size[rows]), offsets[rows], stamps[rows]))
                first += count
        for number, code, offset, words in said:
            place = ("", 0) if number < 0 else self._places[number]
            events.append(Event(place, KafkaError(code, words), None if offset < 0 else offset))
        return runs, events

    def close(self) -> None:
        """Let go of the queue."""
        _consume.close(self._queue)


def _sorted(messages: Sequence[Message]) -> Fetched:
    """Sort messages by partition, in order."""
    runs: dict[Place, list[Message]] = {}
    events = []
    for message in messages:
        place = (message.topic() or "", message.partition() or 0)
        error = message.error()
        if error is None:
            runs.setdefault(place, []).append(message)
        else:
            events.append(Event(place, error, message.offset()))
    return [_run(place, run) for place, run in sorted(runs.items())], events


def _run(place: Place, messages: Sequence[Message]) -> Run:
    return Run(
        place,
        [message.value() for message in messages],
        np.array([message.offset() for message in messages], np.int64),
        np.array([message.timestamp()[1] for message in messages], np.int64),
    )
