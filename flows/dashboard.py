"""Dashboard: where people look further: the links to it that alerts carry."""

from functools import lru_cache

from flows.output import rfc3339

_UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
_BYTES = tuple(chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in range(256))


def alert_link(url: str, rule: str, key: str, at: int) -> str:
    """Give the link to the view of an alert (key as canonical JSON) at a window's end (ms)."""
    return f"{url.rstrip('/')}/alerts?rule={_quoted(rule)}&key={_encoded(key)}&at={_quoted(rfc3339(at))}"


@lru_cache(1024)
def _quoted(text: str) -> str:
    return _encoded(text)


def _encoded(text: str) -> str:
    """Encode per cent what is not unreserved in an address (RFC 3986)."""
    return "".join(_BYTES[byte] for byte in text.encode())
