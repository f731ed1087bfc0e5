"""Backtest command: `edgewatch backtest`: what a configuration would have done with a history; nothing is sent."""

import contextlib
import datetime
import sys
import time
import zoneinfo
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from flows.ahead import Ahead
from flows.alerts_before import CLICKHOUSE, NONE, alerts_at, judged_by
from flows.as_json import print_json
from flows.backtest import Backtest, Windows
from flows.backtest_page import PAGE, write_page
from flows.backtest_statistics import Judged, Statistics, withheld_line
from flows.backtest_words import show
from flows.config import Config, ConfigErrors, load
from flows.controls import Controls
from flows.failure import explained
from flows.history import HistoryError
from flows.history_source import (
    SOURCES,
    Report,
    Stopped,
    Wish,
    check,
    check_source,
    covered,
    kept_times,
    measured_otherwise,
    opened,
    with_password,
)
from flows.incidents import IncidentError
from flows.labelled import RECOMMENDED, Given, Labelled, prepared
from flows.moment import duration, moment
from flows.observe import RunProgress
from flows.options import ConfigError
from flows.output import canonical, rfc3339
from flows.own_log import set_up_logging
from flows.policy import NO_SILENCES
from flows.report_source import Range
from flows.run_folder import RunSpec
from flows.silence import Silences
from flows.sweep_table import print_labels, print_sweep
from flows.timeline import Timelines
from flows.withheld import Suppressors

