"""Supervisor: several processes of one run on one machine: starts them, watches them, stops all when one dies.

Why stop all: the engine's processes exchange data, so a run without one of them cannot go on. They resume from the last
snapshot when started again.
"""

import contextlib
import ctypes
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_GRACE_S = 20.0
_POLL_S = 0.1


class ProcessDied(Exception):
    """A process of the run ended with an error; the sentence says which, and what it said last."""


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


def supervise(spec: Path, processes: int, tick: Callable[[], None]) -> bool:
    """Run `python -m flows.worker spec K ...` for every K until all end; False where they were told to stop.

    Raises ProcessDied. SIGTERM and Ctrl-C are passed on as SIGTERM to all: the engine hangs when only one of several is interrupted.
    """
    addresses = free_addresses(processes)
    command = [sys.executable, "-m", "flows.worker", str(spec)]
    # In a group of their own: a terminal's Ctrl-C is for this process alone, which tells them all.
    children = [subprocess.Popen([*command, str(number), *addresses], process_group=0) for number in range(processes)]
    told: list[int] = []

    def stop(number: int, _: object) -> None:
        told.append(number)
        _signal_all(children, signal.SIGTERM)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        _watch(children, tick)
        return not told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _signal_all(children, signal.SIGKILL)
        _wait(children)


def _watch(children: list[subprocess.Popen[bytes]], tick: Callable[[], None]) -> None:
    while any(child.poll() is None for child in children):
        failed = [number for number, child in enumerate(children) if child.poll() not in (None, 0)]
        if failed:
            _signal_all(children, signal.SIGTERM)
            raise ProcessDied(_sentence(failed[0], children[failed[0]].returncode))
        tick()
        time.sleep(_POLL_S)
    for number, child in enumerate(children):
        if child.returncode:
            raise ProcessDied(_sentence(number, child.returncode))


def _sentence(number: int, code: int) -> str:
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    return f"process {number} of the run {how}; all were stopped. Start the same command again to resume."


def _signal_all(children: list[subprocess.Popen[bytes]], number: signal.Signals) -> None:
    for child in children:
        if child.poll() is None:
            child.send_signal(number)


def _wait(children: list[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + _GRACE_S
    for child in children:
        try:
            child.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
