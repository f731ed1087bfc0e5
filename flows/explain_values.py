"""Explain values: what was judged, at which level that is, and against which limits, in sentences with numbers."""

import numpy as np

from flows.alert_state import SEVERITIES
from flows.amount import amount
from flows.explain import Case
from flows.kind_words import shown_as
from flows.output import rfc3339
from flows.rule import CRITICAL, WARNING, Rule, sure
from flows.slo import DAY_MS, SloOptions, pairs_of
from sinks.notification import duration

_SEVERITIES = ((CRITICAL, "critical"), (WARNING, "warning"))
_DIGITS = (3, 4, 5, 7, 9, 12, 17)
_PLAIN = ("ratio", "count", "distinct")


def shown(rule: Rule | None, value: float | None, *, tell_apart: bool = True) -> str:
    """Write a judged value, with as many digits as it takes to tell it from the limits."""
    if value is None:
        return "no data"
    if rule is None:
        return f"{value:g}"
    limits = {
        limit_of(rule, each) for each in (rule.warning, rule.critical, rule.recover) if each != value and not np.isnan(each)
    }
    for digits in _DIGITS if tell_apart else (None,):
        text = amount(value, *shown_as(rule), digits)
        if text not in limits:
            break
    return text


def limit_of(rule: Rule, value: float) -> str:
    """Write a limit as exactly as it was given."""
    return amount(value, *shown_as(rule))


def value_words(case: Case) -> str:
    """Say what was judged."""
    rule, record = case.rule, case.record
    what = record["metric"] if record["statistic"] in _PLAIN else f"{record['metric']} {record['statistic']}"
    if record["level"] == "no_data":
        rows = [row["at"] for row in case.earlier if row["level"] != "no_data"]
        last = f"; the last was of the window that ended {moment_words(rows[-1])}" if rows else ""
        return f"There was no row of {what}{last}: nothing to judge."
    count = record["count"]
    records = f"{count:,} record{'' if count == 1 else 's'}".replace(",", " ")
    now = shown(rule, record["value"])
    match rule.options.kind if rule else "":
        case "change" if record["value"] is None:
            text = f"{what} ({records}) has too little to be compared with."
        case "change":
            text = f"{what} was {now} {'its baseline' if now.endswith('times') else 'from its baseline'} ({records})."
        case "absence":
            windows = round(record["value"] or 0)
            text = f"There was no record for {windows} windows in a row." if windows else f"There were records ({records})."
        case "capacity":
            text = f"{what} was {now} of its capacity ({records})."
        case "slo":
            text = f"The error budget burnt {now} too fast, by the pair of windows nearest to its limit ({records})."
        case "event":
            text = f"{record['metric']}: {records} of this kind."
        case "composite":
            text = f"{now} of its {count} rules fired{_members(case)}."
        case _:
            text = f"{what} was {now} ({records})."
    return text


def _members(case: Case) -> str:
    assert case.rule is not None  # noqa: S101 (the caller has looked)
    names = case.rule.options.members
    rows = {(row["rule"], row["key"]): row for row in case.others if row["rule"] in names}
    found = []
    for name in names:
        row = rows.get((name, case.record["key"])) or next((row for (rule, _), row in rows.items() if rule == name), None)
        found.append(f"{name} {row['state_after']}" if row else f"{name} not judged")
    return f": {', '.join(found)}"


def level_words(case: Case) -> str:
    """Say which level that is, and why."""
    rule, level = case.rule, case.record["level"]
    if level == "no_data":
        return ""
    if level == "insufficient":
        return f"Level insufficient: {_too_little(case)}, so it counts towards nothing."
    if rule is None or case.expected_level != level:
        return f"Level {level}."
    side = "above" if rule.sign > 0 else "below"
    limits = {name: limit for code, name in _SEVERITIES if (limit := rule.threshold(code)) is not None}
    if level in limits:
        absent = rule.options.kind == "absence"
        beyond = f"from {limits[level] + 1:g} windows on" if absent else f"{side} {limit_of(rule, limits[level])}"
        return f"Level {level}: {beyond}{_as_sure(case)}."
    mild = limits.get("warning", limits.get("critical"))
    if mild is None or (case.record["value"] - mild) * rule.sign <= 0:
        return f"Level {level}." if mild is None else f"Level ok: not {side} {limit_of(rule, mild)}."
    return f"Level ok, though {side} {limit_of(rule, mild)}: {_forgiven(case, rule)}."


