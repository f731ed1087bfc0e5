"""Follower: a machine of a run that does not lead: it asks machine 0 for the plan, reports each second, and does as all do.

Its folder holds its part of the recovery store and what its lanes record. Plan, rules, output and spool are machine 0's.
"""

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

import httpx
import msgspec

from connectors.plan import write_plan
from connectors.source import SourceError, share_of
from flows.config import Config
from flows.engine import parts_in, prepare_recovery
from flows.gauges import Gauges, Recordings
from flows.machine_words import JOIN, REPORT, Heard, Join, Joined, Report, Start, authorization
from flows.machines import Place, WaitLog, shared_version
from flows.recovery_store import check_store, forget_beyond, progress_in
from flows.run_folder import RunFolder, RunSpec, write_note
from flows.shared_run import Run, read_run
from flows.supervisor import ProcessDied

_TIMEOUT_S = 5.0
_ASK_S, _REPORT_S = 0.3, 1.0
_log = logging.getLogger(__name__)


class Follower:
    """The meeting of a run's machines, at another machine than 0."""

    def __init__(self, config: Config, place: Place, folder: RunFolder, spec: RunSpec) -> None:
        """Ask nobody yet."""
        self._config, self._place, self._folder, self._spec = config, place, folder, spec
        self._version = shared_version(config)
        shown = authorization(config.engine.token)
        headers = {"authorization": shown} if shown else {}
        # No proxy: a machine of the run is never behind one.
        self._client = httpx.Client(base_url=f"http://{place.door}", headers=headers, timeout=_TIMEOUT_S, trust_env=False)
        self._recordings = Recordings(folder.path)
        self._gauges: Gauges | None = None
        self._lanes: list[str] = []
        self._number = 0
        self._leaves = False
        self._owed: dict[str, str] = {}  # recordings that are not known to machine 0 yet
        self._reported = self._heard = self.began = 0.0
        self._waiting = WaitLog(_log)
        self.waits_for: tuple[str, ...] = (place.named(0),)  # nobody while the run goes on

    def idle_s(self, since: float) -> float:
        """Give how long (s) some lane of this machine has not been asked, counted from `since` at the earliest."""
        return self._gauges.board.idle_s(since, self._lanes) if self._gauges is not None else 0.0

    def meet(self, told: threading.Event) -> tuple[Sequence[int], Sequence[str]] | None:
        """Ask machine 0 until it says that all are there; raises SourceError where it refuses this machine."""
        self.waits_for = (self._place.named(0),)
        while not told.is_set():
            answer: Joined | None = self._ask(JOIN, self._joins(), Joined)
            if answer is None:
                self._waits((f"{self._place.named(0)}, whose door {self._place.door} does not answer",))
            elif answer.refused:
                raise SourceError(answer.refused)
            elif answer.start is not None:
                self._begin(answer.run, answer.start)
                return [self._place.machine], [str(each) for each in self._place.engines]
            else:
                if answer.make:
                    write_note(self._folder.machines, Run(run=answer.run))
                    prepare_recovery(self._folder.recovery, self._place.machine, len(self._place.engines))
                self._waits(answer.missing or (self._place.named(0),))
            told.wait(_ASK_S)
        return None

    def _joins(self) -> Join:
        known = read_run(self._folder.machines)
        executions, fronts = progress_in(self._folder.recovery)
        return Join(
            machine=self._place.machine,
            machines=len(self._place.engines),
            version=self._version,
            run=None if known is None else known.run,
            parts=parts_in(self._folder.recovery),
            executions=executions,
            fronts=fronts,
        )

    def _begin(self, run: str, start: Start) -> None:
        """Put what a start works on into the folder."""
        write_note(self._folder.machines, Run(run=run))
        self._folder.recovery.mkdir(mode=0o700, exist_ok=True)  # it may have no part of the store
        check_store(self._folder.recovery)
        forget_beyond(self._folder.recovery, start.resume)
        write_plan(self._folder.plan, start.plan)
        self._folder.write_spec(self._spec.with_(start=start.begin))
        self._number = start.number
        self._lanes = share_of(start.plan.lane_names(), self._place.machine, len(self._place.engines))
        self._owed = {lane: self._recordings.merge(lane, text) for lane, text in start.advances.items()}
        self._gauges = Gauges(self._folder.path, start.plan)
        self._unknown_ends(self._gauges)
        self._reported, self._leaves, self.waits_for = 0.0, False, ()
        self.began = self._heard = time.monotonic()
        _log.info("all %d machines are here", len(self._place.engines))

    def look(self) -> bool:
        """Report once a second; tells whether all are to stop reading, raises ProcessDied where another start has begun."""
        if time.monotonic() - self._reported < _REPORT_S or self._gauges is None:
            return False
        self._reported = time.monotonic()
        heard = self._tell(self._gauges, ended=False)
        if heard is None:
            return self._unheard(self._gauges)
        if heard.number != self._number:
            raise ProcessDied(f"{self._place.named(0)} begins again; all are stopped.", peer=True)
        self._heard = time.monotonic()
        for name, end in heard.ends.items():
            self._gauges.vitals.set_end(name, end)
        self._gauges.take({}, {}, heard.watermarks)
        return heard.drain

    def ended(self) -> None:
        """Tell machine 0 what was recorded last; what it does not hear now it hears at the next start."""
        if self._gauges is not None:
            self._tell(self._gauges, ended=True)

    def _tell(self, gauges: Gauges, *, ended: bool) -> Heard | None:
        for lane in self._lanes:
            self._owed[lane] = self._owed.get(lane, "") + self._recordings.new(lane)
        heard: Heard | None = self._ask(REPORT, self._report(gauges, ended=ended), Heard)
        if heard is not None and heard.number == self._number:
            self._owed = {}
        return heard

    def _report(self, gauges: Gauges, *, ended: bool) -> Report:
        names = gauges.partitions(self._lanes)
        return Report(
            machine=self._place.machine,
            number=self._number,
            leaves=self._leaves,
            ended=ended,
            lanes={lane: gauges.board.row(lane) for lane in self._lanes},
            partitions={name: gauges.vitals.row(name) for name in names},
            watermarks={name: gauges.hold.read(name) for name in names},
            advances=self._owed,
        )

    def _unheard(self, gauges: Gauges) -> bool:
        """Machine 0 does not answer; after a while all is begun again."""
        self._unknown_ends(gauges)
        silent, limit = time.monotonic() - self._heard, self._config.engine.hang_after_ms / 1000
        if limit and silent > limit:
            raise ProcessDied(f"{self._place.named(0)} has not answered for {silent:.0f} s; this machine stops.", peer=True)
        return False

    def _unknown_ends(self, gauges: Gauges) -> None:
        """Nobody says how far partitions go: those that are quiet are not taken to be silent."""
        for name in gauges.partitions(self._lanes):
            gauges.vitals.set_end(name, None)

    def drain(self) -> None:
        """Have machine 0 hear that this machine was told to stop: the others stop, too, and wait for it."""
        self._leaves, self._reported = True, 0.0

    def close(self) -> None:
        """Close the connection to machine 0."""
        self._client.close()

    def _ask(self, path: str, words: Any, kind: type[Any]) -> Any:
        """Ask machine 0; None where it does not answer. Raises SourceError where it answers with a refusal."""
        try:
            answer = self._client.post(path, content=msgspec.json.encode(words))
        except (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError):
            return None
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            raise SourceError(
                f"{self._place.named(0)} does not take this machine's token: engine.token must be the same on all machines"
            )
        if answer.status_code != httpx.codes.OK:
            raise SourceError(f"{self._place.door} answers {answer.status_code} {answer.text.strip()[:200]}: is it machine 0?")
        try:
            return msgspec.json.decode(answer.content, type=kind)
        except msgspec.DecodeError as error:
            raise SourceError(f"{self._place.door} answers what machine 0 does not say ({error})") from error

    def _waits(self, names: tuple[str, ...]) -> None:
        self.waits_for = names
        self._waiting.say(" and ".join(names))
