"""Score: how well what was said fits what is known to have happened: recall, precision and time to detect, with intervals.

An episode finds an incident where it is about it (rule and key, as far as the incident names them) and was first said while it
went on, or within `grace_ms` after its end. Incidents are few, so every share has its 95 % interval: Wilson's for recall and
precision, order statistics for the median time to detect.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flows.incidents import Incident

_Z = 1.959964  # 95 %
_SIDE = 0.025
_WEEK_MS = 7 * 86_400_000


@dataclass(frozen=True, slots=True)
class Episode:
    """One episode as people heard it; `end` is None where it goes on."""

    rule: str
    key: str
    severity: str
    start: int
    end: int | None


@dataclass(frozen=True, slots=True)
class Share:
    """k of n with its interval; `value` is None of nothing."""

    k: int
    n: int

    @property
    def value(self) -> float | None:
        """Give k / n."""
        return self.k / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Give Wilson's 95 % interval (E. B. Wilson, 1927)."""
        if not self.n:
            return None
        share, spread = self.k / self.n, _Z**2 / self.n
        middle = share + spread / 2
        margin = _Z * math.sqrt(share * (1 - share) / self.n + spread / (4 * self.n))
        low, high = (middle - margin) / (1 + spread), (middle + margin) / (1 + spread)
        return (0.0 if self.k == 0 else low, 1.0 if self.k == self.n else high)

    def as_dict(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        return {"k": self.k, "n": self.n, "value": self.value, "interval": self.interval}


@dataclass(frozen=True, slots=True)
class Rate:
    """So many events in a length of time (ms), as a rate a week."""

    count: int
    length_ms: int

    @property
    def value(self) -> float | None:
        """Give events a week; None of no time."""
        return self.count * _WEEK_MS / self.length_ms if self.length_ms > 0 else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Give the 95 % interval of the rate of a Poisson process, by Byar's approximation (Breslow and Day, 1987)."""
        if self.length_ms <= 0:
            return None
        low = 0.0
        if self.count:
            low = self.count * (1 - 1 / (9 * self.count) - _Z / (3 * math.sqrt(self.count))) ** 3
        more = self.count + 1
        high = more * (1 - 1 / (9 * more) + _Z / (3 * math.sqrt(more))) ** 3
        return max(low, 0.0) * _WEEK_MS / self.length_ms, high * _WEEK_MS / self.length_ms

    def as_dict(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        return {"value": self.value, "interval": self.interval}


@dataclass(frozen=True, slots=True)
class Found:
    """One incident: the episodes that found it, and how long the first took; None where none did."""

    incident: Incident
    episodes: tuple[Episode, ...]
    delay_ms: int | None


@dataclass(frozen=True, slots=True)
class Score:
    """What all incidents and episodes come to; delays in ms."""

    episodes: tuple[Episode, ...]
    found: tuple[Found, ...]
    recall: Share
    precision: Share
    delay: int | None
    delay_interval: tuple[int, int] | None

    @property
    def missed(self) -> list[Incident]:
        """Give the incidents that no episode found."""
        return [each.incident for each in self.found if not each.episodes]

    def as_dict(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        return {
            "recall": self.recall.as_dict(),
            "precision": self.precision.as_dict(),
            "time_to_detect_ms": {"median": self.delay, "interval": self.delay_interval},
            "missed": [each.name for each in self.missed],
        }


def score(incidents: Sequence[Incident], episodes: Sequence[Episode], *, grace_ms: int) -> Score:
    """Match episodes with incidents."""
    found, right = [], set()
    for incident in incidents:
        fits = [
            number
            for number, each in enumerate(episodes)
            if incident.concerns(each.rule, each.key) and incident.start < each.start <= incident.end + grace_ms
        ]
        right.update(fits)
        chosen = tuple(sorted((episodes[number] for number in fits), key=lambda each: (each.start, each.rule, each.key)))
        found.append(Found(incident, chosen, chosen[0].start - incident.start if chosen else None))
    delays = sorted(each.delay_ms for each in found if each.delay_ms is not None)
    return Score(
        tuple(episodes),
        tuple(found),
        Share(len(delays), len(found)),
        Share(len(right), len(episodes)),
        median(delays),
        median_interval(delays),
    )


def episodes_of(notifications: Sequence[Mapping[str, Any]]) -> list[Episode]:
    """Give the episodes of notifications (lines of the file, `at` in ms and `key` canonical) in the order they began."""
    began: dict[str, Episode] = {}
    for each in notifications:
        episode = each["episode"]
        known = began.get(episode)
        if known is None:
            if each["status"] == "firing":
                began[episode] = Episode(each["rule"], each["key"], each["severity"], each["at"], None)
            continue
        severity = "critical" if "critical" in (known.severity, each["severity"]) else known.severity
        end = each["at"] if each["status"] == "resolved" else None
        began[episode] = Episode(known.rule, known.key, severity, known.start, end)
    return list(began.values())


def median(delays: Sequence[int]) -> int | None:
    """Give the lower median of sorted numbers."""
    return delays[(len(delays) - 1) // 2] if delays else None


def median_interval(delays: Sequence[int]) -> tuple[int, int] | None:
    """Give the narrowest pair of order statistics that covers the median with 95 % or more; the extremes where none does.

    The number of values below the median is binomial with p = 1/2, whatever their distribution.
    """
    count = len(delays)
    if not count:
        return None
    below, cut = 0.0, 0
    for number in range(count):
        below += math.comb(count, number) / 2**count
        if below > _SIDE:
            break
        cut = number + 1
    low = max(cut - 1, 0)
    return delays[low], delays[count - 1 - low]
