"""Incident: one labelled disturbance of the synthetic traffic, where it lies, and the file of labels."""

import csv
import datetime
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

MINUTE_MS = 60_000

_SHORTEST_MS, _LONGEST_MS = 12 * MINUTE_MS, 20 * MINUTE_MS
_LARGEST_PART = 0.17  # of the span: the starts lie at least 0.2 of it apart, so two incidents never overlap
_SHIFT = 0.02
_COLUMNS = ("start", "end", "name", "rule", "key")


@dataclass(frozen=True, slots=True)
class IncidentPlan:
    """What happens, at which part of the span, on which host (by rank), and which rule must find it."""

    name: str
    rule: str
    at: float
    host: int


PLANS = (
    IncidentPlan("error-surge", "high_error_rate", 0.20, 1),
    IncidentPlan("slow-answers", "slow_responses", 0.46, 3),
    IncidentPlan("cold-cache", "low_cache_hit_rate", 0.72, 2),
)


@dataclass(frozen=True, slots=True)
class Incident:
    """A disturbance over [start_ms, end_ms) of event time; `rule` and `key` name the alert to expect."""

    start_ms: int
    end_ms: int
    name: str
    rule: str
    key: str  # canonical JSON of the group key
    host: int  # rank of the host it happens on
    round: int = 0  # which of several of its name, from 1; 0: the only one
    share: float = 0.0  # of what it can strike, how much it does
    place: str = ""  # the colo, or the dataset, that it strikes

    @property
    def label(self) -> str:
        """Give the name that tells it from others."""
        return f"{self.name} {self.round}" if self.round else self.name


def plan_incidents(seed: int, *, start_ms: int, span_ms: int, hosts: Sequence[str]) -> tuple[Incident, ...]:
    """Place three incidents of 12 to 20 minutes each; shorter ones where the span is under two hours."""
    rng = np.random.Generator(np.random.PCG64([seed, 1]))
    placed = []
    for plan in PLANS:
        part = plan.at + rng.uniform(-_SHIFT, _SHIFT)
        length = min(rng.uniform(_SHORTEST_MS, _LONGEST_MS), _LARGEST_PART * span_ms)
        start = start_ms + int(part * span_ms) // 1000 * 1000
        host = plan.host % len(hosts)
        key = f'{{"ClientRequestHost":"{hosts[host]}"}}'
        placed.append(Incident(start, start + max(int(length) // 1000, 1) * 1000, plan.name, plan.rule, key, host))
    return tuple(placed)


def plan_rounds(seed: int, rounds: int, *, start_ms: int, span_ms: int, hosts: Sequence[str]) -> tuple[Incident, ...]:
    """Place three incidents in each of so many equal parts of the span, each part by a seed of its own."""
    part = span_ms // rounds
    out: list[Incident] = []
    for number in range(rounds):
        placed = plan_incidents(seed + 1000 * number, start_ms=start_ms + number * part, span_ms=part, hosts=hosts)
        out += [replace(each, round=number + 1) if rounds > 1 else each for each in placed]
    return tuple(out)


def label_lines(incidents: Iterable[Incident]) -> str:
    """Give the label file: CSV with a header, times in RFC 3339, the key as canonical JSON."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for incident in incidents:
        times = (_rfc3339(incident.start_ms), _rfc3339(incident.end_ms))
        writer.writerow((*times, incident.label, incident.rule, incident.key))
    return out.getvalue()


def _rfc3339(ms: int) -> str:
    return datetime.datetime.fromtimestamp(ms // 1000, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
