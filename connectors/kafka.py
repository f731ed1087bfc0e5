"""Kafka: the topics of a configuration as a planned source, live or bounded by offsets that were fixed at the start.

Guarantee: every record in [start, end) of each partition is read once into the state; a resume reads on from the snapshot.
Why not the stock source: it costs eight calls a message.
"""

import logging
import re
from collections import Counter
from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path

import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition

from connectors.advances import Advance, Advances
from connectors.archive import Reading
from connectors.event_time import moment_words
from connectors.hold import Hold
from connectors.kafka_client import Watch, open_consumer, reason, topics_there
from connectors.kafka_extent import extents, low_and_high, produced_at
from connectors.kafka_lane import KafkaLane
from connectors.kafka_options import KafkaOptions
from connectors.plan import Plan, PlannedPartition, grown, load_or_create, make_plan, write_plan
from connectors.recorded import Recorded
from connectors.source import SourceError
from connectors.steady_clock import SteadyClock
from connectors.vitals import Vitals

_log = logging.getLogger(__name__)
_START_S = 30.0


class KafkaSource:
    """The topics of a configuration."""

    def __init__(  # noqa: PLR0913 (what a source is told)
        self,
        options: KafkaOptions,
        reading: Reading,
        folder: Path,
        *,
        live: bool,
        idle_after_ms: int,
        begin: str | None = None,
        recorded: Recorded | None = None,
        clock: SteadyClock | None = None,
    ) -> None:
        """Plan the reading, or take the plan in the run's `folder`. Raises SourceError.

        `begin` is where a first start reads from (earliest, latest or a time); default: the options' `start`. `recorded` is
        what a live run has written down: a replay then reads what that run read. `clock` is what live lanes go by.
        """
        self._options = options
        self._reading = reading
        self._folder = folder
        self._live = live
        self._idle_after_ms = idle_after_ms
        self._begin = begin or options.start
        self._recorded = recorded or Recorded()
        self._clock = clock
        identity = self._identity()
        self.plan: Plan = load_or_create(folder / "plan.json", lambda: make_plan(self._look(), identity), identity)
        if not live:
            self._say_what_has_grown()
        names = [partition.name for partition in self.plan.partitions]
        self._hold = Hold(folder / "hold", names, ahead_ms=4 * reading.length_ms)
        self.vitals = Vitals(folder / "vitals", names) if live else None

    def _identity(self) -> dict[str, str]:
        topics = {name: options.dataset for name, options in self._options.topic_options().items()}
        return {
            "topics": ", ".join(f"{name} = {dataset}" for name, dataset in sorted(topics.items())),
            "allowed_lateness": ", ".join(
                f"{name} {self._reading.allowed_lateness_ms if o.allowed_lateness_ms is None else o.allowed_lateness_ms} ms"
                for name, o in sorted(self._options.topic_options().items())
            ),
            "window": f"{self._reading.length_ms} ms every {self._reading.pane_ms} ms",
            "range": f"{self._reading.start} to {self._reading.end}",
            "mode": "live" if self._live else "bounded",
        }

    def grow(self, closed: Mapping[str, int]) -> list[str]:
        """Take partitions that topics have got since the plan into it; gives their names. Raises SourceError.

        Only one process of a run may do it, before the others open the plan. `closed` says up to where (ms) windows of each
        dataset are judged: what a new partition holds of them is late, and that is written down for a resume and a replay.
        """
        known = {partition.name: partition for partition in self.plan.partitions}
        found = look_at_partitions(
            self._options, allowed_lateness_ms=self._reading.allowed_lateness_ms, timeout_s=_START_S, begins=True
        )
        if gone := sorted(known.keys() - {each.name for each in found}):
            raise SourceError(
                f"{gone[0]} is in the plan of the run in {self._folder}, and the topic has no such partition any more; "
                "start in a new state folder ([engine].directory) to read the topics as they are"
            )
        new = [each for each in found if each.name not in known]
        if new:
            self.plan = grown(self.plan, new)
            for lane in self.plan.lane_names():
                self._advance_new(lane, {each.name for each in new}, closed)
            write_plan(self._folder / "plan.json", self.plan)
            _log.warning("new partitions are read from their first record on: %s", ", ".join(each.name for each in new))
        return [each.name for each in new]

    def _advance_new(self, lane: str, new: Collection[str], closed: Mapping[str, int]) -> None:
        """Write down that windows which are judged are over for new partitions, too."""
        notes = [
            Advance(each.name, each.start, high=closed[each.dataset] + each.allowed_lateness_ms)
            for each in self.plan.of_lane(lane)
            if each.name in new and each.dataset in closed
        ]
        if notes:
            advances = Advances(self._folder / "advances" / f"{lane}.ndjson")
            advances.write(notes)
            advances.close()

    def _say_what_has_grown(self) -> None:
        """Say that a topic has got partitions since the plan: what is in them came after the ends that were fixed."""
        planned = Counter(partition.topic for partition in self.plan.partitions)
        for topic, count in look_at_topics(self._options, timeout_s=_START_S).items():
            if topic in planned and count != planned[topic]:
                _log.warning(
                    "topic %s has %d partitions now; this run reads the %d that there were when it was begun, up to their ends "
                    "then. Start in a new folder to read them all",
                    topic,
                    count,
                    planned[topic],
                )

    def lanes(self) -> list[str]:
        """Give the names of the lanes."""
        return self.plan.lane_names()

    def partitions(self) -> dict[str, list[str]]:
        """Give dataset -> names of partitions."""
        return self.plan.by_dataset()

    def open(self, lane: str, state: bytes | None) -> KafkaLane:
        """Open a lane, new or from a snapshot."""
        watch = Watch(", ".join(self._options.brokers))
        planned = self.plan.of_lane(lane)
        return KafkaLane(
            open_consumer(self._options, watch, self.plan.lanes),
            planned,
            self._reading,
            self._hold,
            watch,
            state,
            self._folder / "advances" / f"{lane}.ndjson" if self._live else None,
            self._idle_after_ms,
            self.vitals,
            recorded=self._recorded.advances,
            clock=self._clock,
        )

    def _look(self) -> list[PlannedPartition]:
        """Ask the brokers for partitions and offsets."""
        watch = Watch(", ".join(self._options.brokers))
        consumer = open_consumer(self._options, watch)
        try:
            topics = topics_of(consumer, watch, self._options, _START_S)
            found = [
                self._planned(consumer, topic, number) for topic, partitions in topics.items() for number in sorted(partitions)
            ]
            self._look_at_range(consumer, found)
            return found
        except KafkaException as error:
            raise SourceError(watch.words(error.args[0])) from error
        finally:
            consumer.close()

    def _look_at_range(self, consumer: Consumer, found: list[PlannedPartition]) -> None:
        """Refuse a range behind everything that is there, and say where the beginning of one is not there any more."""
        start = self._reading.start
        if start is None or self._live:
            return
        if all(planned.end is not None and planned.start >= planned.end for planned in found):
            there = "; ".join(extents(consumer, found))
            raise SourceError(f"there is no record from {moment_words(start)} on. What is there: {there}")
        for planned in found:
            place = TopicPartition(planned.topic, int(planned.partition))
            low, high = low_and_high(consumer, place, timeout_s=_START_S)
            if 0 < low == planned.start < high:
                first = produced_at(consumer, planned, low)
                if first is not None and first > start:
                    _log.warning("%s: begins only at %s; what was before is gone", planned.name, moment_words(first))

    def _planned(self, consumer: Consumer, topic: str, number: int) -> PlannedPartition:
        place = TopicPartition(topic, number)
        low, high = low_and_high(consumer, place, timeout_s=_START_S)
        planned = _partition(self._options, topic, number, self._reading.allowed_lateness_ms)
        start = self._first(consumer, place, low, high)
        return msgspec.structs.replace(planned, start=start, end=None if self._live else high)

    def _first(self, consumer: Consumer, place: TopicPartition, low: int, high: int) -> int:
        """Give the offset a first start reads from."""
        first = self._recorded.starts.get(f"{place.topic}/{place.partition}")
        if self._reading.start is not None:
            found = self._at(consumer, place, self._reading.start - self._reading.max_ahead_ms, high)
            return found if first is None else min(max(found, first), high)  # the run has not read what is before
        if first is not None:
            return min(first, high)
        if self._begin in ("earliest", "latest"):
            return low if self._begin == "earliest" else high
        moment = int(datetime.fromisoformat(self._begin).timestamp() * 1000)
        return self._at(consumer, place, moment, high)

    def _at(self, consumer: Consumer, place: TopicPartition, ms: int, high: int) -> int:
        found = consumer.offsets_for_times([TopicPartition(place.topic, place.partition, max(ms, 0))], timeout=_START_S)
        offset = found[0].offset
        return high if offset < 0 else int(offset)


