"""Silent words: why nothing was said at a window's end, as the end of a sentence."""

from flows.explain import Case
from flows.explain_values import moment_words
from flows.rule import RuleOptions
from sinks.notification import duration

_LONGEST_REPEAT_MS = 86_400_000  # as far as back-off goes, unless `repeat` is longer
_OVER = "it is over, and nobody had heard that it fires"
_NOT_OPEN = {"firing": _OVER, "recovering": _OVER, "pending": "it calmed down before it fired"}  # by the state before
_NOTHING = {
    "no_data": "without a row there is nothing to judge, and it was not firing",
    "insufficient": "there is too little to judge, and it was not firing",
}


def why_silent(case: Case) -> str:
    """Give the reason; the case has no notification of this window."""
    record, rule = case.record, case.rule
    if case.quiet:
        return f"it was kept quiet by {case.quiet[0]}"
    if rule is not None and not rule.options.notify:
        return "the rule has notify = false: it is judged and written down, but says nothing itself"
    after = record["state_after"]
    if after in ("firing", "recovering"):
        return _still_open(case)
    if after == "pending":
        return "it was pending: it had not been bad for long enough"
    return _NOT_OPEN.get(record["state_before"]) or _NOTHING.get(record["level"], "nothing was wrong")


def _still_open(case: Case) -> str:
    """Give why an alert that is firing or recovering was not said."""
    turns = [row for row in case.transitions if row["reason"] in ("firing", "reopened")]
    last_turn = turns[-1] if turns else None
    if (
        last_turn is not None
        and last_turn["reason"] == "reopened"
        and not [row for row in case.said if row["at"] >= last_turn["at"]]
    ):
        return (
            f"it came back within the cooldown{_cooldown(case)}, so the episode goes on; it is said if it gets worse than"
            " what was said last, or is still bad at a later evaluation"
        )
    if not case.heard:
        kept = sorted({row["suppressed_by"] for row in case.earlier if row["suppressed_by"]})
        by = f" ({', '.join(kept)} kept it quiet before)" if kept else ""
        return f"nothing had been said of this episode{by}, and a recovery is not the moment to begin"
    state = "recovering" if case.record["state_after"] == "recovering" else "still firing"
    if case.rule is None:
        return f"it was {state}, and that had been said {moment_words(case.heard[-1]['at'])}"
    return f"it was {state}, and {_repeats(case, case.rule.options)}"


def _cooldown(case: Case) -> str:
    ends = [row for row in case.said if row["status"] == "resolved"]
    if not ends or case.rule is None:
        return ""
    return f" of {duration(case.rule.options.cooldown_ms)} after it was over {moment_words(ends[-1]['at'])}"


def _repeats(case: Case, options: RuleOptions) -> str:
    """Say when a repeat is due, counted as the rule counts: from the last word of the episode."""
    heard = [row for row in case.heard if row["reason"] != "unacknowledged"]  # others heard that, and it delays no repeat
    last = heard[-1]
    repeats = 0
    for row in reversed(heard):
        if row["reason"] != "repeat":
            break
        repeats += 1
    if options.max_repeats and repeats >= options.max_repeats:
        return f"it had been repeated {repeats} times in a row, which is all (max_repeats)"
    due = last["at"] + due_after(options, repeats)
    return f"the last word ({last['reason']}, {moment_words(last['at'])}) is repeated from {moment_words(due)} on (repeat)"


def due_after(options: RuleOptions, repeats: int) -> int:
    """Give how long (ms) after the last word a repeat is due, after so many in a row."""
    longest = max(options.repeat_ms, _LONGEST_REPEAT_MS)
    return round(min(options.repeat_ms * options.repeat_backoff ** min(repeats, 64), longest))
