"""Rule: thresholds on one statistic of one metric, and the level they give a column of values.

The level of an evaluation follows from the row alone; what it means over time (pending, hysteresis, cooldown) is the
alert's business.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.hold import Hold
from flows.kind_options import NO_DATA_SEVERITIES, Baseline, NoData
from flows.matcher import Match, Matchers, match_problems, parse_match
from flows.metric import MetricOptions

OK, WARNING, CRITICAL, INSUFFICIENT, NO_DATA = range(5)
LEVELS = ("ok", "warning", "critical", "insufficient", "no_data")
KINDS = ("threshold", "change", "absence", "budget", "capacity", "composite", "event")
KEYS = ("groups", "total", "all")
GUARDS = ("none", "wilson")
DECIDED = frozenset({"rule", "severity", "environment"})  # labels that every alert has
WHOLE = frozenset({"count", "total", "bad", "good", "distinct"})  # statistics that are counts, written as integers
_RECOVER = 0.8  # of the way back: default distance between the milder threshold and where an alert recovers
_RECOVER_BELOW = 1.25
_MAX_BACKOFF = 10
_MOST_WINDOWS = 62  # of a flapping alert's memory: bits of a signed integer that are free
_LIMITED = frozenset({"threshold", "change"})  # have no limits of their own
_ONLY = {
    "baseline": ("change",),
    "capacity": ("capacity",),
    "target": ("capacity",),
    "budgets": ("budget",),
    "by": ("budget",),
    "critical_at": ("budget",),
    "after": ("absence",),
    "severity": ("absence",),
    "all_": ("composite",),
    "any_": ("composite",),
    "no_data": ("threshold", "change", "budget", "capacity"),
    "recover": ("threshold", "change", "budget", "capacity", "event"),
    "overrides": ("threshold", "change", "capacity"),
    "min_count": ("threshold", "change", "budget", "capacity"),
    "keys": ("threshold", "change", "absence", "capacity", "event"),
    "above": ("threshold", "change", "capacity", "event"),
    "below": ("threshold", "change"),
}
_NEEDED = {
    "metric": ("threshold", "change", "absence", "budget", "capacity", "event"),
    "statistic": ("threshold", "change", "budget", "capacity"),
    "baseline": ("change",),
    "capacity": ("capacity",),
    "budgets": ("budget",),
}
_Z = 1.96  # 95 % of a normal distribution lie within so many standard deviations


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What is beyond which severity; at least one of the two."""

    warning: float | None = field(default=None, metadata={"unit": "of the statistic", "help": "beyond it: warning"})
    critical: float | None = field(default=None, metadata={"unit": "of the statistic", "help": "beyond it: critical"})

    @property
    def mild(self) -> float | None:
        """Give the milder one of those that are there."""
        return self.critical if self.warning is None else self.warning


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """Other thresholds for some keys; what is left out stays as the rule has it."""

    match: Match = field(metadata={"help": "labels of the alerts it is for"})
    above: Thresholds | None = field(default=None, metadata={"help": "in place of the rule's"})
    below: Thresholds | None = field(default=None, metadata={"help": "in place of the rule's"})
    recover: float | None = field(default=None, metadata={"unit": "of the statistic", "help": "in place of the rule's"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Flap:
    """When an alert counts as flapping; turns are the evaluations in which it began to fire or resolved."""

    transitions: int = field(default=4, metadata={"unit": "turns", "help": "flapping from so many turns on"})
    windows: int = field(default=12, metadata={"unit": "evaluations", "help": "among so many evaluations"})
    leave: int = field(default=2, metadata={"unit": "turns", "help": "until there are fewer"})

    def problems(self) -> Iterable[tuple[str, str]]:
        """Yield (key, problem) for what the types cannot say."""
        if not 2 <= self.windows <= _MOST_WINDOWS:  # noqa: PLR2004 (one evaluation cannot flap)
            yield "windows", f"must be 2 to {_MOST_WINDOWS}, not {self.windows}"
        elif not 2 <= self.transitions <= self.windows:  # noqa: PLR2004
            yield "transitions", f"must be 2 to windows ({self.windows}), not {self.transitions}"
        elif not 1 <= self.leave <= self.transitions:
            yield "leave", f"must be 1 to transitions ({self.transitions}), not {self.leave}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleOptions:
    """One `[[rule]]` table: when a metric is bad, for how long it has to be, and how that is said again."""

    name: str = field(metadata={"help": "the rule's name; part of an alert's identity"})
    kind: str = field(default="threshold", metadata={"help": f"what is judged: {', '.join(KINDS)}"})
    metric: str = field(default="", metadata={"help": "the metric judged"})
    statistic: str = field(default="", metadata={"help": "the statistic of the metric judged"})
    keys: str = field(default="", metadata={"help": "groups, total or all; default: groups where the metric has group_by"})
    above: Thresholds | None = field(default=None, metadata={"help": "bad is above: { warning = 1000, critical = 3000 }"})
    below: Thresholds | None = field(default=None, metadata={"help": "bad is below (instead of above)"})
    recover: float | None = field(
        default=None, metadata={"unit": "of the statistic", "help": "where an alert counts as clear; default 20 % back"}
    )
    min_count: int = field(default=0, metadata={"unit": "records", "help": "rows of fewer records say nothing"})
    min_bad: int = field(default=0, metadata={"unit": "records", "help": "a ratio of fewer bad records is ok"})
    guard: str = field(default="none", metadata={"help": "none, or wilson: a ratio counts as far as it is sure (95 %)"})
    for_: Hold | int | str = field(
        default_factory=Hold,
        metadata={"unit": "evaluations", "help": 'evaluations in a row that make it fire, or "2 of 3": among the last'},
    )
    clear: int = field(default=2, metadata={"unit": "evaluations", "help": "clear evaluations in a row that resolve"})
    repeat_ms: int = field(default=3_600_000, metadata={"duration": True, "help": "still firing: say it again after"})
    repeat_backoff: float = field(
        default=1.0, metadata={"unit": "times", "help": "each repeat so many times later than the one before"}
    )
    max_repeats: int = field(default=0, metadata={"unit": "repeats", "help": "repeats in a row; 0: no limit"})
    cooldown_ms: int = field(
        default=3_600_000, metadata={"duration": True, "help": "firing again within this continues the episode"}
    )
    forget_after_ms: int = field(default=86_400_000, metadata={"duration": True, "help": "a key without a row is forgotten"})
    flap: Flap | None = field(default=None, metadata={"help": "hold what fires and resolves again and again, off unless given"})
    runbook: str = field(default="", metadata={"help": "what to do: a link, or a file whose first steps are quoted"})
    labels: dict[str, str] = field(default_factory=dict, metadata={"help": "go on every alert of the rule"})
    overrides: tuple[Override, ...] = field(
        default=(), metadata={"help": "other limits for keys whose labels match, the first that does"}
    )
    notify: bool = field(default=True, metadata={"help": "false: judged and written down, but says nothing itself"})
    no_data: NoData | None = field(default=None, metadata={"help": "an alert of its own where rows stay away"})
    baseline: Baseline | None = field(default=None, metadata={"help": "change: what values are compared with"})
    capacity: float = field(
        default=0.0, metadata={"unit": "of the statistic", "help": "capacity: what the value is a share of"}
    )
    target: float = field(default=0.6, metadata={"unit": "share", "help": "capacity: the share to scale to"})
    budgets: dict[str, float] = field(
        default_factory=dict, metadata={"unit": "of the statistic", "help": "budget: endpoint = limit; * is any other"}
    )
    by: str = field(default="", metadata={"help": "budget: the column with the endpoint; default the only path of the key"})
    critical_at: float = field(
        default=2.0, metadata={"unit": "times", "help": "budget: critical beyond so many times a budget; 0: never"}
    )
    after: int = field(default=3, metadata={"unit": "evaluations", "help": "absence: evaluations in a row without a record"})
    severity: str = field(default="critical", metadata={"help": "absence: how bad it is"})
    all_: tuple[str, ...] = field(default=(), metadata={"help": "composite: all of these rules fire"})
    any_: tuple[str, ...] = field(default=(), metadata={"help": "composite: one of these rules fires"})

    @property
    def thresholds(self) -> Thresholds:
        """Give the thresholds, whichever side they are on."""
        return self.above or self.below or Thresholds()

    @property
    def hold(self) -> Hold:
        """Give `for` by severity; a number, or a text, means both."""
        return self.for_ if isinstance(self.for_, Hold) else Hold(warning=self.for_, critical=self.for_)

    @property
    def is_share(self) -> bool:
        """Tell whether the value judged is a ratio from 0 to 1."""
        return self.statistic == "ratio" and self.kind in ("threshold", "budget")

    @property
    def is_whole(self) -> bool:
        """Tell whether the value judged is a count, written as an integer."""
        return self.kind in ("absence", "composite") or (
            self.statistic in WHOLE and self.kind not in ("change", "capacity", "slo")
        )

    @property
    def members(self) -> tuple[str, ...]:
        """Give the rules that a composite is made of."""
        return self.all_ or self.any_

    def problems(self) -> Iterable[tuple[str, str]]:
        """Yield (key, problem) for what the types cannot say."""
        if not self.name:
            yield "name", "is empty"
        if self.kind not in KINDS:
            yield "kind", f"{self.kind!r} is not a kind of rule; allowed: {', '.join(KINDS)}"
            return
        yield from self._kind_problems()
        if self.kind in _LIMITED or self.above or self.below:
            yield from self._limit_problems()
        if self.keys and self.keys not in KEYS:
            yield "keys", f"{self.keys!r} is not one of {', '.join(KEYS)}"
        yield from self._hold_problems()
        if self.clear < 1:
            yield "clear", f"must be at least 1, not {self.clear}"
        yield from self._number_problems()
        for name in sorted(self.labels.keys() & DECIDED):
            yield "labels", f"{name!r} is a label that every alert has already; give it another name"
        yield from self._override_problems()

    def _kind_problems(self) -> Iterable[tuple[str, str]]:
        """Yield what a kind of rule needs and does not have, and what it has that only another kind reads."""
        fresh = RuleOptions(name=self.name)
        for name, kinds in _ONLY.items():
            if self.kind not in kinds and getattr(self, name) != getattr(fresh, name):
                yield name.removesuffix("_"), f"is for rules of kind {' or '.join(kinds)}, not {self.kind}"
        for name, kinds in _NEEDED.items():
            if self.kind in kinds and not getattr(self, name):
                yield name, f"is missing; a rule of kind {self.kind} needs it"
        if self.kind == "composite" and bool(self.all_) == bool(self.any_):
            yield "all", "a composite needs exactly one of all and any"
        if self.after < 1:
            yield "after", f"must be at least 1, not {self.after}"
        if self.severity not in NO_DATA_SEVERITIES:
            yield "severity", f"{self.severity!r} is not one of {', '.join(NO_DATA_SEVERITIES)}"
        yield from self._capacity_problems()

    def _capacity_problems(self) -> Iterable[tuple[str, str]]:
        if self.capacity < 0 or not math.isfinite(self.capacity):
            yield "capacity", f"must be above 0, not {self.capacity:g}"
        if not 0 < self.target <= 1:
            yield "target", f"must be above 0 and at most 1, not {self.target:g}"
        for endpoint, limit in self.budgets.items():
            if not (limit > 0 and math.isfinite(limit)):
                yield f'budgets."{endpoint}"', f"must be above 0, not {limit:g}"
        if self.critical_at and not self.critical_at > 1:
            yield "critical_at", f"must be above 1, or 0 for never, not {self.critical_at:g}"

    def _hold_problems(self) -> Iterable[tuple[str, str]]:
        found = self.hold.problems()
        if isinstance(self.for_, Hold):
            yield from ((f"for.{name}", problem) for name, problem in found)
        else:
            yield from (("for", problem) for _, problem in list(found)[:1])

    def _number_problems(self) -> Iterable[tuple[str, str]]:
        for name in ("min_count", "min_bad", "max_repeats", "repeat_ms", "cooldown_ms", "forget_after_ms"):
            if getattr(self, name) < 0:
                yield name.removesuffix("_ms"), "must not be negative"
        if not 1 <= self.repeat_backoff <= _MAX_BACKOFF:
            yield "repeat_backoff", f"must be 1 to {_MAX_BACKOFF}, not {self.repeat_backoff:g}"
        if self.guard not in GUARDS:
            yield "guard", f"{self.guard!r} is not one of {', '.join(GUARDS)}"
        for name, used in (("min_bad", self.min_bad > 0), ("guard", self.guard != "none")):
            if used and not self.is_share:
                given = self.statistic if self.statistic != "ratio" else f"a rule of kind {self.kind}"
                yield name, f"is for the statistic ratio, not {given}"

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
            elif limit is not None and self.is_share and not 0 <= limit <= 1:
                yield key, f"a ratio is from 0 to 1, so {limit:g} is never crossed; 5 % is written 0.05"
        if warning is not None and critical is not None and (critical - warning) * sign < 0:
            yield side, f"critical ({critical:g}) is milder than warning ({warning:g})"
        if self.recover is not None and (self.recover - mild) * sign > 0:
            yield "recover", f"{self.recover:g} is on the bad side of the milder threshold {mild:g}"

    def _override_problems(self) -> Iterable[tuple[str, str]]:
        sound = not list(self._limit_problems())
        for number, override in enumerate(self.overrides):
            where = f"overrides[{number}]"
            # A level is worked out from the limits, so the severity cannot choose them.
            yield from ((f"{where}.match", problem) for problem in match_problems(override.match, without=["severity"]))
            side, other = ("above", override.below) if self.above else ("below", override.above)
            if other is not None:
                yield where, f"the rule has {side}, so an override has {side} too"
            elif getattr(override, side) is None and override.recover is None:
                yield where, f"changes nothing; give {side} or recover"
            elif sound:
                limits = overridden(self, override)._limit_problems()
                yield from ((f"{where}.{key}", problem) for key, problem in limits)


def overridden(options: RuleOptions, override: Override) -> RuleOptions:
    """Give the options with an override's limits in place."""
    side = "above" if options.above else "below"
    given: Thresholds = getattr(override, side) or Thresholds()
    limits = Thresholds(
        warning=options.thresholds.warning if given.warning is None else given.warning,
        critical=options.thresholds.critical if given.critical is None else given.critical,
    )
    recover = options.recover if override.recover is None else override.recover
    changes: dict[str, Any] = {side: limits, "recover": recover, "overrides": ()}
    return replace(options, **changes)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule made ready: limits as numbers (NaN where a severity is not used), sign +1 above, -1 below.

    `variants` are the rule with the limits of each override. Where columns are judged, `which` (k,) says by which limits:
    0 the rule's own, n those of variant n - 1; None the rule's own for all.
    """

    options: RuleOptions
    metric: MetricOptions
    keys: str  # one of KEYS
    sign: int
    warning: float
    critical: float
    recover: float
    variants: "tuple[Rule, ...]" = ()
    chosen_by: tuple[Matchers, ...] = ()

    def levels(
        self, values: NDArray[np.float64], counts: NDArray[np.int64], which: NDArray[np.int16] | None = None
    ) -> NDArray[np.int8]:
        """Give the level of each row (k,); a comparison with a threshold that is not used is false."""
        judged = values if self.options.guard == "none" else sure(values, counts, self.sign)
        warning = (judged - self.limits("warning", which)) * self.sign > 0
        critical = (judged - self.limits("critical", which)) * self.sign > 0
        level = np.where(critical, CRITICAL, np.where(warning, WARNING, OK))
        if self.options.min_bad:
            level = np.where(self._few_bad(values, counts), OK, level)
        return np.where(counts < self.options.min_count, INSUFFICIENT, level).astype(np.int8)

    def clears(
        self,
        values: NDArray[np.float64],
        counts: NDArray[np.int64] | None = None,
        which: NDArray[np.int16] | None = None,
    ) -> NDArray[np.bool_]:
        """Tell which values are on the good side of `recover`, equality included; NaN is not."""
        good: NDArray[np.bool_] = (values - self.limits("recover", which)) * self.sign <= 0
        # An incident whose last few bad records are too few to open one must be able to end.
        return good | self._few_bad(values, counts) if self.options.min_bad and counts is not None else good

    def limits(self, name: str, which: NDArray[np.int16] | None) -> Any:
        """Give `warning`, `critical` or `recover`: a number for all, or a column."""
        if which is None:
            return getattr(self, name)
        return np.array([getattr(each, name) for each in (self, *self.variants)])[which]

    def _few_bad(self, values: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.bool_]:
        share = 1 - values if self.metric.good else values
        few: NDArray[np.bool_] = np.rint(share * counts) < self.options.min_bad
        return few

    def choose(self, labels: dict[str, str]) -> int:
        """Give by which limits an alert of these labels is judged, as `which` has it."""
        return next((n for n, matchers in enumerate(self.chosen_by, 1) if matchers.matches(labels)), 0)

    def judges(self, key: str) -> bool:
        """Tell whether a key is of the kind that is judged."""
        return self.keys == "all" or (key == "{}") == (self.keys == "total")

    def variant(self, which: int) -> "Rule":
        """Give the rule with the limits that `which` names."""
        return self.variants[which - 1] if which else self

    def threshold(self, severity: int) -> float | None:
        """Give the threshold of a severity."""
        limits = self.options.thresholds
        return limits.critical if severity == CRITICAL else limits.warning

    def shown(self, value: float) -> float | None:
        """Give a value as files have it: none where there is no row, an integer where it is a count."""
        if math.isnan(value):
            return None
        return int(value) if self.options.is_whole else value


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
        tuple(compile_rule(overridden(options, each), metric) for each in options.overrides),
        tuple(parse_match(each.match) for each in options.overrides),
    )


def sure(values: NDArray[np.float64], counts: NDArray[np.int64], sign: int) -> NDArray[np.float64]:
    """Give the end of Wilson's score interval that is nearest to good (E. B. Wilson, 1927): how bad a ratio surely is."""
    count = np.maximum(counts, 1)
    middle = values + _Z**2 / (2 * count)
    margin = _Z * np.sqrt(np.maximum(values * (1 - values), 0) / count + (_Z / (2 * count)) ** 2)
    bound: NDArray[np.float64] = (middle - sign * margin) / (1 + _Z**2 / count)
    return bound


def _default_recover(options: RuleOptions, sign: int) -> float:
    mild = options.thresholds.mild
    if mild is None:
        return math.nan
    if options.kind == "change" and options.baseline is not None and options.baseline.measure == "ratio":
        # A fifth of the way back to 1, where nothing has changed; a limit on the other side of 1 leaves no way back.
        return 1 + (mild - 1) * _RECOVER if (mild - 1) * sign > 0 else mild
    if sign > 0 or (options.kind == "change" and mild < 0):  # nearer to 0 is better
        return _RECOVER * mild
    return 1 - (1 - mild) * _RECOVER if options.statistic == "ratio" else _RECOVER_BELOW * mild
