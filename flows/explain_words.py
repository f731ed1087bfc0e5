"""Explain words: a decision in plain sentences with its numbers: the value, the limits, the state, what was said, and why not."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from flows.amount import amount
from flows.explain import JUDGED, Case
from flows.kind_words import shown_as
from flows.output import rfc3339
from flows.rule import CRITICAL, WARNING, Rule, sure
from flows.silent_words import why_silent
from sinks.notification import duration

_SEVERITIES = ((CRITICAL, "critical"), (WARNING, "warning"))
_DIGITS = (3, 4, 5, 7, 9, 12, 17)
_PLAIN = ("ratio", "count", "distinct")


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence or two, and what they are about."""

    about: str
    text: str


def verdict(case: Case) -> str:
    """Say in one sentence whether somebody was told, and if not, why not."""
    if case.said_now:
        return " ".join(f"{_said(row)}." for row in case.said_now)
    return f"Nothing was said: {why_silent(case)}."


def sentences(case: Case) -> list[Sentence]:
    """Explain a decision."""
    parts = (
        ("value", [_value(case), _level(case)]),
        ("limits", [_limits(case), _version(case)]),
        ("state", [_state(case), _waits(case), _flapping(case)]),
        ("quiet", [f"Kept quiet by {each}." for each in case.quiet]),
        ("before", [_before(case)]),
        ("after", [_after(case)]),
    )
    return [Sentence(about, text) for about, words in parts if (text := " ".join(filter(None, words)))]


def as_dict(case: Case) -> dict[str, Any]:
    """Give an explanation as JSON has it."""
    counters = case.counters()
    record = {
        name: case.record[name] for name in sorted(case.record) if name not in ("at", "ms", "inserted_at", "version", "run")
    }
    return {
        "rule": case.name,
        "key": case.key,
        "window_start": rfc3339(case.start),
        "window_end": rfc3339(case.end),
        "verdict": verdict(case),
        "sentences": [{"about": each.about, "text": each.text} for each in sentences(case)],
        "record": record | {"key": case.key, "window_end": rfc3339(case.end)},
        "in_a_row": {"warning": counters.warning, "critical": counters.critical, "clear": counters.cleared},
        "transition": case.move and {name: case.move[name] for name in ("from", "to", "severity", "reason", "episode")},
        "notifications": [
            {name: row[name] for name in ("id", "reason", "status", "severity", "channels", "title")} for row in case.said_now
        ],
        "kept_quiet_by": list(case.quiet),
        "level_by_loaded_configuration": case.expected_level,
    }


def shown(rule: Rule | None, value: float | None, *, tell_apart: bool = True) -> str:
    """Write a judged value, with as many digits as it takes to tell it from the limits."""
    if value is None:
        return "no data"
    if rule is None:
        return f"{value:g}"
    limits = {
        _limit(rule, each)
        for each in (rule.warning, rule.critical, rule.recover)
        if each not in (value,) and not np.isnan(each)
    }
    for digits in _DIGITS if tell_apart else (None,):
        text = amount(value, *shown_as(rule), digits)
        if text not in limits:
            break
    return text


def _limit(rule: Rule, value: float) -> str:
    return amount(value, *shown_as(rule))


def _value(case: Case) -> str:
    rule, record = case.rule, case.record
    what = record["metric"] if record["statistic"] in _PLAIN else f"{record['metric']} {record['statistic']}"
    if record["level"] == "no_data":
        rows = [row["at"] for row in case.earlier if row["level"] != "no_data"]
        last = f"; the last was of the window that ended {_time(rows[-1])}" if rows else ""
        return f"There was no row of {what}{last}: nothing to judge."
    count = record["count"]
    records = f"{count:,} record{'' if count == 1 else 's'}".replace(",", " ")
    now = shown(rule, record["value"])
    match rule.options.kind if rule else "":
        case "change":
            text = f"{what} was {now} {'its baseline' if now.endswith('times') else 'from its baseline'} ({records})."
        case "absence":
            windows = round(record["value"] or 0)
            text = f"There was no record for {windows} windows in a row." if windows else f"There were records ({records})."
        case "capacity":
            text = f"{what} was {now} of its capacity ({records})."
        case "slo":
            text = f"The error budget burnt {now} too fast, by the pair of windows nearest to its limit ({records})."
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