def _partition(options: KafkaOptions, topic: str, number: int, allowed_lateness_ms: int) -> PlannedPartition:
    """Give a partition with what the options say of its topic; the lateness is for those that have none of their own."""
    known = options.topic_options()
    chosen = known.get(topic) or next(o for name, o in known.items() if name.startswith("^") and re.match(name, topic))
    lateness = allowed_lateness_ms if chosen.allowed_lateness_ms is None else chosen.allowed_lateness_ms
    return PlannedPartition(topic=topic, partition=number, dataset=chosen.dataset, allowed_lateness_ms=lateness)


def topics_of(consumer: Consumer, watch: Watch, options: KafkaOptions, timeout_s: float) -> dict[str, list[int]]:
    """Ask for the partitions of each topic of the options. Raises SourceError."""
    found = topics_there(consumer, watch, timeout_s)
    brokers = ", ".join(options.brokers)
    out: dict[str, list[int]] = {}
    for name in options.topics:
        matching = [t for t in sorted(found) if re.match(name, t)] if name.startswith("^") else [name]
        if not matching:
            raise SourceError(f"no topic of Kafka at {brokers} matches {name}; correct [input.kafka.topics]")
        for topic in matching:
            metadata = found.get(topic)
            if metadata is not None and metadata.error is not None and watch.is_refusal(metadata.error):
                raise SourceError(watch.refused(metadata.error, topic))
            if metadata is None or metadata.error is not None or not metadata.partitions:
                why = "" if metadata is None or metadata.error is None else f" ({reason(metadata.error)})"
                # Brokers do not list what a user has no right to describe.
                hidden = " or is hidden from this user (ACLs)" if "security.protocol" in options.client else ""
                raise SourceError(
                    f"topic {topic} does not exist at Kafka {brokers}{why}{hidden}; create it, or correct [input.kafka.topics]"
                )
            out[topic] = list(metadata.partitions)
    return out


