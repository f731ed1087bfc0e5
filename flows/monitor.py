"""Monitor: the programs that run the line: live, to the end offsets, over history, and over an archive for the demo."""

import contextlib
import importlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from connectors.source import SourceError
from flows.alerts_before import doubts_of, take_alerts
from flows.barrier import Output
from flows.board import Board
from flows.child import Reserve, Start, afresh, forked
from flows.config import Config
from flows.engine import missing_parts, parts_in, prepare_recovery
from flows.firing import closed_of
from flows.inputs import ARCHIVE, archive_datasets, empty_words, not_read, open_source
from flows.last_words import last_words
from flows.line import build_line
from flows.outgoing import build_delivery
from flows.output import Block, canonical
from flows.process import TopicsGrown, run_process, scope_of
from flows.recorded import take_recorded
from flows.recovery_store import StoreBroken, check_store, forget_unfinished
from flows.restart import read_restart
from flows.run_folder import RunFolder, RunSpec
from flows.runner import run_line
from flows.supervisor import Alone, Restarts, supervise
from flows.worker import work
from flows.writer import SpoolWriter
from sinks.clickhouse import ClickHouse
from sinks.files import read_blocks, write_outputs
from sinks.notification import DeliveryError, Notification
from sinks.spool import Spool

Report = Callable[[int, int | None, float | None], None]  # records read, event time reached (ms), share of the input
Summary = dict[str, Any]
_REPORT_S = 0.5
_log = logging.getLogger(__name__)
_DRAIN_S = 60.0
_STOP_S = 5.0


def replay(config: Config, spec: RunSpec, out: Path, *, processes: int, report: Report) -> Summary | None:
    """Replay a bounded input into NDJSON files in `out`; nothing is sent; None where it was told to stop.

    The same `out` resumes.
    """
    return _bounded(config, spec, processes, out, report)


def run(config: Config, *, processes: int, until_end: bool, out: Path | None, report: Report) -> Summary | None:
    """Follow the topics live until told to stop; with `until_end` to the end offsets of the first start, writing files."""
    if until_end and out is not None:
        state = str((out / ".state").absolute())
        spec = RunSpec(
            mode="until_end",
            config=str(config.source),
            source="kafka",
            start=None,
            end=None,
            state=state,
            out=str(out.absolute()),
        )
        return _bounded(config, spec, processes, out, report)
    _drive(config, live_spec(config), processes, report)
    return None


def live_spec(config: Config) -> RunSpec:
    """Give the spec of a live run; where state was given up, it goes on where that was left."""
    state = str(Path(config.engine.directory).absolute())
    spec = RunSpec(mode="live", config=str(config.source), source="kafka", start=None, end=None, state=state, out=None)
    restart = read_restart(RunFolder.at(Path(state)).restart)
    return spec if restart is None else spec.with_(start=restart.start, alerts=restart.alerts)


def _bounded(config: Config, spec: RunSpec, processes: int, out: Path, report: Report) -> Summary | None:
    out.mkdir(parents=True, exist_ok=True)
    before = time.perf_counter()
    already = RunFolder(Path(spec.state))
    known = _records(already)
    if not _drive(config, spec, processes, report):
        return None
    metrics = {each.name: each.identity for each in config.metrics}
    summary = _finish(RunFolder(Path(spec.state)), out, time.perf_counter() - before, known, metrics)
    if new := not_read(config, spec):
        _log.warning(
            "%s: came after the partitions to read were fixed, so nothing in them is in %s; "
            "the same command with a new --out reads them too",
            ", ".join(new),
            out,
        )
    if not summary["windows"] and (spec.start is not None or spec.end is not None):
        summary["empty"] = empty_words(config, spec, summary)
    (out / "summary.json").write_bytes(canonical(summary) + b"\n")  # last: it says that the folder is complete
    return summary


