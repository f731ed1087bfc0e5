"""Traffic: synthetic Logpush records and data points of an edge platform, with labelled incidents.

Nothing here looks at a clock or at global random state: the same options give the same bytes. Each stretch of
time has its own generator, so stretches could be made in any order.
"""

import gzip
import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from connectors.company import Company
from connectors.incident import Incident, label_lines, plan_rounds
from connectors.scenario import Scenario, build_scenario
from connectors.script import read_script
from connectors.side_lines import APP_LOGS, BUSINESS, HEALTH
from connectors.visit import Stretch, Visits, draw_visits, taken
from connectors.visit_lines import (
    HTTP_REQUESTS,
    PERFORMANCE,
    Lines,
    health_check_lines,
    look_up_lines,
    merge_lines,
    point_lines,
    subrequest_lines,
    visit_lines,
)

Progress = Callable[[int, int], None]  # records so far, records in all

START_MS = 1_764_576_000_000  # 2025-12-01T08:00:00Z
PARTITIONS = {HTTP_REQUESTS: 4, PERFORMANCE: 2, HEALTH: 1, APP_LOGS: 2, BUSINESS: 1}
LABELS = "incidents.csv"

_MINUTE_MS, _HOUR_MS, _DAY_MS = 60_000, 3_600_000, 86_400_000
_CHUNK_RECORDS = 60_000
_FILE_MS, _FILE_RECORDS = 5 * _MINUTE_MS, 400_000  # a file is cut by time, or by records as Logpush does
_SWING, _PEAK_HOUR = 0.45, 15.0  # the busiest hour has 1.45 times the mean, the quietest 0.55
_CLIENTS_PER_RECORD_A_SECOND, _CLIENTS_MIN, _CLIENTS_MAX = 100, 500, 50_000

