"""Deadline: one moment by which a request over HTTP has its answer, however slowly the other side feeds it.

Why not httpx's time limits: they are for each read, and a server that sends a byte of its header every few seconds keeps
every one of them. So the connections themselves ask how much time is left. What looks names up keeps its own limits.
"""

import contextlib
import contextvars
import ipaddress
import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from typing import Any

import httpcore
import httpx

from sinks.public_only import ForbiddenTarget, is_metadata

_PIECE = 16 << 10
_NEVER = float("inf")
_UNTIL: contextvars.ContextVar[float] = contextvars.ContextVar("until", default=_NEVER)
_MOST: contextvars.ContextVar[int] = contextvars.ContextVar("most", default=0)

Trouble = type[httpcore.TimeoutException]


@contextlib.contextmanager
def deadline(seconds: float, at_a_time: int = 0) -> Iterator[None]:
    """Let what this thread does inside on limited connections take so many seconds in all.

    With `at_a_time` it reads more bytes at a time than the 64 KiB of httpcore, where so many have come: of a large answer each
    read costs work, and up to 5 ms where other threads compute.
    """
    tokens = _UNTIL.set(time.monotonic() + seconds), _MOST.set(at_a_time)
    try:
        yield
    finally:
        _UNTIL.reset(tokens[0])
        _MOST.reset(tokens[1])


def limit(transport: httpx.BaseTransport | None) -> None:
    """Have the connections of an httpx transport keep the deadline; httpx has no option for this, its pool has."""
    if isinstance(transport, httpx.HTTPTransport):
        pool: Any = transport._pool
        pool._network_backend = _Limited(pool._network_backend)


def _left(timeout: float | None, trouble: Trouble) -> float | None:
    """Give the seconds for the next step; raises `trouble` where none are left."""
    until = _UNTIL.get()
    if until == _NEVER:
        return timeout
    left = until - time.monotonic()
    if left <= 0:
        raise trouble("no time is left")
    return left if timeout is None else min(timeout, left)


class _Limited(httpcore.NetworkBackend):
    def __init__(self, backend: httpcore.NetworkBackend) -> None:
        self._backend = backend

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Try the addresses of a name one by one: the limit of a connection is for each, the deadline for all.

        Raises ForbiddenTarget where one of them is where clouds keep a machine's credentials, whatever was configured.
        """
        trouble: Exception = httpcore.ConnectError("the name has no address")
        for address in _addresses(host, port):
            if is_metadata(ipaddress.ip_address(address)):
                raise ForbiddenTarget(
                    f"{address} is of the machine's own link, where clouds keep its credentials: never called"
                )
            left = _left(timeout, httpcore.ConnectTimeout)
            try:
                found = self._backend.connect_tcp(address, port, left, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                trouble = error
            else:
                return _Stream(found)
        raise trouble

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._backend.connect_unix_socket(path, left, socket_options))


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max(max_bytes, _MOST.get()), _left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write in pieces: a reader that takes little at a time is asked for the time after each."""
        for start in range(0, len(buffer), _PIECE):
            self._stream.write(buffer[start : start + _PIECE], _left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _addresses(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError("the name cannot be looked up") from error
    return list(dict.fromkeys(str(each[4][0]) for each in found))
