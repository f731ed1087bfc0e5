"""Silence commands: `edgewatch silence add | list | expire`: keep alerts quiet by hand, for a while."""

import datetime
import getpass
import secrets
import sys
import time
from pathlib import Path
from typing import Annotated, NoReturn

import orjson
import typer

from flows.config import Config, load
from flows.label_checks import unmet
from flows.matcher import MatchError, Matchers, parse_match
from flows.silence import LONGEST_MS, Silence

silence_app = typer.Typer(help="Keep alerts quiet for a while.", no_args_is_help=True, rich_markup_mode=None)

_BAD_USE, _NOTHING = 2, 1
_UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

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
) -> None:
    """Silence the alerts that match, from the next window that closes on.

    Example: edgewatch silence add -c monitor.toml rule=slow_responses --for 2h --reason "deployment of the API"
    """
    from flows.controls import SilenceEvent, append
    from flows.run_folder import RunFolder

    matchers = _matchers(match)
    began, ended = _span(start, end, length)
    given = load(config, secrets=False)
    folder = RunFolder(_state(given, state))
    who, why = (
        ("", "") if dry_run else (_text("--author", author if author is not None else _user()), _text("--reason", reason))
    )
    for _, problem in unmet([("", tuple(match))], given.rules):
        print(f"edgewatch: {problem}. The silence matches nothing that is configured now.", file=sys.stderr)
    _show_matches(folder.firing, matchers)
    if dry_run:
        return
    event = SilenceEvent(
        id=secrets.token_hex(4),
        match=tuple(map(str, matchers.all)),
        author=who,
        reason=why,
        start=began,
        end=ended,
        at=_now(),
    )
    append(folder.controls, [event])
    print(f"silence {event.id}: {matchers}, until {_shown(ended)}")


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
    found = [(each, _word(each, now)) for each in controls.silences()]
    found += [(each, "expired") for each in controls.expired()]
    shown = [(each, word) for each, word in found if everything or word in ("holds", "waits")]
    if as_json:
        rows = [
            {"id": s.id, "state": word, "match": [str(m) for m in s.matchers.all], "author": s.author, "reason": s.reason}
            | {"start": _shown(s.start) if s.start else None, "end": _shown(s.end)}
            for s, word in shown
        ]
        sys.stdout.buffer.write(orjson.dumps(rows, option=orjson.OPT_INDENT_2) + b"\n")
        return
    for silence, word in shown:
        begins = f"from {_shown(silence.start)} " if word == "waits" else ""
        about = f"{silence.matchers}  ({silence.author}: {silence.reason})"
        print(f"{silence.id}  {word:7} {begins}until {_shown(silence.end)}  {about}")
    print(f"{sum(word == 'holds' for _, word in shown)} in force, {sum(word == 'waits' for _, word in shown)} to come")


@silence_app.command("expire")
def expire(
    config: StateConfig,
    ids: Annotated[list[str], typer.Argument(help="Identities, as `list` shows them.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show which open alerts would be heard of again.")] = False,
    state: State = None,
) -> None:
    """End silences now; what still fires is said at the next window that closes.

    Example: edgewatch silence expire -c monitor.toml 6f1c0b2a
    """
    from flows.controls import Controls, ExpireEvent, append
    from flows.run_folder import RunFolder

    folder = RunFolder(_state(load(config, secrets=False), state))
    known = {silence.id: silence for silence in Controls(folder.controls).silences()}
    for name in ids:
        if name not in known:
            print(f"edgewatch: no silence {name!r} that has not ended; `edgewatch silence list` shows them", file=sys.stderr)
            raise typer.Exit(_NOTHING)
    for name in dict.fromkeys(ids):
        _show_matches(folder.firing, known[name].matchers)
        if not dry_run:
            append(folder.controls, [ExpireEvent(id=secrets.token_hex(4), silence=name, at=_now())])
            print(f"silence {name}: ended")


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


def _span(start: str | None, end: str | None, length: str | None) -> tuple[int, int]:
    """Give start (0: at once) and end in ms."""
    if (end is None) == (length is None):
        _bad_use("a silence needs an end: give either --for or --end")
    now = _now()
    began = _time("--start", start) if start is not None else 0
    first = max(began, now)
    ended = _time("--end", end) if end is not None else first + _length(str(length))
    if ended <= first:
        _bad_use(f"it would be over already: it ends at {_shown(ended)}")
    if ended - first > LONGEST_MS:
        _bad_use("a silence lasts 7d at most; what comes again is a [[mute]] of the configuration")
    return began, ended


def _length(text: str) -> int:
    if not text[:-1].isdigit() or text[-1:] not in _UNITS_MS:
        _bad_use(f"--for {text}: give a length such as 30m, 2h or 1d")
    return int(text[:-1]) * _UNITS_MS[text[-1]]


def _time(option: str, text: str) -> int:
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        _bad_use(f"{option} {text}: give a time such as 2025-12-01T00:00:00Z")
    if moment.tzinfo is None:
        _bad_use(f"{option} {text}: say the zone, as in {text}Z")
    return int(moment.timestamp() * 1000)


def _word(silence: Silence, now: int) -> str:
    return "over" if silence.end <= now else "waits" if silence.start > now else "holds"


def _text(option: str, text: str) -> str:
    if not text.strip():
        _bad_use(f"{option} is empty: people want to know")
    return text.strip()


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def _show_matches(path: Path, matchers: Matchers) -> None:
    """Show which of the alerts that are open now are matched."""
    from flows.firing import read_firing

    alerts = [alert for each in read_firing(path).values() for alert in each["alerts"]]
    matched = [alert for alert in alerts if matchers.matches(alert["labels"])]
    print(f"matches {len(matched)} of {len(alerts)} open alerts")
    for alert in matched:
        labels = " ".join(f"{name}={value}" for name, value in sorted(alert["labels"].items()) if name != "rule")
        print(f"  {alert['rule']}  {alert['state']} since {_shown(alert['start'])}  {labels}")


def _shown(ms: int) -> str:
    return datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _now() -> int:
    return int(time.time() * 1000)


def _bad_use(words: str) -> NoReturn:
    print(f"edgewatch: {words}", file=sys.stderr)
    raise typer.Exit(_BAD_USE)
