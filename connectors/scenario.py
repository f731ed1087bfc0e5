"""Scenario: the platform behind the synthetic traffic: hosts, endpoints, clients, as ready pieces of JSON.

Why pieces: a record has some thirty fields, but few of them vary on their own. A client keeps its address,
country, user agent and place; an endpoint its host, method and content type. Joining pieces costs a fifth of
formatting each field.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_NAMES = ("www", "api", "static", "app", "docs", "auth", "img", "admin", "blog", "ws", "media", "shop")
_SKEW = 0.8  # of the hosts' shares: the n-th host gets n ** -_SKEW
_CLIENT_SKEW = 2.0
_POPULARITY = 3.0  # of ids in paths
_IDS = 5000

USER_AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/131.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Safari/605.1.15",
    "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Chrome/131.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "okhttp/4.12.0",
    "curl/8.5.0",
)
_AGENT_SHARES = (0.30, 0.22, 0.14, 0.18, 0.08, 0.03, 0.04, 0.01)

# Country, the colos that serve it, autonomous system, share of the clients.
_PLACES = (
    ("us", ("IAD", "ORD", "SJC"), 7922, 0.34),
    ("ie", ("DUB",), 5466, 0.16),
    ("gb", ("LHR", "MAN"), 2856, 0.14),
    ("de", ("FRA", "DUS"), 3320, 0.11),
    ("fr", ("CDG",), 3215, 0.07),
    ("in", ("BOM", "DEL"), 55836, 0.06),
    ("br", ("GRU",), 28573, 0.05),
    ("sg", ("SIN",), 4773, 0.04),
    ("au", ("SYD",), 1221, 0.03),
)
_V4_NETS = ("198.51.100", "203.0.113", "192.0.2")  # the addresses kept for documentation, with 2001:db8::/32
_V6_SHARE = 0.4

_JSON, _HTML = "application/json", "text/html; charset=utf-8"
_CHECKER_AGENT = "Mozilla/5.0 (compatible;Cloudflare-Healthchecks/1.0;+https://www.cloudflare.com/; healthcheck-id: 1)"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path of a host: `{}` is an id; `weight` its share, `latency_ms` the median time to first byte."""

    method: str
    path: str
    weight: float
    latency_ms: float
    size: int
    content_type: str
    query: str = ""


_WORKER = (  # an API answered by a Worker: its requests carry no cache status, its subrequests do
    Endpoint("GET", "/api/pitches/{}", 30, 70, 4_200, _JSON),
    Endpoint("GET", "/api/pitches", 20, 95, 18_000, _JSON, "?page=2&limit=20"),
    Endpoint("GET", "/api/users/{}", 12, 55, 1_900, _JSON),
    Endpoint("GET", "/api/pitches/{}/comments", 10, 60, 6_500, _JSON),
    Endpoint("GET", "/api/search", 10, 120, 9_000, _JSON, "?q=drama"),
    Endpoint("POST", "/api/pitches/{}/views", 8, 45, 120, _JSON),
    Endpoint("PUT", "/api/users/{}/settings", 4, 90, 300, _JSON),
    Endpoint("POST", "/api/auth/login", 6, 110, 850, _JSON),
)
_SITE = (
    Endpoint("GET", "/", 25, 55, 32_000, _HTML),
    Endpoint("GET", "/pitches/{}", 30, 75, 41_000, _HTML),
    Endpoint("GET", "/browse", 20, 80, 52_000, _HTML, "?genre=drama"),
    Endpoint("GET", "/creators/{}", 15, 70, 28_000, _HTML),
    Endpoint("HEAD", "/", 5, 40, 350, _HTML),
    Endpoint("GET", "/about", 5, 45, 12_000, _HTML),
)
_FILES = (
    Endpoint("GET", "/assets/app.js", 25, 22, 184_000, "application/javascript"),
    Endpoint("GET", "/assets/app.css", 20, 20, 46_000, "text/css"),
    Endpoint("GET", "/posters/{}.webp", 40, 30, 72_000, "image/webp"),
    Endpoint("GET", "/fonts/inter.woff2", 15, 18, 98_000, "font/woff2"),
)
_KINDS = (_SITE, _WORKER, _FILES, _WORKER)  # by rank of the host, again and again


