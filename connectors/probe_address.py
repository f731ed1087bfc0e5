"""Checked addresses: a probe connects to addresses that were looked at, and looks no name up a second time.

Why: an answer of the DNS that changes in between (rebinding) would lead a check where none may go.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import httpcore
import httpx

_PATIENCE_S = 2.0  # for an address, where there is another one


class CheckedAddresses(httpcore.AsyncNetworkBackend):
    """Connects by the addresses that are noted for a host; TLS, cookies and `Host` keep its name."""

    def __init__(self, backend: httpcore.AsyncNetworkBackend) -> None:
        """Take what connects to an address."""
        self._backend = backend
        self._known: dict[str, Sequence[str]] = {}

    @classmethod
    def of(cls, transport: httpx.AsyncHTTPTransport) -> "CheckedAddresses":
        """Have a transport connect so; httpx has no option for this, its pool has."""
        pool: Any = transport._pool
        made = cls(pool._network_backend)
        pool._network_backend = made
        return made

    def note(self, host: str, addresses: Sequence[str]) -> None:
        """Note the addresses of a host, as it stands in a URL on the wire."""
        self._known[host] = addresses

    def known(self, host: str) -> Sequence[str]:
        """Give the addresses of a host, none where it was not looked up."""
        return self._known.get(host, ())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 (httpcore's own)
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Try the addresses in turn; raises httpcore.ConnectError where none takes it."""
        trouble: Exception = httpcore.ConnectError("the name has no address")
        known = self.known(host)
        for number, address in enumerate(known, 1):
            found = self._backend.connect_tcp(address, port, timeout, local_address, socket_options)
            try:
                return await asyncio.wait_for(found, _PATIENCE_S if number < len(known) else None)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                trouble = error
            except TimeoutError:
                trouble = httpcore.ConnectTimeout(f"{address} does not answer")
        raise trouble