def look_at_topics(options: KafkaOptions, *, timeout_s: float) -> dict[str, int]:
    """Give topic -> number of partitions. Raises SourceError."""
    found = look_at_partitions(options, allowed_lateness_ms=0, timeout_s=timeout_s)
    return dict(Counter(partition.topic for partition in found))


def look_at_partitions(
    options: KafkaOptions, *, allowed_lateness_ms: int, timeout_s: float, begins: bool = False
) -> list[PlannedPartition]:
    """Give the partitions of all topics, as `check --online` looks at them; `begins`: with starts. Raises SourceError."""
    watch = Watch(", ".join(options.brokers))
    consumer = open_consumer(options, watch)
    try:
        topics = topics_of(consumer, watch, options, timeout_s)
        found = [
            _partition(options, topic, number, allowed_lateness_ms)
            for topic, numbers in topics.items()
            for number in sorted(numbers)
        ]
        return [_with_start(consumer, each, timeout_s) for each in found] if begins else found
    except KafkaException as error:
        raise SourceError(watch.words(error.args[0])) from error
    finally:
        consumer.close()


def whole_since(options: KafkaOptions, *, timeout_s: float) -> int | None:
    """Give the time (ms) from which on retention has taken no message; 0 where it has taken none; None where it is not known.

    Raises SourceError.
    """
    partitions = look_at_partitions(options, allowed_lateness_ms=0, timeout_s=timeout_s, begins=True)
    cut = [each for each in partitions if each.start]
    consumer = open_consumer(options, Watch(", ".join(options.brokers)))
    try:
        found = [produced_at(consumer, each, each.start) for each in cut]
    finally:
        consumer.close()
    known = [at for at in found if at is not None]
    return max(known, default=0) if len(known) == len(found) else None


def _with_start(consumer: Consumer, planned: PlannedPartition, timeout_s: float) -> PlannedPartition:
    low, _ = low_and_high(consumer, TopicPartition(planned.topic, int(planned.partition)), timeout_s=timeout_s)
    return msgspec.structs.replace(planned, start=low)
