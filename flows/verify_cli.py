"""Verify command: `edgewatch verify`: whether what a live run stored is what a replay of the same records gives."""

import contextlib
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from connectors.kafka import whole_since
from flows.as_json import print_json
from flows.barrier import judged_before
from flows.blame import REACH_MS
from flows.config import Config, load
from flows.failure import explained
from flows.firing import closed_of
from flows.output import rfc3339
from flows.own_log import set_up_logging
from flows.replay_cli import ConfigFile, From, Json, Processes, To, bad_use, run_replay, spec_of
from flows.restart import since_restart
from flows.run_folder import RunFolder, RunSpec
from flows.verify import TABLES, Compared, compare, first_of, reasons
from sinks.clickhouse import ClickHouse

_FAILED = 1
_LISTED = 5
_LOOK_S = 10.0
_NOTE = "verify.json"


def verify(
    config: ConfigFile,
    start: From,
    end: To,
    recorded: Annotated[
        Path | None, typer.Option(help="The state folder of the live run [default: [engine].directory].")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Keep the replay in this folder; the same folder resumes.")] = None,
    processes: Processes = 1,
    as_json: Json = False,
) -> None:
    """Replay a range of your own records and compare it with the rows that the live run stored, byte by byte.

    Windows, decision records, transitions and notifications are compared. The replay begins a day before --from, because what
    notifications say of contributions depends on what was usual for a day; those of which that is not known are counted apart.
    Exit code 0: all equal; 1: something differs, and the first differences are shown with what is known of why.

    Example: edgewatch verify -c monitor.toml --from 2025-12-01T00:00:00Z --to 2025-12-02T00:00:00Z
    """
    settings = load(config)
    set_up_logging(settings)
    if settings.clickhouse is None:
        bad_use(f"{config} has no [clickhouse], so nothing was stored that could be compared")
    with contextlib.ExitStack() as stack:
        folder = out or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgewatch-verify-")))
        kept = _kept(folder)
        if kept is not None and start is not None and start.startswith("-"):
            start = rfc3339(kept.asked)  # a time ago is of the first start
        asked = spec_of(config, folder, source="kafka", start=start, end=end)
        if asked.start is None or asked.end is None:
            bad_use("verify needs --from and --to")
        state = recorded or Path(settings.engine.directory)
        has = (state / "plan.json").is_file()
        spec = _begun(settings, asked.with_(recorded=str(state.absolute()) if has else None, alerts="clickhouse"), folder)
        summary = run_replay(settings, spec, folder, processes=processes)
        found = _compared(settings, _restarted(asked, spec), folder, state)
        if not any(each.rows for each in found):
            print(f"edgewatch: nothing to compare: {summary.get('empty', 'no row is stored of the range')}", file=sys.stderr)
            raise typer.Exit(_FAILED)
        why = reasons((d for each in found for d in each.differences), settings.version, summary, recorded=has)
    _say(found, why, as_json=as_json)
    if any(each.differences for each in found):
        raise typer.Exit(_FAILED)


class _Kept(msgspec.Struct, frozen=True):
    """What a verification asked for first: from when on (ms), and where its replay begins."""

    asked: int
    begin: int


def _kept(folder: Path) -> _Kept | None:
    note = folder / ".state" / _NOTE
    return msgspec.json.decode(note.read_bytes(), type=_Kept) if note.exists() else None


def _begun(config: Config, asked: RunSpec, folder: Path) -> RunSpec:
    """Give the replay that knows what was usual, as far as records are there, and that its run has read."""
    assert asked.start is not None  # noqa: S101 (the caller has looked)
    with explained():
        spec = asked.with_(start=_begin(config, asked.start, folder))
        return spec if asked.recorded is None else since_restart(spec, Path(asked.recorded))
    raise typer.Exit(_FAILED)


def _begin(config: Config, start: int, folder: Path) -> int:
    """Give where the replay begins (ms): so long before `start` that it knows what was usual, as far as records are there."""
    kept = _kept(folder)
    if kept is not None and kept.asked == start:
        return kept.begin
    whole = None if config.kafka is None else whole_since(config.kafka, timeout_s=_LOOK_S)
    cut = None if whole is None else whole and whole + config.window.max_ahead_ms  # records lie ahead of their time by that
    begin = start if cut is None else min(start, max(start - REACH_MS, cut))
    RunFolder(folder / ".state")
    (folder / ".state" / _NOTE).write_bytes(msgspec.json.encode(_Kept(asked=start, begin=begin)))
    return begin


def _restarted(asked: RunSpec, spec: RunSpec) -> RunSpec:
    """Give what can be compared of what was asked for: what a run read whose state was given up is not recorded any more."""
    assert asked.start is not None  # noqa: S101 (the caller has looked)
    assert spec.start is not None  # noqa: S101
    if spec.start <= asked.start:
        return asked
    went_on = rfc3339(spec.start)
    print(
        f"edgewatch: the live run's state was given up, it went on from {went_on}: what is before is not compared",
        file=sys.stderr,
    )
    return asked.with_(start=spec.start)


def _compared(config: Config, spec: RunSpec, out: Path, state: Path) -> list[Compared]:
    """Compare each table over the windows of the range that the live run has judged."""
    assert spec.start is not None  # noqa: S101 (the caller has looked)
    assert spec.end is not None  # noqa: S101
    assert config.clickhouse is not None  # noqa: S101
    window = config.window
    first = judged_before(spec.start, window.pane_ms, window.length_ms) + window.pane_ms
    last = judged_before(spec.end, window.pane_ms, window.length_ms)
    closed = min(closed_of(RunFolder.at(state).firing).values(), default=last)
    if closed < last:
        print(f"edgewatch: the live run has judged up to {rfc3339(closed)}; what comes after is not compared", file=sys.stderr)
    with explained(), contextlib.closing(ClickHouse(config.clickhouse)) as client:
        return [compare(client, out, table, first, min(last, closed)) for table in TABLES]
    raise typer.Exit(_FAILED)


def _say(found: list[Compared], why: list[str], *, as_json: bool) -> None:
    differ = any(each.differences for each in found)
    if as_json:
        report: dict[str, Any] = {
            "equal": not differ,
            "tables": {each.table.name: {"rows": each.rows, "differences": len(each.differences)} for each in found},
            "contribution_unknown": sum(each.unknown for each in found),
            "first": [each.words() for each in first_of(found, _LISTED)],
            "reasons": why if differ else [],
        }
        print_json(report)
        return
    for each in found:
        verdict = f"{len(each.differences):,} differ" if each.differences else "equal"
        print(f"{each.table.name}: {each.rows:,} rows, {verdict}")
    for difference in first_of(found, _LISTED):
        print(f"    {difference.words()}")
    if unknown := sum(each.unknown for each in found):
        print(f"not compared: the contribution of {unknown:,} notifications, as what was usual is not in the records read")
    if differ:
        print("\n".join(f"possible reason: {reason}" for reason in why) or "no reason is known: this should not be")
