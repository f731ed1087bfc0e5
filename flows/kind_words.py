"""Kind words: what is said of an alert whose rule judges something other than a value against limits."""

from typing import TYPE_CHECKING, Any

from flows.amount import amount, measure_of
from flows.output import rfc3339
from flows.rule import CRITICAL, WARNING, Rule
from sinks.notification import duration

if TYPE_CHECKING:
    from flows.notify import Saying

_NAMES = {WARNING: "warning", CRITICAL: "critical"}


def shown_as(rule: Rule) -> tuple[str, str]:
    """Give the statistic and unit that a judged value is written with."""
    options = rule.options
    match options.kind:
        case "change":
            ratio = options.baseline is None or options.baseline.measure == "ratio"
            return ("times" if ratio else "deviations"), ""
        case "capacity":
            return "ratio", ""
        case "slo":
            return "times", ""
        case "absence" | "composite":
            return "count", ""
    return measure_of(rule)


def evidence_words(saying: "Saying", now: str) -> str:
    """Say what was judged, as a sentence without its full stop."""
    facts = saying.facts
    match saying.rule.options.kind:
        case "change":
            return _changed(saying, facts.get("baseline"), now)
        case "capacity":
            return _used(saying, facts.get("capacity"), now)
        case "absence":
            return _silent(facts.get("absence", {}))
        case "slo":
            return _burnt(facts.get("slo"))
        case "composite":
            states = facts.get("composite", {}).get("rules", {})
            return ", ".join(f"{name}: {state}" for name, state in states.items()) or "none of its rules was judged"
    metric, statistic = saying.rule.options.metric, saying.rule.options.statistic
    return f"{metric} {statistic} was {now} ({_records(saying.count)})"


def limit_words(saying: "Saying", severity: int) -> str | None:
    """Say what a severity begins at; None where the limit is a number like any other."""
    options = saying.rule.options
    limit = saying.rule.threshold(severity)
    if options.kind not in ("absence", "composite", "slo"):
        return None
    if limit is None or (options.kind == "slo" and severity != saying.severity):
        return ""
    if options.kind == "absence":
        return f"{_NAMES[severity]} from {int(limit) + 1} windows on"
    if options.kind == "composite":
        return "" if severity != saying.severity else f"{'all' if options.all_ else 'any'} of {len(options.members)} rules"
    shown = saying.limit if saying.limit is not None else limit
    return f"{_NAMES[severity]} above {amount(shown, 'times', '')}"


def clear_words(saying: "Saying") -> str:
    """Say when it is over; empty where that is a number like any other."""
    match saying.rule.options.kind:
        case "absence":
            return "over with the first record"
        case "composite":
            return "over when they do not fire"
        case "slo":
            return "over when no pair of windows burns too fast"
    return ""


def _changed(saying: "Saying", baseline: dict[str, Any] | None, now: str) -> str:
    metric, statistic = saying.rule.options.metric, saying.rule.options.statistic
    if baseline is None:
        return f"{metric} {statistic}: too little is known of before"
    measured, middle = (amount(baseline[name], *measure_of(saying.rule), 5) for name in ("measured", "value"))
    return f"{metric} {statistic} was {measured} ({_records(saying.count)}), {now} of {middle}, {baseline['against']}".replace(
        "deviations of", "deviations from"
    )


def _used(saying: "Saying", capacity: dict[str, Any] | None, now: str) -> str:
    metric, statistic = saying.rule.options.metric, saying.rule.options.statistic
    if capacity is None:
        return f"{metric} {statistic}: no data"
    measured, whole = (amount(capacity[name], *measure_of(saying.rule), 5) for name in ("measured", "capacity"))
    advice = f"for {saying.rule.options.target:.0%} scale to {capacity['desired_factor']:g} times"
    return f"{metric} {statistic} was {measured}, {now} of {whole}; {advice}"


def _silent(absence: dict[str, Any]) -> str:
    if not absence:
        return "no record"
    if not absence["windows"]:
        return "records are back"
    since = "ever" if absence["until"] is None else f"since {rfc3339(absence['until'])[:16].replace('T', ' ')}"
    whose = "the whole source is silent" if absence["silent"] == "source" else "other records of the source go on"
    return f"no record {since}: {absence['windows']} window{'' if absence['windows'] == 1 else 's'}; {whose}"


def _burnt(slo: dict[str, Any] | None) -> str:
    if slo is None:
        return "no record"
    rates = [
        f"{each['long']:.3g} times too fast over {duration(each['long_ms'])} and {each['short']:.3g} over "
        f"{duration(each['short_ms'])} (limit {each['limit']:g})"
        for each in slo["burn_rates"]
        if min(each["long"], each["short"]) > each["limit"]
    ]
    burning = f"the error budget burns {', '.join(rates)}" if rates else "the error budget does not burn too fast"
    lasts = slo["budget_lasts_ms"]
    left = f"{slo['budget_left']:.1%} of the budget of {duration(slo['period_ms'])} is left"
    end = f", for {duration(lasts)} at the last hour's rate" if lasts and rates else ""
    return f"{burning}; {left}{end} (objective {slo['objective']:.6g})"


def _records(count: int) -> str:
    return f"{count:,} record{'' if count == 1 else 's'}".replace(",", " ")
