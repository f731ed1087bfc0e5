"""Runs one command and says what it took: seconds, processor time and memory of the whole tree of its processes.

A process of its own, so that what a contender leaves behind (a JVM that its parent did not wait for) is handed to it by the
kernel, is waited for here, and is counted. Run: python -m benchmarks.peers.measured LIMIT_S COMMAND... (the last line is JSON).
"""

import contextlib
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
_SUBREAPER = 36  # of prctl: orphans below come to this process
_EVERY_S = 0.1
_LEFT_S = 10.0
_END = 3000  # characters of what a command that failed said last


class Taken(NamedTuple):
    """What a command took: wall seconds, processor seconds (user and system), the peak of resident memory (MB), its output."""

    seconds: float
    cpu_s: float
    peak_mb: float
    said: str


class ContenderError(Exception):
    """A contender failed; the message ends with what it said last."""


def measure(command, *, limit_s):
    """Run it under a process of this file; gives Taken, raises ContenderError where it fails or takes longer."""
    whole = [sys.executable, "-m", "benchmarks.peers.measured", str(limit_s), *map(str, command)]
    compiled = {"PYTHONDONTWRITEBYTECODE": ""}  # as an installed program is
    done = subprocess.run(
        whole,
        cwd=ROOT,
        env=os.environ | compiled,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ContenderError(done.stdout[-_END:].strip() or f"exit status {done.returncode}")
    return Taken(**json.loads(done.stdout.splitlines()[-1]))


def below(root):
    """Give pid -> resident pages of all processes below one, whoever their parents are."""
    parents, sizes = {}, {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        parents[int(entry.name)], sizes[int(entry.name)] = int(fields[1]), int(fields[21])
    known = {root}
    while found := {child for child, parent in parents.items() if parent in known} - known:
        known |= found
    return {each: sizes[each] for each in known - {root}}


class Peak(threading.Thread):
    """Looks at the memory of all below this process, ten times a second."""

    def __init__(self):
        super().__init__(daemon=True)
        self.mb = 0.0
        self._done = threading.Event()

    def run(self):
        while not self._done.wait(_EVERY_S):
            self.mb = max(self.mb, sum(below(os.getpid()).values()) * resource.getpagesize() / 2**20)

    def stop(self):
        self._done.set()
        self.join()


def end_all():
    """End what runs below this process, by its numbers."""
    for pid in below(os.getpid()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def await_orphans():
    """Wait for what the command left behind, and end it where it stays."""
    end = time.monotonic() + _LEFT_S
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid:
            continue
        if time.monotonic() > end:
            end_all()
        time.sleep(0.01)


def main():
    limit_s, command = float(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    peak = Peak()
    peak.start()
    with tempfile.TemporaryFile("w+") as output:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        try:
            status = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            end_all()
            status = process.wait()
            output.write(f"\nnot done after {limit_s:.0f} s")
        seconds = time.perf_counter() - began
        output.seek(0)
        said = output.read()[-_END:]
    peak.stop()
    await_orphans()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    if status != 0:
        print(said)
        sys.exit(1)
    mb = max(peak.mb, used.ru_maxrss / 1024)  # a short one may end between two looks; the kernel knows the largest process
    print(json.dumps(Taken(round(seconds, 3), round(used.ru_utime + used.ru_stime, 3), round(mb, 1), said)._asdict()))


if __name__ == "__main__":
    main()