def _too_little(case: Case) -> str:
    options = case.rule.options if case.rule else None
    if options is not None and case.record["count"] < options.min_count:
        return f"fewer records than {options.min_count} (min_count)"
    if options is not None and options.kind == "change":
        return "too little is known of the windows that it is compared with"
    return "too little to judge"


def _forgiven(case: Case, rule: Rule) -> str:
    """Say why a value beyond a limit is ok."""
    record = case.record
    share = 1 - record["value"] if rule.metric.good else record["value"]
    bad = round(share * record["count"])
    if rule.options.min_bad and bad < rule.options.min_bad:
        return f"{bad} bad records are fewer than {rule.options.min_bad} (min_bad)"
    return f"the share is not sure enough{_as_sure(case)}"


def _as_sure(case: Case) -> str:
    """Say what a guarded ratio surely is."""
    rule, record = case.rule, case.record
    if rule is None or rule.options.guard == "none":
        return ""
    bound = sure(np.array([record["value"]]), np.array([record["count"]]), rule.sign)[0]
    least = "at least" if rule.sign > 0 else "at most"
    return f" (guard wilson: it is {least} {shown(rule, float(bound))} for sure)"


def limits_words(case: Case) -> str:
    """Say which limits the rule has for the key."""
    rule = case.rule
    if rule is None:
        return "The configuration has no such rule, so its limits are not known."
    side = "above" if rule.sign > 0 else "below"
    override = f", by the override for {case.override}" if case.override is not None else ""
    match rule.options.kind:
        case "composite":
            needed = "all of them fire" if rule.options.all_ else "one of them fires"
            return f"It fires when {needed}."
        case "slo":
            return _pairs(case.slo)
        case "absence":
            after = (rule.threshold(CRITICAL) or rule.threshold(WARNING) or 0.0) + 1
            return f"It fires from {after:g} windows on, and is over with the first record."
    limits = [
        f"{name} {side} {limit_of(rule, limit)}" for code, name in _SEVERITIES if (limit := rule.threshold(code)) is not None
    ]
    return f"{', '.join(limits)[:1].upper()}{', '.join(limits)[1:]}; clear at {limit_of(rule, rule.recover)}{override}."


def _pairs(slo: SloOptions | None) -> str:
    """Say how fast the budget of an objective may burn."""
    if slo is None:
        return "Each pair of windows has a limit of its own; both windows must be above it."
    limits = [
        f"{SEVERITIES[pair.severity]} above {pair.factor:.4g} times over {duration(pair.long_ms)} and {duration(pair.short_ms)}"
        for pair in pairs_of(slo.period_ms)
    ]
    objective = f"objective {slo.objective * 100:.6g} % over {slo.period_ms // DAY_MS} d"
    return f"Both windows of a pair must burn too fast: {', or '.join(limits)} ({objective})."


def version_words(case: Case) -> str:
    """Say so where the record was made with another configuration than the one loaded."""
    made = case.record.get("config_version", "")
    words = []
    if made and made != case.version:
        words.append(
            f"The record was made with configuration version {made}; limits are shown as of the one loaded, {case.version}."
        )
    expected = case.expected_level
    if expected is not None and expected != case.record["level"]:
        words.append(f"By the limits loaded it would be {expected}: the record was made with others.")
        told = [row["threshold"] for row in [*case.said_now, *reversed(case.heard)] if row["threshold"] is not None]
        if told:
            words.append(f"What was said then names {shown(case.rule, told[0], tell_apart=False)}.")
    return " ".join(words)


def moment_words(ms: int) -> str:
    """Write a time (UTC) for people, with seconds where there are any."""
    return f"{rfc3339(ms)[: 19 if ms % 60_000 else 16].replace('T', ' ')} UTC"