@dataclass(frozen=True, slots=True)
class Pieces:
    """The endpoints of all hosts as columns; a record holds `head id middle id tail`; ids may be empty."""

    heads: list[str]
    middles: list[str]
    tails: list[str]
    urls: list[tuple[str, str]]  # what stands before and behind the id in a data point's URL
    methods: list[str]
    with_id: NDArray[np.bool_]
    cacheable: NDArray[np.bool_]
    latency_ms: NDArray[np.float64]
    sizes: NDArray[np.float64]
    host: NDArray[np.int64]
    cumulative: NDArray[np.float64]  # of the shares of all endpoints


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything about the platform that does not change with time."""

    hosts: tuple[str, ...]
    worker: NDArray[np.bool_]  # (hosts,) whether a Worker answers the host
    pieces: Pieces
    clients: list[str]
    colos: NDArray[np.str_]  # (clients,) where a client's requests arrive
    checkers: list[str]  # (hosts,) a health check's line up to its outcome


def build_scenario(seed: int, *, hosts: int, clients: int) -> Scenario:
    """Draw the clients and lay out `hosts` hosts with Zipf-like shares."""
    rng = np.random.Generator(np.random.PCG64([seed, 2]))
    names = host_names(hosts)
    kinds = [_KINDS[rank % len(_KINDS)] for rank in range(hosts)]
    drawn = _clients(rng, clients)
    return Scenario(
        hosts=names,
        worker=np.array([kind is _WORKER for kind in kinds]),
        pieces=_pieces(names, kinds),
        clients=[text for text, _ in drawn],
        colos=np.array([colo for _, colo in drawn]),
        checkers=[_checker(name) for name in names],
    )


def host_names(count: int) -> tuple[str, ...]:
    """Give the names of the first `count` hosts, the busiest first."""
    return tuple(f"{_NAMES[n] if n < len(_NAMES) else f'tenant-{n:04d}'}.example.com" for n in range(count))


def pick_endpoints(rng: np.random.Generator, pieces: Pieces, n: int) -> NDArray[np.int64]:
    """Draw n endpoints by their shares."""
    return np.searchsorted(pieces.cumulative, rng.random(n), side="right")


def pick_clients(rng: np.random.Generator, scenario: Scenario, n: int) -> NDArray[np.int64]:
    """Draw n clients: few of them are busy, many come once in a while."""
    return (rng.random(n) ** _CLIENT_SKEW * len(scenario.clients)).astype(np.int64)


def pick_ids(rng: np.random.Generator, with_id: NDArray[np.bool_]) -> list[str]:
    """Draw the ids for paths that hold one (popular ids are low); an empty string for the others."""
    ids = 1 + (rng.random(len(with_id)) ** _POPULARITY * _IDS).astype(np.int64)
    return [str(value) if wanted else "" for value, wanted in zip(ids.tolist(), with_id.tolist(), strict=True)]


def _pieces(names: Sequence[str], kinds: Sequence[Sequence[Endpoint]]) -> Pieces:
    pairs = [(rank, endpoint) for rank, kind in enumerate(kinds) for endpoint in kind]
    total = [sum(endpoint.weight for endpoint in kind) for kind in kinds]
    shares = np.array([(rank + 1) ** -_SKEW * endpoint.weight / total[rank] for rank, endpoint in pairs])
    split = [endpoint.path.partition("{}") for _, endpoint in pairs]
    cumulative = np.cumsum(shares / shares.sum())
    cumulative[-1] = 1.0  # rounding must not leave a draw beyond the last
    return Pieces(
        heads=[_head(names[rank], endpoint) for rank, endpoint in pairs],
        middles=[f'{behind}","ClientRequestURI":"{before}' for before, _, behind in split],
        tails=[_tail(endpoint, behind) for (_, endpoint), (_, _, behind) in zip(pairs, split, strict=True)],
        urls=[(f"https://{names[rank]}{s[0]}", s[2]) for (rank, _), s in zip(pairs, split, strict=True)],
        methods=[endpoint.method for _, endpoint in pairs],
        with_id=np.array([mark != "" for _, mark, _ in split]),
        cacheable=np.array([endpoint.method in ("GET", "HEAD") for _, endpoint in pairs]),
        latency_ms=np.array([endpoint.latency_ms for _, endpoint in pairs]),
        sizes=np.array([float(endpoint.size) for _, endpoint in pairs]),
        host=np.array([rank for rank, _ in pairs]),
        cumulative=cumulative,
    )


def _head(host: str, endpoint: Endpoint) -> str:
    before = endpoint.path.partition("{}")[0]
    named = f'"ClientRequestHost":"{host}","ClientRequestMethod":"{endpoint.method}"'
    secure = '"ClientRequestProtocol":"HTTP/2","ClientRequestScheme":"https"'
    return f'{named},{secure},"ClientRequestPath":"{before}'


def _tail(endpoint: Endpoint, behind: str) -> str:
    return f'{behind}{endpoint.query}","EdgeResponseContentType":"{endpoint.content_type}"'


def _clients(rng: np.random.Generator, count: int) -> list[tuple[str, str]]:
    places = rng.choice(len(_PLACES), count, p=[place[3] for place in _PLACES]).tolist()
    agents = rng.choice(len(USER_AGENTS), count, p=_AGENT_SHARES).tolist()
    numbers = rng.integers(0, 2**32, count).tolist()
    modern = (rng.random(count) < _V6_SHARE).tolist()
    columns = zip(places, agents, numbers, modern, strict=True)
    return [_client(_PLACES[place], USER_AGENTS[agent], number, v6=v6) for place, agent, number, v6 in columns]


def _client(place: tuple[str, tuple[str, ...], int, float], agent: str, number: int, *, v6: bool) -> tuple[str, str]:
    """Give what every line of a client says, and its colo."""
    country, colos, asn, _ = place
    net = _V4_NETS[number % len(_V4_NETS)]
    address = f"2001:db8:{number >> 16:x}::{number & 0xFFFF:x}" if v6 else f"{net}.{1 + (number >> 8) % 254}"
    colo = colos[number % len(colos)]
    words = f'"ClientIP":"{address}","ClientCountry":"{country}","ClientASN":{asn},"ClientRequestUserAgent":"{agent}"'
    return f'{words},"EdgeColoCode":"{colo}"', colo


def _checker(host: str) -> str:
    return (
        f'"ClientRequestHost":"{host}","ClientRequestMethod":"GET","ClientRequestProtocol":"HTTP/1.1",'
        '"ClientRequestScheme":"https","ClientRequestPath":"/healthz","ClientRequestURI":"/healthz",'
        '"EdgeResponseContentType":"application/json","ClientIP":"192.0.2.250","ClientCountry":"us",'
        '"ClientASN":13335,'
        f'"ClientRequestUserAgent":"{_CHECKER_AGENT}","EdgeColoCode":"IAD"'
    )
