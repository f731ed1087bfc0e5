"""Probe wire: one request of a check over a fresh connection, with the time that each part of it took.

Why no proxy of the environment: a probe is to see what a user sees from where it stands; through a proxy it would see that.
"""

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx

from connectors.certificate import expiry_ms
from connectors.probe_address import CheckedAddresses
from connectors.probe_answer import Answer, CheckFailed

LARGEST_BODY = 1 << 20
_AGENT = "edgewatch-probe"
_CLOUD = ipaddress.IPv6Network("fd00:ec2::/32")
_MOVED = (301, 302, 303, 307, 308)
_SAME_METHOD = (307, 308)
_PARTS = {
    "connection.connect_tcp": "connect_ms",
    "connection.start_tls": "tls_ms",
    "http11.receive_response_headers": "first_byte_ms",
}
_Result = TypeVar("_Result")


@dataclass(slots=True)
class Timing:
    """What a check took, in ms; parts that did not happen are not there. `certificate_end_ms` is the first end of those met."""

    parts: dict[str, float] = field(default_factory=dict)
    certificate_end_ms: int | None = None
    _begun: dict[str, float] = field(default_factory=dict)

    async def told(self, event: str, info: Mapping[str, Any]) -> None:
        """Take note of what httpcore does."""
        del info
        name, _, stage = event.rpartition(".")
        if name not in _PARTS:
            return
        if stage == "started":
            self._begun[name] = time.monotonic()
        elif stage == "complete" and name in self._begun:
            self.add(_PARTS[name], time.monotonic() - self._begun.pop(name))

    def add(self, part: str, seconds: float) -> None:
        """Add to what a part took: a check may connect more than once."""
        self.parts[part] = self.parts.get(part, 0.0) + seconds * 1000

    def certificate(self, der: bytes | None) -> None:
        """Take note of a certificate that was shown."""
        if der:
            with contextlib.suppress(ValueError):
                end = expiry_ms(der)
                known = self.certificate_end_ms
                self.certificate_end_ms = end if known is None else min(known, end)


@dataclass(frozen=True, slots=True)
class Ask:
    """A request that is ready to go; its headers stay with its host."""

    method: str
    url: httpx.URL
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Line:
    """What the requests of one check go over: they connect to addresses that were checked."""

    client: httpx.AsyncClient
    addresses: CheckedAddresses


@contextlib.asynccontextmanager
async def connection(trust: ssl.SSLContext) -> AsyncIterator[Line]:
    """Give a client for one check: what was connected to and which cookies were set ends with it."""
    limits = httpx.Timeout(None)  # the check as a whole has a limit
    headers = {"User-Agent": _AGENT, "Cache-Control": "no-cache"}
    transport = httpx.AsyncHTTPTransport(verify=trust, trust_env=False)
    async with httpx.AsyncClient(transport=transport, trust_env=False, timeout=limits, headers=headers) as client:
        yield Line(client, CheckedAddresses.of(transport))


async def ask(line: Line, request: Ask, timing: Timing, *, redirects: int) -> Answer:
    """Make a request and follow redirects; raises CheckFailed where no answer came, or it leads to where none is followed."""
    begun = time.monotonic()
    own_network: bool | None = None  # whether what was asked first is of it
    for left in range(redirects, -1, -1):
        public, found = await _look_up(request.url, timing)
        line.addresses.note(request.url.raw_host.decode(), found)
        if own_network is False and not public:
            raise CheckFailed("redirect", f"the redirect leads into the own network ({_plain(request.url)}), not followed")
        own_network = not public if own_network is None else own_network
        answer = await _once(line, request, timing, begun)
        goal = answer.headers.get("location")
        if answer.status not in _MOVED or goal is None or redirects == 0:
            return answer
        if left:
            request = _moved(request, answer.status, goal)
    raise CheckFailed("redirect", f"more than {redirects} redirects, the last to {_plain(request.url)}")


async def _once(line: Line, request: Ask, timing: Timing, begun: float) -> Answer:
    body = bytearray()
    client = line.client
    built = client.build_request(request.method, request.url, headers=dict(request.headers), content=request.content)
    built.extensions["trace"] = timing.told
    try:
        response = await client.send(built, stream=True)
        try:
            _see_certificate(response, timing)
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > LARGEST_BODY:
                    raise CheckFailed("body", f"the body is longer than {LARGEST_BODY} bytes")
        finally:
            await response.aclose()
    except httpx.InvalidURL:  # httpx looks at where a redirect leads although it does not follow
        raise CheckFailed("redirect", "the redirect leads to no address") from None
    except httpx.HTTPError as error:
        raise await _trouble(error, request.url, timing, line.addresses) from None
    elapsed = (time.monotonic() - begun) * 1000
    return Answer(
        response.status_code,
        response.headers,
        {each.name: each.value or "" for each in client.cookies.jar},
        bytes(body),
        elapsed,
    )