def _drive(config: Config, spec: RunSpec, processes: int, report: Report) -> bool:
    """Run all processes of a run to their end; False where it was told to stop before."""
    folder = RunFolder(Path(spec.state))
    with folder.locked(), _starting_early(config, spec, folder, processes) as start:
        prepared(config, spec, folder)
        source = open_source(config, build_line(config, archive_datasets(config, spec)), spec)
        board = Board(folder.board, source.lanes())
        tick = Ticker(board, report)
        if spec.mode != "live":
            return _once(config, spec, tick) if processes == 1 else supervise(start, Alone(processes), tick.tick)
        grow(source, folder)
        if processes > 1:
            meeting = Alone(processes, partial(forget_unfinished, folder.recovery))
            return supervise(start, meeting, tick.tick, restarts(config, folder, board, source))
        while True:
            try:
                return _once(config, spec, tick)
            except TopicsGrown:
                _grow_if_it_can(source, folder)
                tick = Ticker(board, report)


def starting(config: Config, spec: RunSpec, folder: RunFolder) -> Start:
    """Say how the processes of a run are started: of files they go on from here, which has read and planned all they need."""
    if spec.source.startswith(ARCHIVE):
        return forked(partial(work, config, spec))
    # What the engine says of itself goes elsewhere in a bounded run, whose standard output is perhaps JSON.
    return afresh([sys.executable, "-m", "flows.worker", str(folder.spec)], quiet=spec.mode != "live")


@contextlib.contextmanager
def _starting_early(config: Config, spec: RunSpec, folder: RunFolder, processes: int) -> Iterator[Start]:
    """Say how they are started; those of a bounded run that reads Kafka are forked now, before its library has threads.

    A live run may have to start them again, and cannot fork by then.
    """
    if spec.mode == "live" or spec.source.startswith(ARCHIVE) or processes == 1 or threading.active_count() > 1:
        yield starting(config, spec, folder)
        return
    importlib.import_module("connectors.kafka")  # once for all
    with Reserve(partial(work, config, spec), processes) as reserve:
        yield reserve.start


def _once(config: Config, spec: RunSpec, tick: "Ticker") -> bool:
    with tick:
        return run_process(config, spec)


def grow(source: Any, folder: RunFolder) -> None:
    """Take new partitions of its topics into the plan of a live run. Raises SourceError."""
    source.grow(closed_of(folder.firing))


def _grow_if_it_can(source: Any, folder: RunFolder) -> None:
    """Do it for a run that goes on anyway: what is not taken now is seen again."""
    try:
        grow(source, folder)
    except SourceError as error:
        _log.warning("new partitions are not read yet: %s", error)


def prepared(config: Config, spec: RunSpec, folder: RunFolder) -> None:
    """Make a held folder ready for the processes of a run; raises what stops a start."""
    if spec.mode == "live":
        os.umask(0o077)  # all that a live run writes is its own; its processes take this on
        _ask_clickhouse(config)
    folder.refuse_other(spec)
    if spec.recorded is not None:
        take_recorded(Path(spec.recorded), folder)
    take_alerts(config, spec, folder)
    prepare_recovery(folder.recovery, spec.machine, spec.machines)
    if spec.machines == 1 and (lost := missing_parts(parts_in(folder.recovery))):
        raise StoreBroken(
            f"{folder.recovery} lacks parts {', '.join(map(str, lost))} of the recovery store: where the run was on several "
            "machines start it so (--addresses), or import what the others export; else `edgewatch recovery reset`"
        )
    check_store(folder.recovery)
    if spec.machines == 1:
        forget_unfinished(folder.recovery)
    folder.write_spec(spec)


def restarts(config: Config, folder: RunFolder, board: Board, source: Any) -> Restarts:
    """Say when a live run is started again, and who hears of it where that is given up."""
    return Restarts(
        idle_s=board.idle_s,
        hang_after_s=config.engine.hang_after_ms / 1000,
        gave_up=lambda starts: last_words(config, folder, starts),
        renew=lambda: _grow_if_it_can(source, folder),
        # A run that has judged before is relied on; of one that never did, who starts it reads why.
        no_start=lambda: last_words(config, folder, 0) if folder.firing.exists() else None,
    )


