"""Engine: the line as a Bytewax dataflow; with monitor.py the only place that knows Bytewax.

Own source, window and sink steps. Why not the stock ones: stock windows keep a clock a key that moves with wall time (a
replay calls most of a skewed partition late), the stock Kafka source makes eight calls a message, and a buffering sink
loses what it holds. State is exactly-once; output is at-least-once and carries identities by which repeats are known.
"""

import contextlib
import datetime
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import bytewax.operators as op
from bytewax._bytewax import cli_main
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from bytewax.recovery import RecoveryConfig, init_db_dir

from connectors.batch import Batch
from connectors.source import Lane, Source, share_of
from flows.barrier import Output, Scope
from flows.dead_letter import dead_letter_block
from flows.garbage import Collector, settle
from flows.gather import Gather
from flows.line import Line
from flows.metric import Fold
from flows.output import Block
from flows.partial import Partial
from flows.sealed import seal, unseal
from flows.snapshot import pack, unpack
from flows.window import Layout, ShardResult, Windows
from flows.window_trace import Untraced

_RECOVERY_PARTITIONS = 4
_SOON, _IDLE = datetime.timedelta(milliseconds=5), datetime.timedelta(milliseconds=40)
_BEAT = datetime.timedelta(milliseconds=200)
_OUT = "out"

_EPOCH = datetime.datetime.fromtimestamp(0, datetime.UTC)
_MUCH, _TOGETHER = 1_000, 32_768  # records

Keyed = tuple[str, Any]
Read = Partial | Block


class PeerLost(Exception):
    """The engine gave up, most likely because another process of the run is gone."""


class Writer(StatefulSinkPartition[Output, bytes]):
    """Where output goes; nothing may be unflushed when `snapshot` returns."""


