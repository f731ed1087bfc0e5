"""Health: whether the line sees what is going on: the signs of each partition over time, judged cause by cause.

Pure: it is given samples. A cause holds when its sign was beyond the limit for `enter` samples in a row, and is over when it
was well within for `leave` samples; what is not known at a sample changes nothing. So a start is not blind, and neither is an
idle topic at its end, of which nothing waits and nothing comes. Catching up after an outage counts as lag once the reader has
been more than `max_lag` behind for `enter` samples; a shorter catch-up does not.

Time that passes unseen (a machine that slept) does not count towards what lasts: a sample counts for a few intervals at most.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

BLIND = "pipeline_blind"  # the alert that says so
DOWN, BROKER, STALL, LAG, DEAD, LATE, SKEW = CAUSES = (
    *("down", "broker", "stall", "lag", "decode_errors", "late", "clock_skew"),
)
_LASTS = frozenset({BROKER, STALL})  # their sign is itself how long it has lasted
_LONGEST_STEP_MS = 30_000


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthOptions:
    """The `[health]` table: when a live run counts as blind, says so once, and holds the alerts of what it does not see."""

    enabled: bool = field(default=True, metadata={"help": "judge whether the line itself sees what is going on"})
    every_ms: int = field(default=5000, metadata={"duration": True, "help": "how often it looks"})
    max_lag_ms: int = field(
        default=600_000,
        metadata={
            "duration": True,
            "help": "blind when what is read is further behind the clock than this and the allowed lateness",
        },
    )
    max_dead_ratio: float = field(
        default=0.05, metadata={"unit": "share", "help": "blind when a larger share of a partition's records cannot be decoded"}
    )
    max_late_ratio: float = field(
        default=0.05, metadata={"unit": "share", "help": "blind when a larger share of a partition's records comes too late"}
    )
    max_skew_ms: int = field(
        default=300_000, metadata={"duration": True, "help": "blind when records are further off this machine's clock"}
    )
    span_ms: int = field(default=300_000, metadata={"duration": True, "help": "the time that ratios are taken over"})
    min_records: int = field(default=100, metadata={"unit": "records", "help": "fewer records in that time have no ratio"})
    enter: int = field(default=6, metadata={"unit": "looks", "help": "looks in a row beyond a limit until it counts"})
    leave: int = field(default=12, metadata={"unit": "looks", "help": "looks in a row well within it until it is over"})
    leave_below: float = field(
        default=0.8, metadata={"unit": "share of the limit", "help": "well within: below this share of the limit"}
    )
    repeat_ms: int = field(default=3_600_000, metadata={"duration": True, "help": "said again after this time"})

    def problems(self) -> Iterable[tuple[str, str]]:
        """Yield (key, problem) for what the types cannot say."""
        for name in ("max_lag", "max_skew", "span", "repeat"):
            if getattr(self, f"{name}_ms") <= 0:
                yield name, "must be longer than 0"
        if self.every_ms < 100:  # noqa: PLR2004
            yield "every", "must be at least 100ms"
        for name in ("max_dead_ratio", "max_late_ratio", "leave_below"):
            if not 0 < getattr(self, name) <= 1:
                yield name, f"must be above 0 and at most 1, not {getattr(self, name):g}"
        for name in ("min_records", "enter", "leave"):
            if getattr(self, name) < 1:
                yield name, f"must be at least 1, not {getattr(self, name)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """One partition at a sample; what is not known is None. Times in ms, counts since its first record.

    `end` is None where the broker did not answer. `position` is the next offset to read, `high` the highest event time read,
    `stamp` the timestamp of the last message, `behind` how far that was behind the clock where it was read as it came.
    """

    partition: str
    dataset: str
    end: int | None
    position: int | None = None
    high: int | None = None
    records: int = 0
    late: int = 0
    dead: int = 0
    stamp: int | None = None
    behind: int = 0

    @property
    def waiting(self) -> int:
        """Give how many messages wait to be read."""
        return max((self.end or 0) - (self.position or 0), 0) if self.position is not None else 0


@dataclass(frozen=True, slots=True)
class Sample:
    """All partitions at one moment (`at`, ms), and by dataset up to where windows are closed (ms)."""

    at: int
    partitions: tuple[Signs, ...]
    closed: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Finding:
    """A cause that holds for a dataset: its worst partition, value and limit (ms or ratio), and how many messages wait.

    A skew is negative where records are behind the clock. `whole` says that all partitions are as bad (the broker is away).
    `down` is found by the supervisor that gave a run up, with the number of starts as its value, or, while machines
    are missing, with their names as its partition: whoever samples is up again.
    """

    cause: str
    dataset: str
    partition: str
    value: float
    limit: float
    waiting: int = 0
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Expected:
    """How long a dataset may close no window (`stall_ms`), and how late its records may come by configuration."""

    stall_ms: int
    lateness_ms: int


class Health:
    """Judges samples; `held` are the findings that held before a restart, and go on."""

    def __init__(
        self, options: HealthOptions, datasets: Mapping[str, Expected], stall_ms: int, held: Iterable[Finding] = ()
    ) -> None:
        """Start with what held; the broker may be silent for `stall_ms`."""
        self._options = options
        self._expected = dict(datasets)
        self._stall_ms = stall_ms
        self._gates = {(each.cause, each.dataset): _Gate(options, each) for each in held if each.dataset in self._expected}
        self._awake = 0  # ms seen so far
        self._at: int | None = None
        self._answered: dict[str, int] = {}
        self._since: dict[str, _Quiet] = {}
        self._past: dict[str, deque[tuple[int, int, int, int]]] = {}
        self._records: dict[str, int] = {}

    def judge(self, sample: Sample) -> tuple[Finding, ...]:
        """Give the findings that hold after a sample, sorted by cause and dataset."""
        most = max(3 * self._options.every_ms, _LONGEST_STEP_MS)
        step = min(max(sample.at - self._at, 0), most) if self._at is not None else 0
        self._at, self._awake = sample.at, self._awake + step
        for dataset in self._expected:
            parts = [signs for signs in sample.partitions if signs.dataset == dataset]
            for sign in self._signs(dataset, parts, sample, step):
                gate = self._gates.setdefault((sign.cause, dataset), _Gate(self._options))
                gate.step(sign, self._options.enter if sign.cause not in _LASTS else 1)
        for signs in sample.partitions:
            self._records[signs.partition] = signs.records
        held = [gate.held for gate in self._gates.values() if gate.held is not None]
        return tuple(sorted(held, key=lambda each: (CAUSES.index(each.cause), each.dataset)))

    def _signs(self, dataset: str, parts: list[Signs], sample: Sample, step: int) -> list[Finding]:
        """Give how each cause stands, also where it is well; while the broker is away nothing else is known."""
        if not parts:
            return []
        broker, up = self._broker(dataset, parts), Finding(DOWN, dataset, parts[0].partition, 0, 0, whole=True)
        if broker.value > 0:
            since = self._since.get(dataset)
            if since is not None:  # what the broker was away is no stall
                self._since[dataset] = replace(since, awake=since.awake + step)
            return [up, broker]
        now = sample.at
        return [
            up,
            broker,
            self._stall(dataset, parts, sample),
            self._lag(parts, now),
            self._skew(parts, now),
            *self._ratios(parts),
        ]

    def _broker(self, dataset: str, parts: list[Signs]) -> Finding:
        """Give for how long the broker has not answered for some partition."""
        for signs in parts:
            if signs.end is not None or signs.partition not in self._answered:
                self._answered[signs.partition] = self._awake
        silent = [(self._awake - self._answered[signs.partition], signs.partition) for signs in parts if signs.end is None]
        if not silent:
            return Finding(BROKER, dataset, parts[0].partition, 0, self._stall_ms)
        lasted, partition = max(silent)
        return Finding(BROKER, dataset, partition, max(lasted, 1), self._stall_ms, whole=len(silent) == len(parts))

    def _stall(self, dataset: str, parts: list[Signs], sample: Sample) -> Finding:
        """Give for how long no window has closed although records wait or came."""
        closed, records = sample.closed.get(dataset), sum(signs.records for signs in parts)
        since = self._since.get(dataset)
        if since is None or since.closed != closed:
            since = self._since[dataset] = _Quiet(self._awake, closed, records)
        worst = min(parts, key=lambda signs: (signs.high is not None, signs.high or 0))
        waiting = sum(signs.waiting for signs in parts)
        lasted = self._awake - since.awake if waiting or records != since.records else 0
        return Finding(STALL, dataset, worst.partition, lasted, self._expected[dataset].stall_ms, waiting)

    def _lag(self, parts: list[Signs], now: int) -> Finding:
        """Give how far the slowest partition with something to read is behind the clock in event time."""
        lags = []
        for signs in parts:
            moves = signs.waiting or signs.records != self._records.get(signs.partition, signs.records)
            lags.append(max(now - signs.high, 0) if moves and signs.high is not None else 0)
        worst = max(range(len(parts)), key=lags.__getitem__)
        waiting = sum(signs.waiting for signs in parts)
        dataset = parts[worst].dataset
        limit = self._options.max_lag_ms + self._expected[dataset].lateness_ms
        return Finding(LAG, dataset, parts[worst].partition, lags[worst], limit, waiting)

    def _skew(self, parts: list[Signs], now: int) -> Finding:
        """Give how far records are ahead of this machine's clock, or negative behind it where they were read as they came."""
        skews = []
        for signs in parts:
            ahead = max(moment - now for moment in (signs.high, signs.stamp, now) if moment is not None)
            skews.append((max(ahead, signs.behind), ahead if ahead >= signs.behind else -signs.behind, signs.partition))
        _, value, partition = max(skews)
        return Finding(SKEW, parts[0].dataset, partition, value, self._options.max_skew_ms)

    def _ratios(self, parts: list[Signs]) -> list[Finding]:
        """Give the worst partition's share of records that could not be decoded, and that came too late."""
        found = {DEAD: (0.0, parts[0].partition), LATE: (0.0, parts[0].partition)}
        for signs in parts:
            past = self._past.setdefault(signs.partition, deque())
            if past and (signs.records < past[-1][1] or signs.dead < past[-1][3]):
                past.clear()  # a restart goes back to what the last snapshot counted
            past.append((self._awake, signs.records, signs.late, signs.dead))
            while len(past) > 1 and past[1][0] <= self._awake - self._options.span_ms:
                past.popleft()
            records, late, dead = (now - before for now, before in zip(past[-1][1:], past[0][1:], strict=True))
            if records < self._options.min_records:
                continue
            found[DEAD] = max(found[DEAD], (dead / records, signs.partition))
            found[LATE] = max(found[LATE], (late / max(records - dead, 1), signs.partition))
        limits = {DEAD: self._options.max_dead_ratio, LATE: self._options.max_late_ratio}
        return [Finding(cause, parts[0].dataset, where, value, limits[cause]) for cause, (value, where) in found.items()]


@dataclass(frozen=True, slots=True)
class _Quiet:
    """Since when (ms awake) a dataset is closed up to `closed`, and how many records it had then."""

    awake: int
    closed: int | None
    records: int


class _Gate:
    """Whether one cause holds for one dataset: into it and out of it only after several samples in a row."""

    def __init__(self, options: HealthOptions, held: Finding | None = None) -> None:
        self._options = options
        self.held = held
        self._run = 0

    def step(self, sign: Finding, enter: int) -> None:
        """Take one sign."""
        size = abs(sign.value)
        if self.held is None:
            self._run = self._run + 1 if size > sign.limit else 0
            if self._run >= enter:
                self.held, self._run = sign, 0
            return
        well = size <= sign.limit * self._options.leave_below
        self._run = self._run + 1 if well else 0
        if self._run >= self._options.leave:
            self.held, self._run = None, 0
        elif not well:
            self.held = sign
