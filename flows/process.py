"""Process: one process's part of a run: opens input and output, drives the engine, drains on SIGTERM."""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from connectors.source import Source
from connectors.steady_clock import SteadyClock
from flows.barrier import Scope
from flows.board import Board
from flows.catch_up import CatchUp
from flows.config import Config
from flows.controls import Controls
from flows.deployed import say_what_changed
from flows.early_log import EarlyLog
from flows.early_word import NO_WORDS
from flows.engine import Run, Writer, execute
from flows.firing import FiringFile, closed_of
from flows.inputs import archive_datasets, open_source
from flows.line import build_line
from flows.outgoing import build_catch_up, build_delivery
from flows.patience import Limited, Recorded
from flows.run_folder import RunFolder, RunSpec
from flows.said_again import say_again
from flows.self_view import SelfView
from flows.set_back import SetBack, begin_again, end_at_once
from flows.trace_takers import window_trace
from flows.watch import Watcher, watched
from flows.window_trace import Untraced
from flows.writer import TABLES, BothWriter, NotedWriter, SegmentWriter, SpoolWriter
from sinks.clock import SystemClock
from sinks.delivery import Delivery
from sinks.heartbeat import Heartbeat
from sinks.spool import Spool

_log = logging.getLogger(__name__)
_STOP_S = 20.0
_AT_ONCE = 130


class TopicsGrown(Exception):
    """Topics have partitions that the plan does not know; the run has stopped, to be started with them."""


class _DeliveryClock(SystemClock):
    """What delivery goes by: the steady clock."""

    def __init__(self, clock: SteadyClock) -> None:
        self._steady = clock

    def now(self) -> float:
        return self._steady.now_ms() / 1000


class Outbox:
    """Opens the writer in the process that has the output, and delivers from its spool."""

    def __init__(  # noqa: PLR0913  (a process's part of a run)
        self,
        config: Config,
        spec: RunSpec,
        folder: RunFolder,
        source: Source,
        board: Board,
        clock: SteadyClock,
        on_grown: Callable[[], None],
        trace: Untraced,
    ) -> None:
        """Open nothing yet: only one process of a run gets the output, and watches over the run."""
        self._clock = _DeliveryClock(clock)
        self._steady, self._on_grown, self._trace = clock, on_grown, trace
        self._board = board
        self._stop_serving: Callable[[], None] = lambda: None
        self._config = config
        self._source: Any = source
        self._watcher: Watcher | None = None
        self._spec = spec
        self._folder = folder
        self._spool: Spool | None = None
        self.delivery: Delivery | None = None
        self._heartbeat: Heartbeat | None = None
        self._catch_up: CatchUp | None = None

    def open(self, state: bytes | None) -> Writer:
        """Open the writer of this run's mode, resumed from a snapshot."""
        if self._spec.mode == "replay":
            return SegmentWriter(self._folder.segments, state)
        self._spool = Spool(self._folder.spool, now=self._clock.now)
        if self._spec.mode == "live":
            if state is not None:
                say_again(self._spool, self._folder, self._config)
            say_what_changed(self._spool, self._folder.deployed, self._config, self._steady.now_ms())
        self.delivery = build_delivery(self._spool, self._config, clock=self._clock, around=self._trace.delivering)
        self.delivery.start()
        with_rows = self._config.clickhouse is not None
        firing = FiringFile(self._folder.firing)
        version = self._config.version
        if self._spec.mode == "live":
            self._catch_up = build_catch_up(self._spool, self._config, self._clock)
            self._catch_up.start()
            live = SpoolWriter(
                self._spool,
                with_rows=with_rows,
                version=version,
                firing=firing,
                beat=self._beat(),
                catch_up=self._catch_up,
            )
            writer, self._watcher = watched(self._config, self._folder, self._source, live, self._steady)
            if self._watcher is not None:
                self._watcher.on_grown = self._on_grown
            return self._served(writer, self._spool, self.delivery)
        spool = SpoolWriter(self._spool, with_rows=with_rows, version=version, firing=firing)
        return BothWriter(SegmentWriter(self._folder.segments, state), spool)

    def _served(self, writer: Writer, spool: Spool, delivery: Delivery) -> Writer:
        """Say to those who ask how the run is."""
        address = self._config.observe.address
        if address is None:
            return writer
        from flows.status_server import StatusServer, application  # noqa: PLC0415  (a replay serves nothing)

        view = SelfView(
            self._config,
            plan=self._source.plan,
            vitals=self._source.vitals,
            board=self._board,
            firing=self._folder.firing,
            spool=spool,
            delivery=delivery,
            watcher=self._watcher,
        )
        hang_after_s = self._config.engine.hang_after_ms / 1000
        self._stop_serving = StatusServer(application(view.report, hang_after_s=hang_after_s), address).stop
        return NotedWriter(writer, view.snapshot_written)

    def _beat(self) -> Callable[[], None] | None:
        """Give the sign of life; it is kept back while nobody hears an alert, so that the monitor outside says so."""
        if self._config.heartbeat is None or self.delivery is None:
            return None
        self._heartbeat = Heartbeat(self._config.heartbeat, environment=self._config.environment)
        return partial(beat_if_heard, self._heartbeat.beat, self.delivery.unheard)

    def close(self, *, drain: bool) -> None:
        """Stop delivery; with `drain`, after everything that can be delivered now has been."""
        self._stop_serving()
        if self._watcher is not None:
            self._watcher.stop()
        if self._heartbeat is not None:
            self._heartbeat.close()
        if self._catch_up is not None:
            self._catch_up.stop()
        if self.delivery is not None:
            if drain:
                self.delivery.drain(_STOP_S)
            self.delivery.stop(_STOP_S)
        if self._spool is not None:
            self._spool.close()
        self._trace.close()


