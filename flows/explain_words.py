"""Explain words: a decision in plain sentences: the value, the limits, the state, what was said, and why nothing was."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flows.explain import JUDGED, Case
from flows.explain_values import level_words, limit_of, limits_words, moment_words, value_words, version_words
from flows.hold import Needed
from flows.output import rfc3339
from flows.silent_words import why_silent
from sinks.notification import duration

_HOW = {"critical": "critical", "warning": "at warning or worse"}


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence or two, and what they are about."""

    about: str
    text: str


def verdict(case: Case) -> str:
    """Say in one sentence whether somebody was told, and if not, why not."""
    if case.said_now:
        return " ".join(f"Said at {moment_words(case.end)}: {_said(row)}." for row in case.said_now)
    return f"Nothing was said{' when the window closed' if case.ahead else ''}: {why_silent(case)}."


def sentences(case: Case) -> list[Sentence]:
    """Explain a decision."""
    parts = (
        ("at once", [_ahead(case)]),
        ("value", [value_words(case), level_words(case)]),
        ("limits", [limits_words(case), version_words(case)]),
        ("state", [_state(case), _waits(case)]),
        ("flapping", [_flapping(case)]),
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
        "among_last": {name: {"bad": case.counted(name), "of": each.among} for name, each in _remembered(case).items()},
        "transition": case.move and {name: case.move[name] for name in ("from", "to", "severity", "reason", "episode")},
        "notifications": [
            {name: row[name] for name in ("id", "reason", "status", "severity", "channels", "title")} for row in case.said_now
        ],
        "kept_quiet_by": list(case.quiet),
        "level_by_loaded_configuration": case.expected_level,
    }


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
    if record["state_after"] == "pending" and record["level"] == "ok":
        return "".join(f": {_among(case, name)}" for name in list(_remembered(case))[:1])
    if record["state_after"] in ("firing", "pending") and record["level"] != "ok":
        count = counters.critical if record["level"] == "critical" else counters.warning
        in_a_row = f"{more}{count} evaluation{'' if count == 1 else 's'} in a row {_HOW[record['level']]}"
        return f": {_among(case, record['level']) if record['level'] in _remembered(case) else in_a_row}"
    if record["level"] == "ok" and not case.clears(record):
        return f": ok, but not clear: that is at {limit_of(rule, rule.recover)}"
    if record["level"] == "ok" and record["state_before"] in ("firing", "recovering"):
        return f": {more}{counters.cleared} clear in a row, {rule.options.clear} resolve (clear)"
    return ""


def _remembered(case: Case) -> dict[str, Needed]:
    """Give the severities that need so many evaluations among the last few."""
    if case.rule is None:
        return {}
    limits, hold = case.rule.options.thresholds, case.rule.options.hold
    return {name: each for name, each in hold.needed().items() if each.among and getattr(limits, name) is not None}


def _among(case: Case, severity: str) -> str:
    among = _remembered(case)[severity].among
    return f"{case.counted(severity)} of the last {among} evaluations {_HOW[severity]}"


def _waits(case: Case) -> str:
    """Say what a pending alert waits for."""
    rule = case.rule
    if rule is None or case.record["state_after"] != "pending":
        return ""
    hold, limits = rule.options.hold, rule.options.thresholds
    needed = {name: hold.needed()[name] for name in _HOW if getattr(limits, name) is not None}
    if _remembered(case):
        return f"It fires after {' or '.join(each.words(_HOW[name]) for name, each in needed.items())} (for)."
    return f"It fires after {' or '.join(f'{each.times} {_HOW[name]}' for name, each in needed.items())} in a row (for)."


def _ahead(case: Case) -> str:
    """Say who heard of an event before its window closed, and what became of that."""
    if case.ahead is None:
        return ""
    said = f"Said before the window closed, by one record at {rfc3339(case.ahead.at)}, to {', '.join(case.ahead.channels)}"
    confirmed = any(row["id"] == case.ahead.id for row in case.said_now)
    return f"{said}; {'the window says the same' if confirmed else 'they were told at its end that this message is over'}."


def _flapping(case: Case) -> str:
    flap = case.rule.options.flap if case.rule else None
    if flap is None:
        return ""
    windows = [row["at"] for row in case.earlier][-flap.windows :]
    turned = ("firing", "reopened", "resolved")
    turns = [row for row in case.transitions if row["reason"] in turned and windows and row["at"] >= windows[0]]
    if not turns:
        return ""
    return f"It began to fire or resolved {len(turns)} times in {len(windows)} windows; {flap.transitions} make it flapping."


def _before(case: Case) -> str:
    if not case.heard:
        return ""
    last = case.heard[-1]
    return f"{duration(case.end - last['at'])} earlier, at {moment_words(last['at'])}: {_said(last)}: {last['title']}."


def _after(case: Case) -> str:
    if not case.following:
        return ""
    first = case.following[0]
    return f"{duration(first['at'] - case.end)} later, at {moment_words(first['at'])}: {_said(first)}: {first['title']}."


def _said(row: dict[str, Any]) -> str:
    channels = ", ".join(row["channels"]) or "nobody, because no route takes it"
    return f"{row['reason']} ({row['severity']}), to {channels}"


def delivered(case: Case) -> Iterator[str]:
    """Say what became of what was said, as far as the spool still knows."""
    for row in case.said_now:
        yield from case.deliveries.get(row["id"], ())
