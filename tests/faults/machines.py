"""Machines: one run on several machines, each with its own folder, configuration and probes; they share addresses alone.

The others reach machine 0 through wires that can be cut, so their files of addresses name those in its place.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import httpx

from tests.faults.line import CONFIG, HANG_AFTER, Line
from tests.faults.wire import Wire
from tests.ports import free_ports
from tests.runs import ROOT, checked, wait_until


class Machines(Line):
    """A line of `count` machines; what a `Line` says of its run is asked of machine 0."""

    count = 2

    def __init__(self, folder: Path, **words: object) -> None:
        super().__init__(folder, **words)
        *ports, door = free_ports(3 + 1)
        self.wires = [Wire(ports[0]), Wire(door)]
        self._others = [f"127.0.0.1:{port}" for port in ports[1:]]
        self._first = (ports[0], door)
        self.ports = [self._port, *free_ports(2)]  # of the probes
        known = {"client": "", "token": "", "idle_after": "60s", "hang_after": HANG_AFTER}
        for machine in (1, 2):
            mine = {"directory": self.state_of(machine), "port": self.ports[machine]}
            self.config_of(machine).write_text(CONFIG.format(**{**known, **words, **mine}))
        self.running: dict[int, subprocess.Popen[bytes]] = {}

    def config_of(self, machine: int) -> Path:
        return self.folder / f"monitor-{machine}.toml" if machine else self.config

    def state_of(self, machine: int) -> Path:
        return self.folder / f"state-{machine}" if machine else self.state

    def log_of(self, machine: int) -> Path:
        return self.folder / f"log-{machine}" if machine else self.log

    def addresses_of(self, machine: int) -> Path:
        """Write where the machines are, as one of them reaches them."""
        path = self.folder / f"machines-{machine}"
        engine, door = self._first if machine == 0 else [each.port for each in self.wires]
        lines = ["# one run", f"127.0.0.1:{engine} 127.0.0.1:{door}  # the door", *self._others[: self.count - 1]]
        path.write_text("\n".join(lines))
        return path

    def start(self, machines: Iterable[int] | None = None) -> None:
        """Start all, the last one first; where there is one alone, as the processes of a run on one machine."""
        if self.count == 1:
            super().start()
            assert self.process is not None
            self.running = {0: self.process}
            return
        for machine in reversed(range(self.count)) if machines is None else machines:
            command = [sys.executable, "-m", "flows.cli", "run", "-c", str(self.config_of(machine))]
            place = ["--process-id", str(machine), "--addresses", str(self.addresses_of(machine))]
            with self.log_of(machine).open("ab") as log:
                self.running[machine] = subprocess.Popen(
                    [*command, *place],
                    cwd=ROOT,
                    env=os.environ | self.environment,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        self.process = self.running.get(0)

    def processes_of(self, machine: int) -> list[int]:
        """Give the supervisor of a machine, and its child, where it runs."""
        supervisor = self.running[machine].pid
        with contextlib.suppress(FileNotFoundError):
            found = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
            return [supervisor, *map(int, found)]
        return []

    def signal_machine(self, machine: int, number: int) -> None:
        """Send a signal to all processes of a machine; after SIGKILL they are gone."""
        for each in self.processes_of(machine):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, number)
        if number == signal.SIGKILL:
            self.running[machine].wait()

    def ended(self, machine: int, *, code: int) -> str:
        """Wait until a machine has ended, want its exit code, and give what it said last."""
        assert self.running[machine].wait(60) == code, self.said_by(machine)[-3000:]
        return self.said_by(machine)[-2000:]

    def stop(self) -> None:
        for each in self.running.values():
            each.send_signal(signal.SIGTERM)
        for machine in self.running:
            self.ended(machine, code=0)

    def kill(self) -> None:
        for machine in self.running:
            self.signal_machine(machine, signal.SIGCONT)
            self.signal_machine(machine, signal.SIGKILL)

        for wire in self.wires:
            wire.close()

    def take_away(self, count: int) -> None:
        """Have a run that stands still be one of `count` machines: what the others have of its state goes to machine 0."""
        for machine in range(count, self.count):
            part = self.folder / f"part-{machine}.tar.zst"
            checked("recovery", "export", "-c", self.config_of(machine), part)
            checked("recovery", "import", "-c", self.config, part)
            del self.running[machine]
        self.count = count

    def said_by(self, machine: int) -> str:
        return self.log_of(machine).read_text() if self.log_of(machine).exists() else ""

    def said(self) -> str:
        return "\n".join(self.said_by(machine) for machine in range(self.count))

    def until_said(self, machine: int, words: str, *, after: int = 0) -> None:
        """Wait until a machine's log has words (a pattern)."""
        wait_until(
            lambda: re.search(words, self.said_by(machine)[after:]) is not None,
            what=f"{words!r} of machine {machine}\n{self.said_by(machine)[-2000:]}",
            seconds=60,
        )

    def asked(self, machine: int, path: str) -> tuple[int, str]:
        """Ask the probes of a machine; (0, "") where nobody answers."""
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.ports[machine]}{path}", timeout=5)
        except httpx.TransportError:
            return 0, ""
        return answer.status_code, answer.text
