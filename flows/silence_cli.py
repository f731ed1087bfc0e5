"""Silence commands: `edgewatch silence add | list | expire`: keep alerts quiet by hand, for a while."""

import getpass
import sys
import time
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from flows import silence_request as request
from flows.as_json import print_json
from flows.config import Config, load
from flows.label_checks import unmet
from flows.matcher import MatchError, Matchers, parse_match

silence_app = typer.Typer(help="Keep alerts quiet for a while.", no_args_is_help=True, rich_markup_mode=None)

_BAD_USE, _NOTHING = 2, 1

StateConfig = Annotated[Path, typer.Option("--config", "-c", help="The configuration whose state folder it is.")]
State = Annotated[Path | None, typer.Option("--state", help="Another state folder, such as OUT/.state of a replay.")]
Json = Annotated[bool, typer.Option("--json", help="Write JSON, for machines.")]


@silence_app.command("add")
def add(
    config: StateConfig,
    match: Annotated[
        list[str], typer.Argument(help="""Matchers, such as rule=slow_responses or 'host=~".*[.]example[.]com"'.""")
    ],
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    length: Annotated[str | None, typer.Option("--for", help="How long: 30m, 2h, 1d; at most 7d.")] = None,
    end: Annotated[str | None, typer.Option("--end", help="Or until when, RFC 3339.")] = None,
    start: Annotated[str | None, typer.Option("--start", help="From when, RFC 3339 [default: at once].")] = None,
    author: Annotated[str | None, typer.Option(help="Who [default: the user who calls].")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show which open alerts it would match.")] = False,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Silence the alerts that match, from the next window that closes on.

    Example: edgewatch silence add -c monitor.toml rule=slow_responses --for 2h --reason "deployment of the API"
    """
    from flows.controls import append
    from flows.run_folder import RunFolder

    matchers = _matchers(match)
    given = load(config, secrets=False)
    folder = RunFolder(_state(given, state))
    try:
        times = request.span(start, end, length, _now())
        who, why = (author if author is not None else _user(), reason) if not dry_run else ("nobody", "dry run")
        event = request.event(matchers, times, author=who, reason=why, now=_now())
    except request.BadRequest as error:
        _bad_request(error, {"author": author, "reason": reason, "start": start, "end": end, "for": length})
    for _, problem in unmet([("", tuple(match))], given.rules):
        print(f"edgewatch: {problem}. The silence matches nothing that is configured now.", file=sys.stderr)
    found = _matched(folder.firing, matchers, said=not as_json)
    if not dry_run:
        append(folder.controls, [event])
    if as_json:
        name = None if dry_run else event.id
        print_json({"id": name, "match": [str(m) for m in matchers.all], "end": request.shown(event.end), "matches": found})
    elif not dry_run:
        print(f"silence {event.id}: {matchers}, until {request.shown(event.end)}")


@silence_app.command("list")
def list_silences(
    config: StateConfig,
    everything: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Show silences that are in force or will be.

    Example: edgewatch silence list -c monitor.toml
    """
    from flows.controls import Controls
    from flows.run_folder import RunFolder

    folder = RunFolder(_state(load(config, secrets=False), state))
    controls, now = Controls(folder.controls), _now()
    found = [(each, request.word(each, now)) for each in controls.silences()]
    found += [(each, "expired") for each in controls.expired()]
    shown = [(each, word) for each, word in found if everything or word in ("holds", "waits")]
    if as_json:
        rows = [
            {"id": s.id, "state": word, "match": [str(m) for m in s.matchers.all], "author": s.author, "reason": s.reason}
            | {"start": request.shown(s.start) if s.start else None, "end": request.shown(s.end)}
            for s, word in shown
        ]
        print_json(rows)
        return
    for silence, word in shown:
        begins = f"from {request.shown(silence.start)} " if word == "waits" else ""
        about = f"{silence.matchers}  ({silence.author}: {silence.reason})"
        print(f"{silence.id}  {word:7} {begins}until {request.shown(silence.end)}  {about}")
    print(f"{sum(word == 'holds' for _, word in shown)} in force, {sum(word == 'waits' for _, word in shown)} to come")


@silence_app.command("expire")
def expire(
    config: StateConfig,
    ids: Annotated[list[str], typer.Argument(help="Identities, as `list` shows them.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show which open alerts would be heard of again.")] = False,
    state: State = None,
    as_json: Json = False,
) -> None:
    """End silences now; what still fires is said at the next window that closes.

    Example: edgewatch silence expire -c monitor.toml 6f1c0b2a
    """
    from flows.controls import Controls
    from flows.run_folder import RunFolder

    folder = RunFolder(_state(load(config, secrets=False), state))
    for name in request.unknown(folder.controls, ids):
        print(f"edgewatch: no silence {name!r} that has not ended; `edgewatch silence list` shows them", file=sys.stderr)
        raise typer.Exit(_NOTHING)
    known = {silence.id: silence for silence in Controls(folder.controls).silences()}
    rows = []
    for name in dict.fromkeys(ids):
        found = _matched(folder.firing, known[name].matchers, said=not as_json)
        rows.append({"id": name, "ended": not dry_run, "matches": found})
        if not dry_run:
            request.expire(folder.controls, name, _now())
            if not as_json:
                print(f"silence {name}: ended")
    if as_json:
        print_json(rows)


def _state(config: Config, state: Path | None) -> Path:
    folder = state or Path(config.engine.directory)
    if not folder.is_dir():
        _bad_use(f"there is no state folder {folder}; `edgewatch run` makes it")
    return folder


def _matchers(match: list[str]) -> Matchers:
    try:
        return parse_match(tuple(match))
    except MatchError as error:
        _bad_use(str(error))


def _bad_request(error: "request.BadRequest", given: dict[str, str | None]) -> NoReturn:
    """Say what is wrong with which option: what was given is repeated where it says something."""
    if not error.field:
        _bad_use(str(error))
    value = given.get(error.field)
    said = f" {value}:" if value and value.strip() else ""
    _bad_use(f"--{error.field}{said} {error}")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def _matched(path: Path, matchers: Matchers, *, said: bool) -> list[dict[str, Any]]:
    """Give which of the alerts that are open now are matched, and say it."""
    found, count = request.matched(path, matchers)
    if said:
        print(f"matches {len(found)} of {count} open alerts")
    for alert in found if said else ():
        labels = " ".join(f"{name}={value}" for name, value in sorted(alert["labels"].items()) if name != "rule")
        print(f"  {alert['rule']}  {alert['state']} since {request.shown(alert['start'])}  {labels}")
    return [
        {"rule": each["rule"], "state": each["state"], "since": request.shown(each["start"]), "labels": dict(each["labels"])}
        for each in found
    ]


def _now() -> int:
    return int(time.time() * 1000)


def _bad_use(words: str) -> NoReturn:
    print(f"edgewatch: {words}", file=sys.stderr)
    raise typer.Exit(_BAD_USE)
