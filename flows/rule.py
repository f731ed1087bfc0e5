"""Rule: thresholds on one statistic of one metric, and the level they give a column of values.

The level of an evaluation follows from the row alone; what it means over time (pending, hysteresis, cooldown) is the
alert's business.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from flows.metric import MetricOptions

OK, WARNING, CRITICAL, INSUFFICIENT, NO_DATA = range(5)
LEVELS = ("ok", "warning", "critical", "insufficient", "no_data")
KEYS = ("groups", "total", "all")
WHOLE = frozenset({"count", "total", "bad", "good", "distinct"})  # statistics that are counts, written as integers
_RECOVER = 0.8  # of the way back: default distance between the milder threshold and where an alert recovers
_RECOVER_BELOW = 1.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What is beyond which severity; at least one of the two."""

    warning: float | None = field(default=None, metadata={"help": "beyond it: warning"})
    critical: float | None = field(default=None, metadata={"help": "beyond it: critical"})

    @property
    def mild(self) -> float | None:
        """Give the milder one of those that are there."""
        return self.critical if self.warning is None else self.warning


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """How many evaluations in a row at a severity make it fire."""

    warning: int = field(default=2, metadata={"help": "evaluations in a row"})
    critical: int = field(default=1, metadata={"help": "evaluations in a row"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleOptions:
    """One `[[rule]]` table."""

    NOT_YET = (
        "min_bad",
        "guard",
        "repeat_backoff",
        "max_repeats",
        "no_data",
        "runbook",
        "labels",
        "overrides",
        "kind",
    )

    name: str = field(metadata={"help": "the rule's name; part of an alert's identity"})
    metric: str = field(metadata={"help": "the metric judged"})
    statistic: str = field(metadata={"help": "the statistic of the metric judged"})
    keys: str = field(default="", metadata={"help": "groups, total or all; default: groups where the metric has group_by"})
    above: Thresholds | None = field(default=None, metadata={"help": "bad is above: { warning = 1000, critical = 3000 }"})
    below: Thresholds | None = field(default=None, metadata={"help": "bad is below (instead of above)"})
    recover: float | None = field(default=None, metadata={"help": "where an alert counts as clear; default 20 % back"})
    min_count: int = field(default=0, metadata={"help": "rows of fewer records say nothing"})
    for_: Hold | int = field(default_factory=Hold, metadata={"help": "evaluations in a row that make it fire"})
    clear: int = field(default=2, metadata={"help": "clear evaluations in a row that resolve"})
    repeat_ms: int = field(default=3_600_000, metadata={"duration": True, "help": "still firing: say it again after"})
    cooldown_ms: int = field(
        default=3_600_000, metadata={"duration": True, "help": "firing again within this continues the episode"}
    )
    forget_after_ms: int = field(default=86_400_000, metadata={"duration": True, "help": "a key without a row is forgotten"})

    @property
    def thresholds(self) -> Thresholds:
        """Give the thresholds, whichever side they are on."""
        return self.above or self.below or Thresholds()

    @property
    def hold(self) -> Hold:
        """Give `for` by severity; a number means both."""
        return self.for_ if isinstance(self.for_, Hold) else Hold(warning=self.for_, critical=self.for_)

    def problems(self) -> Iterable[tuple[str, str]]:
        """Yield (key, problem) for what the types cannot say."""
        if not self.name:
            yield "name", "is empty"
        yield from self._limit_problems()
        if self.keys and self.keys not in KEYS:
            yield "keys", f"{self.keys!r} is not one of {', '.join(KEYS)}"
        for name, value in (("for", min(self.hold.warning, self.hold.critical)), ("clear", self.clear)):
            if value < 1:
                yield name, f"must be at least 1, not {value}"
        for name in ("min_count", "repeat_ms", "cooldown_ms", "forget_after_ms"):
            if getattr(self, name) < 0:
                yield name.removesuffix("_ms"), "must not be negative"

    def _limit_problems(self) -> Iterable[tuple[str, str]]:
        if (self.above is None) == (self.below is None):
            yield "above", "a rule needs exactly one of above and below"
            return
        side, sign = ("above", 1) if self.above else ("below", -1)
        warning, critical, mild = self.thresholds.warning, self.thresholds.critical, self.thresholds.mild
        if mild is None:
            yield side, "needs warning, critical or both"
            return
        for key, limit in ((side, warning), (side, critical), ("recover", self.recover)):
            if limit is not None and not math.isfinite(limit):
                yield key, f"{limit} is not a number that a value can be compared with"
            elif limit is not None and self.statistic == "ratio" and not 0 <= limit <= 1:
                yield key, f"a ratio is from 0 to 1, so {limit:g} is never crossed; 5 % is written 0.05"
        if warning is not None and critical is not None and (critical - warning) * sign < 0:
            yield side, f"critical ({critical:g}) is milder than warning ({warning:g})"
        if self.recover is not None and (self.recover - mild) * sign > 0:
            yield "recover", f"{self.recover:g} is on the bad side of the milder threshold {mild:g}"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule made ready: limits as numbers (NaN where a severity is not used), sign +1 above, -1 below."""

    options: RuleOptions
    metric: MetricOptions
    keys: str  # one of KEYS
    sign: int
    warning: float
    critical: float
    recover: float

    def levels(self, values: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.int8]:
        """Give the level of each row (k,); a comparison with a threshold that is not used is false."""
        warning = (values - self.warning) * self.sign > 0
        critical = (values - self.critical) * self.sign > 0
        level = np.where(critical, CRITICAL, np.where(warning, WARNING, OK))
        return np.where(counts < self.options.min_count, INSUFFICIENT, level).astype(np.int8)

    def clears(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which values are on the good side of `recover`, equality included; NaN is not."""
        return (values - self.recover) * self.sign <= 0

    def threshold(self, severity: int) -> float | None:
        """Give the threshold of a severity."""
        limits = self.options.thresholds
        return limits.critical if severity == CRITICAL else limits.warning

    def shown(self, value: float) -> float | None:
        """Give a value as files have it: none where there is no row, an integer where it is a count."""
        if math.isnan(value):
            return None
        return int(value) if self.options.statistic in WHOLE else value


def compile_rule(options: RuleOptions, metric: MetricOptions) -> Rule:
    """Make a valid rule ready."""
    limits = options.thresholds
    sign = 1 if options.above else -1
    return Rule(
        options,
        metric,
        options.keys or ("groups" if metric.group_by else "total"),
        sign,
        math.nan if limits.warning is None else limits.warning,
        math.nan if limits.critical is None else limits.critical,
        _default_recover(options, sign) if options.recover is None else options.recover,
    )


def _default_recover(options: RuleOptions, sign: int) -> float:
    mild = options.thresholds.mild
    if mild is None:
        return math.nan
    if sign > 0:
        return _RECOVER * mild
    return 1 - (1 - mild) * _RECOVER if options.statistic == "ratio" else _RECOVER_BELOW * mild