# Shares of all records; the rest are the user requests.
_SUBREQUESTS, _LOOK_UPS, _HEALTH_CHECKS, _POINTS = 0.20, 0.04, 0.01, 0.12


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficOptions:
    """How much traffic, of which hosts, from when on; `records_per_second` is the mean over the span."""

    seed: int = field(default=1, metadata={"help": "the same seed gives the same bytes"})
    hours: float = field(default=4.0, metadata={"help": "length of the span"})
    records_per_second: float = field(default=40.0, metadata={"help": "records of all datasets, on average"})
    hosts: int = field(default=6, metadata={"help": "hosts, the busiest first"})
    start_ms: int = field(default=START_MS, metadata={"help": "start of the span, ms since the epoch, UTC"})
    incidents: bool = field(default=True, metadata={"help": "place three labelled incidents"})
    rounds: int = field(default=1, metadata={"help": "how often the incidents come, evenly over the span"})
    script: str = field(default="", metadata={"help": 'file of incidents instead, or "all"; with it come more datasets'})
    rhythm: bool = field(default=True, metadata={"help": "more traffic in the afternoon (UTC) than at night"})

    def __post_init__(self) -> None:
        """Refuse what makes no traffic, with a ValueError that names the field."""
        if self.seed < 0:
            message = f"seed must not be negative, not {self.seed}"
            raise ValueError(message)
        if self.hosts < 1:
            message = f"hosts must be at least 1, not {self.hosts}"
            raise ValueError(message)
        if self.rounds < 1:
            message = f"rounds must be at least 1, not {self.rounds}"
            raise ValueError(message)
        for name in ("hours", "records_per_second"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                message = f"{name} must be above 0, not {getattr(self, name)}"
                raise ValueError(message)


@dataclass(frozen=True, slots=True)
class MinuteOfTraffic:
    """What is produced within [start_ms, end_ms), by dataset; no event time is beyond `end_ms`."""

    start_ms: int
    end_ms: int
    datasets: Mapping[str, Lines]

    @property
    def records(self) -> int:
        """Count the lines of all datasets."""
        return sum(len(lines.texts) for lines in self.datasets.values())


class Traffic:
    """A span of synthetic traffic; `minutes()` may be called again and gives the same again."""

    def __init__(self, options: TrafficOptions) -> None:
        """Lay out the hosts, the clients and the incidents."""
        self.options = options
        self.span_ms = max(int(options.hours * _HOUR_MS), 1000)
        self.total = max(round(options.records_per_second * self.span_ms / 1000), 1)
        clients = int(options.records_per_second * _CLIENTS_PER_RECORD_A_SECOND)
        clients = min(max(clients, _CLIENTS_MIN), _CLIENTS_MAX)
        self.scenario: Scenario = build_scenario(options.seed, hosts=options.hosts, clients=clients)
        self.incidents: tuple[Incident, ...] = ()
        hosts = self.scenario.hosts
        self.company: Company | None = None
        if options.script:
            span = {"start_ms": options.start_ms, "span_ms": self.span_ms}
            self.incidents = read_script(Path(options.script), hosts=hosts, **span)
            self.company = Company(self.scenario, self.incidents)
        elif options.incidents:
            self.incidents = plan_rounds(
                options.seed, options.rounds, start_ms=options.start_ms, span_ms=self.span_ms, hosts=hosts
            )

    @property
    def datasets(self) -> tuple[str, ...]:
        """Name the datasets that there are."""
        return tuple(PARTITIONS) if self.company is not None else (HTTP_REQUESTS, PERFORMANCE)

    def minutes(self) -> Iterator[MinuteOfTraffic]:
        """Yield the span minute by minute, or in shorter steps where a minute would be many records."""
        start, end = self.options.start_ms, self.options.start_ms + self.span_ms
        seconds = min(max(int(_CHUNK_RECORDS / self.options.records_per_second), 1), 60)
        whole, made = self._volume(end), 0
        for index, low in enumerate(range(start, end, seconds * 1000)):
            high = min(low + seconds * 1000, end)
            due = int(self.total * (self._volume(high) / whole))
            yield self._minute(index, Stretch(low, high, start), due - made)
            made = due

    def _volume(self, until_ms: int) -> float:
        """Give the integral of the daily rhythm from the start of the span, in days of mean traffic."""
        low, high = self.options.start_ms / _DAY_MS, until_ms / _DAY_MS
        if not self.options.rhythm:
            return high - low
        peak, turn = _PEAK_HOUR / 24, 2 * math.pi
        waves = math.sin(turn * (high % 1 - peak)) - math.sin(turn * (low % 1 - peak))
        return high - low + _SWING * waves / turn

    def _minute(self, index: int, stretch: Stretch, count: int) -> MinuteOfTraffic:
        rng = np.random.Generator(np.random.PCG64([self.options.seed, 3, index]))
        shares = (_SUBREQUESTS, _LOOK_UPS, _HEALTH_CHECKS, _POINTS)
        fetches, look_ups, checks, points = (_whole(rng, count * share) for share in shares)
        asked = max(count - fetches - look_ups - checks - points, 0)
        if not asked:  # too few records for anything but health checks
            fetches, look_ups, checks, points = 0, 0, count, 0
        visits = draw_visits(rng, self.scenario, self.incidents, stretch, asked)
        own = np.random.Generator(np.random.PCG64([self.options.seed, 4, index]))
        if self.company is not None:
            visits = self.company.visits(own, visits, stretch)
        parents = np.flatnonzero(self.scenario.worker[visits.host])
        if not len(parents):
            parents = np.arange(len(visits.ray))
        parts = [
            visit_lines(visits, self.scenario),
            subrequest_lines(rng, _parents(rng, visits, parents, fetches), self.scenario),
            look_up_lines(rng, _parents(rng, visits, parents, look_ups), self.scenario, first_ms=stretch.first_ms),
            health_check_lines(rng, self.scenario, stretch, checks),
        ]
        measured = point_lines(rng, _parents(rng, visits, parents, points), self.scenario)
        datasets = {HTTP_REQUESTS: merge_lines(parts), PERFORMANCE: merge_lines([measured])}
        if self.company is not None:
            datasets = self.company.datasets(own, datasets, visits, stretch)
        return MinuteOfTraffic(stretch.start_ms, stretch.end_ms, datasets)


def write_archive(traffic: Traffic, directory: Path, progress: Progress | None = None) -> list[Incident]:
    """Write the traffic as Logpush writes files, and the labels; give the incidents.

    Files are `DIRECTORY/<dataset>/p<N>/<from>_<to>_<id>.ndjson.gz`, five minutes each; event times never lie
    beyond `to`. `DIRECTORY/incidents.csv` holds start, end, name, rule, key. Raises FileExistsError where
    DIRECTORY has a dataset already: two runs must not mix.
    """
    for dataset in traffic.datasets:
        partitions = PARTITIONS[dataset]
        if (directory / dataset).exists():
            message = f"{directory / dataset} exists already; remove it or choose another folder"
            raise FileExistsError(message)
        for partition in range(partitions):
            (directory / dataset / f"p{partition}").mkdir(parents=True)
    done, pending = 0, _Pending()
    for minute in traffic.minutes():
        pending.add(minute)
        if pending.full:
            pending.write(directory)
            pending = _Pending()
        done += minute.records
        if progress:
            progress(done, traffic.total)
    pending.write(directory)
    (directory / LABELS).write_text(label_lines(traffic.incidents), encoding="utf-8")
    return list(traffic.incidents)


class _Pending:
    """The lines of the files that are being filled, one a partition."""

    def __init__(self) -> None:
        self.start_ms = self.end_ms = self.records = 0
        self.texts: dict[tuple[str, int], list[str]] = {}

    def add(self, minute: MinuteOfTraffic) -> None:
        self.start_ms = self.start_ms or minute.start_ms
        self.end_ms = minute.end_ms
        self.records += minute.records
        for dataset, lines in minute.datasets.items():
            partitions = (lines.ray % np.uint64(PARTITIONS[dataset])).tolist()
            for text, partition in zip(lines.texts, partitions, strict=True):
                self.texts.setdefault((dataset, partition), []).append(text)

    @property
    def full(self) -> bool:
        return self.end_ms - self.start_ms >= _FILE_MS or self.records >= _FILE_RECORDS

    def write(self, directory: Path) -> None:
        """Write one file a partition; a partition without a line gets none: Logpush sends no empty batch."""
        for (dataset, partition), texts in self.texts.items():
            data = ("\n".join(texts) + "\n").encode()
            span = f"{_compact(self.start_ms)}_{_compact(_up(self.end_ms))}"
            name = f"{span}_{zlib.crc32(data) & 0xFFFFFF:06x}.ndjson.gz"
            packed = gzip.compress(data, compresslevel=1, mtime=0)
            (directory / dataset / f"p{partition}" / name).write_bytes(packed)


def _whole(rng: np.random.Generator, mean: float) -> int:
    """Round at random, so that small minutes keep their shares on average."""
    return int(mean + rng.random())


def _parents(rng: np.random.Generator, visits: Visits, among: NDArray[np.int64], n: int) -> Visits:
    """Pick n visits by their places `among` all; one may be picked twice."""
    places = among[rng.integers(0, len(among), n)] if len(among) else among
    return taken(visits, places)


def _up(ms: int) -> int:
    return -(-ms // 1000) * 1000


def _compact(ms: int) -> str:
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
