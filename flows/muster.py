"""Muster: what machine 0 of a run on several does for the others: it gathers them, gives the plan, and hears how they are.

Its door is HTTP beside the supervisor, so it outlives the processes of a start. It stands on the address that the file gives
and nowhere else; who comes without the token gets nothing.
"""

import asyncio
import hmac
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from connectors.plan import read_plan
from connectors.source import SourceError, share_of
from flows.config import Config
from flows.engine import missing_parts, parts_in, parts_of
from flows.gauges import Gauges, Recordings
from flows.machine_words import JOIN, REPORT, Heard, Join, Joined, Report, Start, authorization
from flows.machines import Place, WaitLog, shared_version
from flows.recovery_store import forget_beyond, progress_in, resume_epoch
from flows.run_folder import RunFolder, write_note
from flows.shared_run import begin_run
from flows.supervisor import ProcessDied

_FRESH_S = 5.0  # a machine that has not asked for so long is not there
_POLL_S, _LAST_S = 0.1, 5.0
_LARGEST = 256 << 20
_log = logging.getLogger(__name__)


class Muster:
    """The meeting of a run's machines, at machine 0."""

    def __init__(
        self, config: Config, place: Place, folder: RunFolder, begin: int | None, alarm: Callable[[str], object]
    ) -> None:
        """Take the run; `begin` is from which window on (ms) is judged, `alarm` tells people who is missed for long."""
        self._config, self._place, self._folder, self._begin, self._alarm = config, place, folder, begin, alarm
        self._version = shared_version(config)
        self._others = range(1, len(place.engines))
        self._recordings = Recordings(folder.path)
        self._run = begin_run(folder)
        self._lock = threading.Lock()
        self._number = time.time_ns() // 1_000_000  # no start of before has the same
        self._gathers = self._runs = False
        self._drain = False
        self._gauges: Gauges | None = None
        self._lost: int | None = None
        self._asked: dict[int, tuple[float, Join]] = {}  # when, and what
        self._resume: int | None = None  # the epoch that this start goes on from
        self._went: set[int] = set()  # have begun this start
        self._ended: set[int] = set()  # have ended it in good order
        self._heard: dict[int, float] = {}  # by machine that went: when it was heard of last
        self._waiting = WaitLog(_log)
        self._refused: set[str] = set()

    @property
    def application(self) -> Starlette:
        """Give what the door serves."""
        token = authorization(self._config.engine.token).encode()
        routes = [
            Route(JOIN, _answer(token, Join, self.join), methods=["POST"]),
            Route(REPORT, _answer(token, Report, self.report), methods=["POST"]),
        ]
        return Starlette(routes=routes)

    def missing(self) -> list[str]:
        """Name the machines that have not come."""
        with self._lock:
            return [self._place.named(k) for k in self._absent()] if not self._runs else []

    def meet(self, told: threading.Event) -> tuple[Sequence[int], Sequence[str]] | None:
        """Gather all machines; raises SourceError where they have not all state between them."""
        with self._lock:
            self._gathers, self._runs, self._drain, self._lost = True, False, False, None
            self._asked, self._heard = {}, {}
        began, alarmed = time.monotonic(), False
        while not told.is_set():
            if not (missing := self.missing()) and self._go():
                _log.info("all %d machines are here", len(self._place.engines))
                return [0], [str(each) for each in self._place.engines]
            if missing:
                words = " and ".join(missing)
                self._waiting.say(words)
                if not alarmed and time.monotonic() - began > self._config.window.stall_after_ms / 1000:
                    alarmed = True
                    self._alarm(words)
            told.wait(_POLL_S)
        return None

    def _go(self) -> bool:
        """Begin a start, if all have the state that they need."""
        with self._lock:
            asked = [asks for _, asks in self._asked.values()]
            parts = {each.machine: each.parts for each in asked} | {0: parts_in(self._folder.recovery)}
            if not self._run.begun and any(not parts[k] for k in parts if parts_of(k, len(parts))):
                return False  # they are still making theirs
            self._check(parts)
            if not self._run.begun:
                self._run = msgspec.structs.replace(self._run, begun=True)
                write_note(self._folder.machines, self._run)
            self._forget_unfinished(asked)
            self._gauges = Gauges(self._folder.path, read_plan(self._folder.plan))
            self._number += 1
            self._gathers, self._runs = False, True
            now = time.monotonic()
            self._heard = dict.fromkeys(self._others, now)
            self._went, self._ended = set(), set()
            return True

    def _forget_unfinished(self, asked: Sequence[Join]) -> None:
        """Have all forget the snapshots of what not all machines have come to: each has a part of the store."""
        executions, fronts = progress_in(self._folder.recovery)
        for each in asked:
            executions += each.executions
            fronts += each.fronts
        self._resume = resume_epoch(executions, fronts)
        forget_beyond(self._folder.recovery, self._resume)

    def _check(self, parts: dict[int, tuple[int, ...]]) -> None:
        owner: dict[int, int] = {}
        for machine, numbers in sorted(parts.items()):
            for number in numbers:
                if number in owner:
                    both = f"{self._place.named(owner[number])} and on {self._place.named(machine)}"
                    raise SourceError(
                        f"part {number} of the recovery store is on {both}; one of them was left behind: "
                        "remove the state folder of the one that is not to be used"
                    )
                owner[number] = machine
        if lost := missing_parts(owner):
            raise SourceError(
                f"parts of the recovery store are on none of the machines: {', '.join(map(str, lost))}. Bring back the state "
                "folder that has them (or `recovery export` there and `recovery import` here); or give the state up: "
                "edgewatch recovery reset -c CONFIG --keep-alerts here, and --fresh on the other machines"
            )

    def join(self, asks: Join) -> Joined:
        """Answer a machine that wants to take part."""
        if refused := self._refusal(asks):
            if refused not in self._refused:
                self._refused.add(refused)
                _log.error("%s", refused)
            return Joined(refused=refused)
        k = asks.machine
        with self._lock:
            run = self._run.run
            if self._runs and k not in self._went:
                self._went.add(k)
                self._heard[k] = time.monotonic()
                return Joined(run=run, start=self._start(k))
            if not self._gathers:
                if self._runs:
                    self._lost = k  # it has ended, and so must all
                return Joined(run=run, missing=(f"{self._place.named(0)}, which begins again",))
            self._asked[k] = time.monotonic(), asks
            make = not self._run.begun and not asks.parts and bool(parts_of(k, len(self._place.engines)))
            return Joined(run=run, make=make, missing=tuple(self._place.named(each) for each in self._absent() if each != k))

    def _start(self, machine: int) -> Start:
        plan = read_plan(self._folder.plan)
        lanes = share_of(plan.lane_names(), machine, len(self._place.engines))
        advances = {lane: self._recordings.all_of(lane) for lane in lanes}
        return Start(number=self._number, plan=plan, begin=self._begin, resume=self._resume, advances=advances)

    def _absent(self) -> list[int]:
        """Give the machines that have not asked of late."""
        now = time.monotonic()
        here = {k for k, (at, _) in self._asked.items() if now - at < _FRESH_S}
        return [k for k in self._others if k not in here]

    def _refusal(self, asks: Join) -> str:
        if not 0 < asks.machine < len(self._place.engines) or asks.machines != len(self._place.engines):
            here = f"{self._place.named(0)} has {len(self._place.engines)} addresses"
            return f"machine {asks.machine} has {asks.machines} addresses in its file, and {here}: give all the same file"
        name = self._place.named(asks.machine)
        if asks.version != self._version:
            return (
                f"{name} runs {asks.version}, and machine 0 {self._version}: give all machines the same program and the same "
                "configuration (engine.directory, engine.token and observe.listen may differ), and start them again"
            )
        if asks.run is not None and asks.run != self._run.run:
            return (
                f"{name} has state of another run ({asks.run}, and this is {self._run.run}): remove its state folder, or "
                "`edgewatch recovery reset --fresh` there; or bring back the folder of machine 0 that belongs to it"
            )
        return ""

    def report(self, told: Report) -> Heard:
        """Take how a machine is. Raises KeyError for lanes that are not its own."""
        with self._lock:
            if not self._runs or told.number != self._number or self._gauges is None:
                return Heard(number=self._number if self._runs else None, drain=False, ends={}, watermarks={})
            gauges = self._gauges
            lanes = share_of(gauges.plan.lane_names(), told.machine, len(self._place.engines))
            if not {*told.lanes, *told.advances} <= {*lanes}:
                raise KeyError(told.machine)
            gauges.take(told.lanes, told.partitions, told.watermarks)
            for lane, text in told.advances.items():
                self._recordings.append(lane, text)
            self._heard[told.machine] = time.monotonic()
            if told.ended:
                self._ended.add(told.machine)
            if told.leaves and not self._drain:
                self._drain = True
                _log.warning("%s was told to stop: all write their state, and wait for it", self._place.named(told.machine))
            return Heard(
                number=self._number,
                drain=self._drain,
                ends={name: gauges.vitals.end(name) for name in gauges.partitions(lanes)},
                watermarks={name: gauges.hold.read(name) for name in gauges.others(lanes)},
            )

    def look(self) -> bool:
        """Tell whether all are to stop reading; raises ProcessDied where a machine has ended, or is not heard of."""
        with self._lock:
            if self._lost is not None:
                raise ProcessDied(f"{self._place.named(self._lost)} has begun again; all are stopped.", peer=True)
            now, limit = time.monotonic(), self._config.engine.hang_after_ms / 1000
            for k, at in self._heard.items():
                if limit and now - at > limit:
                    words = f"{self._place.named(k)} has not been heard of for {now - at:.0f} s; all are stopped."
                    raise ProcessDied(words, peer=True)
            return self._drain

    def drain(self) -> None:
        """Have all stop reading; takes no lock, because it is called in a signal's handler."""
        self._drain = True

    def ended(self) -> None:
        """Wait a moment for what the others have recorded last: this folder is to have all of it."""
        deadline = time.monotonic() + _LAST_S
        while not self._went <= self._ended and time.monotonic() < deadline:
            time.sleep(_POLL_S)


def _answer(token: bytes, kind: Any, take: Callable[[Any], Any]) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        if not hmac.compare_digest(request.headers.get("authorization", "").encode(), token):
            return PlainTextResponse("wrong token\n", 401)
        if not request.headers.get("content-length", "x").isdecimal() or int(request.headers["content-length"]) > _LARGEST:
            return PlainTextResponse("too large, or of unknown length\n", 413)
        try:
            asks = msgspec.json.decode(await request.body(), type=kind)
            given = await asyncio.to_thread(take, asks)
        except (msgspec.DecodeError, KeyError, ValueError):
            return PlainTextResponse("not what a machine of this run says\n", 400)
        return Response(msgspec.json.encode(given), media_type="application/json")

    return answer
