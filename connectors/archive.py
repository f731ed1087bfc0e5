"""Archive: Logpush files in folders as a bounded source: `DIR/<dataset>/<partition>/*.ndjson[.gz|.zst]`.

A sub-folder is a partition, with the labels of a topic that it is named after; its files in name order and their lines in order
are its log. A record's offset is its line's number in the partition (blank lines not counted). Guarantee: a resume reads on
from the line of the snapshot.
"""

import calendar
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from connectors.archive_extent import archive_extents
from connectors.batch import DONE, Batch, DeadLetter
from connectors.dataset import Dataset
from connectors.decoded import EXCERPT
from connectors.decoder import Decoder
from connectors.event_time import moment_words
from connectors.hold import Hold
from connectors.log_blocks import LONGEST_LINE, blocks, filled
from connectors.log_file import ENDINGS, UNREADABLE, is_log, open_log, packed_position, size_of
from connectors.plan import Plan, PlannedPartition, load_or_create, make_plan
from connectors.progress import NO_LIMIT, Chunk, Progress, Timing, read_batch
from connectors.source import SourceError

_UNTIL = re.compile(r"[^_]+_(\d{8}T\d{6}Z)_")
_HELD_S = 0.005
_BATCH = 8 << 20  # bytes of lines that are decoded together


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How a source is read, whatever it is; times in ms. `lateness` has that of a dataset where it is another."""

    datasets: Mapping[str, Dataset]
    fields: Mapping[str, frozenset[str]]
    pane_ms: int
    length_ms: int
    allowed_lateness_ms: int
    max_ahead_ms: int
    chunk_records: int
    start: int | None = None
    end: int | None = None
    lateness: Mapping[str, int] = field(default_factory=dict)

    @property
    def last_end(self) -> int | None:
        """Give the end of the last window that starts before `end`; past it nothing is of use."""
        if self.end is None:
            return None
        return (self.end - 1) // self.pane_ms * self.pane_ms + self.length_ms


class ArchiveSource:
    """The files of a folder, as they were when the run began."""

    def __init__(self, root: Path, reading: Reading, folder: Path) -> None:
        """Plan the reading, or take the plan in the run's `folder`. Raises SourceError."""
        self._root = root
        self._reading = reading
        self._folder = folder
        identity = _identity(root, reading)
        self.plan: Plan = load_or_create(
            folder / "plan.json", lambda: make_plan(_partitions(root, reading), identity), identity
        )
        names = [partition.name for partition in self.plan.partitions]
        # Made here, before any lane is: processes that open lanes at the same moment must share one file.
        self._hold = Hold(folder / "hold", names, ahead_ms=4 * reading.length_ms)

    def lanes(self) -> list[str]:
        """Give the names of the lanes."""
        return self.plan.lane_names()

    def partitions(self) -> dict[str, list[str]]:
        """Give dataset -> names of partitions."""
        return self.plan.by_dataset()

    def open(self, lane: str, state: bytes | None) -> "ArchiveLane":
        """Open a lane, new or from a snapshot."""
        return ArchiveLane(self._root, self.plan.of_lane(lane), self._reading, self._hold, state)


def datasets_in(root: Path, configured: list[str]) -> list[str]:
    """Give the datasets that a folder holds: those with a sub-folder of their name, else the first configured one."""
    if not root.is_dir():
        raise SourceError(f"archive:{root} is not a folder; give the folder that holds <dataset>/<partition>/ folders")
    return [name for name in configured if (root / name).is_dir()] or configured[:1]


def what_is_there(root: Path, datasets: Mapping[str, Dataset]) -> list[str]:
    """Say of each dataset in a folder from when to when there are records."""
    files = {name: [list(listed) for _, listed in _files(root, name)] for name in datasets_in(root, list(datasets))}
    return archive_extents(datasets, files)


def _files(root: Path, dataset: str) -> Iterator[tuple[str, list[Path]]]:
    """Give the partitions of a dataset, each with its files in name order."""
    base = root / dataset if (root / dataset).is_dir() else root
    for folder in sorted(p for p in base.iterdir() if p.is_dir() and not p.name.startswith(".")) or [base]:
        yield "." if folder == base else folder.name, sorted(p for p in folder.iterdir() if p.is_file() and is_log(p))


