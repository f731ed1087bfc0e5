"""Kafka lane: one client over a fixed set of partitions: messages to batches, ends, idle advances, alignment.

Guarantee: exactly the messages from the planned start (or the snapshot) on, in order, each once; messages at or beyond a
fixed end are left alone. Only here does a clock touch the line, and what it decides is written before it takes effect.
"""

import logging
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from numpy.typing import NDArray

from connectors.advances import Advance, Advances
from connectors.archive import Reading
from connectors.batch import DONE, UNHEARD, Batch
from connectors.block import bytes_of
from connectors.decoder import Decoder
from connectors.hold import Hold
from connectors.kafka_client import close
from connectors.kafka_extent import AWAY, low_and_high
from connectors.kafka_messages import Event, Run, messages_of
from connectors.plan import PlannedPartition
from connectors.progress import NO_LIMIT, Chunk, Progress, Timing, read_batch
from connectors.source import SourceError
from connectors.steady_clock import SteadyClock
from connectors.vitals import UNWATCHED, Vitals

_HELD_S = 0.005
_CHUNK_BYTES = 4 << 20
_FIRST_MESSAGES = 16
_MUCH, _MUCH_BYTES, _BUSY_S, _FIRST_S = 1_000, 1 << 18, 5.0, 1.0  # messages, bytes, seconds
_SKEW_MS = 60_000  # how far a producer's clock may be ahead of this machine's without a note
_COMMIT_S = 5.0
_ADVANCE_S = 1.0
_REPORT_S = 0.1
_CHECK_S, _LIVE_CHECK_S = 30.0, 2.0
_log = logging.getLogger(__name__)
_OFFSET_LOST = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})


class Watcher(Protocol):
    """Who listens to the client's errors."""

    fatal: str | None

    def words(self, error: KafkaError, what: str) -> str:
        """Give the sentence of an error that ends the reading."""

    def on_message(self) -> None:
        """Take note that messages come."""


class _Part:
    """One partition of the lane."""

    def __init__(self, planned: PlannedPartition, progress: Progress, pane_ms: int) -> None:
        self.planned = planned
        self.progress = progress
        self.timing = Timing(pane_ms=pane_ms, allowed_lateness_ms=planned.allowed_lateness_ms)
        self.end_seen = -1  # the offset at which the broker last said that the partition ends
        self.stamp: int | None = None  # the last message's timestamp, and how far behind the clock it was as it came
        self.behind = 0
        self.waited = False  # at its end after the last read: what comes next is read as it comes
        self.quiet_since = time.monotonic()
        self.advanced = 0.0
        self.paused = False
        self.highs: dict[int, int] = {}  # recorded idle advances: at this offset, the highest event time
        self.limits: dict[int, int] = {}  # recorded time limits of messages, by offset

    @property
    def place(self) -> TopicPartition:
        return TopicPartition(self.planned.topic, int(self.planned.partition), self.progress.next_offset)

    @property
    def at_end(self) -> bool:
        return self.end_seen >= self.progress.next_offset

    def watermark(self) -> int:
        return self.progress.watermark(self.timing)

    def stamped(self, stamps: NDArray[np.int64], now_ms: int) -> None:
        """Take note of when messages were produced."""
        stamp = int(stamps.max(initial=-1))
        if stamp >= 0:
            self.stamp, self.behind = stamp, max(now_ms - stamp, 0) if self.waited else 0

    def report(self, vitals: Vitals) -> None:
        position = max(self.progress.next_offset, self.end_seen)  # what lies between holds no message
        vitals.write(self.progress, position, stamp=self.stamp, behind=self.behind)


_Work = tuple[_Part, Sequence[bytes | None], NDArray[np.int64], NDArray[np.int64]]  # payloads, their offsets and timestamps
_NONE: NDArray[np.int64] = np.zeros(0, np.int64)


def _nothing(part: _Part) -> _Work:
    return part, [], _NONE, _NONE


