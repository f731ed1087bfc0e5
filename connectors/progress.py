"""Progress: how far one partition was read, and the making of batches from what was read.

A partition's watermark is the highest event time of its prefix minus the allowed lateness; a record is late where its
first window's end is at or before the watermark as it stood before that record. Both depend on the log alone, never on
chunks, processes or the clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectors.batch import DONE, UNHEARD, Batch, DeadLetter, Detail, Identities, Mark, Place
from connectors.block import joined
from connectors.decoded import EXCERPT, Decoded
from connectors.decoder import Decoder
from connectors.event_time import EARLIEST, INVALID
from connectors.repeats import Memory, record_hashes
from connectors.trace_context import trace_in

NO_LIMIT = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What lateness depends on: the pane's length and the allowed lateness of this input, both in ms."""

    pane_ms: int
    allowed_lateness_ms: int


@dataclass(slots=True, kw_only=True)
class Progress:
    """The state of one partition; its fields are what a source snapshots."""

    topic: str
    partition: int | str
    next_offset: int = 0
    high: int | None = None  # highest event time of the prefix, or what an idle advance made of it
    done: bool = False
    records: int = 0
    late: int = 0
    dead: int = 0
    first_event: int | None = None
    last_event: int | None = None
    rest: int | None = None  # the watermark of its end, where recorded advances had moved it
    repeats: int = 0
    memory: Memory | str = ""  # of records, where repeats are dropped

    @property
    def name(self) -> str:
        """Name the partition as marks and places do."""
        return f"{self.topic}/{self.partition}"

    def watermark(self, timing: Timing) -> int:
        """Give the watermark in ms: -inf before the first record, +inf at the end of a bounded partition."""
        if self.done:
            return DONE
        return UNHEARD if self.high is None else self.high - timing.allowed_lateness_ms

    def mark(self, timing: Timing) -> Mark:
        """Give what the windows must know of this partition now."""
        return Mark(
            self.name,
            self.watermark(timing),
            self.records,
            self.late,
            self.dead,
            self.first_event,
            self.last_event,
            self.rest,
            self.repeats,
        )

    def admit(self, times: NDArray[np.int64], timing: Timing) -> NDArray[np.bool_]:
        """Take valid event times in log order; give which of them are late, and move the watermark."""
        if not len(times):
            return np.zeros(0, np.bool_)
        before = np.maximum.accumulate(np.concatenate(([UNHEARD if self.high is None else self.high], times)))
        high = int(before[-1])
        before = before[:-1]
        ends = times // timing.pane_ms * timing.pane_ms + timing.pane_ms
        late = (before != UNHEARD) & (ends <= before - timing.allowed_lateness_ms)
        self.high = high
        self.late += int(late.sum())
        low, top = int(times.min()), int(times.max())
        self.first_event = low if self.first_event is None else min(low, self.first_event)
        self.last_event = top if self.last_event is None else max(top, self.last_event)
        return np.asarray(late)

    def to_state(self) -> dict[str, Any]:
        """Give plain values for a snapshot."""
        memory = self.memory.to_state() if isinstance(self.memory, Memory) else self.memory
        return {name: getattr(self, name) for name in self.__slots__} | {"memory": memory}

    def fresh(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Take the hashes of records in log order; give which of them were not there before, and count the others."""
        if isinstance(self.memory, str):
            self.memory = Memory(self.memory)
        found = self.memory.fresh(hashes)
        self.repeats += int(len(found) - found.sum())
        return found


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one read brought of one partition: payloads in order, each with its offset and its time limit.

    `limits` (m,) int64 ms: an event time beyond its payload's limit lies in the future and is a dead letter.
    """

    progress: Progress
    timing: Timing
    payloads: Sequence[bytes | None]
    offsets: NDArray[np.int64]
    limits: NDArray[np.int64]
    topic: str = ""  # whose labels the records have; default: the progress's

    @property
    def labelled(self) -> str:
        """Give the topic whose labels the records have."""
        return self.topic or self.progress.topic


def read_batch(decoder: Decoder, chunks: Sequence[Chunk], *, lines: bool = False) -> Batch:
    """Decode chunks of one dataset into one batch, moving each chunk's progress (counts, watermark; not its offset).

    With `lines` a payload is a part of an NDJSON file: `offsets` then count lines, and a record's offset is its line's.
    """
    payloads = joined([chunk.payloads for chunk in chunks])
    decoded = decoder.decode(payloads, lines=lines)
    bounds = np.cumsum([0, *(len(chunk.payloads) for chunk in chunks)])
    offsets = np.concatenate([chunk.offsets for chunk in chunks]) if chunks else np.zeros(0, np.int64)
    limits = np.concatenate([chunk.limits for chunk in chunks]) if chunks else np.zeros(0, np.int64)
    valid, dead = _refused(decoder, decoded, chunks, bounds, offsets, limits, lines=lines)
    late = np.zeros(len(valid), np.bool_)
    whole = len(valid) == len(decoded.times)
    edges = np.searchsorted(decoded.payload if whole else decoded.payload[valid], bounds)
    times = decoded.times if whole else decoded.times[valid]
    for number, chunk in enumerate(chunks):
        part = slice(edges[number], edges[number + 1])
        late[part] = chunk.progress.admit(times[part], chunk.timing)
        chunk.progress.records += int(edges[number + 1] - edges[number])
    if decoder.dataset.dedup:
        hashes = record_hashes(decoded, decoder.dataset.dedup, decoder.dataset.identity)
        hashes = hashes if whole else hashes[valid]
        parts = [chunk.progress.fresh(hashes[edges[n] : edges[n + 1]]) for n, chunk in enumerate(chunks)]
        fresh = np.concatenate(parts) if parts else np.zeros(0, np.bool_)
        valid, late = valid[fresh], late[fresh]
    return _assemble(decoder, decoded, chunks, valid, late, offsets, bounds, tuple(dead), lines=lines)


def _refused(  # noqa: PLR0913 (one pass over what was decoded)
    decoder: Decoder,
    decoded: Decoded,
    chunks: Sequence[Chunk],
    bounds: NDArray[np.int64],
    offsets: NDArray[np.int64],
    limits: NDArray[np.int64],
    *,
    lines: bool,
) -> tuple[NDArray[np.int64], list[DeadLetter]]:
    """Give the places of valid records, and the dead letters of the others; counts the latter."""
    times = decoded.times
    limit = limits[decoded.payload]
    good = (times >= EARLIEST) & (times <= limit)
    refusals = [(r.payload, r.index, r.reason, r.excerpt) for r in decoded.refusals]
    for i in np.flatnonzero(~good).tolist():
        reason = time_reason(int(times[i]), int(limit[i]), decoder)
        refusals.append((int(decoded.payload[i]), int(decoded.index[i]), reason, decoded.source(i)[:EXCERPT]))
    dead: list[DeadLetter] = []
    for payload, index, reason, excerpt in sorted(refusals, key=lambda refusal: refusal[:2]):
        chunk = chunks[int(np.searchsorted(bounds, payload, side="right")) - 1]
        progress = chunk.progress
        progress.records += 1
        progress.dead += 1
        offset, place = (int(offsets[payload]) + index, 0) if lines else (int(offsets[payload]), index)
        name = decoder.dataset.name
        dead.append(DeadLetter(name, progress.topic, progress.partition, offset, place, reason, excerpt))
    return np.flatnonzero(good), dead


def time_reason(time: int, limit: int, decoder: Decoder) -> str:
    """Say why an event time in ms is not taken."""
    if time == INVALID:
        return f"no valid event time in {' or '.join(decoder.dataset.event_time)}"
    if time < EARLIEST:
        return f"event time {time} ms is before 1990"
    return f"event time {time} ms lies in the future (limit {limit} ms)"


def _assemble(  # noqa: PLR0913 (the parts of one batch)
    decoder: Decoder,
    decoded: Decoded,
    chunks: Sequence[Chunk],
    valid: NDArray[np.int64],
    late: NDArray[np.bool_],
    offsets: NDArray[np.int64],
    bounds: NDArray[np.int64],
    dead: tuple[DeadLetter, ...],
    *,
    lines: bool,
) -> Batch:
    whole = len(valid) == len(decoded.times)

    def take(column: NDArray[Any]) -> NDArray[Any]:
        return column if whole else column[valid]

    strings = decoded.strings
    if not whole:
        strings = {name: type(column)(column.codes[valid], column.vocabulary) for name, column in strings.items()}
    payload, index = take(decoded.payload), take(decoded.index)
    offset = offsets[payload] + index if lines else offsets[payload]
    partition = (np.searchsorted(bounds, payload, side="right") - 1).astype(np.int32)

    def details(places: NDArray[np.int64]) -> list[Detail]:
        return decoder.details(decoded.records(places if whole else valid[places]))

    def traces(places: NDArray[np.int64]) -> list[str | None]:
        return [trace_in(record) for record in decoded.records(places if whole else valid[places])]

    return Batch(
        dataset=decoder.dataset.name,
        times=take(decoded.times),
        late=late,
        numbers={name: take(column) for name, column in decoded.numbers.items()},
        strings={**strings, **decoder.labels([chunk.labelled for chunk in chunks], partition)},
        flags={name: take(column) for name, column in decoded.flags.items()},
        identity=decoded.identity if whole else Identities.joined([decoded.identity]).take(valid),
        place=Place([chunk.progress.name for chunk in chunks], partition, offset, index * (not lines)),
        marks=tuple(chunk.progress.mark(chunk.timing) for chunk in chunks),
        dead=dead,
        details=details,
        traces=traces if decoder.dataset.traced else None,
    )