_FAILED, _BAD_USE, _INTERRUPTED = 1, 2, 130
_WARM_UP = "1d"
_STAMPED = 2**62  # no window is to be stamped by a backtest
FILES = ("transitions.ndjson", "notifications.ndjson", "withheld.ndjson")
EVALUATIONS = "evaluations.ndjson"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a backtest is asked for; times in ms UTC."""

    source: str
    start: int | None
    end: int | None
    out: Path
    warm_up_ms: int
    processes: int = 1
    zone: datetime.tzinfo = datetime.UTC
    controls: Path | None = None
    alerts: str | None = None
    evaluations: bool = False


WarmUp = Annotated[str | None, typer.Option("--warm-up", help="Judged before --from, for the state alone [default: 1d].")]
Before = Annotated[
    str | None,
    typer.Option(
        help="The alerts before --from, without a warm-up: clickhouse, the folder of a replay, or none"
        " [default: clickhouse, where this configuration judged the windows that are there]."
    ),
]
Each = Annotated[
    bool, typer.Option("--evaluations", help=f"Write {EVALUATIONS} too: every rule is judged window by window, slowly.")
]


def backtest(
    config: Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")],
    out: Annotated[Path, typer.Option(help="The folder for what came of it; records are replayed into it once.")],
    start: Annotated[str | None, typer.Option("--from", help="First window start, RFC 3339 or -30d [default: all].")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Windows start before this [default: all].")] = None,
    source: Annotated[str, typer.Option(help=f"Where windows come from: {SOURCES}.")] = "kafka",
    processes: Annotated[int, typer.Option(min=1, max=64, help="Processes that replay records.")] = 1,
    warm_up: WarmUp = None,
    alerts: Before = None,
    evaluations: Each = False,
    zone: Annotated[str, typer.Option(help="Whose nights and weekends, such as Europe/Berlin.")] = "UTC",
    controls: Annotated[Path | None, typer.Option(help="controls.ndjson of a run: its silences count.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Known incidents: CSV, or an export of PagerDuty or Statuspage.")] = None,
    sweep: Annotated[
        list[str] | None, typer.Option(help="RULE.FIELD=A:B:STEP, or =A,B,C: values to try; several: all pairs.")
    ] = None,
    budget: Annotated[str | None, typer.Option(help='With --sweep: how often it may page, such as "2 pages/week".')] = None,
    holdout: Annotated[float, typer.Option(help="With --sweep: the newest part, which settings are not fitted on.")] = 0.3,
    grace: Annotated[str, typer.Option(help="An alert this long after an incident's end is still about it.")] = "10m",
    found_by: Annotated[str | None, typer.Option(help="With --sweep: page or notification [default: page].")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON, for machines.")] = False,
) -> None:
    """Say what the rules would have done with a history: notifications, pages by night, time in each state, noise.

    Nothing is sent, and nothing is written but to --out. Kafka and archives are replayed once; the same --out again reads the
    windows that are there.

    Example: edgewatch backtest -c monitor.toml --source clickhouse --from -30d --to -1h --out backtest
    """
    asked = _asked(source, (start, end), out, warm_up or _WARM_UP, zone, controls, processes)
    settings = _load(config, secrets=source == "kafka")
    if alerts is None and warm_up is None and not sweep:
        alerts = _stored(settings, asked)
    asked = _with_alerts(replace(asked, evaluations=evaluations), alerts, sweeps=bool(sweep))
    given = replace(_given(labels, tuple(sweep or ()), budget, holdout, grace, found_by), warm_up_ms=asked.warm_up_ms)
    try:
        beside = prepared(settings, given)
    except ConfigError as error:
        _bad_use(str(error))
    progress = RunProgress("backtest")
    figures: dict[str, Any] | None = None
    code = _FAILED
    with explained():
        try:
            figures = run_backtest(settings, asked, progress, beside)
        except (HistoryError, ConfigError, IncidentError, Stopped) as error:
            print(f"edgewatch: {error}", file=sys.stderr)
            code = _INTERRUPTED if isinstance(error, Stopped) else _BAD_USE
        finally:
            progress.stop()
    if figures is None:
        raise typer.Exit(code)
    _print(figures, out, _files(evaluations=evaluations), as_json=as_json)


def run_backtest(config: Config, asked: Asked, progress: RunProgress, beside: Labelled) -> dict[str, Any]:
    """Judge a history and write the files; gives the figures, which are backtest.json too."""
    silences = _silences(asked.controls, config)
    tried = Backtest(config, silences, one_by_one=asked.evaluations)
    wish = Wish(
        source=asked.source,
        start=asked.start,
        end=asked.end,
        warm_up_ms=asked.warm_up_ms,
        out=asked.out,
        processes=asked.processes,
    )
    asked.out.mkdir(parents=True, exist_ok=True)
    with opened(config, wish, tried.bonds, replay_into, progress) as history:
        first, last = covered(history, asked.start, asked.end)
        not_judged = check(history, config)
        otherwise = measured_otherwise(history, config, first, last)
        start = first if asked.start is None else asked.start
        end = last if asked.end is None else asked.end
        beside.within(max(start, first), min(end, last))
        read = Ahead(history, progress)
        before = _before(tried, read, config, asked, (start, history.start or start))
        statistics = Statistics(config.rules, config.policy.pagers, asked.zone, Suppressors(config, silences))
        timelines = Timelines(config, Range(max(start, first), min(end, last)), beside.incidents)
        _write(tried, read, (start, end), (statistics, beside, timelines), asked.out)
        judged = Judged(start=start, end=end, first=first, last=last, windows=tried.windows, pane_ms=config.window.pane_ms)
        figures = statistics.as_dict(judged, tried.times) | {
            "source": history.store.name,
            "config_version": config.version,
            "measured_otherwise": otherwise,
            **before,
            "judged_one_by_one": tried.slow_rules,
            "not_judged": [{"rule": rule, "why": why} for rule, why in sorted(not_judged.items())],
        }
        figures |= beside.report(history, silences, lambda at: progress(0, at))
        write_page(asked.out / PAGE, timelines, history, figures, asked.zone)
    _recommend(beside, asked.out)
    (asked.out / "backtest.json").write_bytes(canonical(figures) + b"\n")
    return figures


def _before(tried: Backtest, read: Windows, config: Config, asked: Asked, span: tuple[int, int]) -> dict[str, Any]:
    """Have the alerts be as they are before the range, and say how; `span` is its start and that of the first window."""
    start, first = span
    if asked.alerts is None:
        warm = min(max(start - asked.warm_up_ms, first), start)
        tried.warm(read, warm, start)
        return {"warm_up": {"from": rfc3339(warm), "to": rfc3339(start)}, "alerts_before": None}
    if asked.alerts == CLICKHOUSE and config.clickhouse is not None:
        config = replace(config, clickhouse=with_password(config, config.clickhouse))
    recalled = alerts_at(config, asked.alerts, start)
    tried.restore(recalled.state)
    nothing = {"from": rfc3339(start), "to": rfc3339(start)}
    return {"warm_up": nothing, "alerts_before": {"of": asked.alerts, "doubts": recalled.doubts}}


def replay_into(config: Config, wish: Wish, folder: Path, report: Report) -> bool:
    """Replay records into a folder; False where it was told to stop."""
    from flows.monitor import replay

    spec = RunSpec(
        mode="replay",
        config=str(config.source),
        source=wish.source,
        start=wish.first,
        end=wish.end,
        state=str((folder / ".state").absolute()),
        out=str(folder.absolute()),
    )

    return replay(config, spec, folder, processes=wish.processes, report=report) is not None


def _write(
    tried: Backtest,
    history: Windows,
    span: tuple[int, int],
    listeners: tuple[Statistics, Labelled, Timelines],
    out: Path,
) -> None:
    """Judge, and write down what is decided as it comes; the files of an earlier one stay until it is complete."""
    statistics, beside, timelines = listeners
    names = _files(evaluations=tried.one_by_one)
    drafts = [out / f"{name}.draft" for name in names]
    with contextlib.ExitStack() as stack:
        for draft in drafts:
            stack.callback(draft.unlink, missing_ok=True)
        files = [stack.enter_context(draft.open("wb")) for draft in drafts]
        transitions, notifications, withheld, *evaluations = files
        for decided in tried.run(history, *span):
            statistics.add(decided)
            beside.hear(decided.notifications)
            timelines.add(decided)
            transitions.writelines(each.line() for each in decided.transitions)
            notifications.writelines(each.line() for each in decided.notifications)
            withheld.writelines(withheld_line(each, statistics.why(each, decided)) for each in decided.withheld)
            for file in evaluations:
                file.writelines(each.lines() for each in decided.evaluations)
        (out / EVALUATIONS).unlink(missing_ok=True)  # of an earlier backtest
        for file, draft, name in zip(files, drafts, names, strict=True):
            file.close()
            draft.replace(out / name)


def _files(*, evaluations: bool) -> tuple[str, ...]:
    return (*FILES, EVALUATIONS) if evaluations else FILES


def _recommend(beside: Labelled, out: Path) -> None:
    """Write the configuration with the recommendation in place, for its owner alone: it may hold secrets."""
    path = out / RECOMMENDED
    path.unlink(missing_ok=True)
    if beside.text:
        path.touch(0o600)
        path.write_text(beside.text)


def _given(
    labels: Path | None, axes: tuple[str, ...], budget: str | None, holdout: float, grace: str, found_by: str | None
) -> Given:
    try:
        grace_ms = duration(grace)
    except ValueError as error:
        _bad_use(f"--grace {grace}: {error}")
    return Given(labels=labels, axes=axes, budget=budget, holdout=holdout, grace_ms=grace_ms, found_by=found_by)


def _asked(
    source: str,
    times: tuple[str | None, str | None],
    out: Path,
    warm_up: str,
    zone: str,
    controls: Path | None,
    processes: int,
) -> Asked:
    """Read the options; bad use ends the program."""
    found: list[int | None] = []
    for text, option, known in zip(times, ("--from", "--to"), kept_times(out, source), strict=True):
        try:
            # A time ago is of the command that read the records, not of the one that reads their windows again.
            relative = text is not None and text.startswith("-") and known is not None
            found.append(known if relative else None if text is None else moment(text, time.time()))
        except ValueError as error:
            _bad_use(f"{option} {text}: {error}")
    if found[0] is not None and found[1] is not None and found[0] >= found[1]:
        _bad_use(f"--from ({times[0]}) must be before --to ({times[1]}): the range is empty")
    try:
        check_source(source)
        warm_up_ms = duration(warm_up)
        clock = datetime.UTC if zone == "UTC" else zoneinfo.ZoneInfo(zone)
    except ConfigError as error:
        _bad_use(str(error))
    except (zoneinfo.ZoneInfoNotFoundError, OSError):
        _bad_use(f"--zone {zone}: is not a time zone of this machine; they are called like Europe/Berlin")
    except ValueError:
        _bad_use(f"--warm-up {warm_up}: give a duration such as 1d or 12h; 0s for none")
    if controls is not None and not controls.is_file():
        _bad_use(f"--controls {controls}: there is no such file; a run keeps it in its state folder")
    return Asked(
        source=source,
        start=found[0],
        end=found[1],
        out=out,
        warm_up_ms=warm_up_ms,
        processes=processes,
        zone=clock,
        controls=controls,
    )


def _stored(config: Config, asked: Asked) -> str | None:
    """Give `clickhouse` where the live run judged by this very configuration: its alerts are what these rules left open."""
    if asked.source != CLICKHOUSE or asked.start is None or config.clickhouse is None:
        return None
    with explained():
        connected = replace(config, clickhouse=with_password(config, config.clickhouse))
        return CLICKHOUSE if judged_by(connected, asked.start) == [config.version] else None
    raise typer.Exit(_FAILED)


def _with_alerts(asked: Asked, alerts: str | None, *, sweeps: bool) -> Asked:
    if alerts in (None, NONE):
        return asked
    if asked.start is None:
        _bad_use("--alerts needs --from: without it the first window is judged first, and no alert is open before")
    if sweeps:
        _bad_use("--alerts is not for --sweep: what other settings left open is not written down; leave one of them out")
    return replace(asked, alerts=alerts, warm_up_ms=0)


def _load(path: Path, *, secrets: bool) -> Config:
    try:
        settings = load(path, secrets=secrets)
    except ConfigErrors as errors:
        print(errors, file=sys.stderr)
        raise typer.Exit(_BAD_USE) from errors
    set_up_logging(settings)
    return settings


def _silences(controls: Path | None, config: Config) -> Silences:
    """Give the silences as they took effect; what has no stamp never did."""
    if controls is None:
        return NO_SILENCES
    return Controls(controls, {metric.dataset: _STAMPED for metric in config.metrics})


def _print(figures: dict[str, Any], out: Path, files: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        print_json(figures)
        return
    console = Console()
    for each in _beside(figures):
        print(f"edgewatch: {each}", file=sys.stderr)
    show(figures, console)
    if "labels" in figures:
        console.print("\n[bold]Labelled incidents[/]")
        print_labels(figures["labels"], console)
    if "sweep" in figures:
        console.print("\n[bold]Settings that were tried[/]")
        print_sweep(figures["sweep"], console)
    made = [PAGE, "backtest.json", *files, *([RECOMMENDED] if (out / RECOMMENDED).exists() else [])]
    console.print(f"{out}: {', '.join(made)}", soft_wrap=True, highlight=False)


def _beside(figures: dict[str, Any]) -> Iterator[str]:
    """Say what was not there of what was asked for."""
    yield from figures["measured_otherwise"]
    covered = figures["covered"]
    before = figures["alerts_before"]
    for doubt in (before or {}).get("doubts", ()):
        yield f"alerts before --from: {doubt}"
    for asked, there, words in (("from", "from", "the first window begins at"), ("to", "to", "the last window ends at")):
        late = figures[asked] < covered[there] if asked == "from" else figures[asked] > covered[there]
        if late:
            yield f"--{asked} {figures[asked]}: {words} {covered[there]}; figures a day count what is there"


def _bad_use(words: str) -> NoReturn:
    print(f"edgewatch: {words}", file=sys.stderr)
    raise typer.Exit(_BAD_USE)