def beat_if_heard(beat: Callable[[], None], unheard: Callable[[], bool]) -> None:
    """Give a sign of life, unless no channel takes what it is sent."""
    if unheard():
        _log.error("no channel takes alerts: the heartbeat is kept back")
    else:
        beat()


def opened(
    config: Config, spec: RunSpec, stop: threading.Event | None = None, on_grown: Callable[[], None] = lambda: None
) -> tuple[Run, Outbox]:
    """Give what the engine runs in this process, and what is to be closed after it; `on_grown` hears of new partitions."""
    folder = RunFolder(Path(spec.state))
    live, closed = spec.mode == "live", closed_of(folder.firing)
    silences = Controls(folder.controls, closed, live=live)
    patience = Limited(silences, config.window.barrier_wait_ms) if live else Recorded(silences)
    words = EarlyLog(folder.early, closed) if live else NO_WORDS
    line = build_line(config, archive_datasets(config, spec), silences, patience, words)
    clock = SteadyClock(folder.clock if live else None)
    source = open_source(config, line, spec, clock)
    board = Board(folder.board, source.lanes())
    trace = window_trace(config, tuple(TABLES), mode=spec.mode)
    outbox = Outbox(config, spec, folder, source, board, clock, on_grown, trace)
    run = Run(
        line=line,
        source=source,
        scope=scope_of(config, spec),
        open_writer=outbox.open,
        recovery=folder.recovery,
        snapshot_interval_ms=config.engine.snapshot_interval_ms,
        stop=stop or threading.Event(),
        on_batch=board.note,
        on_place=board.place,
        on_asked=board.asked,
        machine=(spec.machine, spec.machines),
        trace=trace,
    )
    return run, outbox


def run_process(config: Config, spec: RunSpec, *, process: int = 0, addresses: list[str] | None = None) -> bool:
    """Run one process until its input ends (True) or it was told to stop (False).

    Raises TopicsGrown where a live run without supervisor has stopped to read new partitions, too.
    """
    stop, grown = threading.Event(), threading.Event()

    def on_grown() -> None:
        if addresses:
            os.kill(os.getppid(), signal.SIGUSR1)  # the supervisor stops all in good order, and starts them again
        else:
            grown.set()
            stop.set()

    run, outbox = opened(config, spec, stop, on_grown)
    looks = SetBack(end_at_once if addresses else begin_again) if spec.mode == "live" else contextlib.nullcontext()
    with _stopped_by_signals(stop), looks:
        try:
            execute(run, process=process, addresses=addresses)
        finally:
            outbox.close(drain=not stop.is_set())
    if grown.is_set():
        raise TopicsGrown
    return not stop.is_set()


def scope_of(config: Config, spec: RunSpec) -> Scope:
    """Say which windows leave rows; extras go to ClickHouse only, and nobody silences a replay as it goes."""
    live = spec.mode != "replay"
    extras = spec.rows or (config.clickhouse is not None and live)
    recall = RunFolder.at(Path(spec.state)).recall
    alerts = recall.read_bytes() if spec.alerts is not None else None
    return Scope(spec.start, spec.end, extras=extras, firing=live, early=spec.mode == "live", alerts=alerts)


class _stopped_by_signals:  # noqa: N801 (reads as a phrase)
    """Sets the event on SIGTERM or Ctrl-C; a second one ends the process at once, and the next start resumes.

    A thread reads the signals from a pipe, because the engine may keep the main thread from Python for a while.
    """

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        self._read, write = os.pipe()
        os.set_blocking(write, False)
        self._write = write
        self._fd = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, lambda *_: None)
        threading.Thread(target=self._listen, name="signals", daemon=True).start()

    def _listen(self) -> None:
        while number := os.read(self._read, 1):
            if number[0] not in self._before:
                continue
            if self._stop.is_set():
                os._exit(_AT_ONCE)
            _log.info("%s: reading stops, state is written", signal.Signals(number[0]).name)
            self._stop.set()

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._fd)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._write)  # ends the thread
