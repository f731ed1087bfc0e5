"""Supervisor: the processes of one run on this machine: starts them, watches them, stops all when one dies or hangs.

Where a run has several machines, each has a supervisor, and a `Meeting` brings them together. Why stop all: the engine's
processes exchange data, so a run without one of them cannot go on. A live run is then started again from its last snapshot,
later each time, and given up where starts in a row come to nothing; a bounded run is resumed by who started it. Progress is
that lanes are asked for records, not that processes live: a stopped process lives.
"""

import contextlib
import ctypes
import logging
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from flows.child import Child, Start

_PR_SET_PDEATHSIG = 1
_GRACE_S = 20.0
_POLL_S = 0.1
_LISTEN_S, _LOOK_S = 10.0, 0.002
PEER_LOST = 3  # the exit code of a process that ends because another one has
_log = logging.getLogger(__name__)


class ProcessDied(Exception):
    """A process of the run ended with an error; the sentence says which. `peer`: what is wrong is wrong elsewhere."""

    def __init__(self, words: str, *, peer: bool = False) -> None:
        """Take the sentence."""
        super().__init__(words)
        self.peer = peer


@dataclass(frozen=True, slots=True, kw_only=True)
class Restarts:
    """When a run is started again: `idle_s` gives how long (s) it has made no progress, counted from a moment at the earliest.

    A run that lasted `settled_s` was well; of starts that do not get as far, `most` in a row are made. `gave_up` is called
    with the number of starts before the end, `renew` before a start that a process has asked for (SIGUSR1),
    `no_start` where the first start came to nothing.
    """

    idle_s: Callable[[float], float]
    hang_after_s: float
    gave_up: Callable[[int], object]
    renew: Callable[[], None] = lambda: None
    no_start: Callable[[], object] = lambda: None
    settled_s: float = 120.0
    most: int = 5
    pause_s: float = 1.0  # before the first; it doubles
    longest_pause_s: float = 60.0
    start_s: float = 120.0  # what a start may take


class Meeting(Protocol):
    """Where the processes of a run find each other, before each start."""

    def meet(self, told: threading.Event) -> tuple[Sequence[int], Sequence[str]] | None:
        """Give the numbers of the processes to start here, and the addresses of all; None once it is told to stop."""

    def look(self) -> bool:
        """Tell whether all are to stop reading and start again; raises ProcessDied where others have ended."""

    def drain(self) -> None:
        """Have all others hear that the processes here were told to stop reading; called in a signal's handler."""

    def ended(self) -> None:
        """Take note that they have ended in good order."""


class Alone:
    """All processes of the run are on this machine."""

    def __init__(self, processes: int, before: Callable[[], None] = lambda: None) -> None:
        """Take how many, and what is to be done before each start."""
        self._processes = processes
        self._before = before

    def meet(self, told: threading.Event) -> tuple[Sequence[int], Sequence[str]] | None:  # noqa: ARG002
        """Give free ports."""
        self._before()
        return range(self._processes), free_addresses(self._processes)

    def look(self) -> bool:
        """Nobody else says anything."""
        return False

    def drain(self) -> None:
        """Nobody else needs to know."""

    def ended(self) -> None:
        """Nobody else needs to know."""