def _level(case: Case) -> str:
    rule, record = case.rule, case.record
    level = record["level"]
    if level == "no_data":
        return ""
    if level == "insufficient":
        few = rule is not None and record["count"] < rule.options.min_count
        if rule is not None and few:
            return f"Level insufficient: fewer than {rule.options.min_count} (min_count), so it counts towards nothing."
        known = "too little is known of earlier windows" if rule is not None and rule.options.kind == "change" else "too little"
        return f"Level insufficient: {known}, so it counts towards nothing."
    if rule is None or case.expected_level is None or case.expected_level != level:
        return f"Level {level}."
    side = "above" if rule.sign > 0 else "below"
    for code, name in _SEVERITIES:
        limit = rule.threshold(code)
        if level == name and limit is not None:
            return f"Level {level}: {side} {_limit(rule, limit)}{_as_sure(case)}."
    mild = rule.options.thresholds.mild
    if mild is None:
        return f"Level {level}."
    if (record["value"] - mild) * rule.sign <= 0:
        return f"Level ok: not {side} {_limit(rule, mild)}."
    return f"Level ok, though {side} {_limit(rule, mild)}: {_forgiven(case, rule)}."


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


def _limits(case: Case) -> str:
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
            return "Each pair of windows has a limit of its own; both windows must be above it."
        case "absence":
            after = (rule.threshold(CRITICAL) or rule.threshold(WARNING) or 0.0) + 1
            return f"It fires from {after:g} windows on, and is over with the first record."
    limits = [
        f"{name} {side} {_limit(rule, limit)}" for code, name in _SEVERITIES if (limit := rule.threshold(code)) is not None
    ]
    return f"{', '.join(limits)[:1].upper()}{', '.join(limits)[1:]}; clear at {_limit(rule, rule.recover)}{override}."


def _version(case: Case) -> str:
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


def _state(case: Case) -> str:
    record, move = case.record, case.move
    severity = f" ({record['severity']})" if record["severity"] else ""
    if record["level"] not in JUDGED:
        return f"Stays {record['state_after']}{severity}: a window that says nothing moves nothing."
    if move is not None:
        reason = f", {move['reason']}" if move["reason"] != move["to"] else ""
        changed = f"from {move['from']} to {move['to']}" if move["from"] != move["to"] else f"stays {move['to']}"
        return f"{changed[:1].upper()}{changed[1:]}{severity}{reason}{_because(case)}."
    return f"Stays {record['state_after']}{severity}{_because(case)}."


def _because(case: Case) -> str:
    """Give the count that decided: of evaluations in a row that were bad, or clear."""
    rule, record, counters = case.rule, case.record, case.counters()
    if rule is None or record["state_after"] == "inactive" == record["state_before"]:
        return ""
    more = "" if counters.all_known else "at least "
    if record["state_after"] in ("firing", "pending") and record["level"] != "ok":
        which = "critical" if record["level"] == "critical" else "warning"
        count = counters.critical if which == "critical" else counters.warning
        return f": {more}{count} evaluation{'' if count == 1 else 's'} in a row {which}{'' if which == 'critical' else ' or worse'}"
    if record["level"] == "ok" and not case.clears(record):
        return f": ok, but not clear: that is at {_limit(rule, rule.recover)}"
    if record["level"] == "ok" and record["state_before"] in ("firing", "recovering"):
        return f": {more}{counters.cleared} clear in a row, {rule.options.clear} resolve (clear)"
    return ""


def _waits(case: Case) -> str:
    """Say what a pending alert waits for."""
    rule = case.rule
    if rule is None or case.record["state_after"] != "pending":
        return ""
    hold, limits = rule.options.hold, rule.options.thresholds
    needed = [f"{hold.critical} critical"] if limits.critical is not None else []
    needed += [f"{hold.warning} at warning or worse"] if limits.warning is not None else []
    return f"It fires after {' or '.join(needed)} in a row (for)."


def _flapping(case: Case) -> str:
    flap = case.rule.options.flap if case.rule else None
    if flap is None:
        return ""
    windows = [row["at"] for row in case.earlier][-flap.windows :]
    turned = ("firing", "reopened", "resolved")
    turns = [row for row in case.transitions if row["reason"] in turned and windows and row["at"] >= windows[0]]
    return f"It began to fire or resolved {len(turns)} times in {len(windows)} windows; {flap.transitions} make it flapping."


def _before(case: Case) -> str:
    if not case.heard:
        return ""
    last = case.heard[-1]
    return f"Before, {_said(last)} ({_time(last['at'])}, {duration(case.end - last['at'])} earlier): {last['title']}."


def _after(case: Case) -> str:
    if not case.following:
        return ""
    first = case.following[0]
    return f"Next, {_said(first)} ({_time(first['at'])}, {duration(first['at'] - case.end)} later): {first['title']}."


def _said(row: dict[str, Any]) -> str:
    channels = ", ".join(row["channels"]) or "nobody: no route takes it"
    return f"{row['reason']} ({row['severity']}) was said to {channels}"


def delivered(case: Case) -> Iterator[str]:
    """Say what became of what was said, as far as the spool still knows."""
    for row in case.said_now:
        yield from case.deliveries.get(row["id"], ())


def _time(ms: int) -> str:
    return f"{rfc3339(ms)[: 19 if ms % 60_000 else 16].replace('T', ' ')} UTC"
