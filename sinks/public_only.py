"""Public only: a way to call URLs that people hand in without opening the own network to them.

A name is looked up on every request, all its addresses are checked, and the connection goes to an address that was
checked: an answer of the DNS that changes in between (rebinding) changes nothing. TLS and `Host` keep the name.
"""

import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterable

import httpx

_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_AWS_METADATA = ipaddress.IPv6Network("fd00:ec2::/32")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_LAST_32_BITS = 0xFFFF_FFFF

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class ForbiddenTarget(httpx.TransportError):
    """The target is not on the public network."""


def is_public(address: Address) -> bool:
    """Tell whether an address is of the public network; what IPv6 wraps of IPv4 is judged as that."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = _inner(address)
        if inner is not None:
            return is_public(inner)
        if address not in _GLOBAL_UNICAST:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def is_metadata(address: Address) -> bool:
    """Tell whether an address is of this link alone: there clouds keep a machine's credentials, and nothing that we call."""
    inner = _inner(address) if isinstance(address, ipaddress.IPv6Address) else None
    return (inner or address).is_link_local or address in _AWS_METADATA


def _inner(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Give the IPv4 address within a mapped, 6to4, Teredo or NAT64 one."""
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & _LAST_32_BITS)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


def resolve(host: str, port: int) -> list[str]:
    """Give all addresses of a name; raises `OSError` or `UnicodeError`."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


class PublicOnly(httpx.BaseTransport):
    """Raises `ForbiddenTarget` for a target that has any address that is not public."""

    def __init__(
        self,
        tls: ssl.SSLContext,
        *,
        resolve: Callable[[str, int], Iterable[str]] = resolve,
        allowed: Callable[[Address], bool] = is_public,
    ) -> None:
        """Open no connection yet."""
        self._resolve, self._allowed = resolve, allowed
        self.inner = httpx.HTTPTransport(verify=tls, trust_env=False)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Make the request at the first checked address that can be connected to."""
        trouble: httpx.TransportError = httpx.ConnectError("the name has no address")
        for address in self._checked(request.url):
            try:
                return self.inner.handle_request(_by_address(request, address))
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                trouble = error
        raise trouble

    def close(self) -> None:
        """Close the connections."""
        self.inner.close()

    def _checked(self, url: httpx.URL) -> list[str]:
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            found = list(self._resolve(url.raw_host.decode("ascii"), port))
        except (OSError, UnicodeError):
            raise httpx.ConnectError("the name cannot be looked up") from None
        if not all(self._allowed(ipaddress.ip_address(each)) for each in found):
            raise ForbiddenTarget("the target is not on the public network (allow_private = true allows it)")
        return found


def _by_address(request: httpx.Request, address: str) -> httpx.Request:
    """Give the request with its URL's name replaced; the headers, `Host` among them, were made from the name."""
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": request.url.raw_host.decode("ascii")},
    )