def _partitions(root: Path, reading: Reading) -> list[PlannedPartition]:
    out = []
    holds = False
    for dataset in datasets_in(root, list(reading.datasets)):
        for partition, files in _files(root, dataset):
            holds |= bool(files)
            out.append(
                PlannedPartition(
                    topic=dataset,
                    partition=partition,
                    dataset=dataset,
                    allowed_lateness_ms=reading.lateness.get(dataset, reading.allowed_lateness_ms),
                    files=tuple(path.name for path in files if not _before(path.name, reading)),
                )
            )
    if not holds:
        raise SourceError(f"archive:{root} holds no files that end in {', '.join(ENDINGS)}")
    if reading.start is not None and not any(partition.files for partition in out):
        there = "; ".join(what_is_there(root, reading.datasets))
        raise SourceError(f"there is no record from {moment_words(reading.start)} on. What is there: {there}")
    return out


def _before(name: str, reading: Reading) -> bool:
    """Tell by its name whether a file can only hold records from before the range."""
    until = _until(name)
    return reading.start is not None and until is not None and until + reading.max_ahead_ms < reading.start


def _identity(root: Path, reading: Reading) -> dict[str, str]:
    return {
        "source": f"archive:{root.absolute()}",
        "datasets": ", ".join(reading.datasets),
        "window": f"{reading.length_ms} ms every {reading.pane_ms} ms",
        "allowed_lateness": ", ".join(
            [f"{reading.allowed_lateness_ms} ms", *(f"{name} {own} ms" for name, own in sorted(reading.lateness.items()))]
        ),
        "range": f"{reading.start} to {reading.end}",
    }


def _until(name: str) -> int | None:
    match = _UNTIL.match(name)
    try:
        return calendar.timegm(time.strptime(match[1], "%Y%m%dT%H%M%SZ")) * 1000 if match else None
    except ValueError:
        return None


class ArchiveLane:
    """Reads its partitions in turn, always the one that is furthest behind in event time."""

    def __init__(
        self, root: Path, partitions: list[PlannedPartition], reading: Reading, hold: Hold, state: bytes | None
    ) -> None:
        """Open nothing yet; files are opened as they are reached."""
        kept = msgspec.json.decode(state, type=dict[str, dict[str, int | str | bool | None]]) if state else {}
        self._reading = reading
        self._hold = hold
        self._parts = [_Part(root, planned, reading, kept.get(planned.name)) for planned in partitions]
        self._decoders = {p.dataset: Decoder(reading.datasets[p.dataset], reading.fields[p.dataset]) for p in partitions}
        self._fresh = True
        for part in self._parts:
            hold.write(part.progress.name, part.progress.watermark(part.timing))

    @property
    def done(self) -> bool:
        """Tell whether every partition was read to its end."""
        return not self._fresh and all(part.progress.done for part in self._parts)

    @property
    def caught_up(self) -> bool:
        """Files have an end."""
        return False

    def read(self) -> list[Batch]:
        """Give the next chunk of one partition; nothing while held."""
        ready = [part for part in self._parts if not part.progress.done]
        if not ready:
            return self._last_marks()
        part = min(ready, key=lambda part: part.progress.watermark(part.timing))
        if not self._hold.may_read(part.progress.watermark(part.timing)):
            time.sleep(_HELD_S)
            return []
        self._fresh = False
        batch = part.read(self._decoders[part.planned.dataset])
        self._hold.write(part.progress.name, part.progress.watermark(part.timing))
        return [batch]

    def _last_marks(self) -> list[Batch]:
        """Say once more, after a resume, that all is done: the snapshot may be older than what was heard of it."""
        if not self._fresh:
            return []
        self._fresh = False
        return [part.nothing(self._decoders[part.planned.dataset]) for part in self._parts]

    def place(self) -> tuple[int, int]:
        """Give how many bytes of files (as they lie there) were read, and how many there are."""
        return sum(part.size if part.progress.done else part.read_bytes for part in self._parts), sum(
            p.size for p in self._parts
        )

    def snapshot(self) -> bytes:
        """Give the state to resume from."""
        return msgspec.json.encode({part.progress.name: part.progress.to_state() for part in self._parts})

    def close(self) -> None:
        """Close files; a lane that is gone holds nobody."""
        for part in self._parts:
            part.close()
            self._hold.write(part.progress.name, DONE)


class _Block(NamedTuple):
    """Lines of a file: how many there are, the time (ms) that its name ends at; or (reason, excerpt) of what cannot be read."""

    lines: bytes
    size: int
    until: int | None
    trouble: tuple[str, bytes] | None = None