async def _look_up(url: httpx.URL, timing: Timing) -> tuple[bool, list[str]]:
    """Look the host's name up, apart from the connection: what takes long or fails is told apart.

    Gives whether all its addresses are public, and these. Raises CheckFailed where one is where clouds keep a machine's
    credentials.
    """
    found = await _addresses(url, timing)
    given = [ipaddress.ip_address(each) for each in found]
    addresses = [getattr(each, "ipv4_mapped", None) or each for each in given]
    if any(each.is_link_local or each in _CLOUD for each in addresses):
        raise CheckFailed("connect", f"{url.host} is of the machine's own link, where clouds keep its credentials: never asked")
    return all(each.is_global for each in addresses), found


async def _addresses(url: httpx.URL, timing: Timing) -> list[str]:
    host = url.host
    with contextlib.suppress(ValueError):
        return [str(ipaddress.ip_address(host))]
    begun = time.monotonic()
    try:
        port = url.port or (443 if url.scheme == "https" else 80)
        found = await asyncio.get_running_loop().getaddrinfo(url.raw_host.decode(), port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise CheckFailed("dns", f"{host} cannot be looked up ({getattr(error, 'strerror', None) or 'no name'})") from None
    timing.add("dns_ms", time.monotonic() - begun)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def _see_certificate(response: httpx.Response, timing: Timing) -> None:
    stream = response.extensions.get("network_stream")
    secured = stream.get_extra_info("ssl_object") if stream is not None else None
    if isinstance(secured, ssl.SSLObject | ssl.SSLSocket):
        timing.certificate(secured.getpeercert(binary_form=True))


async def _trouble(error: httpx.HTTPError, url: httpx.URL, timing: Timing, addresses: CheckedAddresses) -> CheckFailed:
    where = f"{url.host}:{url.port or (443 if url.scheme == 'https' else 80)}"
    cause = _of_kind(error, ssl.SSLError)
    if cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            timing.certificate(await _unverified(url, addresses))
            return CheckFailed("tls", f"the certificate of {where} is not valid: {cause.verify_message}")
        return CheckFailed("tls", f"no TLS with {where}: {cause.reason or 'it hung up'}")
    if isinstance(error, httpx.ConnectError):
        refused = _of_kind(error, OSError)
        return CheckFailed("connect", f"no connection to {where} ({(refused and refused.strerror) or 'no address answers'})")
    if isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError):
        return CheckFailed("protocol", f"{where} hung up, or speaks no HTTP")
    return CheckFailed("protocol", f"the exchange with {where} failed ({type(error).__name__})")


async def _unverified(url: httpx.URL, addresses: CheckedAddresses) -> bytes | None:
    """Give the certificate that a host shows, whatever it is worth: nothing is sent to it."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        (address, *_) = addresses.known(url.raw_host.decode())
        _, writer = await asyncio.open_connection(address, url.port or 443, ssl=context, server_hostname=url.host)
    except OSError:
        return None
    secured = writer.get_extra_info("ssl_object")
    writer.transport.abort()
    found: bytes | None = secured.getpeercert(binary_form=True) if secured is not None else None
    return found


def _of_kind(error: BaseException, kind: type[_Result]) -> _Result | None:
    """Give the error of a kind that led to another."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, kind):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


def _moved(request: Ask, status: int, goal: str) -> Ask:
    """Give the request that a redirect asks for; what was configured for one host does not go to another."""
    try:
        url = request.url.join(goal)
    except (httpx.InvalidURL, ValueError):
        raise CheckFailed("redirect", "the redirect leads to no address") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise CheckFailed("redirect", f"the redirect leads to another scheme ({url.scheme or 'none'}), which is not followed")
    if request.url.scheme == "https" and url.scheme == "http":
        raise CheckFailed("redirect", f"the redirect leads from https to {_plain(url)}, which is not followed")
    same = (url.host, url.port) == (request.url.host, request.url.port) and url.scheme == request.url.scheme
    keeps = status in _SAME_METHOD
    if keeps and not same and request.content:
        raise CheckFailed("redirect", f"the redirect would take the body to {_plain(url)}, which is not followed")
    method = request.method if keeps or request.method == "HEAD" else "GET"
    headers = request.headers if same else {}
    return Ask(method, url, headers if keeps else _without_body(headers), request.content if keeps else b"")


def _without_body(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in ("content-type", "content-length")}


def _plain(url: httpx.URL) -> str:
    """Give an address without what may be secret in it."""
    return f"{url.scheme}://{url.netloc.decode()}{url.path}"


async def limited(work: Awaitable[_Result], seconds: float) -> _Result:
    """Give what the work gives; raises CheckFailed where it takes longer."""
    try:
        return await asyncio.wait_for(work, seconds)
    except TimeoutError:
        raise CheckFailed("timeout", f"no whole answer within {seconds:g} s") from None
