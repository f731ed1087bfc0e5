"""Suppressor: who or what kept an alert quiet, for those who ask afterwards: the silence with its author, the mute, the source.

The record says which of them it was; which one in particular follows from the configuration, the control events and the other
records of the same window.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from flows.alert_state import SEVERITIES
from flows.config import Config
from flows.decision_log import Row
from flows.inhibit import InhibitOptions
from flows.labels import Labels
from flows.matcher import parse_match
from flows.metric import TOTAL
from flows.mute import Mute
from flows.output import rfc3339
from flows.rule import Rule
from flows.silence import Silence, Silences
from sinks.notification import Notification

Known = tuple[Config, Mapping[str, Rule], Labels]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the state folder adds to the records: silences, and what became of notifications, by id; None: not there.

    `ahead` is what was said before the window closed, by rule, key (canonical JSON) and window end (ms).
    """

    silences: Silences | None = None
    deliveries: Mapping[str, Sequence[str]] = field(default_factory=dict)
    ahead: Mapping[tuple[str, str, int], Notification] = field(default_factory=dict)


def suppressors(record: Row, severity: int, others: Iterable[Row], known: Known, surroundings: Surroundings) -> list[str]:
    """Say what kept the alert of a record quiet; nothing where nothing did. `others` are the records of the same window."""
    why = record["suppressed_by"]
    config, rules, labels = known
    rule = rules.get(record["rule"])
    if why is None:
        return []
    if why == "flap":
        return ["flapping, which was said once; it is held until it settles"]
    if rule is None:
        return [f"{why}: the configuration has no such rule any more, so which one is not known"]
    found: list[str] = []
    own = labels.of(rule, record["key"], severity)
    if why == "silence":
        if surroundings.silences is None:
            return ["a silence; whose is written in controls.ndjson of the state folder, which is not there"]
        there = surroundings.silences.at(rule.metric.dataset, record["at"])
        found = [_silence(each) for each in there if not each.blind and each.matchers.matches(own)]
    elif why == "mute":
        found = list(_mutes(config, own, record["at"], severity))
    elif why == "inhibit":
        found = [each for inhibit in config.policy.inhibits for each in _sources(inhibit, own, others, known)]
        found += _silent_source(rule, others, rules)
        there = surroundings.silences.at(rule.metric.dataset, record["at"]) if surroundings.silences else ()
        found += [f"{each.reason}; so all alerts on {rule.metric.dataset} were held" for each in there if each.blind]
    return found or [f"{why}; nothing that is configured now explains it"]


def _silence(silence: Silence) -> str:
    begins = f"from {rfc3339(silence.start)} " if silence.start else ""
    whose = f"silence {silence.id} of {silence.author or 'somebody'} ({silence.reason or 'without a reason'})"
    return f"{whose}, {begins}until {rfc3339(silence.end)}, for {silence.matchers}"


def _mutes(config: Config, labels: Mapping[str, str], at: int, severity: int) -> Iterator[str]:
    for options in config.policy.mutes:
        mute = Mute(options)
        exempt = mute.except_critical and SEVERITIES[severity] == "critical"
        if mute.holds(at) and not exempt and mute.matchers.matches(labels):
            when = " ".join(filter(None, (", ".join(options.weekdays), ", ".join(options.times), options.zone)))
            yield f"mute {options.name!r} ({when})"


def _silent_source(rule: Rule, others: Iterable[Row], rules: Mapping[str, Rule]) -> Iterator[str]:
    """Give the alert that says for all others that the whole source of an absence rule is silent."""
    here = [row for row in others if row["rule"] in rules and rules[row["rule"]].metric.dataset == rule.metric.dataset]
    if rule.options.kind != "absence" or any(row["count"] for row in here):
        return
    for row in here:
        speaks = row["key"] == TOTAL and row["state_after"] == "firing" and row["suppressed_by"] != "inhibit"
        if speaks and rules[row["rule"]].options.kind == "absence":
            yield f"{row['rule']} ({row['severity']}), which says for all that the whole source is silent"


def _sources(inhibit: InhibitOptions, own: Mapping[str, str], others: Iterable[Row], known: Known) -> Iterator[str]:
    """Give the alerts of the same window that inhibit one, as `Inhibit` has it."""
    _, rules, labels = known
    source, target = parse_match(inhibit.source), parse_match(inhibit.target)
    if not target.matches(own) or not set(inhibit.equal) <= own.keys():
        return
    both = source.matches(own)
    for row in others:
        rule = rules.get(row["rule"])
        if rule is None or row["state_after"] not in ("firing", "recovering"):
            continue
        theirs = labels.of(rule, row["key"], SEVERITIES.index(row["severity"]))
        same = all(name in theirs and theirs[name] == own[name] for name in inhibit.equal)
        if source.matches(theirs) and same and not (both and target.matches(theirs)):
            shown = ", ".join(f"{name}={theirs[name]}" for name in rule.metric.group_by if name in theirs)
            yield f"{row['rule']}{f' on {shown}' if shown else ''}, which was {row['state_after']} ({row['severity']})"
