"""Script: which incidents the synthetic traffic has, from a file, and how each strikes the visits.

    [[incident]]
    kind = "deploy_regression"    # one of KINDS
    at = "1h10m"                  # from the start of the span
    length = "20m"
    host = "api.example.com"      # where the kind strikes one host; `colo` or `dataset` where it strikes these
    share = 0.3                   # of what it can strike

Two incidents must not overlap: their labels would be a guess.
"""

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectors.incident import MINUTE_MS, Incident
from connectors.scenario import Scenario, pick_ids
from connectors.visit import MISS, Stretch, Visits, draw_visits

ALL = "all"  # in place of a file: each kind once, evenly over the span

_TIME = re.compile(r"(?=\d)(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_KEYS = frozenset({"kind", "at", "length", "host", "colo", "dataset", "share"})
_LENGTH_MS, _SILENCE_MS = 20 * MINUTE_MS, 45 * MINUTE_MS
_LAST_PART, _FIRST_PART = 0.97, 0.04
_TIMEOUT_MS = 15_000
_SLOW_MS = (700.0, 4_000.0)
_FAILED, _REFUSED, _TIMED_OUT, _AWAY = 500, 429, 522, 503
_FLOODED_BY = 40  # clients


class ScriptError(ValueError):
    """A file of incidents that cannot be used: one sentence that names it, the place and the way out."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of incident: which rule of the built-in pack finds it, what it strikes, and how much of that unless told."""

    rule: str
    strikes: str  # host, colo, dataset, or "" for all
    share: float
    length_ms: int = _LENGTH_MS


KINDS: Mapping[str, Kind] = {
    "deploy_regression": Kind("high_error_rate", "host", 0.3),
    "database_slowdown": Kind("slow_database", "", 0.6),
    "cache_purge": Kind("low_cache_hit_rate", "host", 0.85),
    "regional_outage": Kind("high_error_rate", "colo", 0.9),
    "ddos": Kind("high_error_rate", "host", 6.0),  # times the usual traffic
    "partial_blackhole": Kind("slow_responses", "host", 0.2),
    "silent_source": Kind("no_business_events", "dataset", 1.0, _SILENCE_MS),
}
_PLACES = {"colo": "IAD", "dataset": "business"}
_HOSTS = {"cache_purge": 2}  # by rank; the others strike the API


def read_script(path: Path, *, start_ms: int, span_ms: int, hosts: Sequence[str]) -> tuple[Incident, ...]:
    """Read the incidents of a file, or of the name ALL; raises ScriptError."""
    if str(path) == ALL:
        return _all_kinds(start_ms, span_ms, hosts)
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8")).get("incident", [])
    except OSError as error:
        raise ScriptError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ScriptError(f"{path}: is not TOML: {error}") from error
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ScriptError(f"{path}: incidents are written [[incident]]")
    try:
        found = [_incident(f"{path}: incident #{n}", table, start_ms, span_ms, hosts) for n, table in enumerate(tables, 1)]
    except (TypeError, OverflowError) as error:
        raise ScriptError(f"{path}: a value has the wrong type: {error}") from error
    found.sort(key=lambda each: each.start_ms)
    for before, after in pairwise(found):
        if after.start_ms < before.end_ms:
            raise ScriptError(f"{path}: {before.name} and {after.name} overlap: give one another `at`")
    return _numbered(found)


def _all_kinds(start_ms: int, span_ms: int, hosts: Sequence[str]) -> tuple[Incident, ...]:
    step = span_ms * (_LAST_PART - _FIRST_PART) / len(KINDS)
    found = []
    for number, (name, kind) in enumerate(KINDS.items()):
        at = int(span_ms * _FIRST_PART + number * step) // 1000 * 1000
        length = min(kind.length_ms, int(step / 2) // 1000 * 1000)
        host = hosts[_HOSTS.get(name, 1) % len(hosts)]
        found.append(_placed(name, (start_ms + at, length), host, _PLACES.get(kind.strikes, ""), kind.share, hosts))
    return tuple(found)


def _incident(where: str, table: Mapping[str, Any], start_ms: int, span_ms: int, hosts: Sequence[str]) -> Incident:
    if unknown := sorted(table.keys() - _KEYS):
        raise ScriptError(f"{where}: {unknown[0]} is no key; there are: {', '.join(sorted(_KEYS))}")
    name = str(table.get("kind"))
    if name not in KINDS:
        raise ScriptError(f"{where}: kind {name!r} is none of {', '.join(KINDS)}")
    kind = KINDS[name]
    at = _time(where, "at", table.get("at"))
    length = _time(where, "length", table["length"]) if "length" in table else kind.length_ms
    if not 0 < length <= span_ms - at:
        raise ScriptError(f"{where}: {name} does not lie within the span of {span_ms // 1000} s")
    host = table.get("host", hosts[_HOSTS.get(name, 1) % len(hosts)])
    if host not in hosts:
        raise ScriptError(f"{where}: host {host!r} is none of {', '.join(hosts)}")
    share = float(table.get("share", kind.share))
    if not 0 < share <= max(kind.share, 1.0) * 10:
        raise ScriptError(f"{where}: share {share:g} is out of range")
    place = table.get(kind.strikes, _PLACES.get(kind.strikes, "")) if kind.strikes != "host" else ""
    return _placed(name, (start_ms + at, length), host, place, share, hosts)


def _placed(  # noqa: PLR0913 (the parts of one incident)
    name: str, span: tuple[int, int], host: str, place: str, share: float, hosts: Sequence[str]
) -> Incident:
    kind = KINDS[name]
    rule = "" if kind.strikes == "dataset" and place != _PLACES["dataset"] else kind.rule  # which one, the configuration says
    key = f'{{"ClientRequestHost":"{host}"}}' if kind.strikes == "host" else ""
    return Incident(span[0], span[0] + span[1], name, rule, key, hosts.index(host), share=share, place=place)


def _numbered(incidents: Sequence[Incident]) -> tuple[Incident, ...]:
    """Tell incidents of one kind apart."""
    names = [each.name for each in incidents]
    return tuple(
        replace(each, round=names[: n + 1].count(each.name)) if names.count(each.name) > 1 else each
        for n, each in enumerate(incidents)
    )


def _time(where: str, key: str, text: object) -> int:
    found = _TIME.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ScriptError(f"{where}: {key} = {text!r} is no time such as 1h30m or 90s")
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((hours * 60 + minutes) * 60 + seconds) * 1000


# ---- how each strikes ----


def struck(rng: np.random.Generator, scenario: Scenario, incidents: Sequence[Incident], visits: Visits) -> Visits:
    """Give the visits as the incidents leave them."""
    for incident in incidents:
        strike = _STRIKES.get(incident.name)
        during = (visits.events >= incident.start_ms) & (visits.events < incident.end_ms)
        if strike is not None and during.any():
            visits = strike(rng, scenario, incident, visits, during)
    return visits


_Strike = Callable[[np.random.Generator, Scenario, Incident, Visits, NDArray[np.bool_]], Visits]


def _chance(rng: np.random.Generator, among: NDArray[np.bool_], share: float) -> NDArray[np.bool_]:
    return among & (rng.random(len(among)) < share)


def _regress(rng: np.random.Generator, _: Scenario, incident: Incident, visits: Visits, during: NDArray[np.bool_]) -> Visits:
    """Let a new version throw on some requests."""
    hit = _chance(rng, during & (visits.host == incident.host), incident.share)
    return replace(visits, status=np.where(hit, _FAILED, visits.status))


def _slow_database(
    rng: np.random.Generator, scenario: Scenario, incident: Incident, visits: Visits, during: NDArray[np.bool_]
) -> Visits:
    """Let whatever asks the database wait for it."""
    hit = _chance(rng, during & scenario.worker[visits.host], incident.share)
    waited = np.where(hit, rng.uniform(*_SLOW_MS, len(hit)), 0.0).astype(np.int64)
    return replace(visits, slow=visits.slow | hit, first_byte_ms=visits.first_byte_ms + waited)


def _purge(rng: np.random.Generator, _: Scenario, incident: Incident, visits: Visits, during: NDArray[np.bool_]) -> Visits:
    """Let the cache be empty at first, and fill up again over the incident."""
    part = (visits.events - incident.start_ms) / (incident.end_ms - incident.start_ms)
    hit = during & (visits.host == incident.host) & (visits.cache < MISS)
    hit &= rng.random(len(hit)) < incident.share * (1 - 0.5 * np.clip(part, 0, 1))
    return replace(visits, cache=np.where(hit, MISS, visits.cache))


def _cut_off(
    rng: np.random.Generator, scenario: Scenario, incident: Incident, visits: Visits, during: NDArray[np.bool_]
) -> Visits:
    """Let a colo reach no origin."""
    hit = _chance(rng, during & (scenario.colos[visits.client] == incident.place), incident.share)
    return replace(visits, status=np.where(hit, _AWAY, visits.status))


def _swallow(rng: np.random.Generator, _: Scenario, incident: Incident, visits: Visits, during: NDArray[np.bool_]) -> Visits:
    """Let one of the origin's addresses take requests and never answer."""
    hit = _chance(rng, during & (visits.host == incident.host), incident.share)
    waited = _TIMEOUT_MS + rng.integers(0, 500, len(hit))
    return replace(
        visits,
        status=np.where(hit, _TIMED_OUT, visits.status),
        first_byte_ms=np.where(hit, waited, visits.first_byte_ms),
    )


def flood(rng: np.random.Generator, scenario: Scenario, incident: Incident, stretch: Stretch, usual: int) -> Visits | None:
    """Give the visits that a flood adds to a stretch of `usual` visits: few clients, one host, most of them refused."""
    low, high = max(stretch.start_ms, incident.start_ms), min(stretch.end_ms, incident.end_ms)
    pieces = scenario.pieces
    own = np.flatnonzero(pieces.host == incident.host)
    part = (high - low) / (stretch.end_ms - stretch.start_ms)
    share = np.diff(pieces.cumulative, prepend=0.0)[own].sum()
    count = int(usual * share * incident.share * part) if high > low else 0
    if not count:
        return None
    visits = draw_visits(rng, scenario, (), Stretch(low, high, max(stretch.first_ms, incident.start_ms)), count)
    endpoint = own[rng.integers(0, len(own), count)]
    chance = rng.random(count)
    return replace(
        visits,
        endpoint=endpoint,
        host=pieces.host[endpoint],
        ids=pick_ids(rng, pieces.with_id[endpoint]),
        client=rng.integers(0, min(_FLOODED_BY, len(scenario.clients)), count),
        status=np.select([chance < 0.75, chance < 0.85], [_REFUSED, _AWAY], visits.status),  # noqa: PLR2004
    )


_STRIKES: Mapping[str, _Strike] = {
    "deploy_regression": _regress,
    "database_slowdown": _slow_database,
    "cache_purge": _purge,
    "regional_outage": _cut_off,
    "partial_blackhole": _swallow,
}
