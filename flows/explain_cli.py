"""Explain command: `edgewatch explain`: why a rule did or did not page, from the decision records."""

import dataclasses
import difflib
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, Any, NoReturn

import orjson
import typer

from flows.as_json import print_json
from flows.config import Config, ConfigErrors, load
from flows.decision_log import EVALUATIONS, ClickHouseLog, DecisionLog, FolderLog, LogMissing, Row, Wanted
from flows.explain import Case, Place, case_of, rank, says_something, window_end
from flows.explain_words import as_dict, delivered, sentences, verdict
from flows.failure import explained
from flows.metric import TOTAL
from flows.moment import moment
from flows.observe_options import ObserveOptions
from flows.options import ConfigError, Reader, no_such
from flows.output import canonical, rfc3339
from sinks.clickhouse import ClickHouse
from sinks.notification import evidence_lines, one_line

_BAD_USE, _NOTHING = 2, 1
_LISTED = 20


def explain(
    rule: Annotated[str, typer.Argument(help="The rule.")],
    at: Annotated[str, typer.Option("--at", help="A time in the window that is meant: RFC 3339, or -2h.")],
    config: Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")],
    key: Annotated[
        list[str] | None, typer.Option("--key", help="The group, Name=value each [default: the total, or all are listed].")
    ] = None,
    from_dir: Annotated[Path | None, typer.Option("--from-dir", help="The folder of a replay, in place of ClickHouse.")] = None,
    state: Annotated[Path | None, typer.Option("--state", help="The state folder, for silences and deliveries.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON, for machines.")] = False,
) -> None:
    """Say in plain words why a rule did or did not page at a time, from the decision records.

    Exit code 1 means that there is no record.

    Example: edgewatch explain -c monitor.toml high_error_rate --key ClientRequestHost=a.example.com --at 2025-12-01T00:12:00Z
    """
    settings = load(config, secrets=False)
    when = _moment(at)
    chosen = canonical(_key(key)).decode() if key else None
    with explained():
        log = _log(settings, from_dir)
        folder = state or (from_dir / ".state" if from_dir is not None else Path(settings.engine.directory))
        _explain(log, settings, (rule, chosen, when), folder, as_json=as_json)
        return
    raise typer.Exit(_NOTHING)


def _explain(log: DecisionLog, config: Config, sought: tuple[str, str | None, int], folder: Path, *, as_json: bool) -> None:
    """Explain the key that is meant, or list the keys of the window."""
    from flows.surroundings import surroundings

    rule, chosen, when = sought
    end = window_end(log, config, rule, when)
    if end is None:
        _nothing(_no_window(log, config, rule, when), as_json=as_json)
    rows = log.rows(EVALUATIONS, Wanted(rule=rule, after=end - 1, until=end))
    keys = {row["key"]: row for row in rows}
    start = end - config.window.length_ms
    if chosen is None:
        chosen = TOTAL if TOTAL in keys else next(iter(keys)) if len(keys) == 1 else None
    if chosen is None:
        _list(Place(rule, "", start, end), rows, as_json=as_json)
        return
    if chosen not in keys:
        _nothing(_no_key(log, rule, chosen, rows), as_json=as_json)
    case = case_of(log, config, Place(rule, chosen, start, end), surroundings(folder, config), keys[chosen])
    groups = [row for row in rows if row["key"] != chosen and says_something(row)] if chosen == TOTAL else []
    exemplars = _linked(log.exemplars(case.record), config.observe)
    if as_json:
        beside = {"deliveries": list(delivered(case)), "exemplars": exemplars}
        print_json(as_dict(case) | beside | {"other_keys": [_shown(row) for row in sorted(groups, key=rank)]})
        return
    _tell(case, when, [each for each in exemplars if each.get("trace_id")])
    if groups:
        print(f"\n{len(groups)} of its keys had something to say too; the worst is {_on(min(groups, key=rank)['key']).strip()}")


def _tell(case: Case, when: int, traced: list[Row]) -> None:
    """Explain a decision for people, with the traces that its records were part of."""
    print(f"{case.name}{_on(case.record['key'])}, window {rfc3339(case.start)} to {rfc3339(case.end)}")
    print(f"{one_line(verdict(case))}\n")
    for each in sentences(case):
        print(f"{each.about:8} {one_line(each.text)}")
    if when == case.start and any(row["at"] == when for row in case.said):
        before = rfc3339(when - 1000)
        print(f"{'note':8} What was said at {rfc3339(when)} was said of the window before: --at {before}")
    for line in delivered(case):
        print(f"{'sent':8} {one_line(line)}")
    for line in evidence_lines({"exemplars": traced}):
        print(f"{'trace':8} {line}")


