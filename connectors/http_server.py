"""HTTP server: uvicorn with what a door to other networks needs besides: a limit on slow headers, and a quiet end.

uvicorn waits for the head of a request for ever, and ends by the signal that stopped it: a supervisor would call that a crash.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

_KEEP_ALIVE_S = 75  # Logpush uploads every 30 s or so, over the same connection
_LARGEST_HEAD = 32_768

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where and how a server listens; `certificate` and `key` are PEM files or empty."""

    host: str
    port: int
    certificate: str = ""
    key: str = ""
    proxies: tuple[str, ...] = ()
    connections: int = 256
    grace_s: int = 40
    head_s: float = 20.0  # a client has this long for the head of a request


class PatientProtocol(H11Protocol):
    """HTTP/1.1 that gives a client some seconds for the head of a request."""

    head_s = 20.0
    _head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take bytes: of a request that is answered, or of the head of the next one."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._rest()
        elif self._head is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client."""
        self._rest()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._head = self.loop.call_later(self.head_s, self._cut_off)

    def _rest(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _cut_off(self) -> None:
        self._head = None
        self.transport.close()


class QuietServer(uvicorn.Server):
    """A server that ends in order, with exit code 0, when it is told to; told twice it ends at once."""

    def __init__(self, config: uvicorn.Config, *, on_start: Callable[[int], None], on_stop: Callable[[], None]) -> None:
        """Take what to call with the port when it listens, and when it is told to stop."""
        super().__init__(config)
        self._on_start = on_start
        self._on_stop = on_stop

    async def startup(self, sockets: Any = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        if self.started:
            self._on_start(self.servers[0].sockets[0].getsockname()[1])

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take signals as a request to stop, and leave them at that."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._told)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    def _told(self) -> None:
        if self.should_exit:
            self.force_exit = True
        self.should_exit = True
        self._on_stop()


def serve(
    application: Any, listening: Listening, *, on_start: Callable[[int], None], on_stop: Callable[[], None] = lambda: None
) -> bool:
    """Serve until a signal; tells whether it could listen. OSError where a file of TLS cannot be read."""
    config = uvicorn.Config(
        application,
        host=listening.host,
        port=listening.port,
        http=type("Patient", (PatientProtocol,), {"head_s": listening.head_s}),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(listening.proxies),
        forwarded_allow_ips=list(listening.proxies),
        limit_concurrency=listening.connections,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=listening.grace_s,
        h11_max_incomplete_event_size=_LARGEST_HEAD,
        ssl_certfile=listening.certificate or None,
        ssl_keyfile=listening.key or None,
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    server = QuietServer(config, on_start=on_start, on_stop=on_stop)
    server.run()
    return server.started