class Ticker:
    """Reports progress, at most twice a second: from a thread, or when ticked."""

    def __init__(self, board: Board, report: Report) -> None:
        self._board = board
        self._report = report
        self._next = 0.0
        self._end = threading.Event()

    def tick(self) -> None:
        """Report, if it is time."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _REPORT_S
            self._report(self._board.records(), self._board.event_time(), self._board.share())

    def __enter__(self) -> None:
        threading.Thread(target=self._loop, name="progress", daemon=True).start()

    def _loop(self) -> None:
        while not self._end.wait(_REPORT_S):
            self.tick()

    def __exit__(self, *_: object) -> None:
        self._end.set()


def _records(folder: RunFolder) -> int:
    found = list(read_blocks(folder.segments / "summary.segment"))
    return int(orjson.loads(found[-1][2])["records"]) if found else 0


def _finish(folder: RunFolder, out: Path, seconds: float, known: int, metrics: Mapping[str, str]) -> Summary:
    """Put the segments in order; gives the summary."""
    write_outputs(folder.segments, out)
    with folder.dead_letters.open("wb") as file:
        for _, _, data in read_blocks(folder.segments / "dead_letters.segment"):
            file.write(data)
    blocks = list(read_blocks(folder.segments / "summary.segment"))
    summary: Summary = orjson.loads(blocks[-1][2])
    read = summary["records"] - known
    summary |= {"seconds": round(seconds, 3), "records_per_second": round(read / seconds) if seconds else 0}
    summary["metrics"] = dict(metrics)  # which definition of each was measured: whoever judges these windows later asks
    summary["dead_letter_file"] = str(folder.dead_letters.relative_to(out.absolute()))
    if doubts := doubts_of(folder):
        summary["doubts"] = doubts
    return summary


def _ask_clickhouse(config: Config) -> None:
    """Bring the schema up to date; a server that is away is waited for by delivery, a refusal stops the start."""
    if config.clickhouse is None:
        return
    client = ClickHouse(config.clickhouse)
    try:
        client.migrate()
    except DeliveryError as error:
        if not error.retryable:
            raise
        _log.warning("%s; rows wait in the spool until it is back", error)
    finally:
        client.close()


def run_archive(
    config: Config, archive: Path, out: Path, *, on_notification: Callable[[Notification], None], report: Report
) -> Summary:
    """Run the line over an archive in this process, rows going to ClickHouse through the spool; used by the demo."""
    spec = RunSpec(
        mode="until_end",
        config="",
        source=f"archive:{archive}",
        start=None,
        end=None,
        state=str(out / ".state"),
        out=str(out),
    )
    folder = RunFolder(out / ".state")
    line = build_line(config, archive_datasets(config, spec))
    source = open_source(config, line, spec)
    spool = Spool(folder.spool)
    delivery = build_delivery(spool, config, channels=False)
    writer = SpoolWriter(spool, with_rows=config.clickhouse is not None, version=config.version)
    summary: Summary = {}
    board = Board(folder.board, source.lanes())

    def emit(output: Output) -> None:
        if isinstance(output, Notification):
            on_notification(output)
        elif isinstance(output, Block):
            writer.write_batch([output])
            if output.kind == "summary":
                summary.update(orjson.loads(output.data))

    before = time.perf_counter()
    _ask_clickhouse(config)
    delivery.start()
    with Ticker(board, report):
        run_line(line, source, scope_of(config, spec), emit, on_batch=board.note)
    summary["seconds"] = round(time.perf_counter() - before, 3)
    delivered = delivery.drain(_DRAIN_S)
    delivery.stop(_STOP_S)
    spool.close()
    summary["delivered"] = delivered
    return summary
