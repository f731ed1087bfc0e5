"""Lateness: how far behind the newest record others come, measured on the last messages of each partition of a topic.

A record's delay is the highest event time before it in its partition, minus its own: that is what an allowed lateness has to
cover. The first part of the sample only says how high the event times are; what is late is judged as a run would judge it.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from numpy.typing import NDArray

from connectors.archive import Reading
from connectors.batch import UNHEARD
from connectors.decoder import Decoder
from connectors.kafka_client import Watch, open_consumer
from connectors.kafka_options import KafkaOptions
from connectors.plan import PlannedPartition
from connectors.progress import NO_LIMIT, Chunk, Progress, Timing, read_batch
from connectors.source import SourceError

_TIMEOUT_S = 30.0
_SILENT_S = 10.0
_POLL, _FIRST_POLL = 500, 4
_RECORDS = 50_000  # of a partition: a message may hold very many
_WARM_UP = 10  # a tenth of the sample
Told = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delays:
    """What was measured of one topic: delays (n,) in ms of the records behind the warm-up, sorted, and how many were late."""

    topic: str
    partitions: int
    messages: int
    delays: NDArray[np.int64]
    late: int
    allowed_ms: int
    first: int | None
    last: int | None

    def at(self, share: float) -> int:
        """Give the delay (ms) that this share of the records does not exceed."""
        if not len(self.delays):
            return 0
        return int(self.delays[min(int(np.ceil(share * len(self.delays))), len(self.delays)) - 1])


def measure(
    options: KafkaOptions, reading: Reading, partitions: Sequence[PlannedPartition], *, messages: int, told: Told
) -> list[Delays]:
    """Measure each topic on the last `messages` of each of its partitions, up to their ends now, or 50 000 records of these.

    `told` hears how many records were read. Offsets are not committed. Raises SourceError.
    """
    watch = Watch(", ".join(options.brokers))
    consumer = open_consumer(options, watch)
    try:
        samples = [_Sample(planned, reading) for planned in partitions]
        for sample in samples:
            for found in _read(consumer, watch, sample, messages):
                sample.take(found)
                told(sum(each.progress.records for each in samples))
    except KafkaException as error:
        raise SourceError(watch.words(error.args[0])) from error
    finally:
        consumer.close()
    topics = dict.fromkeys(sample.planned.topic for sample in samples)
    return [_joined([sample for sample in samples if sample.planned.topic == topic]) for topic in topics]


class _Sample:
    """What was read of one partition."""

    def __init__(self, planned: PlannedPartition, reading: Reading) -> None:
        self.planned = planned
        self.progress = Progress(topic=planned.topic, partition=planned.partition)
        self.messages = 0
        self.begin = 0
        self._timing = Timing(pane_ms=reading.pane_ms, allowed_lateness_ms=planned.allowed_lateness_ms)
        self._max_ahead_ms = reading.max_ahead_ms
        self._decoder = Decoder(reading.datasets[planned.dataset], frozenset())
        self._times: list[NDArray[np.int64]] = []
        self._late: list[NDArray[np.bool_]] = []

    @property
    def place(self) -> tuple[str, int]:
        return self.planned.topic, int(self.planned.partition)

    def wanted(self) -> int:
        """Give how many messages may come next; 0 where there are records enough."""
        if not self.messages:
            return _FIRST_POLL
        left = _RECORDS - self.progress.records
        return min(max(left * self.messages // max(self.progress.records, 1), 1), _POLL) if left > 0 else 0

    def take(self, messages: Sequence[Message]) -> None:
        """Decode messages as a run does; what it would refuse is left out."""
        stamps = np.array([message.timestamp()[1] for message in messages], np.int64)
        limits = np.where(stamps >= 0, stamps + self._max_ahead_ms, NO_LIMIT)
        offsets = np.array([message.offset() for message in messages], np.int64)
        payloads = [message.value() for message in messages]
        batch = read_batch(self._decoder, [Chunk(self.progress, self._timing, payloads, offsets, limits)])
        self.messages += len(messages)
        self._times.append(batch.times)
        self._late.append(batch.late)

    def delays(self) -> tuple[NDArray[np.int64], int]:
        """Give the delays behind the warm-up (n,), and how many of these records were late."""
        times = np.concatenate([np.zeros(0, np.int64), *self._times])
        late = np.concatenate([np.zeros(0, np.bool_), *self._late])
        before = np.maximum.accumulate(np.concatenate(([UNHEARD], times)))[:-1]
        # At the very beginning of a partition there is nothing that the sample does not know.
        warm = 0 if self.begin == 0 else len(times) // _WARM_UP
        kept = slice(max(warm, 1) if len(times) else 0, None)
        return np.maximum(before[kept] - times[kept], 0), int(late[kept].sum())


def _read(consumer: Consumer, watch: Watch, sample: _Sample, messages: int) -> Iterable[list[Message]]:
    """Read the last messages of one partition, in order, up to where it ends now or there are records enough."""
    name = sample.planned.name
    low, high = consumer.get_watermark_offsets(TopicPartition(*sample.place), timeout=_TIMEOUT_S)
    sample.begin = max(low, high - messages)
    if sample.begin >= high:
        return
    consumer.assign([TopicPartition(*sample.place, sample.begin)])
    heard = time.monotonic()
    while True:
        found = consumer.consume(sample.wanted(), 0.2)
        ended = any(_is_end(message.error()) for message in found)
        whole = [message for message in found if message.error() is None]
        yield [message for message in whole if _offset(message) < high]
        if ended or not sample.wanted() or any(_offset(message) >= high - 1 for message in whole):
            return
        heard = time.monotonic() if whole else heard
        if watch.fatal is not None or time.monotonic() - heard > _SILENT_S:
            raise SourceError(watch.fatal or f"{name}: offsets {sample.begin} to {high} did not come within {_SILENT_S:g} s")


def _is_end(error: KafkaError | None) -> bool:
    return error is not None and error.code() == KafkaError._PARTITION_EOF


def _offset(message: Message) -> int:
    return int(message.offset() or 0)


def _joined(samples: Sequence[_Sample]) -> Delays:
    """Put the partitions of a topic together."""
    found = [sample.delays() for sample in samples]
    first = [sample.progress.first_event for sample in samples if sample.progress.first_event is not None]
    last = [sample.progress.last_event for sample in samples if sample.progress.last_event is not None]
    return Delays(
        topic=samples[0].planned.topic,
        partitions=len(samples),
        messages=sum(sample.messages for sample in samples),
        delays=np.sort(np.concatenate([delays for delays, _ in found])),
        late=sum(late for _, late in found),
        allowed_ms=samples[0].planned.allowed_lateness_ms,
        first=min(first, default=None),
        last=max(last, default=None),
    )
