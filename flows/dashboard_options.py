"""Dashboard options: the `[dashboard]` table: its address, where it listens, and whom it lets in.

Apart from the server so that reading a configuration imports no web server.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:]+\]|[^\s:/\[\]]+):(\d{1,5})")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a header's name (RFC 9110, 5.6.2)
_LAST_PORT = 65_535
_SHORTEST_TOKEN = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class DashboardOptions:
    """The `[dashboard]` table: where the dashboard is served, and who may look and write."""

    url: str = field(default="", metadata={"help": "its address as people see it; alerts link to their view of it"})
    listen: str = field(
        default="127.0.0.1:8710", metadata={"help": "host:port; beyond this machine only with token or user_header"}
    )
    token: str = field(
        default="", repr=False, metadata={"secret": True, "help": "who has it may look and write; empty: nobody is asked"}
    )
    user_header: str = field(default="", metadata={"help": "header in which a proxy that signs people in names them"})
    proxies: tuple[str, ...] = field(default=(), metadata={"help": "addresses or networks whose user_header is believed"})
    read_only: bool = field(default=False, metadata={"help": "true: nobody adds silences or drills from the page"})

    @property
    def address(self) -> tuple[str, int]:
        """Give host and port; ValueError where there are none."""
        found = _ADDRESS.fullmatch(self.listen)
        if found is None:
            raise ValueError(self.listen)
        return found[1].strip("[]"), int(found[2])

    @property
    def hosts(self) -> frozenset[str]:
        """Give the names by which it may be asked for where nobody is asked who they are."""
        named = urlsplit(self.url).hostname
        return frozenset({"127.0.0.1", "localhost", "::1", self.address[0], *filter(None, [named])})

    def problems(self) -> Iterable[tuple[str, str]]:
        """Yield (key, problem) for what the types cannot say."""
        if self.url and not re.fullmatch(r"https?://[^/\s?#\"'<>]+[^\s?#\"'<>]*", self.url):
            yield "url", f"{self.url!r} is not an http:// or https:// address without ? and #"
        found = _ADDRESS.fullmatch(self.listen)
        if found is None or int(found[2]) > _LAST_PORT:
            yield "listen", f"{self.listen!r} is not host:port such as 127.0.0.1:8710"
        elif not (self.token or self.user_header) and not is_loopback(found[1].strip("[]")):
            yield "listen", f"{self.listen} can be reached from other machines: give [dashboard].token or user_header"
        if self.token and (len(self.token) < _SHORTEST_TOKEN or not self.token.isascii()):
            yield "token", f"must have at least {_SHORTEST_TOKEN} characters, ASCII all"
        if self.user_header and not _HEADER.fullmatch(self.user_header):
            yield "user_header", f"{self.user_header!r} is no name of a header"
        if bool(self.user_header) != bool(self.proxies):
            yield "proxies", "user_header and proxies go together: anybody else could write that header too"
        for each in self.proxies:
            try:
                ip_network(each, strict=False)
            except ValueError:
                yield "proxies", f"{each!r} is no address or network such as 10.0.0.0/8"


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches a host."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
