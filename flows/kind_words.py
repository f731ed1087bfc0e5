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


def rule_words(rule: Rule) -> str:
    """Give a rule's name as people say it."""
    name, kind = rule.options.name, rule.options.kind
    if kind == "slo":
        name = f"SLO {name.removeprefix('slo:')}"
    elif name.startswith("no_data:"):
        name = f"no data for {name.removeprefix('no_data:')}"
    return name.replace("_", " ")


def state_words(saying: "Saying", now: str) -> str:
    """Say what is wrong, as a title does."""
    match saying.rule.options.kind:
        case "change":
            return f"{now} {_baseline(saying.rule)}"
        case "capacity":
            return f"{now} of capacity"
        case "absence":
            whole = "from the whole source " if saying.facts.get("absence", {}).get("silent") == "source" else ""
            return f"no record {whole}for {_windows(int(saying.value or 0))}"
        case "slo":
            return f"error budget burns {now} too fast"
        case "composite":
            fires = int(saying.value or 0)
            every = "all" if saying.rule.options.all_ else str(fires)
            return f"{every} of {len(saying.rule.options.members)} rules {'fires' if every == '1' else 'fire'}"
    return now


def over_words(saying: "Saying", now: str) -> str:
    """Say that it is over, as a title does."""
    match saying.rule.options.kind:
        case "change":
            return f"back to {now} {_baseline(saying.rule)}"
        case "capacity":
            return f"back to {now} of capacity"
        case "absence":
            return "records again"
        case "slo":
            return "error budget does not burn too fast any more"
        case "composite":
            return "not all of its rules fire any more" if saying.rule.options.all_ else "none of its rules fires any more"
    return f"back to {now}"


def worst_words(rule: Rule, peak: str) -> str:
    """Write the worst value of an episode."""
    match rule.options.kind:
        case "change":
            return f"{peak} {_baseline(rule)}"
        case "capacity":
            return f"{peak} of capacity"
        case "slo":
            return f"{peak} too fast"
    return peak


def _baseline(rule: Rule) -> str:
    deviates = rule.options.baseline is not None and rule.options.baseline.measure == "deviation"
    return "from the baseline" if deviates else "the baseline"


def _windows(count: int) -> str:
    return f"{count} window{'' if count == 1 else 's'}"


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
            return _burnt(saying, facts.get("slo"), now)
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
        return f"{_NAMES[severity]} from {_windows(int(limit) + 1)} on"
    if options.kind == "composite":
        return ""  # its name says it, and its rules have limits of their own
    shown = saying.limit if saying.limit is not None else limit
    return f"{_NAMES[severity]} above {amount(shown, 'times', '')}"


def clear_words(saying: "Saying") -> str:
    """Say when it is over; empty where that is a number like any other."""
    match saying.rule.options.kind:
        case "absence":
            return "over with the first record"
        case "composite":
            return f"over when {'not all of them fire any more' if saying.rule.options.all_ else 'none of them fires any more'}"
        case "slo":
            return "over when no pair of windows burns too fast"
    return ""


def _changed(saying: "Saying", baseline: dict[str, Any] | None, now: str) -> str:
    metric, statistic = saying.rule.options.metric, saying.rule.options.statistic
    if baseline is None:
        return f"{metric} {statistic} was {now} {_baseline(saying.rule)}"
    measured, middle = (amount(baseline[name], *measure_of(saying.rule), 5) for name in ("measured", "value"))
    much = f"{now} from" if now.endswith("deviations") else f"{now}"
    return f"{metric} {statistic} was {measured} ({_records(saying.count)}): {much} {baseline['against']} ({middle})"


def _used(saying: "Saying", capacity: dict[str, Any] | None, now: str) -> str:
    metric, statistic = saying.rule.options.metric, saying.rule.options.statistic
    if capacity is None:
        return f"{metric} {statistic} was {now} of capacity"
    measured, whole = (amount(capacity[name], *measure_of(saying.rule), 5) for name in ("measured", "capacity"))
    target = amount(saying.rule.options.target, "ratio", "", 3)
    advice = f"{capacity['desired_factor']:g} times as much capacity brings it to {target}"
    return f"{metric} {statistic} was {measured}, {now} of {whole}; {advice}"


def _silent(absence: dict[str, Any]) -> str:
    if not absence:
        return "No record"
    if not absence["windows"]:
        return "Records are back"
    since = "ever" if absence["until"] is None else f"since {rfc3339(absence['until'])[:16].replace('T', ' ')}"
    whose = "the whole source is silent" if absence["silent"] == "source" else "other records of the source go on"
    return f"No record {since}, for {_windows(absence['windows'])}; {whose}"


def _burnt(saying: "Saying", slo: dict[str, Any] | None, now: str) -> str:
    if slo is None:
        return f"The error budget burns {now} too fast"
    burning = [each for each in slo["burn_rates"] if min(each["long"], each["short"]) > each["limit"]]
    whole = slo["watched_ms"] >= slo["period_ms"]
    budget = f"the budget of {'' if whole else 'the '}{duration(slo['watched_ms'])}{'' if whole else ' watched so far'}"
    spent = f"{slo['budget_left'] * 100:.3g} % of {budget} is left"
    if slo["budget_left"] <= 0:
        spent = f"{budget} is spent {1 - slo['budget_left']:.3g} times over"
    objective = f"objective {slo['objective'] * 100:.6g} %"
    if not burning:
        return f"The error budget does not burn too fast; {spent} ({objective})"
    worst = next((each for each in burning if each["limit"] == saying.limit), burning[0])
    rate = (
        f"The error budget burns {worst['long']:.3g} times too fast over {duration(worst['long_ms'])}"
        f" and {worst['short']:.3g} times over {duration(worst['short_ms'])}"
    )
    lasts = slo["budget_lasts_ms"]
    end = f", for {duration(lasts)} at the rate of the last hour" if lasts else ""
    return f"{rate}; {spent}{end} ({objective})"


def _records(count: int) -> str:
    return f"{count:,} record{'' if count == 1 else 's'}".replace(",", " ")
