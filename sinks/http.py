"""HTTP for everything that leaves: one client, a limit on the whole of a request, no redirects, errors that hold no secret.

Whether a status is worth a retry is decided here for every channel: 429, 5xx and trouble on the network are,
any other answer than success is not.
"""

import contextlib
import email.utils
import functools
import logging
import re
import ssl
import time
import urllib.parse
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from sinks.deadline import deadline, limit
from sinks.notification import DeliveryError, one_line
from sinks.public_only import ForbiddenTarget, PublicOnly

CONNECT_S = 5.0
TOTAL_S = 10.0
RETRY_AFTER_MAX_S = 900.0
TOO_MANY_REQUESTS = 429
_SERVER_ERROR = 500
_KEEP_BYTES = 1 << 16
_AT_A_TIME = 1 << 20  # bytes of an answer that is wanted whole
_READ, _SHOWN = 4000, 400
_SECRET_LENGTH = 8
_PATTERNS = (
    re.compile(r"xox[a-z]-[A-Za-z0-9-]+"),
    re.compile(r"(?i)\bbearer\s+\S+"),
    re.compile(r"(?<=://)[^/\s@]+@"),
    re.compile(r"(?<=hooks\.slack\.com)/\S+"),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; the body is cut at 64 KiB unless the whole was asked for."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the status is a 2xx."""
        return 200 <= self.status < 300  # noqa: PLR2004  2xx

    @property
    def fields(self) -> dict[str, Any]:
        """The body as a JSON object; empty where it is none."""
        try:
            found = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def text(self) -> str:
        """The body as one line for people."""
        return one_line(self.body[:_READ].decode("utf-8", "replace"))


class HttpClient:
    """A client of one service: `name` opens every error, `secrets` are blotted out of them.

    With `public_only` it talks to public addresses alone, and never by a proxy: that would look names up itself. `ca_file`
    (PEM) is trusted instead of the system's authorities; `untrusted` says where to look when a certificate is not trusted.
    """

    def __init__(  # noqa: PLR0913  (what a client is told)
        self,
        name: str,
        *,
        secrets: tuple[str, ...] = (),
        total: float = TOTAL_S,
        public_only: bool = False,
        ca_file: str = "",
        untrusted: str = "",
    ) -> None:
        """Open no connection yet. Raises OSError where `ca_file` cannot be read."""
        _hush()
        self._name = name
        # The longest first: a secret within another would leave the rest of that.
        self._secrets = tuple(sorted(filter(None, secrets), key=len, reverse=True))
        self._total, self._untrusted = total, untrusted
        limits = httpx.Timeout(total, connect=min(CONNECT_S, total))
        # A proxy of the environment is used, but not for this machine.
        here = dict.fromkeys(("all://127.0.0.1", "all://localhost", "all://[::1]"))
        trust = trusted(ca_file)
        transport = PublicOnly(trust) if public_only else None
        self._client = httpx.Client(
            timeout=limits, follow_redirects=False, mounts=here, verify=trust, transport=transport, trust_env=not public_only
        )
        for each in (transport.inner if transport else self._client._transport, *self._client._mounts.values()):
            limit(each)
        weakref.finalize(self, self._client.close)

    def close(self) -> None:
        """Close the connections; they close by themselves once nobody holds the client."""
        self._client.close()

    def error(self, problem: str, *, retryable: bool, retry_after: float | None = None, code: str = "") -> DeliveryError:
        """Make the error of this service, without secrets."""
        # Cut after scrubbing: half a secret would not be found.
        text = f"{self._name}: {scrub(problem, self._secrets)[:_SHOWN]}"
        return DeliveryError(text, retryable=retryable, retry_after=retry_after, code=scrub(code, self._secrets))

    def request(  # noqa: PLR0913  the parts of a request, named
        self,
        method: str,
        url: str,
        *,
        content: bytes = b"",
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        whole: bool = False,
    ) -> Answer:
        """Make one request; any status is an answer. Raises a retryable `DeliveryError` where none came."""
        with (
            self._trouble(url),
            deadline(self._total, _AT_A_TIME if whole else 0),
            self._client.stream(method, url, content=content, headers=headers, params=params) as response,
        ):
            body = self._read(response, whole=whole)
            return Answer(response.status_code, response.headers, body)

    def refused(self, answer: Answer, problem: str = "", *, code: str = "") -> DeliveryError:
        """Make the error of an answer that is no success."""
        retryable = answer.status == TOO_MANY_REQUESTS or answer.status >= _SERVER_ERROR
        said = problem or answer.text or "no reason given"
        wait = retry_after(answer.headers.get("retry-after"), time.time()) if retryable else None
        return self.error(f"HTTP {answer.status}: {said}", retryable=retryable, retry_after=wait, code=code)

    @staticmethod
    def _read(response: httpx.Response, *, whole: bool) -> bytes:
        out = bytearray()
        for chunk in response.iter_bytes():
            out += chunk
            if not whole and len(out) >= _KEEP_BYTES:
                break
        return bytes(out)

    @contextlib.contextmanager
    def _trouble(self, url: str) -> Iterator[None]:
        """Turn httpx's errors into ours; `from None`, because theirs hold the URL."""
        try:
            yield
        except httpx.TimeoutException as error:
            waited = "connecting" if isinstance(error, httpx.ConnectTimeout) else "waiting for the answer"
            problem = f"timed out {waited}, {place(url)}"
            raise self.error(problem, retryable=True, code="timeout") from None
        except (httpx.InvalidURL, httpx.UnsupportedProtocol):
            problem = f"the URL is not one of http or https, {place(url)}"
            raise self.error(problem, retryable=False, code="url") from None
        except ForbiddenTarget as error:
            raise self.error(f"{error}, {place(url)}", retryable=False, code="target") from None
        except httpx.HTTPError as error:
            if why := _distrust(error):
                way_out = f"; {self._untrusted}" if self._untrusted else ""
                problem = f"the certificate is not trusted: {why}, {place(url)}{way_out}"
                raise self.error(problem, retryable=True, code="certificate") from None
            problem = f"{_reason(error)}, {place(url)}"
            raise self.error(problem, retryable=True, code="network") from None


def place(url: str) -> str:
    """Give scheme, host and port of a URL: path and query may hold secrets."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return "(no URL)"
    port = f":{parsed.port}" if parsed.port else ""
    host = f"[{parsed.host}]" if ":" in parsed.host else parsed.host
    return f"{parsed.scheme}://{host}{port}"


def url_secrets(url: str) -> tuple[str, ...]:
    """Give what gives a secret URL away: itself, all behind the host, and the long parts of that, a password too."""
    host, _, path = url.partition("://")[2].partition("/")
    user = host.rpartition("@")[0]
    parts = [part for part in re.split(r"[/?&=#:]", f"{user}/{path}") if len(part) >= _SECRET_LENGTH]
    return (url, path if len(path) >= _SECRET_LENGTH else "", *parts, *map(urllib.parse.unquote, parts))


def scrub(text: str, secrets: tuple[str, ...] = ()) -> str:
    """Blot out the given secrets and what looks like one."""
    for secret in secrets:
        text = text.replace(secret, "***")
    for pattern in _PATTERNS:
        text = pattern.sub("***", text)
    return text


def retry_after(value: str | None, now: float) -> float | None:
    """Read a Retry-After header (RFC 9110 10.2.3), seconds or an HTTP date, 15 minutes at most; else None."""
    if value is None:
        return None
    value = value.strip()
    try:
        seconds = float(value) if re.fullmatch(r"\d{1,9}(\.\d+)?", value) else _until(value, now)
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(seconds, 0.0), RETRY_AFTER_MAX_S)


def _until(value: str, now: float) -> float:
    return email.utils.parsedate_to_datetime(value).timestamp() - now


def _reason(error: httpx.HTTPError) -> str:
    """Say what happened in the words of the error's class: its text may hold the URL."""
    if isinstance(error, httpx.ConnectError):
        return "cannot connect"
    if isinstance(error, httpx.RemoteProtocolError | httpx.ReadError | httpx.WriteError):
        return "the connection broke before the answer was complete"
    return f"request failed ({type(error).__name__})"


def _distrust(error: BaseException | None) -> str:
    """Say why a certificate was not trusted; nothing where something else went wrong."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        error = error.__cause__ or error.__context__
    return ""


@functools.cache
def trusted(ca_file: str = "") -> ssl.SSLContext:
    """Read the certificates once: that takes longer than many a request. Raises OSError (ssl.SSLError is one)."""
    return ssl.create_default_context(cafile=ca_file) if ca_file else httpx.create_ssl_context()


def _hush() -> None:
    """Silence httpx's own logs: they write whole URLs, and a webhook's URL is its secret."""
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