def _list(place: Place, rows: list[Row], *, as_json: bool) -> None:
    """List the keys of a window with something to say, the worst first."""
    found = sorted((row for row in rows if says_something(row)), key=rank)
    if as_json:
        times = {"window_start": rfc3339(place.start), "window_end": rfc3339(place.end)}
        print_json({"rule": place.rule, **times, "judged": len(rows), "keys": [_shown(row) for row in found]})
        return
    print(f"{place.rule}, window {rfc3339(place.start)} to {rfc3339(place.end)}: {len(rows)} keys were judged", end="")
    print(f", {len(found)} had something to say; choose one with --key" if found else ", all were well")
    for row in found[:_LISTED]:
        severity = f" ({row['severity']})" if row["severity"] else ""
        kept = f", kept quiet by {row['suppressed_by']}" if row["suppressed_by"] else ""
        facts = f"{row['state_after']}{severity}, level {row['level']}, value {row['value']}{kept}"
        print(f"  {_arguments(row['key'])}  {facts}")
    if len(found) > _LISTED:
        print(f"  and {len(found) - _LISTED} more")


def _no_window(log: DecisionLog, config: Config, rule: str, when: int) -> str:
    """Say why no window of a rule that holds a time was judged."""
    span = log.span(rule)
    if span is None:
        known = dict.fromkeys([*(each.name for each in config.rules), *log.rules()])
        if rule not in known:
            return no_such("rule", rule, known)
        return f"{rule} has not judged any window yet"
    first, last = span
    length = config.window.length_ms
    if when >= last:
        return (
            f"no record: the last window that {rule} judged ended at {rfc3339(last)}, and the one that holds {rfc3339(when)}"
            " has not closed yet (the slowest partition of the dataset has not passed its end and the allowed lateness)"
        )
    if when < first - length:
        kept = f"; rows are kept for {config.clickhouse.ttl}" if config.clickhouse else ""
        return f"no record: the first window that {rule} judged, of those kept, ended at {rfc3339(first)}{kept}"
    return (
        f"no record: {rule} judged windows up to {rfc3339(last)}, but none that holds {rfc3339(when)}:"
        " the dataset had no record in it, or no key was known yet"
    )


def _no_key(log: DecisionLog, rule: str, key: str, rows: list[Row]) -> str:
    """Say why a window has no record of a key."""
    before = log.rows(EVALUATIONS, Wanted(rule=rule, key=key))
    if before:
        times = f"from {rfc3339(before[0]['at'])} to {rfc3339(before[-1]['at'])}"
        return f"no record of{_on(key)} in this window: the rule judged it {times} (a key is known from its first row on)"
    near = difflib.get_close_matches(key, [row["key"] for row in rows], 3)
    hint = f"; did you mean {' or '.join(map(_arguments, near))}?" if near else ""
    listed = ", ".join(_arguments(row["key"]) for row in rows[:_LISTED])
    return f"{rule} has never judged{_on(key)}{hint or f'; in this window it judged: {listed}'}"


def _log(config: Config, folder: Path | None) -> DecisionLog:
    if folder is not None:
        try:
            return FolderLog(folder)
        except LogMissing as error:
            _bad_use(str(error))
    if config.clickhouse is None:
        _bad_use(f"{config.source} has no [clickhouse] to read records from; give --from-dir OUT of a replay")
    return ClickHouseLog(opened(config))


def opened(config: Config) -> ClickHouse:
    """Open the configured ClickHouse, whose password alone is resolved of all secrets; raises ConfigErrors."""
    assert config.clickhouse is not None  # noqa: S101 (the caller has looked)
    problems: list[ConfigError] = []
    reader = Reader(problems, config.source.parent, secrets=True)
    password = reader.resolve(config.clickhouse.password, "clickhouse.password")
    if problems:
        raise ConfigErrors(str(config.source), problems)
    return ClickHouse(dataclasses.replace(config.clickhouse, password=password))


def _key(given: list[str]) -> dict[str, str]:
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            _bad_use(f"--key {text}: write --key Name=value, once for each name")
        found[name] = value
    return found


def _moment(text: str) -> int:
    try:
        return moment(text, time.time())
    except ValueError as error:
        _bad_use(f"--at {text}: {error}")


def _shown(row: Row) -> dict[str, Any]:
    names = ("value", "count", "level", "state_before", "state_after", "severity", "suppressed_by")
    return {"key": orjson.loads(row["key"]), **{name: row[name] for name in names}}


def _linked(exemplars: list[Row], observe: ObserveOptions) -> list[Row]:
    """Give exemplars with the links of their traces, by the configuration as it is now."""
    links = [observe.trace_link(each.get("trace_id")) for each in exemplars]
    return [each | ({"trace": link} if link else {}) for each, link in zip(exemplars, links, strict=True)]


def _arguments(key: str) -> str:
    pairs = [shlex.quote(one_line(f"{name}={value}")) for name, value in orjson.loads(key).items()]
    return " ".join(f"--key {pair}" for pair in pairs) or "(total)"


def _on(key: str) -> str:
    shown = ", ".join(f"{name}={value}" for name, value in orjson.loads(key).items())
    return f" on {one_line(shown)}" if key != TOTAL else ""


def _nothing(words: str, *, as_json: bool) -> NoReturn:
    if as_json:
        print_json({"problem": words})
    print(f"edgewatch: {words}", file=sys.stderr)
    raise typer.Exit(_NOTHING)


def _bad_use(words: str) -> NoReturn:
    print(f"edgewatch: {words}", file=sys.stderr)
    raise typer.Exit(_BAD_USE)
