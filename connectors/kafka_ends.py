"""Kafka ends: how far each partition goes at the broker, asked by a client of its own beside those that read.

So it is known what waits, and whether the broker answers at all, also while nothing is read.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from confluent_kafka import OFFSET_END, KafkaException, TopicPartition

from connectors.kafka import topics_of
from connectors.kafka_client import Watch, open_consumer
from connectors.kafka_options import KafkaOptions
from connectors.plan import PlannedPartition
from connectors.source import SourceError


class Ends(Protocol):
    """Who is asked for the ends of partitions."""

    brokers: str

    def ask(self) -> Mapping[str, int]:
        """Give partition -> the offset behind its last message; a partition without an answer is left out."""

    def grown(self) -> Sequence[str]:
        """Say which topics have more partitions than are planned; nothing where that cannot be known now."""

    def close(self) -> None:
        """Let go of connections."""


class KafkaEnds:
    """Asks the brokers of a configuration; one call, however many partitions."""

    def __init__(self, options: KafkaOptions, partitions: Iterable[PlannedPartition], *, timeout_s: float) -> None:
        """Open a client that reads nothing."""
        self.brokers = ", ".join(options.brokers)
        self._timeout_s = timeout_s
        self._options, self._watch = options, _Silent(self.brokers)
        self._consumer = open_consumer(options, self._watch)
        self._names = {(p.topic, int(p.partition)): p.name for p in partitions}

    def ask(self) -> Mapping[str, int]:
        """Give the end of every partition that an answer came for within the time."""
        wanted = [TopicPartition(topic, number, OFFSET_END) for topic, number in self._names]
        try:
            # A time of -1 is the end in the protocol; so one call asks for all.
            found = self._consumer.offsets_for_times(wanted, timeout=self._timeout_s)
        except KafkaException:
            self._consumer.poll(0)
            return {}
        self._consumer.poll(0)
        return {self._names[p.topic, p.partition]: p.offset for p in found if p.error is None and p.offset >= 0}

    def grown(self) -> Sequence[str]:
        """Say which topics of the configuration have more partitions than are planned."""
        try:
            found = topics_of(self._consumer, self._watch, self._options, self._timeout_s)
        except SourceError:
            return ()
        names = self._names.values()
        return [
            f"{topic} has got partitions"
            for topic, numbers in found.items()
            if any(f"{topic}/{n}" not in names for n in numbers)
        ]

    def close(self) -> None:
        """Close the client."""
        self._consumer.close()


class _Silent(Watch):
    """Says nothing: the lanes' clients have said it."""

    def on_error(self, error: object) -> None:
        """Leave it to the answers that do not come."""
