"""Several: a live run on several machines, as one of them runs it: `edgewatch run --process-id K --addresses FILE`.

Each machine has a supervisor with one process of the engine. Machine 0 leads (`muster`), the others follow (`follower`).
"""

import ipaddress
import logging
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Event

from starlette.applications import Starlette

from connectors.source import SourceError
from flows.board import Board
from flows.config import Config
from flows.follower import Follower
from flows.inputs import open_source
from flows.last_words import last_words
from flows.line import build_line
from flows.machines import Address, Place
from flows.monitor import Report, Ticker, grow, live_spec, prepared, restarts, starting
from flows.muster import Muster
from flows.run_folder import RunFolder, RunSpec
from flows.served import Served
from flows.shared_run import begin_run
from flows.status_server import StatusServer, probes
from flows.supervisor import Restarts, supervise

_NAME_S = 60.0  # so long may it take until the name of a machine that has just come up is known
_ALWAYS = 1_000_000_000
_log = logging.getLogger(__name__)


def run_machine(config: Config, place: Place, report: Report) -> None:
    """Run one machine's part until told to stop; raises SourceError, ProcessDied."""
    spec = live_spec(config).with_(machine=place.machine, machines=len(place.engines))
    folder = RunFolder(Path(spec.state))
    with folder.locked():
        check_address(place.engines[place.machine], allow_public=config.engine.allow_public)
        if place.leads:
            _lead(config, place, spec, folder, report)
        else:
            _follow(config, place, spec, folder)


def _lead(config: Config, place: Place, spec: RunSpec, folder: RunFolder, report: Report) -> None:
    begin_run(folder)
    prepared(config, spec, folder)
    source = open_source(config, build_line(config), spec)
    grow(source, folder)
    board = Board(folder.board, source.lanes())
    chosen = restarts(config, folder, board, source)

    def alarm(missing: str) -> None:
        if folder.firing.exists():  # who starts a run that has judged nothing yet reads why it waits
            last_words(config, folder, 0, waits_for=missing)

    muster = Muster(config, place, folder, spec.start, alarm)
    try:
        door = Served(muster.application, (place.door.host, place.door.port), "door")
    except OSError as error:
        raise _cannot_listen(place.door, error) from error
    try:
        supervise(starting(config, spec, folder), _Shown(config, muster), Ticker(board, report).tick, chosen)
    except SourceError:  # the machines do not fit together
        chosen.no_start()
        raise
    finally:
        door.stop()


def _follow(config: Config, place: Place, spec: RunSpec, folder: RunFolder) -> None:
    follower = Follower(config, place, folder, spec.with_(alerts=None))
    began = time.monotonic()

    def waits() -> list[str]:
        return [f"waiting for {each}" for each in follower.waits_for]

    def idle_s() -> float:
        return 0.0 if follower.waits_for else follower.idle_s(max(began, follower.began))

    chosen = Restarts(
        idle_s=follower.idle_s,
        hang_after_s=config.engine.hang_after_ms / 1000,
        gave_up=lambda _starts: None,
        most=_ALWAYS,  # when to give up is machine 0's to say
        longest_pause_s=1.0,
    )
    server = _probe_server(config, Starlette(routes=probes(idle_s, waits, hang_after_s=chosen.hang_after_s)))
    try:
        supervise(starting(config, spec, folder), follower, lambda: None, chosen)
    finally:
        follower.close()
        if server is not None:
            server.stop()


class _Shown:
    """Machine 0's meeting; while it gathers no process answers probes, so it does: it lives, and is not ready."""

    def __init__(self, config: Config, muster: Muster) -> None:
        self._config, self._muster = config, muster

    def meet(self, told: Event) -> tuple[Sequence[int], Sequence[str]] | None:
        def waits() -> list[str]:
            return [f"waiting for {each}" for each in self._muster.missing()]

        server = _probe_server(self._config, Starlette(routes=probes(lambda: 0.0, waits, hang_after_s=0)))
        try:
            return self._muster.meet(told)
        finally:
            if server is not None:
                server.stop()

    def look(self) -> bool:
        return self._muster.look()

    def drain(self) -> None:
        self._muster.drain()

    def ended(self) -> None:
        self._muster.ended()


def _probe_server(config: Config, application: Starlette) -> StatusServer | None:
    address = config.observe.address
    return None if address is None else StatusServer(application, address)


def check_address(address: Address, *, allow_public: bool) -> None:
    """Refuse an address that this machine cannot listen at, or that is not of a network of its own. Raises SourceError.

    A name that is not known yet is waited for.
    """
    deadline = time.monotonic() + _NAME_S
    while True:
        try:
            if not allow_public:
                _refuse_public(address)
            socket.create_server((address.host, address.port), family=_family(address)).close()
        except socket.gaierror as error:
            if time.monotonic() > deadline:
                raise _cannot_listen(address, error) from error
            _log.info("waiting for the name %s to be known", address.host)
            time.sleep(1)
        except OSError as error:
            raise _cannot_listen(address, error) from error
        else:
            return


def _refuse_public(address: Address) -> None:
    """Raise SourceError for an address that strangers may reach, or that is all of this machine's."""
    for *_, found in socket.getaddrinfo(address.host, address.port, _family(address), socket.SOCK_STREAM):
        where = ipaddress.ip_address(str(found[0]).partition("%")[0])
        if where.is_global or where.is_unspecified:
            kind = "is every address of this machine" if where.is_unspecified else "is a public address"
            raise SourceError(
                f"{address} {kind}, and the engine's port has neither password nor encryption: who reaches it can run code "
                "here. Give the machines addresses of a private network (or of WireGuard) in the file of --addresses; or, "
                "where a firewall lets nobody but them in, allow_public = true in [engine]"
            )


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address.host else socket.AF_INET


def _cannot_listen(address: Address, error: OSError) -> SourceError:
    return SourceError(
        f"this machine cannot listen on {address}, which is its own address in the file of --addresses: "
        f"{_reason(error)}; is --process-id the line of this machine?"
    )


def _reason(error: OSError) -> str:
    """Give it as the system has it: Python adds the address."""
    if isinstance(error, socket.gaierror) or error.errno is None:
        return error.strerror or str(error)
    return os.strerror(error.errno)