class _Part:
    """One partition: its progress, and the blocks of the file being read."""

    def __init__(
        self,
        root: Path,
        planned: PlannedPartition,
        reading: Reading,
        state: Mapping[str, int | str | bool | None] | None,
    ) -> None:
        self.planned = planned
        self.timing = Timing(pane_ms=reading.pane_ms, allowed_lateness_ms=planned.allowed_lateness_ms)
        base = root / planned.topic if (root / planned.topic).is_dir() else root
        self._folder = base if planned.partition == "." else base / str(planned.partition)
        self.progress = Progress(topic=planned.topic, partition=planned.partition)
        if state is not None:
            self.progress = Progress(**state)  # type: ignore[arg-type]
        self._reading = reading
        self.size = sum(size_of(self._folder / name) for name in planned.files)
        self.read_bytes = 0
        self._blocks = self._read_files(self.progress.next_offset)
        self._next: _Block | None = None  # was read, but does not go into the batch before

    def read(self, decoder: Decoder) -> Batch:
        """Read one chunk; at the end of the last file, or past the range, the partition is done."""
        found = self._take()
        if not found:
            self.progress.done = True
            return self.nothing(decoder)
        if found[0].trouble is not None:
            return self._refuse(decoder, found[0].trouble)
        ahead = self._reading.max_ahead_ms
        chunk = Chunk(
            self.progress,
            self.timing,
            [block.lines for block in found],
            self.progress.next_offset + np.cumsum([0, *(block.size for block in found[:-1])]),
            np.array([NO_LIMIT if block.until is None else block.until + ahead for block in found]),
            decoder.dataset.topic_of(str(self.planned.partition)),
        )
        before = self.progress.records
        batch = read_batch(decoder, [chunk], lines=True)
        self.progress.next_offset += self.progress.records - before
        last = self._reading.last_end
        if last is not None and self.progress.watermark(self.timing) >= last:
            self.progress.rest = self.progress.watermark(self.timing)
            self.close()  # the next read says that it is done: what its watermark closes is closed before
        return batch

    def nothing(self, decoder: Decoder) -> Batch:
        """Give an empty batch that carries the mark."""
        none = np.zeros(0, np.int64)
        return read_batch(decoder, [Chunk(self.progress, self.timing, [], none, none)], lines=True)

    def close(self) -> None:
        """Stop reading."""
        self._blocks, self._next = iter(()), None

    def _take(self) -> "list[_Block]":
        """Give the next blocks that make a batch, also of several files; one that is trouble comes alone."""
        found: list[_Block] = []
        size = records = 0
        while (block := self._next or next(self._blocks, None)) is not None:
            self._next = block
            size, records = size + len(block.lines), records + block.size
            if found and (size > _BATCH or records > self._reading.chunk_records or not self._joins(found[0], block)):
                break
            found.append(block)
            self._next = None
            if block.trouble is not None:
                break
        return found

    def _joins(self, first: _Block, block: _Block) -> bool:
        """Tell whether two blocks are of about one window: a quiet dataset must not be read far ahead of a busy one."""
        if block.trouble is not None or first.until is None or block.until is None:
            return block.trouble is None
        return block.until - first.until < self._reading.length_ms

    def _refuse(self, decoder: Decoder, trouble: tuple[str, bytes]) -> Batch:
        """Make one dead letter of what could not be read of a file."""
        progress = self.progress
        progress.records += 1
        progress.dead += 1
        reason, excerpt = trouble
        name = decoder.dataset.name
        letter = DeadLetter(name, progress.topic, progress.partition, progress.next_offset, 0, reason, excerpt[:EXCERPT])
        progress.next_offset += 1
        nothing = self.nothing(decoder)
        values = {name: getattr(nothing, name) for name in nothing.__slots__}
        return Batch(**(values | {"dead": (letter,)}))

    def _read_files(self, skip: int) -> "Iterator[_Block]":
        """Give the blocks from line `skip` of the partition on."""
        before = 0
        for name in self.planned.files:
            until = _until(name)
            try:
                with open_log(self._folder / name) as stream:
                    for lines, count, broken in blocks(stream, self._reading.chunk_records):
                        self.read_bytes = before + packed_position(stream)
                        if skip >= count:
                            skip -= count
                        elif broken:
                            yield _Block(b"", 1, until, (f"{name}: a line longer than {LONGEST_LINE} bytes", lines))
                        else:
                            kept = lines if not skip else b"\n".join(filled(lines)[skip:])
                            left, skip = count - skip, 0
                            yield _Block(kept, left, until)
            except UNREADABLE as error:
                if isinstance(error, FileNotFoundError):
                    raise SourceError(f"{self._folder / name} was there when the run began and is gone; put it back") from error
                if skip:
                    skip -= 1
                else:
                    yield _Block(b"", 1, until, (f"{name}: cannot be read further: {error}", b""))
            before += size_of(self._folder / name)
