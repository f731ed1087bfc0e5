"""Replay command: `edgewatch replay`: history through the line again, into files and, if wanted, into tables."""

import sys
import time
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from flows.alerts_before import CLICKHOUSE, NONE, judged_by
from flows.as_json import print_json
from flows.config import Config, load
from flows.failure import explained
from flows.moment import duration, moment
from flows.observe import RunProgress
from flows.own_log import set_up_logging
from flows.replay_rows_cli import RowsWanted, before_rows, publish_rows, write_rows
from flows.restart import since_restart
from flows.run_folder import RunFolder, RunSpec, read_spec
from flows.upload import NAME

_BAD_USE, _FAILED, _INTERRUPTED = 2, 1, 130

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")]
From = Annotated[str | None, typer.Option("--from", help="First window start, RFC 3339 or -2h.")]
To = Annotated[str | None, typer.Option("--to", help="Windows start before this.")]
Processes = Annotated[int, typer.Option(min=1, max=64, help="Processes on this machine.")]
Json = Annotated[bool, typer.Option("--json", help="Write JSON, for machines.")]
Before = Annotated[
    str | None,
    typer.Option(
        help="The alerts before --from: clickhouse, the folder of a replay, or none"
        " [default: clickhouse, where Kafka is replayed and decisions of before are stored]."
    ),
]
Lateness = Annotated[
    str | None, typer.Option("--allowed-lateness", help="In place of the configuration's: 6h takes in what came late.")
]