class KafkaLane:
    """Reads its partitions with one consumer."""

    def __init__(  # noqa: PLR0913
        self,
        consumer: Consumer,
        planned: list[PlannedPartition],
        reading: Reading,
        hold: Hold,
        watch: Watcher,
        state: bytes | None,
        advances: Path | None,
        idle_after_ms: int,
        vitals: Vitals | None = None,
        clock: SteadyClock | None = None,
        recorded: Sequence[Advance] = (),
    ) -> None:
        """Assign the partitions; `advances` is the lane's file where it is live, None where it is bounded.

        `recorded` is what a live run has decided by the clock, for a replay of what it read.
        """
        self._consumer = consumer
        self._reading = reading
        self._hold = hold
        self._watch = watch
        self._idle_s = idle_after_ms / 1000
        self._clock = clock or SteadyClock()
        self._vitals = vitals
        self._reported = 0.0
        self._parts: dict[tuple[str, int], _Part] = {}
        kept = msgspec.json.decode(state, type=dict[str, dict[str, int | str | bool | None]]) if state else {}
        for partition in planned:
            known = kept.get(partition.name)
            progress = (
                Progress(**known)  # type: ignore[arg-type]
                if known
                else Progress(topic=partition.topic, partition=partition.partition, next_offset=partition.start)
            )
            self._parts[partition.topic, int(partition.partition)] = _Part(partition, progress, reading.pane_ms)
        self._decoders = {p.dataset: Decoder(reading.datasets[p.dataset], reading.fields[p.dataset]) for p in planned}
        self._advances = Advances(advances) if advances is not None else None
        self._take_recorded(self._advances.known if self._advances else recorded)
        self._ending: list[_Part] = []  # have no more to read; their last watermarks are heard before their ends
        self._messages = _FIRST_MESSAGES
        self._fresh, self._drained = True, False
        self._busy = time.monotonic() - _BUSY_S + _FIRST_S  # what waits comes within a moment
        self._committed = time.monotonic()
        self._check_offsets()
        self._fetched = messages_of(consumer, self._parts)
        consumer.assign([part.place for part in self._open()])
        for part in self._parts.values():
            hold.write(part.progress.name, part.watermark())

    def _open(self) -> list[_Part]:
        return [part for part in self._parts.values() if not part.progress.done]

    def _take_recorded(self, known: Iterable[Advance]) -> None:
        names = {part.progress.name: part for part in self._parts.values()}
        for advance in known:
            part = names.get(advance.partition)
            if part is None or advance.offset < part.progress.next_offset:
                continue
            if advance.limit is not None:
                part.limits[advance.offset] = advance.limit
            if advance.high is not None:
                part.highs[advance.offset] = max(advance.high, part.highs.get(advance.offset, UNHEARD))

    def _check_offsets(self) -> None:
        """Refuse to start where retention has taken what the state wants to read next; never jump silently.

        A live lane that goes on while its brokers are away waits for them as one that reads does: it is no fault of its start.
        What has gone by then ends it as it asks for it.
        """
        patience = _CHECK_S if self._advances is None else _LIVE_CHECK_S
        for part in self._open():
            end = part.planned.end
            if end is not None and part.progress.next_offset >= end:
                continue
            try:
                low, _ = low_and_high(
                    self._consumer, part.place, timeout_s=patience, refused=lambda: self._watch.fatal is not None
                )
            except KafkaException as error:
                if self._advances is not None and self._watch.fatal is None and error.args[0].code() in AWAY:
                    _log.warning("%s goes on without a look at what is there: no broker answers", part.progress.name)
                    return
                raise SourceError(self._watch.words(error.args[0], part.progress.name)) from error
            if low > part.progress.next_offset:
                raise self._lost(part, low)

    def _low(self, part: _Part) -> int | None:
        """Give the first offset that is there, where it is behind the next one to read."""
        try:
            low, _ = low_and_high(self._consumer, part.place, timeout_s=_CHECK_S)
        except KafkaException:
            return None
        return low if low > part.progress.next_offset else None

    def _lost(self, part: _Part, low: int | None) -> SourceError:
        first = part.progress.next_offset
        lost = f"offsets {first} to {low - 1} are lost" if low is not None else f"offset {first} is not there any more"
        return SourceError(
            f"{part.progress.name}: {lost} (retention or deletion took them before they were read); raise the topic's "
            "retention, and go on with what is left by `edgewatch recovery reset --keep-alerts`"
        )

    @property
    def done(self) -> bool:
        """Tell whether every partition of a bounded lane was read to its end."""
        return not self._fresh and not self._open()

    @property
    def caught_up(self) -> bool:
        """Tell whether it is live, its last read took all that the client had, and no read of the last seconds took much.

        Where much comes it is read as it comes: the client's queue holds only so much.
        """
        return self._advances is not None and self._drained and time.monotonic() - self._busy >= _BUSY_S

    def read(self) -> list[Batch]:
        """Give what came; at the end of a bounded partition its last mark."""
        batches = self._read()
        if self._vitals is not None and time.monotonic() - self._reported >= _REPORT_S:
            self._reported = time.monotonic()
            for part in self._parts.values():
                part.report(self._vitals)
        return batches

    def _read(self) -> list[Batch]:
        if self._watch.fatal is not None:
            raise SourceError(self._watch.fatal)
        self._drained = False
        if self._fresh:
            self._fresh = False
            return self._first_marks()
        if self._ending:
            return self._last_marks()
        if not self._may_read():
            time.sleep(_HELD_S)
            return []
        runs, events = self._fetched.take(self._messages)
        self._drained = sum(len(run.offsets) for run in runs) < self._messages
        batches = self._take(runs, events) if runs or events else []
        if self._advances is not None:
            batches += self._idle()
            self._commit()
        for part in self._parts.values():
            part.waited = part.at_end
            self._hold.write(part.progress.name, DONE if part.at_end and self._advances else part.watermark())
        return batches

    def _first_marks(self) -> list[Batch]:
        """Say where each partition stands: empty bounded ones are done, and a resume repeats what may not have been heard."""
        for part in self._open():
            end = part.planned.end
            if end is not None and part.progress.next_offset >= end:
                self._finish(part)
        for part in self._parts.values():
            self._apply(part, part.progress.next_offset)
        return self._batches(map(_nothing, self._parts.values()))

    def _last_marks(self) -> list[Batch]:
        """Say of partitions that they are done: what their watermarks close was closed by the marks before."""
        ending, self._ending = self._ending, []
        for part in ending:
            self._done(part)
        return self._batches(map(_nothing, ending))

    def _may_read(self) -> bool:
        """Keep aligned: a lane far ahead of the others waits; a partition far ahead of its own lane is paused."""
        open_ = self._open()
        if not open_:
            return True
        low = min(part.watermark() for part in open_)
        if not self._hold.may_read(low):
            return False
        if low != UNHEARD:
            ahead = 4 * self._reading.length_ms
            for part in open_:  # the last one open goes on too: it may have been paused for one that is done by now
                if not part.paused and part.watermark() > low + 2 * ahead:
                    self._consumer.pause([part.place])
                    part.paused = True
                elif part.paused and part.watermark() <= low + ahead:
                    self._consumer.resume([part.place])
                    part.paused = False
        return True

    def _take(self, runs: Sequence[Run], events: Sequence[Event]) -> list[Batch]:
        """Decode messages, and take what is said of partitions."""
        ended = [part for event in events for part in self._event(event)]
        self._watch.on_message()
        batches = self._batches([self._within(run) for run in runs])
        over = [part for part in ended if part.planned.end is not None and part.progress.next_offset >= part.planned.end]
        for part in over:  # only now: what came with the end is judged by the time before it
            self._finish(part)
        return batches + self._batches(map(_nothing, over))

    def _event(self, event: Event) -> list[_Part]:
        """Take an end of partition; any other event is an error that stops the lane."""
        error, reached = event.error, event.offset
        part = self._parts.get(event.place)
        if part is None:
            return []
        if error.code() == KafkaError._PARTITION_EOF:
            end = part.planned.end
            if not part.at_end:
                part.quiet_since = time.monotonic()
            part.end_seen = -1 if reached is None else reached
            if end is not None and reached is not None and reached >= end:
                # The last offsets before the end hold no message: transaction markers, or compaction took them.
                part.progress.next_offset = max(part.progress.next_offset, end)
            return [part]
        if error.code() in _OFFSET_LOST:
            raise self._lost(part, self._low(part))
        if error.retriable() or error.code() in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN):
            return []
        raise SourceError(self._watch.words(error, part.progress.name))

    def _within(self, run: Run) -> _Work:
        """Leave what lies at or beyond the partition's end."""
        part = self._parts[run.place]
        end, keep = part.planned.end, len(run.offsets)
        if part.progress.done:
            keep = 0
        elif end is not None and run.offsets[-1] >= end:
            keep = int(np.searchsorted(run.offsets, end))
            part.progress.next_offset = max(part.progress.next_offset, end)
        part.quiet_since = time.monotonic()
        return part, run.payloads[:keep], run.offsets[:keep], run.stamps[:keep]

    def _batches(self, work: Iterable[_Work]) -> list[Batch]:
        """Decode by dataset; a partition with recorded advances inside its run is decoded piece by piece."""
        by_dataset: dict[str, list[Chunk]] = {}
        out: list[Batch] = []
        size = count = 0
        for part, payloads, column, stamps in work:
            size += bytes_of(payloads)
            count += len(payloads)
            limits = self._limits(part, column, stamps)
            if part.waited and len(stamps):
                self._clock.heard(int(stamps.max()))
            part.stamped(stamps, self._clock.now_ms())
            start, last = 0, int(column[-1]) if len(column) else -1
            for cut in sorted({int(np.searchsorted(column, offset)) for offset in part.highs if offset <= last}):
                if cut > start:
                    out.append(self._decode(part, payloads[start:cut], column[start:cut], limits[start:cut]))
                    start = cut
                self._apply(part, int(column[cut]))
            chunk = Chunk(part.progress, part.timing, payloads[start:], column[start:], limits[start:])
            by_dataset.setdefault(part.planned.dataset, []).append(chunk)
            if len(column):
                part.progress.next_offset = max(part.progress.next_offset, int(column[-1]) + 1)
            self._past_range(part)
        if count >= _MUCH or size >= _MUCH_BYTES:
            self._busy = time.monotonic()
        if count:
            self._messages = max(1, min(self._reading.chunk_records, _CHUNK_BYTES * count // max(size, 1)))
        return out + [self._marked(read_batch(self._decoders[name], chunks), chunks) for name, chunks in by_dataset.items()]

    def _marked(self, batch: Batch, chunks: list[Chunk]) -> Batch:
        """Give the batch with its partitions' marks as they are after it (one may be done with its last record)."""
        for chunk in chunks:
            part = self._parts[chunk.progress.topic, int(chunk.progress.partition)]
            end = part.planned.end
            if not chunk.progress.done and end is not None and chunk.progress.next_offset >= end:
                self._finish(part)
            self._past_range(part)
        values = {name: getattr(batch, name) for name in batch.__slots__}
        return Batch(**(values | {"marks": tuple(chunk.progress.mark(chunk.timing) for chunk in chunks)}))

    def _decode(
        self, part: _Part, payloads: Sequence[bytes | None], offsets: NDArray[np.int64], limits: NDArray[np.int64]
    ) -> Batch:
        chunk = Chunk(part.progress, part.timing, payloads, offsets, limits)
        return read_batch(self._decoders[part.planned.dataset], [chunk])

    def _limits(self, part: _Part, column: NDArray[np.int64], stamps: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give each message's time limit: its Kafka timestamp, or this machine's clock where that is far behind it."""
        limits = np.where(stamps >= 0, stamps + self._reading.max_ahead_ms, NO_LIMIT)
        if not len(stamps) or (self._advances is None and not part.limits):
            return limits
        recorded = {offset: limit for offset, limit in part.limits.items() if offset >= column[0]}
        now = self._clock.now_ms()
        notes = []
        ahead = np.flatnonzero(stamps > now + _SKEW_MS) if self._advances is not None else np.zeros(0, np.int64)
        for i in ahead.tolist():
            offset = int(column[i])
            if offset not in recorded:
                recorded[offset] = now + self._reading.max_ahead_ms
                notes.append(Advance(part.progress.name, offset, limit=recorded[offset]))
        if notes and self._advances is not None:
            self._advances.write(notes)
        for offset, limit in recorded.items():
            limits[column == offset] = limit
        part.limits = {offset: limit for offset, limit in recorded.items() if offset > column[-1]}
        return limits

    def _apply(self, part: _Part, offset: int) -> None:
        """Apply the idle advances recorded up to an offset."""
        for known in [o for o in sorted(part.highs) if o <= offset]:
            part.progress.high = max(part.progress.high or UNHEARD, part.highs.pop(known))

    def _idle(self) -> list[Batch]:
        """Advance partitions that are at their end and have been silent for long enough."""
        now = time.monotonic()
        idle = [
            part
            for part in self._parts.values()
            if not self._more_may_wait(part, now)
            and part.at_end
            and now - part.quiet_since >= self._idle_s
            and now - part.advanced >= _ADVANCE_S
        ]
        if not idle or self._advances is None:
            return []
        stamp = self._clock.now_ms()
        self._advances.write([Advance(part.progress.name, part.progress.next_offset, high=stamp) for part in idle])
        for part in idle:
            part.advanced, part.behind = now, 0
            part.progress.high = max(part.progress.high or UNHEARD, stamp)
        return self._batches(map(_nothing, idle))

    def _more_may_wait(self, part: _Part, now: float) -> bool:
        """Tell whether the broker has more, or may have: silence counts from when it is known to have none.

        What was sent while the broker did not answer would else all be late: producers need a moment, too.
        """
        end = UNWATCHED if self._vitals is None else self._vitals.end(part.progress.name)
        if end is not None and end <= max(part.progress.next_offset, part.end_seen):
            return False
        part.quiet_since = now
        return True

    def _past_range(self, part: _Part) -> None:
        last = self._reading.last_end
        if last is not None and not part.progress.done and part.watermark() >= last:
            self._finish(part)

    def _finish(self, part: _Part) -> None:
        """End a partition of which there is no more to read; what it has heard of time by then is said first.

        Windows up to there are closed by time, not by the end: only so is silence in them judged.
        """
        if part.progress.done or part in self._ending:
            return
        known = bool(part.highs)
        self._apply(part, part.progress.next_offset)
        last = self._reading.last_end
        if known or (last is not None and part.watermark() >= last):
            part.progress.rest = part.watermark()
            self._ending.append(part)
        else:
            self._done(part)

    def _done(self, part: _Part) -> None:
        part.progress.done = True
        self._consumer.incremental_unassign([part.place])

    def _commit(self) -> None:
        """Tell Kafka how far the lane is, for lag tools only; nothing reads it back."""
        now = time.monotonic()
        if now - self._committed >= _COMMIT_S:
            self._committed = now
            try:
                self._consumer.commit(offsets=[part.place for part in self._open()], asynchronous=True)
            except KafkaException:
                return

    def place(self) -> tuple[int, int]:
        """Give how many offsets were read, and how many there are; (0, 0) where there is no end."""
        parts = [(part, part.planned.end - part.planned.start) for part in self._parts.values() if part.planned.end is not None]
        done = sum(size if part.progress.done else part.progress.next_offset - part.planned.start for part, size in parts)
        return done, sum(size for _, size in parts)

    def snapshot(self) -> bytes:
        """Give the state to resume from."""
        return msgspec.json.encode({part.progress.name: part.progress.to_state() for part in self._parts.values()})

    def close(self) -> None:
        """Close the client; a lane that is gone holds nobody."""
        self._fetched.close()
        close(self._consumer)
        if self._advances is not None:
            self._advances.close()
        for part in self._parts.values():
            self._hold.write(part.progress.name, DONE)