def free_addresses(count: int) -> list[str]:
    """Give `count` free ports of 127.0.0.1 as host:port."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{listener.getsockname()[1]}" for listener in sockets]


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies (Linux; elsewhere it does nothing)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def wait_for_listener(address: str) -> None:
    """Wait until a process listens at an address (host:port) of this machine, at most for some seconds (Linux; elsewhere not).

    The engine's processes connect to those before them, and one that finds nobody there asks again only after a second. An
    address that somebody listens at cannot be bound; asking so, unlike connecting, is not noticed there.
    """
    host, port = address.rsplit(":", 1)
    deadline = time.monotonic() + _LISTEN_S
    while sys.platform == "linux" and time.monotonic() < deadline:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # so it never keeps the other one from binding
            try:
                probe.bind((host, int(port)))
            except OSError:
                return
        time.sleep(_LOOK_S)


def supervise(start: Start, meeting: Meeting, tick: Callable[[], None], restarts: Restarts | None = None) -> bool:
    """Run the processes of this machine until all end; False where they were told to stop.

    Raises ProcessDied. SIGTERM and Ctrl-C are passed on as SIGTERM to all: the engine hangs when only one of several is
    interrupted.
    """
    return _Supervisor(start, meeting, tick, restarts).run()


class _Supervisor:
    def __init__(self, start: Start, meeting: Meeting, tick: Callable[[], None], restarts: Restarts | None) -> None:
        self._start, self._meeting, self._tick, self._restarts = start, meeting, tick, restarts
        self._children: list[Child] = []
        self._told = threading.Event()
        self._again = threading.Event()

    def run(self) -> bool:
        calls = {signal.SIGTERM: self._stop, signal.SIGINT: self._stop, signal.SIGUSR1: self._renew}
        before = {number: signal.signal(number, lambda *_, call=call: call()) for number, call in calls.items()}
        try:
            self._run()
            return not self._told.is_set()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self) -> None:
        self._told.set()
        self._meeting.drain()
        self._signal_all(signal.SIGTERM)

    def _renew(self) -> None:
        self._meeting.drain()
        self._stop_for_a_moment()

    def _stop_for_a_moment(self) -> None:
        self._again.set()
        self._signal_all(signal.SIGTERM)

    def _run(self) -> None:
        failures = 0
        while (found := self._meeting.meet(self._told)) is not None and not self._told.is_set():
            began = time.monotonic()
            try:
                self._once(began, *found)
            except ProcessDied as error:
                if self._restarts is None or self._told.is_set():
                    raise
                lasted = time.monotonic() - began
                if self._restarts.idle_s(began) >= lasted and not failures and not error.peer:
                    self._restarts.no_start()  # what is wrong is wrong with the start
                    raise
                failures = 1 if lasted >= self._restarts.settled_s else failures + 1
                self._pause(self._restarts, failures, error)
            else:
                if not self._again.is_set():
                    return
            if self._again.is_set() and self._restarts is not None:
                self._again.clear()
                self._restarts.renew()

    def _pause(self, restarts: Restarts, failures: int, error: ProcessDied) -> None:
        """Wait before the next start, or give up."""
        if failures > restarts.most:
            restarts.gave_up(failures)
            words = f"{error} That was {failures} times in a row: given up. Start the same command again to resume."
            raise ProcessDied(words) from error
        pause = min(restarts.pause_s * 2.0 ** min(failures - 1, 10), restarts.longest_pause_s)
        _log.error("%s It goes on from its last snapshot in %.0f s", error, pause)
        self._told.wait(pause)

    def _once(self, began: float, numbers: Sequence[int], addresses: Sequence[str]) -> None:
        """Run the processes once, to their end."""
        self._children = []
        for number in numbers:
            self._children.append(self._start(number, addresses))
        if self._told.is_set():
            self._signal_all(signal.SIGTERM)
        try:
            self._watch(began, numbers)
            self._meeting.ended()
        finally:
            self._signal_all(signal.SIGKILL)
            self._wait()

    def _watch(self, began: float, numbers: Sequence[int]) -> None:
        children = self._children
        ended = False
        while not ended:
            ended = None not in [child.poll() for child in children]  # each is asked, also behind one that lives
            for number, child in zip(numbers, children, strict=True):
                code = child.returncode
                if code is not None and code not in self._well():
                    self._signal_all(signal.SIGTERM)
                    raise ProcessDied(_sentence(number, code, again=self._restarts is None), peer=code == PEER_LOST)
            if not ended:
                if self._meeting.look() and not self._told.is_set() and not self._again.is_set():
                    self._stop_for_a_moment()
                self._look(began)
                self._tick()
                time.sleep(_POLL_S)

    def _well(self) -> tuple[int, ...]:
        """Give the exit codes that are well; one that is told to stop as it starts does not know how yet."""
        return (0, -signal.SIGTERM) if self._told.is_set() or self._again.is_set() else (0,)

    def _look(self, began: float) -> None:
        """Raise ProcessDied where the run makes no progress; one that was told to stop has its time to end."""
        restarts = self._restarts
        if restarts is None or not restarts.hang_after_s or self._told.is_set():
            return
        lasted = time.monotonic() - began
        idle = restarts.idle_s(began)
        if idle >= lasted and lasted < restarts.start_s:
            return  # large state takes its time to be read
        if idle > restarts.hang_after_s:
            raise ProcessDied(f"the run made no progress for {idle:.0f} s; all its processes were killed.")

    def _signal_all(self, number: signal.Signals) -> None:
        for child in self._children:
            if child.poll() is None:
                child.send_signal(number)

    def _wait(self) -> None:
        deadline = time.monotonic() + _GRACE_S
        for child in self._children:
            try:
                child.wait(max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _sentence(number: int, code: int, *, again: bool) -> str:
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    resume = " Start the same command again to resume." if again else ""
    return f"process {number} of the run {how}; all were stopped.{resume}"
