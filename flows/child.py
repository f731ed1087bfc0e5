"""Child: one process of a run, as its supervisor sees it: started afresh, or forked from the process that planned the run.

Why fork: a start imports for most of a second of a processor, once a process, and a replay of files waits for nothing else.
Why not always: a process that has threads, as Kafka's library makes them, must not fork.
"""

import gc
import multiprocessing
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

_STDERR = 2
_TOLD = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)  # what a supervisor hears, and passes on


class Child(Protocol):
    """What a supervisor asks of a process: what `subprocess.Popen` has."""

    @property
    def returncode(self) -> int | None:
        """Give the exit code as `poll` found it last; negative where a signal ended it."""

    def poll(self) -> int | None:
        """Look whether it has ended; gives the exit code."""

    def send_signal(self, sig: int) -> None:
        """Send a signal, if it has not ended."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raises subprocess.TimeoutExpired."""

    def kill(self) -> None:
        """End it at once."""


Start = Callable[[int, Sequence[str]], Child]  # by the number of the process and the addresses (host:port) of all


def afresh(command: Sequence[str], *, quiet: bool = False) -> Start:
    """Start processes by a command, which is given their number and the addresses; `quiet` ones leave standard output alone."""

    def start(number: int, addresses: Sequence[str]) -> Child:
        # In a group of its own: a terminal's Ctrl-C is for the supervisor alone, which tells them all.
        return subprocess.Popen([*command, str(number), *addresses], process_group=0, stdout=_STDERR if quiet else None)

    return start


def forked(work: Callable[[int, Sequence[str]], int]) -> Start:
    """Fork processes from this one; each ends with the exit code that `work` gives."""
    return lambda number, addresses: _Forked(partial(work, number, addresses))


class _Forked:
    def __init__(self, work: Callable[[], int]) -> None:
        gc.freeze()  # what is there now is shared, until a collection looks at it: writing so much as a mark copies it
        # A signal that comes before the child has handlers of its own must not be taken by those that it has from here.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _TOLD)
        self._process = multiprocessing.get_context("fork").Process(target=_go_on, args=(work, before))
        self._process.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, sig: int) -> None:
        if self._process.exitcode is None and self._process.pid is not None:
            os.kill(self._process.pid, sig)

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0.0)
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()


def _go_on(work: Callable[[], int], unblocked: set[signal.Signals]) -> None:
    """Be a process of its own, as one that was started afresh is, and work."""
    os.setpgid(0, 0)
    os.dup2(_STDERR, 1)  # standard output is the command's own
    for number in _TOLD:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
    raise SystemExit(work())
