"""SLO: an objective over a period, and how fast its error budget burns over several pairs of windows.

A pair holds a long window, which says that a burn matters, and a short one, which says that it goes on; both must exceed the
pair's factor. Pairs and factors: Google's SRE workbook, chapter 5 (2 % of the budget in 1 h and 5 % in 6 h page, 10 % in 1 d
and in 3 d warn). A latency objective is the share of records under a threshold, never a percentile: shares add up over
windows and keys, percentiles do not.

Good and bad are kept by window for 6 hours, by hour for 3 days and by day for the period: about 3 kB a key with windows of 5
minutes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.judged import Window
from flows.known_keys import KnownKeys, spread_out
from flows.rule import CRITICAL, OK, WARNING, Rule
from flows.signal import Reading

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
_BUCKET_MS = 5 * MINUTE_MS
_SHORTEST_PERIOD_D, _LONGEST_PERIOD_D = 7, 90


@dataclass(frozen=True, slots=True, kw_only=True)
class SloOptions:
    """One `[[slo]]` table: an objective, judged by how fast its error budget burns."""

    name: str = field(metadata={"help": "the alert is called slo:NAME"})
    metric: str = field(metadata={"help": "a ratio; or a distribution, with threshold_ms"})
    threshold_ms: float | None = field(
        default=None, metadata={"unit": "of the metric", "help": "a distribution's value up to which a record is good"}
    )
    objective: float = field(metadata={"unit": "share", "help": "share of good records, such as 0.999"})
    period_ms: int = field(default=30 * DAY_MS, metadata={"duration": True, "help": "over which the objective is to hold"})
    keys: str = field(default="", metadata={"help": "groups, total or all; default: groups where the metric has group_by"})
    min_total: int = field(default=0, metadata={"unit": "records", "help": "a long window of fewer records does not burn"})
    min_bad: int = field(default=1, metadata={"unit": "records", "help": "nor one with fewer bad ones"})
    notify: bool = field(default=True, metadata={"help": "false: judged and written down, but says nothing itself"})
    repeat_ms: int = field(default=HOUR_MS, metadata={"duration": True, "help": "still burning: say it again after"})
    runbook: str = field(default="", metadata={"help": "what to do: a link, or a file whose first steps are quoted"})
    labels: dict[str, str] = field(default_factory=dict, metadata={"help": "go on every alert of it"})

    def problems(self) -> Iterable[tuple[str, str]]:
        """Yield (key, problem) for what the types cannot say."""
        if not self.name:
            yield "name", "is empty"
        if not 0 < self.objective < 1:
            yield "objective", f"must be between 0 and 1, such as 0.999, not {self.objective:g}"
            return
        if self.period_ms % DAY_MS or not _SHORTEST_PERIOD_D * DAY_MS <= self.period_ms <= _LONGEST_PERIOD_D * DAY_MS:
            yield "period", f"must be {_SHORTEST_PERIOD_D} to {_LONGEST_PERIOD_D} whole days"
            return
        worst = pairs_of(self.period_ms)[0]
        if worst.factor * (1 - self.objective) >= 1:
            lowest = 1 - 1 / worst.factor
            yield (
                "objective",
                f"{self.objective:g} can never burn {worst.factor:g} times too fast; it must be above {lowest:.4g}",
            )
        for name in ("min_total", "min_bad"):
            if getattr(self, name) < 0:
                yield name, "must not be negative"


@dataclass(frozen=True, slots=True)
class Pair:
    """A long and a short window (ms), and the burn rate that both must exceed."""

    factor: float
    long_ms: int
    short_ms: int
    severity: int


def pairs_of(period_ms: int) -> tuple[Pair, ...]:
    """Give the pairs for a period, the fastest first: a factor is share of the budget x period / long window."""
    shares = (
        (0.02, HOUR_MS, _BUCKET_MS, CRITICAL),
        (0.05, 6 * HOUR_MS, 30 * MINUTE_MS, CRITICAL),
        (0.10, DAY_MS, 2 * HOUR_MS, WARNING),
        (0.10, 3 * DAY_MS, 6 * HOUR_MS, WARNING),
    )
    return tuple(Pair(round(share * period_ms / long, 9), long, *rest) for share, long, *rest in shares)


class _Buckets:
    """(n, 2, k) good and bad of the last n spans of equal length; `at` is the number of the newest."""

    def __init__(self, length_ms: int, count: int) -> None:
        self.length_ms = length_ms
        self.at = 0
        self.cells: NDArray[np.float64] = np.zeros((count, 2, 0))

    def add(self, start: int, good_bad: NDArray[np.float64]) -> None:
        number = start // self.length_ms
        count = len(self.cells)
        for gone in range(max(self.at + 1, number - count + 1), number + 1):
            self.cells[gone % count] = 0
        self.at = max(self.at, number)
        self.cells[number % count] += good_bad

    def load(self, at: int, cells: NDArray[np.float64]) -> None:
        """Take buckets of the same length, as far as there is room for them."""
        self.at, kept = at, [at - back for back in range(min(len(cells), len(self.cells)))]
        self.cells = np.zeros((len(self.cells), *cells.shape[1:]))
        self.cells[[number % len(self.cells) for number in kept]] = cells[[number % len(cells) for number in kept]]

    def last(self, span_ms: int) -> NDArray[np.float64]:
        """Give good and bad (2, k) of the last buckets that make up a span."""
        count = min(span_ms // self.length_ms, len(self.cells))
        chosen: NDArray[np.float64] = self.cells[[(self.at - back) % len(self.cells) for back in range(count)]]
        return np.asarray(chosen.sum(axis=0), np.float64)


class Slo:
    """The signal of an SLO's alert; the level says which pairs exceed, the value is the burn rate of the worst one."""

    hears_silence = False
    identity = ""  # what is counted depends neither on the objective nor on its period

    def __init__(self, rule: Rule, options: SloOptions) -> None:
        """Take the rule that `as_rule` made, and the objective."""
        self._rule = rule
        self._options = options
        self._pairs = pairs_of(options.period_ms)
        self._known = KnownKeys()
        self._since: int | None = None  # start of the first window (ms)
        self._buckets = self._empty(_BUCKET_MS)

    def read(self, window: Window) -> Reading:
        """Add the window, and give the burn rates of the keys that it has records of."""
        rows = window.metric(self._rule.options.metric, self._rule.keys)
        if rows is None:
            return Reading([], np.zeros(0), np.zeros(0, np.int64))
        length = window.result.end - window.result.start
        if length != self._buckets[0].length_ms:  # the first window, or windows of another length since a restart
            self._known, self._since, self._buckets = KnownKeys(), None, self._empty(length)
        keys, total = rows.keys, rows.counts.astype(np.float64)
        bad = rows.statistics["bad"] if "bad" in rows.statistics else total - rows.statistics["good"]
        if window.result.start // DAY_MS > self._buckets[-1].at:
            self._forget()
        self._since = window.result.start if self._since is None else self._since
        watched = min(window.result.end - self._since, self._options.period_ms)
        places = self._learn(keys)
        cells = np.zeros((2, len(self._known)))
        cells[:, places] = total - bad, bad
        for buckets in self._buckets:
            buckets.add(window.result.start, cells)
        spans = {span for pair in self._pairs for span in (pair.long_ms, pair.short_ms)}
        sums = {span: self._sums(span)[:, places] for span in sorted(spans)}
        burns = np.array([self._burns(pair, sums) for pair in self._pairs])  # (pairs, 2, n): long, short
        both = burns.min(axis=1)
        exceeds = np.array([self._enough(*sums[pair.long_ms]) for pair in self._pairs]) & (both > self._factors)
        codes = np.array([pair.severity for pair in self._pairs], np.int8)[:, None]
        level = np.where(exceeds, codes, OK).max(axis=0).astype(np.int8)
        # Shown is the pair that exceeds most of those of the worst level; where none does, the one that comes nearest.
        eligible = np.where(level == OK, True, exceeds & (codes == level))
        worst = np.where(eligible, both / self._factors, -1.0).argmax(axis=0)
        values = both[worst, np.arange(len(keys))]
        place = {key: number for number, key in enumerate(keys)}

        @cache
        def counted() -> NDArray[np.float64]:  # of all keys at once, and only where something is said
            return self._sums(self._options.period_ms)[:, places]

        def facts(key: str) -> Mapping[str, Any]:
            if key not in place:
                return {}
            at = place[key]
            return {"limit": self._pairs[worst[at]].factor, "slo": self._facts(burns[:, :, at], counted()[:, at], watched)}

        return Reading(list(keys), values, rows.counts, level=level, facts=facts)

    def _empty(self, length_ms: int) -> tuple[_Buckets, _Buckets, _Buckets]:
        """Give buckets for windows of a length that divides 5 minutes."""
        days = self._options.period_ms // DAY_MS
        return _Buckets(length_ms, 6 * HOUR_MS // length_ms), _Buckets(HOUR_MS, 72), _Buckets(DAY_MS, days)

    @property
    def _factors(self) -> NDArray[np.float64]:
        return np.array([pair.factor for pair in self._pairs])[:, None]

    def _learn(self, keys: list[str]) -> NDArray[np.int64]:
        before = self._known.learn(keys)
        if before is not None:
            for buckets in self._buckets:
                buckets.cells = spread_out(buckets.cells, before, 0)
        return self._known.places(keys)

    def _forget(self) -> None:
        """Forget keys without a record in the whole period; once a day, so that it depends on event time alone."""
        kept = np.asarray(self._buckets[-1].cells.any(axis=(0, 1)), np.bool_)
        if not kept.all():
            self._known.keep(kept)
            for buckets in self._buckets:
                buckets.cells = buckets.cells[..., kept]

    def _sums(self, span_ms: int) -> NDArray[np.float64]:
        """Give good and bad (2, k) of a span, by the finest buckets that reach so far back."""
        return next(each for each in self._buckets if each.length_ms * len(each.cells) >= span_ms).last(span_ms)

    def _burns(self, pair: Pair, sums: Mapping[int, NDArray[np.float64]]) -> NDArray[np.float64]:
        """Give the burn rates (2, k) over the long and the short window."""
        return np.array([burn_rate(sums[span], self._options.objective) for span in (pair.long_ms, pair.short_ms)])

    def _enough(self, good: NDArray[np.float64], bad: NDArray[np.float64]) -> NDArray[np.bool_]:
        enough: NDArray[np.bool_] = (good + bad >= self._options.min_total) & (bad >= self._options.min_bad)
        return enough

    def _facts(self, burns: NDArray[np.float64], counted: NDArray[np.float64], watched: int) -> dict[str, Any]:
        """Give the evidence of one key; the budget is that of the records of the period, as far as it was watched."""
        good, bad = counted.tolist()
        budget = (good + bad) * (1 - self._options.objective)
        left = 1 - bad / budget if budget else 1.0
        rates = [
            {"long_ms": pair.long_ms, "short_ms": pair.short_ms, "limit": pair.factor, "long": long, "short": short}
            for pair, (long, short) in zip(self._pairs, burns.tolist(), strict=True)
        ]
        hourly = burns[0, 0]
        whole = watched == self._options.period_ms
        lasts = int(max(left, 0) * self._options.period_ms / hourly) if hourly > 0 and whole else None
        return {
            "objective": self._options.objective,
            "period_ms": self._options.period_ms,
            "watched_ms": watched,
            "good": int(good),
            "bad": int(bad),
            "budget_left": left,
            "budget_lasts_ms": lasts,
            "burn_rates": rates,
        }

    def to_state(self) -> dict[str, Any]:
        """Give the buckets, and what was counted."""
        buckets = [[each.at, each.cells] for each in self._buckets]
        return {"keys": self._known.keys, "since": self._since, "buckets": buckets, "metric": self._rule.metric.identity}

    def load(self, state: Mapping[str, Any]) -> None:
        """Undo `to_state`; of a longer period only the days that were kept are known, of another metric nothing."""
        if state["metric"] != self._rule.metric.identity:
            return
        self._known.keys, self._since = list(state["keys"]), state["since"]
        self._buckets = self._empty(6 * HOUR_MS // len(state["buckets"][0][1]))
        for buckets, (at, cells) in zip(self._buckets, state["buckets"], strict=True):
            buckets.load(at, cells)
            if len(cells) < len(buckets.cells) and self._since is not None:
                self._since = max(self._since, (at - len(cells) + 1) * buckets.length_ms)


def span_start(end: int, span_ms: int) -> int:
    """Give where (ms) the records begin that count for a span up to a window's end: spans over 6 h are of whole hours."""
    return end - span_ms if span_ms <= 6 * HOUR_MS else -(-end // HOUR_MS) * HOUR_MS - span_ms


def burn_rate(good_bad: NDArray[np.float64], objective: float) -> NDArray[np.float64]:
    """Give how many times too fast the budget burns: the share of bad records over the share that is allowed."""
    good, bad = good_bad
    total = good + bad
    rate: NDArray[np.float64] = np.divide(bad, total, out=np.zeros_like(total), where=total > 0) / (1 - objective)
    return rate