@dataclass(frozen=True, slots=True)
class Run:
    """One process's part of a run: the line, its input, where output goes, and when to stop."""

    line: Line
    source: Source
    scope: Scope
    open_writer: Callable[[bytes | None], Writer]
    recovery: Path
    snapshot_interval_ms: int
    stop: Event
    on_batch: Callable[[str, Batch], None]
    on_place: Callable[[str, tuple[int, int]], None] = lambda _lane, _place: None
    on_asked: Callable[[str], None] = lambda _lane: None
    machine: tuple[int, int] = (0, 1)  # its number, and how many there are: a machine reads its own lanes
    failures: list[BaseException] = field(default_factory=list)
    trace: Untraced = field(default_factory=Untraced)

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Keep an error raised inside: across processes the engine only says that some thread ended."""
        try:
            yield
        except StopIteration:
            raise
        except BaseException as error:
            self.failures.append(error)
            raise


def prepare_recovery(folder: Path, machine: int = 0, machines: int = 1) -> None:
    """Make the recovery store where there is none; of several machines each makes the files that are its own."""
    if not folder.exists():
        draft = folder.with_name(folder.name + ".draft")
        draft.mkdir(parents=True, exist_ok=True)
        for path in draft.iterdir():
            path.unlink()
        init_db_dir(draft, _RECOVERY_PARTITIONS)
        for number in set(parts_in(draft)) - {*parts_of(machine, machines)}:
            _part(draft, number).unlink()
        draft.chmod(0o700)
        for path in draft.iterdir():
            path.chmod(0o600)
        draft.rename(folder)


def parts_of(machine: int, machines: int) -> tuple[int, ...]:
    """Give the numbers of the files of a new recovery store that a machine makes."""
    return tuple(range(machine, _RECOVERY_PARTITIONS, machines))


def parts_in(folder: Path) -> tuple[int, ...]:
    """Give the numbers of the files of a recovery store that are in a folder."""
    return tuple(number for number in range(_RECOVERY_PARTITIONS) if _part(folder, number).exists())


def missing_parts(there: Collection[int]) -> tuple[int, ...]:
    """Give the numbers of those that are not among `there`."""
    return tuple(number for number in range(_RECOVERY_PARTITIONS) if number not in there)


def _part(folder: Path, number: int) -> Path:
    return folder / f"part-{number}.sqlite3"


def execute(run: Run, *, process: int = 0, addresses: list[str] | None = None) -> None:
    """Run the dataflow in this process until its input ends or `run.stop` is set; blocks."""
    settle()
    try:
        cli_main(
            dataflow(run, shared=bool(addresses), leads=process == 0),
            process_id=process if addresses else None,
            addresses=addresses,
            epoch_interval=datetime.timedelta(milliseconds=run.snapshot_interval_ms),
            recovery_config=RecoveryConfig(str(run.recovery)),
        )
    except BaseException as error:  # a panic of the engine is no Exception
        if run.failures:
            raise run.failures[0] from error
        if isinstance(error, Exception | KeyboardInterrupt):
            raise
        raise PeerLost(f"the engine stopped: {error}; another process of the run has probably ended") from error


def dataflow(run: Run, *, shared: bool = False, leads: bool = True) -> Dataflow:
    """Build the dataflow, maybe as one `shared` by several processes, of which one `leads`: it decides, and has the output.

    Step ids key the recovery state: never rename them.
    """
    line = run.line
    layouts = line.layouts(run.source.partitions())

    reader = _Reader(run, line.folds(early=run.scope.early), Gather(layouts) if shared else None)

    def metric(items: list[Read]) -> list[Keyed]:
        return [(f"{item.dataset}/{item.shard}", item) for item in items if isinstance(item, Partial)]

    def dead(items: list[Read]) -> list[Keyed]:
        return [(_OUT, item) for item in items if isinstance(item, Block)]

    flow = Dataflow("edgewatch")
    read = op.input("source", flow, _Input(run, reader))
    partials = op.flat_map_batch("metric", read, metric)
    results = op.stateful_batch("window", partials, lambda state: _Window(run, layouts, state))
    closed = op.map("barrier", results, lambda item: (_OUT, item[1]))
    letters = op.flat_map_batch("dead_letter", read, dead)
    op.output("sink", op.merge("outputs", closed, letters), _Output(run, layouts, leads=leads))
    return flow


class _Reader:
    """Reads a lane and folds what came, so that no batch outlives the call that read it."""

    def __init__(self, run: Run, folds: Mapping[str, Fold], gather: Gather | None) -> None:
        self._run = run
        self._folds = folds
        self._gather = gather
        self._garbage = Collector()

    def read(self, name: str, lane: Lane) -> list[Read]:
        """Give what came of one lane; where it is sent to other processes, of several reads together."""
        self._garbage.collect_if_due()
        letters: list[Read] = []
        partials: list[Read] = []
        records, more = 0, True
        while more:
            began = self._run.trace.now()
            batches = lane.read()
            self._run.trace.decoded(batches, began)
            for batch in batches:
                self._run.on_batch(name, batch)
                letters += [dead_letter_block(batch.dead)] if batch.dead else []
                began = self._run.trace.now()
                found = [partial for _, partial in self._folds[batch.dataset](batch)]
                self._run.trace.add("metric", batch.dataset, began)
                if self._gather is None:
                    partials += found
                    continue
                for partial in found:
                    self._gather.add(partial)
            came = sum(map(len, batches))
            records += came
            # A lane that has caught up brings little at a time, and none of it waits for more.
            more = self._gather is not None and came >= _MUCH and records < _TOGETHER and not lane.done
        return letters + (partials if self._gather is None else list(self._gather.give()))


class _Input(FixedPartitionedSource[Read, bytes]):
    def __init__(self, run: Run, reader: _Reader) -> None:
        self._run = run
        self._reader = reader

    def list_parts(self) -> list[str]:
        return share_of(self._run.source.lanes(), *self._run.machine)

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> "_LanePart":  # noqa: ARG002
        with self._run.kept():
            state = None if resume_state is None else unseal(resume_state)
            return _LanePart(self._run, self._reader, for_part, self._run.source.open(for_part, state))


class _LanePart(StatefulSourcePartition[Read, bytes]):
    """Guarantee: exactly once into state; a resume reads on from the offset of the last snapshot."""

    def __init__(self, run: Run, reader: _Reader, name: str, lane: Lane) -> None:
        self._run = run
        self._reader = reader
        self._name = name
        self._lane = lane
        self._wake: datetime.datetime | None = None
        self._pause = _SOON

    def next_batch(self) -> list[Read]:
        if self._run.stop.is_set() or self._lane.done:
            raise StopIteration
        self._run.on_asked(self._name)
        with self._run.kept():
            found = self._reader.read(self._name, self._lane)
            self._wake = self._next(nothing=not found)
            if found:
                self._run.on_place(self._name, self._lane.place())
            return found

    def _next(self, *, nothing: bool) -> datetime.datetime | None:
        """Give when to ask the lane again; None: at once.

        A live lane that has caught up is asked at each beat of the clock: a few records cost all steps behind it as much as a
        thousand do, and lanes of one beat, in whatever process, share that. Another that is idle is asked less and less often.
        """
        now = datetime.datetime.now(datetime.UTC)
        if self._lane.caught_up:
            self._pause = _SOON
            return _EPOCH + ((now - _EPOCH) // _BEAT + 1) * _BEAT
        pause, self._pause = self._pause, min(self._pause * 2, _IDLE) if nothing else _SOON
        return now + pause if nothing else None

    def next_awake(self) -> datetime.datetime | None:
        return self._wake

    def snapshot(self) -> bytes:
        return seal(self._lane.snapshot())

    def close(self) -> None:
        self._lane.close()


class _Window(StatefulBatchLogic[Partial, ShardResult, bytes]):
    """One shard of one dataset. The key is only known from the first partial, so the state carries it too."""

    def __init__(self, run: Run, layouts: dict[str, Layout], state: bytes | None) -> None:
        self._run = run
        self._layouts = layouts
        self._windows: Windows | None = None
        self._place: tuple[str, int] | None = None
        if state is not None:
            with run.kept():
                dataset, shard, windows = unpack(unseal(state))
                if dataset in layouts:
                    self._open(dataset, shard).restore(windows)

    def _open(self, dataset: str, shard: int) -> Windows:
        self._place = dataset, shard
        self._windows = self._run.line.windows(self._layouts, dataset, shard)
        return self._windows

    def on_batch(self, values: list[Partial]) -> tuple[list[ShardResult], bool]:
        out: list[ShardResult] = []
        with self._run.kept():
            for partial in values:
                windows = self._windows or self._open(partial.dataset, partial.shard)
                began = self._run.trace.now()
                out += windows.add(partial)
                self._run.trace.add("window", partial.dataset, began)
        return out, StatefulBatchLogic.RETAIN

    def on_notify(self) -> tuple[list[ShardResult], bool]:
        return [], StatefulBatchLogic.RETAIN

    def on_eof(self) -> tuple[list[ShardResult], bool]:
        # The end of input is not the end of a window: a drained flow resumes. Bounded partitions close by their marks.
        return [], StatefulBatchLogic.RETAIN

    def notify_at(self) -> None:
        return None

    def snapshot(self) -> bytes:
        dataset, shard = self._place or ("", 0)
        return seal(pack([dataset, shard, self._windows.snapshot() if self._windows else None]))


class _Output(FixedPartitionedSink[ShardResult | Block, bytes]):
    """One partition, because decisions are ordered; process 0 alone lists it, so that is where it is after every start."""

    def __init__(self, run: Run, layouts: dict[str, Layout], *, leads: bool) -> None:
        self._run = run
        self._layouts = layouts
        self._leads = leads

    def list_parts(self) -> list[str]:
        return ["out-0"] if self._leads else []

    def part_fn(self, item_key: str) -> int:  # noqa: ARG002
        return 0

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> "_Decisions":  # noqa: ARG002
        with self._run.kept():
            return _Decisions(self._run, self._layouts, resume_state)


class _Decisions(StatefulSinkPartition[ShardResult | Block, bytes]):
    """The barrier, and the writer that its output goes to.

    Why not a step each: the engine places a keyed step by a hash, and what rules read and write (control events, early words,
    open alerts) lies in the folder of the process that has the spool. Errors are kept.
    """

    def __init__(self, run: Run, layouts: dict[str, Layout], state: bytes | None) -> None:
        self._run = run
        self._barrier = run.line.barrier(layouts, run.scope)
        barrier, writer = (None, None) if state is None else unpack(unseal(state))
        if barrier is not None:
            self._barrier.restore(barrier)
        self._writer = run.open_writer(writer)

    def write_batch(self, items: list[ShardResult | Block]) -> None:
        with self._run.kept():
            out: list[Output] = []
            for item in items:
                if isinstance(item, Block):
                    out.append(item)
                    continue
                began = self._run.trace.now()
                found = self._barrier.add(item)
                self._run.trace.judged(item.dataset, found, began)
                out += found
            if out:
                with self._run.trace.spooled():
                    self._writer.write_batch(out)

    def snapshot(self) -> bytes:
        with self._run.kept():
            return seal(pack([self._barrier.snapshot(), self._writer.snapshot()]))

    def close(self) -> None:
        self._writer.close()
