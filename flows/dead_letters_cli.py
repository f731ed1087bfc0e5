"""Dead letter commands: `edgewatch dead-letters list | show | replay`: what was refused, and sending it on after a fix."""

import contextlib
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from flows.as_json import print_json

if TYPE_CHECKING:
    from connectors.dead_letters import Letter
    from flows.config import Config

dead_letters_app = typer.Typer(help="What could not be read, and why.", no_args_is_help=True, rich_markup_mode=None)

_BAD_USE, _FOUND = 2, 1

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")]
OfDataset = Annotated[str | None, typer.Option(help="Of one dataset.")]
OfReason = Annotated[str | None, typer.Option(help="Whose reason holds these words.")]
FromDir = Annotated[Path | None, typer.Option("--from-dir", help="Of a replay: the folder that its --out named.")]
Json = Annotated[bool, typer.Option("--json", help="Write JSON, for machines.")]


@dead_letters_app.command("list")
def show_all(
    config: ConfigFile,
    dataset: OfDataset = None,
    reason: OfReason = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest by place.")] = 50,
    from_dir: FromDir = None,
    as_json: Json = False,
) -> None:
    """Show dead letters: of the flow (ClickHouse), and of the doors (their topic).

    Example: edgewatch dead-letters list -c monitor.toml --dataset http_requests
    """
    from connectors.dead_letters import chosen

    with _explained(config):
        _, letters, known = _asked(config, from_dir)
    found = chosen(letters, dataset=dataset, reason=reason)
    shown = found[-limit:]
    if as_json:
        rows = [_as_dict(each, known) for each in shown]
        print_json(rows)
        return
    for each in shown:
        print(f"{each.place}  {each.dataset}: {each.reason}{_replayed(each, known)}")
    for (name, why), count in Counter((each.dataset, each.reason) for each in found).most_common(10):
        print(f"{count:8,} {name}: {why}")
    print(f"{len(found)} dead letters, {len(shown)} shown")


@dead_letters_app.command("show")
def show_one(
    config: ConfigFile,
    place: Annotated[str, typer.Argument(help="As `list` shows it: TOPIC/PARTITION/OFFSET, and /INDEX.")],
    from_dir: FromDir = None,
    as_json: Json = False,
) -> None:
    """Show one: why it was refused, an excerpt without secrets, and whether it was sent on.

    Example: edgewatch dead-letters show -c monitor.toml logpush.http_requests/3/41207/0
    """
    with _explained(config):
        _, letters, known = _asked(config, from_dir)
    each = _named(letters, [place])[0]
    if as_json:
        print_json(_as_dict(each, known))
        return
    print(f"{each.place}  {each.dataset}{_replayed(each, known)}")
    print(f"of      {each.topic}{f', {each.at}' if each.at else ''}")
    print(f"reason  {each.reason}")
    print(f"excerpt {each.payload}")


@dead_letters_app.command("replay")
def send_on(
    config: ConfigFile,
    places: Annotated[list[str] | None, typer.Argument(help="As `list` shows them.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All that are chosen, instead of places.")] = False,
    dataset: OfDataset = None,
    reason: OfReason = None,
    to: Annotated[str | None, typer.Option("--to", help="Another topic than the one each was for.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which can be read now.")] = False,
    from_dir: FromDir = None,
    as_json: Json = False,
) -> None:
    """Send what can be read now, after a fix of the configuration, to its topic: each once, however often this is asked.

    Exit code 1 where one could not be sent on. Example: edgewatch dead-letters replay -c monitor.toml --all --dataset app_logs
    """
    from connectors.dead_letters import chosen
    from flows.dead_letters import replay
    from flows.observe import RunProgress

    if every == bool(places):
        _bad_use("name places as `dead-letters list` shows them, or give --all with --dataset or --reason")
    progress = RunProgress("dead letters")
    with _explained(config):
        settings, letters, _ = _asked(config, from_dir)
        found = _named(letters, places) if places else chosen(letters, dataset=dataset, reason=reason)
        try:
            told = replay(settings, found, to=to, dry_run=dry_run, progress=lambda count: progress(count, None))
        finally:
            progress.stop()
    if as_json:
        print_json(told.as_dict())
    else:
        for each, why in told.refused.items():
            print(f"{each}  {why}")
        words = "would be sent on" if dry_run else "sent on"
        print(f"{len(told.sent)} {words}, {len(told.before)} were before, {len(told.refused)} cannot be read")
    if told.refused:
        raise typer.Exit(_FOUND)


def _asked(config: Path, from_dir: Path | None) -> "tuple[Config, list[Letter], dict[str, str]]":
    """Give the configuration, all letters, and by place when one was sent on."""
    from flows.config import load
    from flows.dead_letters import done_of, letters_of
    from flows.own_log import set_up_logging

    settings = load(config)
    set_up_logging(settings)
    if from_dir is None and settings.kafka is None and settings.clickhouse is None:
        _bad_use(f"{config} has neither [clickhouse] nor [input.kafka], where dead letters are; or give --from-dir of a replay")
    letters = letters_of(settings, from_dir)
    return settings, letters, done_of(settings, letters)


@contextlib.contextmanager
def _explained(config: Path) -> Iterator[None]:
    """Say in one line what went wrong outside."""
    from connectors.forward import NotTaken, TopicMissing
    from connectors.transaction import TakenOver
    from flows.options import ConfigError
    from sinks.notification import DeliveryError

    try:
        yield
    except ConfigError as error:
        print(f"{config}: {error}", file=sys.stderr)
        raise typer.Exit(_BAD_USE) from error
    except (NotTaken, TopicMissing, TakenOver, DeliveryError) as error:
        print(f"edgewatch: {error}", file=sys.stderr)
        raise typer.Exit(_FOUND) from error


def _named(letters: "list[Letter]", places: list[str]) -> "list[Letter]":
    """Give the letters at places, in their order."""
    known = {str(each.place): each for each in letters}
    for place in places:
        if place not in known:
            _bad_use(f"no dead letter is known at {place}; `edgewatch dead-letters list` shows those that are")
    return [known[place] for place in dict.fromkeys(places)]


def _as_dict(letter: "Letter", done: dict[str, str]) -> dict[str, object]:
    words = {"place": str(letter.place), "dataset": letter.dataset, "topic": letter.topic, "at": letter.at}
    return words | {"reason": letter.reason, "payload": letter.payload, "sent_on": done.get(str(letter.place))}


def _replayed(letter: "Letter", done: dict[str, str]) -> str:
    at = done.get(str(letter.place))
    return f"  (sent on at {at})" if at else ""


def _bad_use(words: str) -> NoReturn:
    print(f"edgewatch: {words}", file=sys.stderr)
    raise typer.Exit(_BAD_USE)
