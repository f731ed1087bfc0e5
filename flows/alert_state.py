"""Alert state: the threshold state machine as one elementwise function over columns, one element a key.

States are inactive, pending, firing and recovering; the severity is apart. Because every operation is elementwise, the same
function runs over keys, and over settings x keys in a sweep.

Where `for` is "n of m", the last levels are remembered, until the alert is inactive: what is over counts for nothing. So an
inactive alert has no past but its cooldown, whatever its rule, and need not be looked at while nothing is bad.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.hold import MOST_AMONG
from flows.rule import CRITICAL, INSUFFICIENT, OK, WARNING

INACTIVE, PENDING, FIRING, RECOVERING = range(4)
STATES = ("inactive", "pending", "firing", "recovering")
SEVERITIES = (None, "warning", "critical")

# What moved, and what is said; 0 is nothing.
MOVES = (
    "",
    "pending",
    "calmed",
    "firing",
    "reopened",
    "escalated",
    "de-escalated",
    "recovering",
    "relapsed",
    "resolved",
    "forgotten",
)
NOTICES = ("", "first", "reopened", "escalated", "de-escalated", "repeat", "resolved", "forgotten")
NEVER = -(2**62)
_LONGEST_REPEAT_MS = 86_400_000  # back-off goes no further, unless `repeat` itself is longer
_MOST_DOUBLINGS = 64  # beyond it any interval is at its longest, and powers would overflow
_REMEMBERED = (1 << 2 * MOST_AMONG) - 1
_LOW_BITS = _REMEMBERED // 3  # the lower one of the two of each evaluation

_MOVE = {name: number for number, name in enumerate(MOVES)}
_NOTICE = {name: number for number, name in enumerate(NOTICES)}

Ints = NDArray[Any]
Bools = NDArray[np.bool_]


def _column(dtype: type, fill: int = 0) -> Any:
    return field(default_factory=lambda: np.zeros(0, dtype), metadata={"dtype": dtype, "fill": fill})


@dataclass(frozen=True, slots=True)
class AlertColumns:
    """The state of n keys (or of settings x n); times in ms, counters in evaluations."""

    state: Ints = _column(np.int8)
    severity: Ints = _column(np.int8)
    run_warning: Ints = _column(np.int32)
    run_critical: Ints = _column(np.int32)
    recent: Ints = _column(np.int64)  # two bits an evaluation, its level, the last one lowest; for "n of m" alone
    cleared: Ints = _column(np.int32)
    calm: Ints = _column(np.int32)
    start: Ints = _column(np.int64, NEVER)
    resolved_at: Ints = _column(np.int64, NEVER)
    said_at: Ints = _column(np.int64, NEVER)
    said: Ints = _column(np.int8)  # the severity last said in this episode
    owed: Ints = _column(np.bool_)  # went on within the cooldown, and that is not said yet
    count: Ints = _column(np.int32)  # notifications of this episode so far
    repeats: Ints = _column(np.int32)  # repeats since something else was last said
    last_row: Ints = _column(np.int64, NEVER)
    peak: Ints = _column(np.float64)  # worst value of this episode; shown, never decided on
    breaches: Ints = _column(np.int32)  # evaluations of this episode that were not ok
    turns: Ints = _column(np.int64)  # a bit an evaluation, the last one lowest: it began to fire or resolved
    flapping: Ints = _column(np.bool_)

    def take(self, places: NDArray[np.int64]) -> "AlertColumns":
        """Give the keys at `places`; -1 is a new key."""
        out = {}
        for column in fields(self):
            values = getattr(self, column.name)
            fresh = np.full(len(places), column.metadata["fill"], column.metadata["dtype"])
            known = places >= 0
            fresh[known] = values[places[known]]
            out[column.name] = fresh
        return AlertColumns(**out)


@dataclass(frozen=True, slots=True)
class Policy:
    """What of a rule the state machine needs; scalars, or columns (settings, 1) in a sweep."""

    hold_warning: Any
    hold_critical: Any
    has_warning: Any
    has_critical: Any
    clear: Any
    repeat_ms: Any
    cooldown_ms: Any
    sign: Any = 1
    repeat_backoff: Any = 1.0
    max_repeats: Any = 0
    among_warning: Any = 0  # of so many evaluations; 0: in a row
    among_critical: Any = 0

    @property
    def remembers(self) -> bool:
        """Tell whether any of it is "n of m"."""
        return bool(np.any(self.among_warning) or np.any(self.among_critical))


@dataclass(frozen=True, slots=True)
class Step:
    """The state after one evaluation, what moved, what is said, and with which severity it is said."""

    columns: AlertColumns
    move: Ints
    notice: Ints
    severity: Ints


def forget(old: AlertColumns) -> Step:
    """End what is open of keys that had no row for too long; nothing moves at the others."""
    open_ = old.state >= FIRING
    notice = np.where(open_ & ~old.owed, _NOTICE["forgotten"], 0).astype(np.int8)
    nothing = np.zeros_like(old.state)
    columns = replace(old, state=nothing, severity=nothing, count=old.count + (notice > 0))
    return Step(columns, np.where(open_, _MOVE["forgotten"], 0).astype(np.int8), notice, old.severity)


def step(old: AlertColumns, policy: Policy, level: Ints, values: NDArray[np.float64], clear: Bools, now: int) -> Step:  # noqa: PLR0913
    """Evaluate all keys once at event time `now` (ms); `clear` is level ok and value on the good side of `recover`."""
    judged = level < INSUFFICIENT
    counted = _count(old, policy, level, judged, clear & (level == OK))
    if np.ndim(level) == np.ndim(policy.clear) + 1 and not old.state.any() and not (judged & (level != OK)).any():
        nothing = np.zeros_like(old.state)  # most windows of most rules: only the runs are counted
        return Step(counted, nothing, nothing, old.severity)
    idle = judged & (old.state <= PENDING)
    busy = judged & (old.state >= FIRING)
    began, first = _ignite(counted, policy, idle, level, now)
    ended, second = _continue(began, old, policy, busy, clear & (level == OK), now)
    move = np.where(busy, second[0], first[0]).astype(np.int8)
    notice = np.where(busy, second[1], first[1]).astype(np.int8)
    held = (level >= INSUFFICIENT) & (old.state >= FIRING)
    ended, notice = _remind(ended, policy, (second[2] | held, held | (level != OK)), notice, now)
    noted = _note(_say(ended, notice, now), policy, level, values, judged)
    # A resolve is said with the severity that ends with it.
    over = noted.state == INACTIVE
    recent = np.where(over, 0, noted.recent) if policy.remembers else noted.recent
    silent = replace(noted, severity=np.where(over, 0, noted.severity).astype(np.int8), recent=recent)
    return Step(silent, move, notice, noted.severity)


def _count(old: AlertColumns, policy: Policy, level: Ints, judged: Bools, clear: Bools) -> AlertColumns:
    shape = np.broadcast(level, old.state, policy.clear).shape
    judged = np.broadcast_to(judged, shape)

    def run(column: Ints, more: Bools) -> Ints:
        return np.where(judged, np.where(more, column + 1, 0), column)

    return replace(
        old,
        run_warning=run(old.run_warning, level >= WARNING),
        run_critical=run(old.run_critical, level >= CRITICAL),
        cleared=run(old.cleared, clear),
        calm=run(old.calm, level != CRITICAL),
        recent=_remember(old.recent, policy, level, judged) if policy.remembers else old.recent,
    )


def _remember(recent: Ints, policy: Policy, level: Ints, judged: Bools) -> Ints:
    keeps = judged & ((policy.among_warning > 0) | (policy.among_critical > 0))
    return np.where(keeps, ((recent << 2) | level) & _REMEMBERED, recent)


def _last(recent: Ints, severity: int, size: Any) -> Ints:
    """Count the evaluations at a severity or worse among the last `size`."""
    bad = recent >> 1 if severity == CRITICAL else recent | (recent >> 1)
    count: Ints = np.bitwise_count(bad & _LOW_BITS & ((1 << 2 * np.asarray(size, np.int64)) - 1))
    return count


def _fires(columns: AlertColumns, policy: Policy) -> Ints:
    critical, warning = (_often(columns, policy, severity) for severity in (CRITICAL, WARNING))
    return np.where(policy.has_critical & critical, CRITICAL, np.where(policy.has_warning & warning, WARNING, 0))


def _often(columns: AlertColumns, policy: Policy, severity: int) -> Bools:
    """Tell where evaluations were at a severity as often as it takes."""
    if severity == CRITICAL:
        run, hold, among = columns.run_critical, policy.hold_critical, policy.among_critical
    else:
        run, hold, among = columns.run_warning, policy.hold_warning, policy.among_warning
    in_a_row: Bools = run >= hold
    if not np.any(among):
        return in_a_row
    # The last one has to be bad itself: an alert must not open with a good evaluation.
    last = (_last(columns.recent, severity, among) >= hold) & (_last(columns.recent, severity, 1) > 0)
    return np.where(np.asarray(among) > 0, last, in_a_row)


def _still_counts(columns: AlertColumns, policy: Policy) -> Bools:
    """Tell where an evaluation before the next one counts for "n of m" then."""
    before_next = [np.maximum(np.asarray(each) - 1, 0) for each in (policy.among_warning, policy.among_critical)]
    warning = policy.has_warning & (_last(columns.recent, WARNING, before_next[0]) > 0)
    critical = policy.has_critical & (_last(columns.recent, CRITICAL, before_next[1]) > 0)
    counts: Bools = warning | critical
    return counts


def _ignite(old: AlertColumns, policy: Policy, idle: Bools, level: Ints, now: int) -> tuple[AlertColumns, tuple[Ints, Ints]]:
    """From inactive or pending: fire, become pending, or calm down."""
    fires = _fires(old, policy)
    ignite = idle & (fires > 0)
    waits = idle & (fires == 0) & (level != OK) & (old.state == INACTIVE)
    calmed = idle & (fires == 0) & (level == OK) & (old.state == PENDING)
    if policy.remembers:
        calmed &= ~_still_counts(old, policy)
    begins = (ignite & (old.state == INACTIVE)) | waits
    again = begins & (old.resolved_at != NEVER) & (now - old.resolved_at <= policy.cooldown_ms)
    fresh = begins & ~again
    owed = np.where(again, True, np.where(fresh, False, old.owed))
    said = np.where(fresh, 0, old.said)
    reopened = ignite & owed & (fires > said)
    move = np.where(ignite, np.where(owed, _MOVE["reopened"], _MOVE["firing"]), 0)
    move = np.where(waits, _MOVE["pending"], np.where(calmed, _MOVE["calmed"], move))
    notice = np.where(ignite & ~owed, _NOTICE["first"], np.where(reopened, _NOTICE["reopened"], 0))
    columns = replace(
        old,
        state=np.where(ignite, FIRING, np.where(waits, PENDING, np.where(calmed, INACTIVE, old.state))).astype(np.int8),
        severity=np.where(ignite, fires, old.severity).astype(np.int8),
        owed=owed & ~reopened,
        said=said,
        start=np.where(fresh, now, old.start),
        count=np.where(fresh, 0, old.count),
        peak=np.where(fresh, np.nan, old.peak),
        breaches=np.where(fresh, 0, old.breaches),
    )
    return columns, (move, notice)


def _continue(  # noqa: PLR0913
    began: AlertColumns, old: AlertColumns, policy: Policy, busy: Bools, clear: Bools, now: int
) -> tuple[AlertColumns, tuple[Ints, Ints, Bools]]:
    """From firing or recovering: resolve, recover, escalate, de-escalate, relapse; gives who may be reminded too."""
    resolved = busy & (began.cleared >= policy.clear)
    rest = busy & ~resolved
    recovering = rest & clear
    bad = rest & ~clear
    escalated = bad & (_fires(began, policy) == CRITICAL) & (old.severity == WARNING)
    calmer = bad & ~escalated & (old.severity == CRITICAL) & policy.has_warning & (began.calm >= 2)  # noqa: PLR2004
    relapsed = bad & ~escalated & ~calmer & (old.state == RECOVERING)
    owed = began.owed
    move = np.zeros(np.shape(rest), np.int8)
    for mask, name in (
        (resolved, "resolved"),
        (recovering & (old.state != RECOVERING), "recovering"),
        (escalated, "escalated"),
        (calmer, "de-escalated"),
        (relapsed, "relapsed"),
    ):
        move = np.where(mask, _MOVE[name], move)
    notice = np.where(resolved & ~owed, _NOTICE["resolved"], 0)
    notice = np.where(escalated, np.where(owed, _NOTICE["reopened"], _NOTICE["escalated"]), notice)
    notice = np.where(calmer & ~owed, _NOTICE["de-escalated"], notice)
    severity = np.where(escalated, CRITICAL, np.where(calmer, WARNING, began.severity))
    state = np.where(resolved, INACTIVE, np.where(recovering, RECOVERING, np.where(bad, FIRING, began.state)))
    columns = replace(
        began,
        state=state.astype(np.int8),
        severity=severity.astype(np.int8),
        owed=owed & ~escalated,
        resolved_at=np.where(resolved & ~owed, now, began.resolved_at),
    )
    return columns, (move, notice, rest & ~escalated & ~(calmer & ~owed))


def _remind(
    columns: AlertColumns, policy: Policy, who: tuple[Bools, Bools], notice: Ints, now: int
) -> tuple[AlertColumns, Ints]:
    """Say an owed `reopened` where it is still bad, or a repeat where the last word is long ago."""
    may, breach = who
    reopened = may & columns.owed & breach & (columns.state == FIRING)
    repeat = may & ~columns.owed & _due(columns, policy, now)
    notice = np.where(reopened, _NOTICE["reopened"], np.where(repeat, _NOTICE["repeat"], notice))
    return replace(columns, owed=columns.owed & ~reopened), notice.astype(np.int8)


def _due(columns: AlertColumns, policy: Policy, now: int) -> Bools:
    """Tell who waited long enough for a repeat and has one left."""
    longer = policy.repeat_backoff ** np.minimum(columns.repeats, _MOST_DOUBLINGS)
    interval = np.minimum(policy.repeat_ms * longer, np.maximum(policy.repeat_ms, _LONGEST_REPEAT_MS))
    left = (policy.max_repeats == 0) | (columns.repeats < policy.max_repeats)
    due: Bools = (now - columns.said_at >= interval) & left
    return due


def _say(columns: AlertColumns, notice: Ints, now: int) -> AlertColumns:
    spoken = notice > 0
    firing = spoken & (notice < _NOTICE["resolved"])
    return replace(
        columns,
        count=np.where(spoken, columns.count + 1, columns.count),
        repeats=np.where(spoken, np.where(notice == _NOTICE["repeat"], columns.repeats + 1, 0), columns.repeats),
        said_at=np.where(spoken, now, columns.said_at),
        said=np.where(firing, columns.severity, columns.said).astype(np.int8),
    )


def _note(columns: AlertColumns, policy: Policy, level: Ints, values: NDArray[np.float64], judged: Bools) -> AlertColumns:
    """Keep what is shown of an episode: its worst value and how many evaluations were bad."""
    bad = judged & (level != OK)
    worse = bad & (np.isnan(columns.peak) | ((values - columns.peak) * policy.sign > 0))
    return replace(
        columns,
        peak=np.where(worse, values, columns.peak),
        breaches=columns.breaches + bad,
    )
