"""Child: one process of a run, as its supervisor sees it: started afresh, or forked from the process that plans the run.

Why fork: a start imports for most of a second of a processor, once a process, and a replay waits for nothing else.
A process that has threads, as Kafka's library makes them, must not fork: what reads Kafka is forked before, and waits.
"""

import gc
import multiprocessing
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, Self

import msgspec

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


class Reserve:
    """Processes forked now, before there is anything that must not be forked; each goes on when it is started.

    As a context: those that were not started end with it.
    """

    def __init__(self, work: Callable[[int, Sequence[str]], int], count: int) -> None:
        """Fork `count` processes."""
        self._free: list[tuple[_Forked, int]] = []
        for _ in range(count):
            read, write = os.pipe()
            ours = [write, *(other for _, other in self._free)]
            self._free.append((_Forked(partial(_when_told, work, read, ours)), write))
            os.close(read)

    def start(self, number: int, addresses: Sequence[str]) -> Child:
        """Have one of them be process `number` (a `Start`)."""
        child, write = self._free.pop(0)
        with os.fdopen(write, "wb") as told:
            told.write(msgspec.json.encode((number, tuple(addresses))))
        return child

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for child, write in self._free:
            os.close(write)
            child.wait()


def _when_told(work: Callable[[int, Sequence[str]], int], read: int, others: Sequence[int]) -> int:
    for each in others:  # a pipe ends when nobody can write to it any more: the parent alone can
        os.close(each)
    with os.fdopen(read, "rb") as pipe:
        told = pipe.read()
    return work(*msgspec.json.decode(told, type=tuple[int, tuple[str, ...]])) if told else 0


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
