"""Recovery commands: `edgewatch recovery show | reset | export | import`: what a resume goes on from, moved or given up."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from flows.as_json import print_json
from flows.config import Config, load
from flows.output import rfc3339

recovery_app = typer.Typer(help="What a resume goes on from.", no_args_is_help=True, rich_markup_mode=None)

_BAD_USE, _FAILED = 2, 1
_CLICKHOUSE = "clickhouse"
_END = 1 << 60  # a bounded input at its end is infinitely far

StateConfig = Annotated[Path, typer.Option("--config", "-c", help="The configuration whose state folder it is.")]
State = Annotated[Path | None, typer.Option("--state", help="Another state folder, such as OUT/.state of a replay.")]
Json = Annotated[bool, typer.Option("--json", help="Write JSON, for machines.")]


@recovery_app.command("show")
def show_store(config: StateConfig, state: State = None, as_json: Json = False) -> None:
    """Show what is in the recovery store, and where a resume would go on; a run may be going on.

    Example: edgewatch recovery show -c monitor.toml
    """
    from flows.engine import missing_parts, parts_in
    from flows.recovery_store import read_store, show

    folder = _existing(_path(load(config, secrets=False), state))
    with _explained():
        found = dict(show(read_store(folder.recovery)))
    if as_json:
        print_json(found)
        return
    if lost := missing_parts(here := parts_in(folder.recovery)):
        count = len(here) + len(lost)
        print(f"files {', '.join(map(str, here))} of {count} are here; the others are on other machines of the run")
    elif found["epoch"] is None:
        print("nothing was stored yet: a start begins anew")
    if found["epoch"] is None:
        return
    schemas = ", ".join(map(str, found["schemas"])) or "none"
    print(f"resumes at epoch {found['epoch']}; {found['starts']} starts, the last of {found['processes']} processes")
    print(f"schema {schemas}")
    for name, each in found["steps"].items():
        print(f"step {name:8} {each['keys']:6,} keys {each['bytes']:12,} bytes")
    for name, at in found["closed"].items():
        print(f"dataset {name}: closed {'to its end' if at > _END else f'up to {_shown(at)}'}")
    for name, each in found["partitions"].items():
        print(f"partition {name}: goes on at {each['next_offset']}")


@recovery_app.command("reset")
def reset(
    config: StateConfig,
    keep_alerts: Annotated[
        bool, typer.Option("--keep-alerts", help="Take the alerts as they were from ClickHouse at the next start.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin as a first start does: at input.kafka.start.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Give the state of a live run up; the next start reads again from the last closed window on.

    Example: edgewatch recovery reset -c monitor.toml --keep-alerts
    """
    from flows.firing import read_firing
    from flows.restart import Restart
    from flows.run_folder import write_note

    settings = load(config, secrets=False)
    if keep_alerts and fresh:
        _bad_use("--keep-alerts and --fresh exclude each other")
    if keep_alerts and settings.clickhouse is None:
        _bad_use(f"--keep-alerts reads ClickHouse, and {config} has no [clickhouse]")
    folder = _existing(_path(settings, None))
    with _explained(), folder.locked():
        firing = read_firing(folder.firing)
        closed = min((each["at"] for each in firing.values()), default=None)
        if closed is None and not fresh:
            _bad_use(f"{folder.path} has closed no window to go on from; give --fresh")
        # The last window once more: a run that was killed may not have said all of it, and what it said is recognised.
        start = None if fresh or closed is None else closed - settings.window.length_ms
        if keep_alerts:
            _warn_of_waiting_rows(folder.spool)
        _ask(_losses(folder.path, start, keep_alerts, sum(len(each["alerts"]) for each in firing.values())), yes=yes)
        if start is None:
            folder.restart.unlink(missing_ok=True)
        else:
            write_note(folder.restart, Restart(start=start, alerts=_CLICKHOUSE if keep_alerts else None))
        # The plan last: a reset that was cut short is refused by the next start, and can be repeated.
        shutil.rmtree(folder.recovery, ignore_errors=True)
        for path in (folder.recall, folder.doubts, folder.machines, folder.plan):
            path.unlink(missing_ok=True)
    if as_json:
        print_json({"folder": str(folder.path), "judged_from": None if start is None else _shown(start), "alerts": keep_alerts})
    else:
        print("the state was given up; start the run again")