def replay(
    config: ConfigFile,
    out: Annotated[Path, typer.Option(help="The folder for NDJSON files; the same folder resumes.")],
    source: Annotated[str, typer.Option(help="kafka, or archive:DIR.")] = "kafka",
    start: From = None,
    end: To = None,
    processes: Processes = 1,
    recorded: Annotated[
        Path | None, typer.Option(help="The state folder of a live run: what it decided by the clock is decided alike.")
    ] = None,
    alerts: Before = None,
    lateness: Lateness = None,
    into: Annotated[bool, typer.Option("--into-clickhouse", help="Also write rows, under the name of a run.")] = False,
    run: Annotated[str, typer.Option(help="The name of the run in the tables' column `run`.")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of a run that has this name.")] = False,
    publish: Annotated[
        bool, typer.Option("--publish", help="Then repair the live rows of the range, after showing what changes and asking.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask, for scripts.")] = False,
    as_json: Json = False,
) -> None:
    """Replay a range of Kafka or an archive into windows, decisions and notifications; nothing is sent.

    With --into-clickhouse the rows also go into the tables, under a name beside the live rows, to be compared in SQL. --publish
    repairs the live windows, histograms and exemplars; what was decided and said stays. Exit code 1: no window of the range
    has a record, or it was not published.

    Example: edgewatch replay -c monitor.toml --source archive:logs --out out
    """
    spec = spec_of(config, out, source=source, start=start, end=end)
    rows = RowsWanted(run=run, replace=replace, publish=publish, yes=yes) if into else None
    _check_rows(rows, spec, run=run, replace=replace, publish=publish)
    if recorded is not None and source != "kafka":
        bad_use("--recorded is of a run that reads Kafka; leave --source out")
    if alerts is not None and spec.start is None:
        bad_use("--alerts needs --from: without it a replay starts at the beginning, where no alert is open")
    spec = spec.with_(
        recorded=None if recorded is None else str(recorded.absolute()),
        alerts=alerts if alerts in (None, CLICKHOUSE, NONE) else str(Path(alerts).absolute()),
        allowed_lateness_ms=None if lateness is None else _lateness(lateness),
        rows=into,
    )
    settings = load(config, secrets=source == "kafka" or alerts == CLICKHOUSE or into)
    set_up_logging(settings)
    if rows is not None:
        before_rows(settings, out, rows)
    spec = spec.with_(alerts=_alerts(settings, spec))
    if recorded is not None and spec.start is None:
        spec = _since_restart(spec, recorded)
    summary = run_replay(settings, spec, out, processes=processes)
    if rows is not None:
        summary["rows"] = write_rows(settings, out, rows)
    print_summary(summary, out, as_json=as_json)
    if "empty" in summary:
        raise typer.Exit(_FAILED)
    if rows is not None and publish:
        publish_rows(settings, spec, out, rows)


def _alerts(config: Config, spec: RunSpec) -> str | None:
    """Give where the alerts before the range are taken from: what was asked for, else what a live run has stored."""
    if spec.alerts is not None or spec.source != "kafka" or spec.start is None:
        return None if spec.alerts == NONE else spec.alerts
    before = RunFolder.at(Path(spec.state)).spec
    if before.exists():
        return read_spec(before).alerts
    with explained():
        if not judged_by(config, spec.start):
            return None
        words = f"alerts before --from: as the decisions stored in ClickHouse left them; --alerts {NONE} begins without any"
        print(f"edgewatch: {words}", file=sys.stderr)
        return CLICKHOUSE
    raise typer.Exit(_FAILED)


def _since_restart(spec: RunSpec, recorded: Path) -> RunSpec:
    with explained():
        return since_restart(spec, recorded)
    raise typer.Exit(_FAILED)


def run_replay(config: Config, spec: RunSpec, out: Path, *, processes: int) -> dict[str, Any]:
    """Run a replay to its end; outside trouble is one line and exit code 1, an interruption 130."""
    from flows.monitor import replay as run

    progress = RunProgress("replay")
    try:
        with explained():
            summary = run(config, spec, out, processes=processes, report=progress)
            if summary is None:
                print(f"stopped; the same command with --out {out} resumes", file=sys.stderr)
                raise typer.Exit(_INTERRUPTED)
            return summary
    finally:
        progress.stop()
    raise typer.Exit(_FAILED)


def spec_of(config: Path, out: Path, *, source: str, start: str | None, end: str | None) -> RunSpec:
    """Give the spec of a replay from what a user gave."""
    if source != "kafka" and not source.startswith("archive:"):
        bad_use(f"--source {source}: give kafka or archive:DIR")
    before = RunFolder.at(out / ".state").spec
    kept = read_spec(before) if before.exists() else None  # a time ago is of the first start, not of the one that resumes
    times = (
        _time(start, "--from", None if kept is None else kept.start),
        _time(end, "--to", None if kept is None else kept.end),
    )
    if times[0] is not None and times[1] is not None and times[0] >= times[1]:
        bad_use("--from must be before --to")
    return RunSpec(
        mode="replay",
        config=str(config),
        source=source,
        start=times[0],
        end=times[1],
        state=str((out / ".state").absolute()),
        out=str(out.absolute()),
    )


def _check_rows(rows: RowsWanted | None, spec: RunSpec, *, run: str, replace: bool, publish: bool) -> None:
    if rows is None:
        if run or replace or publish:
            bad_use("--run, --replace and --publish go with --into-clickhouse")
        return
    if NAME.fullmatch(run) is None:
        bad_use(f"--run {run!r}: give the run a name of letters, digits, dots and dashes; '' are the live rows")
    if publish and (spec.start is None or spec.end is None):
        bad_use("--publish needs --from and --to: it repairs a range")
    if publish and not rows.yes and not sys.stdin.isatty():
        bad_use("--publish asks before it changes live rows, and here is no terminal; give --yes")


def print_summary(summary: dict[str, Any], out: Path, *, as_json: bool) -> None:
    """Say what a replay found."""
    if as_json:
        print_json(summary)
        return
    print(
        f"{summary['records']:,} records ({summary['late']:,} late, {summary['dead_letters']:,} dead letters), "
        f"{summary['first_event']} to {summary['last_event']}: {summary['windows']:,} rows, "
        f"{summary['evaluations']:,} evaluations, {summary['transitions']:,} transitions, "
        f"{summary['notifications']:,} notifications in {out} "
        f"({summary['seconds']} s, {summary['records_per_second']:,} records/s)"
    )
    if "empty" in summary:
        print(summary["empty"], file=sys.stderr)


def bad_use(words: str) -> NoReturn:
    """Say what was wrong with the command, and exit 2."""
    print(f"edgewatch: {words}", file=sys.stderr)
    raise typer.Exit(_BAD_USE)


def _time(text: str | None, option: str, kept: int | None) -> int | None:
    if text is None:
        return None
    if kept is not None and text.startswith("-"):
        return kept
    try:
        return moment(text, time.time())
    except ValueError as error:
        bad_use(f"{option} {text}: {error}")


def _lateness(text: str) -> int:
    try:
        return duration(text)
    except ValueError as error:
        bad_use(f"--allowed-lateness {text}: {error}")
