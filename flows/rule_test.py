"""Rule test: plays the windows of a test through the rules as a run would, and compares what comes of it with what is expected.

It is the same evaluator, so states, episodes, routes, groups, inhibitions and mutes are those of a live run.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import orjson

from flows.alert import Alerting
from flows.config import Config
from flows.matcher import parse_match
from flows.rule_test_options import NONE, ExpectOptions, RuleTestOptions, SaidOptions, offset
from flows.rule_test_windows import windows_of
from flows.silence import Silence
from flows.window import WindowResult
from sinks.notification import Notification

_NEAR = 2  # evaluations shown on either side
_SHOWN = {"state": "state_after"}  # as which a record has what an expectation names

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Failure:
    """What is not as expected: of which alert and when (`at`, ms since the start), how, and the evaluations around it."""

    at: int
    about: str
    problem: str
    near: tuple[Record, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        near = [record | {"at": offset(record["at"])} for record in self.near]
        return {"at": offset(self.at), "about": self.about, "problem": self.problem, "evaluations": near}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one test."""

    name: str
    failures: tuple[Failure, ...]

    def as_dict(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        return {"name": self.name, "ok": not self.failures, "failures": [each.as_dict() for each in self.failures]}


@dataclass(frozen=True, slots=True)
class _Played:
    """All that came of a test's windows, in the order it came; `at` of each is ms since the start of the test."""

    evaluations: list[Record] = field(default_factory=list)
    notifications: list[Record] = field(default_factory=list)
    messages: list[Record] = field(default_factory=list)


class _Given:
    """The silences of a test."""

    def __init__(self, test: RuleTestOptions) -> None:
        self._silences = [
            Silence(
                id=str(number),
                matchers=parse_match(each.match),
                author="",
                reason=each.reason,
                start=test.start_ms + each.start_ms,
                end=test.start_ms + each.end_ms,
            )
            for number, each in enumerate(test.silence)
        ]

    def at(self, dataset: str, end: int) -> Sequence[Silence]:  # noqa: ARG002 (a silence is of no dataset)
        return [silence for silence in self._silences if silence.holds(end)]

    def known(self, dataset: str, end: int) -> Sequence[Silence]:
        return self.at(dataset, end)


def run_test(test: RuleTestOptions, config: Config) -> Outcome:
    """Play one test, which must be valid."""
    played = _play(test, config)
    failures = list(_compared(test.expect, played.evaluations))
    said = [each for each in played.notifications if not test.rules or each["rule"] in test.rules]
    failures += _missed("notification", test.notification, said, played, partial=test.partial)
    if test.message is not None:
        failures += _missed("message", test.message, played.messages, played, partial=test.partial)
    return Outcome(test.name, tuple(failures))


def _play(test: RuleTestOptions, config: Config) -> _Played:
    alerting, out = Alerting(config, config.policy, _Given(test)), _Played()
    for result in _in_step(windows_of(test, config), alerting.bonds):
        bond = next((names for names in alerting.bonds if result.dataset in names), ())
        beside = [name for name in bond if name != result.dataset]
        decisions, at = alerting.evaluate(result, beside=beside), {"at": result.end - test.start_ms}
        lines = b"".join(block.lines() for block in decisions.evaluations).splitlines()
        out.evaluations.extend(orjson.loads(line) | at for line in lines)
        out.notifications.extend(_said(each) | at for each in decisions.notifications)
        out.messages.extend(_said(each) | at for each in decisions.messages)
    return out


def _in_step(results: Iterable[WindowResult], bonds: Iterable[Sequence[str]]) -> list[WindowResult]:
    """Put the windows of one end in the order in which bonded datasets are judged."""
    rank = {name: place for bond in bonds for place, name in enumerate(bond)}
    return sorted(results, key=lambda each: (each.end, rank.get(each.dataset, 0), each.dataset))


def _said(notification: Notification) -> Record:
    record: Record = orjson.loads(notification.line())
    return record | {"grouped": record["group"] is not None}


def _compared(expected: Iterable[ExpectOptions], records: Sequence[Record]) -> Iterator[Failure]:
    """Compare decision records with what is expected of them."""
    for each in expected:
        of_rule = [record for record in records if record["rule"] == each.rule]
        there = [record for record in of_rule if record["at"] == each.at_ms and each.key in (None, record["key"])]
        if len(there) == 1:
            found = there[0]
            wrong = list(_differences(each, found))
            if wrong:
                yield Failure(each.at_ms, _about(each.rule, found["key"]), "; ".join(wrong), _near(of_rule, found))
            continue
        keys = [_key(record["key"]) for record in of_rule if record["at"] == each.at_ms]
        known = f"; there are: {', '.join(keys)}" if keys else "; the window has no record of its dataset, so it is not judged"
        problem = f"no evaluation of it{known}" if not there else f"say which key is meant{known}"
        yield Failure(each.at_ms, _about(each.rule, each.key), problem)


def _missed(
    kind: str, expected: Sequence[SaidOptions], said: Sequence[Record], played: _Played, *, partial: bool
) -> Iterator[Failure]:
    """Match what was said with what is expected; the more an expectation says, the earlier it chooses."""
    left = list(said)
    missing = []
    for each in sorted(expected, key=lambda e: (e.at_ms, -len(_wanted(e)))):
        found = next((record for record in left if record["at"] == each.at_ms and not list(_differences(each, record))), None)
        if found is None:
            missing.append(each)
        else:
            left.remove(found)
    for each in missing:
        near = next((record for record in left if record["at"] == each.at_ms and _same_alert(each, record)), None)
        if near is not None:
            left.remove(near)
            about = _about(near["rule"], near["key"])
            yield Failure(each.at_ms, about, f"{kind}: {'; '.join(_differences(each, near))}", _around(played, near))
            continue
        later = [record for record in left if _same_alert(each, record) and each.reason in ("", record["reason"])]
        instead = f"; it was said at {offset(later[0]['at'])}" if later else ""
        at = {"at": each.at_ms, "rule": each.rule, "key": each.key}
        problem = f"{kind}: expected {_words(each)}, but it was not said{instead}"
        yield Failure(each.at_ms, _about(each.rule, each.key), problem, _around(played, at))
    for record in left if not partial else ():
        words = f"{record['reason']} ({record['status']}, {record['severity']}) to {_listed(record['channels'])}"
        yield Failure(
            record["at"],
            _about(record["rule"], record["key"]),
            f"{kind}: not expected, but said: {words}: {record['title']}",
            _around(played, record),
        )


def _wanted(expected: ExpectOptions | SaidOptions) -> dict[str, Any]:
    """Give what an expectation compares, by name."""
    given = {column.name: getattr(expected, column.name) for column in fields(expected) if column.name != "at_ms"}
    return {name: value for name, value in given.items() if value is not None and value != ""}


def _differences(expected: ExpectOptions | SaidOptions, record: Record) -> Iterator[str]:
    for name, value in _wanted(expected).items():
        got = record[_SHOWN.get(name, name)]
        if name == "channels":
            value, got = sorted(value), sorted(got)  # noqa: PLW2901 (who hears has no order)
        elif value == NONE:
            value = None  # noqa: PLW2901
        same = got is not None and math.isclose(value, got, rel_tol=1e-9) if name == "value" else value == got
        if not same:
            yield f"{name.replace('_', ' ')}: expected {plain(value)}, got {plain(got)}"


def _same_alert(expected: SaidOptions, record: Record) -> bool:
    return expected.rule in ("", record["rule"]) and expected.key in (None, record["key"])


def _near(records: Sequence[Record], chosen: Mapping[str, Any]) -> tuple[Record, ...]:
    """Give the records of a key around one of them."""
    of_key = [record for record in records if record["key"] == chosen["key"]]
    before = sum(record["at"] < chosen["at"] for record in of_key)
    return tuple(of_key[max(0, before - _NEAR) : before + _NEAR + 1])


def _around(played: _Played, said: Mapping[str, Any]) -> tuple[Record, ...]:
    return _near([record for record in played.evaluations if record["rule"] == said["rule"]], said)


def _about(rule: str, key: dict[str, str] | None) -> str:
    return " ".join(filter(None, (rule, "" if key is None else _key(key))))


def _key(key: dict[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in key.items()) or "(total)"


def _words(expected: SaidOptions) -> str:
    wanted = {name: value for name, value in _wanted(expected).items() if name not in ("rule", "key")}
    return ", ".join(f"{name} {plain(value)}" for name, value in wanted.items()) or "something"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "nobody"


def plain(value: Any) -> str:
    """Write a value of a record for people."""
    if isinstance(value, dict):
        return _key(value)
    if isinstance(value, list | tuple):
        return _listed(value)
    return NONE if value is None else str(value)