@recovery_app.command("export")
def export_state(
    config: StateConfig,
    to: Annotated[Path, typer.Argument(help="The file to write, such as state.tar.zst.")],
    as_json: Json = False,
) -> None:
    """Write the state of a run that stands still into one file.

    Example: edgewatch recovery export -c monitor.toml state.tar.zst
    """
    from flows.recovery_file import export

    folder = _existing(_path(load(config, secrets=False), None))
    if to.exists():
        _bad_use(f"{to} is there already; give another name")
    if not to.absolute().parent.is_dir():
        _bad_use(f"{to.absolute().parent} is not a folder")
    with _explained():
        manifest = export(folder, to.absolute())
        size = to.stat().st_size
    if as_json:
        print_json({"file": str(to), "files": len(manifest.parts), "bytes": size})
    else:
        print(f"{len(manifest.parts)} files in {to} ({size:,} bytes); it holds what is not delivered yet: keep it")


@recovery_app.command("import")
def import_state(
    config: StateConfig, source: Annotated[Path, typer.Argument(help="A file of `export`.")], as_json: Json = False
) -> None:
    """Put exported state into the state folder of a configuration, which must have none.

    Example: edgewatch recovery import -c monitor.toml state.tar.zst
    """
    from flows.recovery_file import take
    from flows.run_folder import RunFolder

    settings = load(config, secrets=False)
    if not source.is_file():
        _bad_use(f"there is no file {source}")
    with _explained():
        path = _path(settings, None)
        manifest = take(source, RunFolder(path))
    if as_json:
        print_json({"folder": str(path), "files": len(manifest.parts)})
    else:
        print(f"{len(manifest.parts)} files in {path}; start the run on one machine only: both would page")


def _losses(path: Path, start: int | None, keep_alerts: bool, open_alerts: int) -> str:
    if start is None:
        return (
            f"{path}: the next start begins at input.kafka.start. Records between are not judged, and {open_alerts} open "
            "alerts are forgotten: close their incidents by hand."
        )
    again = f"{path}: the next start judges windows from {_shown(start)} on, from the topics; open windows are counted again."
    if keep_alerts:
        return f"{again} {open_alerts} open alerts are taken from ClickHouse. Spool and silences stay."
    return (
        f"{again} {open_alerts} open alerts are forgotten: those that still hold page once more, and the incidents of all "
        "have to be closed by hand (--keep-alerts takes them from ClickHouse). Spool and silences stay."
    )


def _warn_of_waiting_rows(path: Path) -> None:
    from contextlib import closing

    from sinks.spool import Spool

    if not path.exists():
        return
    with closing(Spool(path)) as spool:
        waiting = sum(row.destination == _CLICKHOUSE for row in spool.rows())
    if waiting:
        print(
            f"edgewatch: {waiting} blocks of rows have not reached ClickHouse: alerts are taken as of the last that have. "
            "Better let the run deliver them first (edgewatch spool list)",
            file=sys.stderr,
        )


def _ask(words: str, *, yes: bool) -> None:
    print(words, file=sys.stderr)
    if not yes and not typer.confirm("Give the state up?", default=False, err=True):
        raise typer.Exit(_FAILED)


@contextmanager
def _explained() -> Iterator[None]:
    """Print outside trouble as one line, and exit 1."""
    from flows.failure import explained

    done = False
    with explained():
        yield
        done = True
    if not done:
        raise typer.Exit(_FAILED)


def _existing(path: Path) -> Any:
    from flows.run_folder import RunFolder

    folder = RunFolder.at(path)
    if not folder.recovery.is_dir() and not folder.plan.exists():
        _bad_use(f"there is no state of a run in {path}")
    return folder


def _path(settings: Config, state: Path | None) -> Path:
    return (state or Path(settings.engine.directory)).absolute()


def _shown(at: int) -> str:
    return rfc3339(at // 1000 * 1000)


def _bad_use(words: str) -> NoReturn:
    print(f"edgewatch: {words}", file=sys.stderr)
    raise typer.Exit(_BAD_USE)
