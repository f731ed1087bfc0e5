"""Replay rows: what `edgewatch replay --into-clickhouse` does in ClickHouse: the run's rows, and repairing the live ones."""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from flows.config import Config
from flows.failure import explained
from flows.firing import closed_of
from flows.observe import RunProgress
from flows.output import rfc3339
from flows.publish import Change, Range, changes, otherwise
from flows.publish import publish as publish_range
from flows.run_folder import RunFolder, RunSpec
from flows.upload import RunExists, check_name, upload
from sinks.clickhouse import ClickHouse

_BAD_USE, _FAILED = 2, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsWanted:
    """Under which name rows go into the tables, and whether the live ones are repaired by them."""

    run: str
    replace: bool
    publish: bool
    yes: bool


def before_rows(config: Config, out: Path, wanted: RowsWanted) -> None:
    """Refuse before anything is read what could not be written after it."""
    with _client(config) as client, _explained():
        client.migrate()
        check_name(client, out / ".state", wanted.run, replace=wanted.replace)


def write_rows(config: Config, out: Path, wanted: RowsWanted) -> dict[str, int]:
    """Put the rows of a complete replay into the tables; gives how many lines by table."""
    progress = RunProgress("rows")
    try:
        with _client(config) as client, _explained():
            folder = RunFolder(out / ".state")
            return upload(client, folder, run=wanted.run, version=config.version, told=lambda lines: progress(lines, None))
    finally:
        progress.stop()


def publish_rows(config: Config, spec: RunSpec, out: Path, wanted: RowsWanted) -> None:
    """Show what would change of the live rows, ask, and change it. Exits 1 where that is not done."""
    assert spec.start is not None  # noqa: S101 (the caller has looked)
    assert spec.end is not None  # noqa: S101
    names = [metric.name for metric in config.metrics]
    chosen = Range(start=spec.start, end=spec.end, length_ms=config.window.length_ms, metrics=names)
    _refuse_open(config, chosen)
    if not (out / "windows.ndjson").stat().st_size:
        _say("nothing to publish: the replay has no window in the range; the live rows stay")
        raise typer.Exit(_FAILED)
    with _client(config) as client, _explained():
        found = changes(client, wanted.run, chosen)
        decided = otherwise(client, wanted.run, chosen)
        print("\n".join(words_of(found, decided)))
        if all(change.is_nothing for change in found):
            return
        if not wanted.yes and not _asked():
            _say("not published; the rows are under the run's name")
            raise typer.Exit(_FAILED)
        publish_range(client, wanted.run, chosen)
        print("published")


def words_of(found: list[Change], decided: Change) -> list[str]:
    """Say what would change, a line a table, with the largest differences."""
    lines = []
    for change in found:
        if change.is_nothing:
            lines.append(f"{change.table}: {change.live:,} live rows, all the same")
            continue
        moves = f"{change.changed:,} change, {change.added:,} come, {change.removed:,} go"
        lines.append(f"{change.table}: {change.live:,} live rows: {moves}")
        for row in change.largest:
            where = f"{row['window_start']} {row['metric']} {row['statistic']} {row['key']}"
            lines.append(f"    {where}: {_shown(row['was'])} -> {_shown(row['now'])}")
    others = decided.added + decided.removed + decided.changed
    if others:
        lines.append(f"evaluations: {others:,} would be otherwise; what was decided and said stays as it was")
    return lines


def _shown(value: Any) -> str:
    return "none" if value is None else f"{float(value):.6g}"


def _asked() -> bool:
    sys.stderr.write("Publish? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _refuse_open(config: Config, chosen: Range) -> None:
    """Refuse a range that the live run is still working on: its rows would come after these."""
    closed = closed_of(RunFolder.at(Path(config.engine.directory)).firing)
    last = chosen.end - 1 + chosen.length_ms
    behind = {name: end for name, end in closed.items() if end < last - config.window.pane_ms}
    if behind:
        name, end = min(behind.items(), key=lambda each: each[1])
        _say(f"the live run has judged {name} only up to {rfc3339(end)}; publish a range that ends before")
        raise typer.Exit(_FAILED)


@contextlib.contextmanager
def _client(config: Config) -> Iterator[ClickHouse]:
    if config.clickhouse is None:
        _say(f"{config.source} has no [clickhouse], so there are no tables to write to")
        raise typer.Exit(_BAD_USE)
    with contextlib.closing(ClickHouse(config.clickhouse)) as client:
        yield client


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn outside trouble into one line and exit code 1, a name that is taken into exit code 2."""
    done = False
    try:
        with explained():
            yield
            done = True
    except RunExists as error:
        _say(str(error))
        raise typer.Exit(_BAD_USE) from error
    if not done:
        raise typer.Exit(_FAILED)


def _say(words: str) -> None:
    print(f"edgewatch: {words}", file=sys.stderr)
