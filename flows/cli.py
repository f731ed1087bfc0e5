"""Command line: `edgewatch init | demo | run | replay | check | test | explain | drill | clickhouse`, and groups of more.

Exit codes: 0 well, 1 something was found or went wrong outside, 2 bad use or configuration, 130 interrupted.
"""

import datetime
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

import flows.lean  # noqa: F401 (before all others)
from flows.as_json import print_json
from flows.later import Later, with_later
from flows.observe import RunProgress

if TYPE_CHECKING:
    from flows.config import Config

_LATER = {
    "init": Later("flows.init_cli", "init", "Write a first configuration from a few questions or options."),
    "test": Later("flows.rule_test_cli", "run_tests", "Test rules: series in, expected states and notifications out."),
    "replay": Later("flows.replay_cli", "replay", "Replay a range into windows, decisions and notifications; nothing is sent."),
    "verify": Later("flows.verify_cli", "verify", "Replay a range and compare it with the rows that the live run stored."),
    "explain": Later("flows.explain_cli", "explain", "Say in plain words why a rule did or did not page at a time."),
    "top": Later("flows.top_cli", "top", "Show a running edgewatch live."),
    "dashboard": Later("flows.dashboard_cli", "dashboard", "Serve the dashboard from ClickHouse."),
    "report": Later("flows.report_cli", "report", "Report requests, performance, objectives and alerts of a range."),
    "backtest": Later("flows.backtest_cli", "backtest", "Say what the rules would have done with a history."),
    "diff": Later("flows.diff_cli", "diff", "Show what a changed configuration would page differently."),
    "receive": Later("flows.receive_cli", "receive", "Take Logpush uploads over HTTP and send them on to Kafka."),
    "ingest": Later("flows.ingest_cli", "ingest", "Send Logpush files on to Kafka, each file exactly once."),
    "probe": Later("flows.probe_cli", "probe", "Run the checks of [[probe]], each in its interval."),
    "errors": Later("flows.app_errors_cli", "errors", "Send errors in Workers events and application logs to Sentry."),
    "status-page": Later("flows.status_page_cli", "status_page", "Write a status page from what ClickHouse holds."),
    "import": Later("flows.import_cli", "import_app", "Take over the rules of another monitor."),
    "silence": Later("flows.silence_cli", "silence_app", "Keep alerts quiet for a while."),
    "route": Later("flows.route_cli", "route_app", "Who hears of what."),
    "dead-letters": Later("flows.dead_letters_cli", "dead_letters_app", "What could not be read, and why."),
    "recovery": Later("flows.recovery_cli", "recovery_app", "What a resume goes on from."),
}
app = typer.Typer(
    name="edgewatch",
    cls=with_later(_LATER),
    help="Watches an edge platform: records on Kafka become windows, alerts and rows.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
spool_app = typer.Typer(help="What waits to be delivered, and what could not be.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(spool_app, name="spool")
page_app = typer.Typer(help="Incidents that wait for a person to post them.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(page_app, name="status")
app.add_typer(page_app, name="statuspage", hidden=True)  # its name in configurations

_BAD_USE, _FAILED, _INTERRUPTED = 2, 1, 130
_OLDEST_CLOCK = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")]
Json = Annotated[bool, typer.Option("--json", help="Write JSON, for machines.")]


def main() -> None:
    """Run the command line; outside trouble is one line, never a traceback."""
    try:
        code = app(standalone_mode=False)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except typer.Exit as end:
        sys.exit(end.exit_code)
    except typer.Abort as end:  # a question was answered with Ctrl-C, or not at all
        sys.exit(_INTERRUPTED if isinstance(end.__context__, KeyboardInterrupt) else _FAILED)
    except Exception as error:
        if hasattr(error, "show") and hasattr(error, "exit_code"):  # bad use, as the option parser sees it
            error.show()
            sys.exit(_BAD_USE)
        from flows.config import ConfigErrors

        if isinstance(error, ConfigErrors):
            print(error, file=sys.stderr)
            sys.exit(_BAD_USE)
        raise
    sys.exit(code or 0)


@app.command()
def demo(
    directory: Annotated[Path | None, typer.Option("--dir", help="Where it works [default: ./edgewatch-demo].")] = None,
    hours: Annotated[float, typer.Option(help="Hours of traffic.")] = 4.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same traffic.")] = 1,
    serve: Annotated[bool, typer.Option("--serve", help="Then show the dashboard.")] = False,
    listen: Annotated[str, typer.Option(help="With --serve: host:port of the dashboard, on this machine.")] = "127.0.0.1:8710",
) -> None:
    """See it work: traffic with three incidents through the whole line, without any service.

    Example: edgewatch demo --hours 24 --seed 3
    """
    from flows.demo import demo as run_demo

    raise typer.Exit(run_demo(directory, hours, seed, listen=listen if serve else ""))


@app.command()
def run(
    config: ConfigFile,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Processes on this machine.")] = 1,
    until_end: Annotated[bool, typer.Option("--until-end", help="Stop at the end offsets of the first start.")] = False,
    out: Annotated[Path | None, typer.Option(help="With --until-end: the folder for NDJSON files.")] = None,
    process_id: Annotated[
        int | None, typer.Option("--process-id", help="On several machines: which line of --addresses this one is, from 0.")
    ] = None,
    addresses: Annotated[
        Path | None, typer.Option(help="On several machines: a file with a host:port a line, the same on all of them.")
    ] = None,
) -> None:
    """Follow the topics live; SIGTERM or Ctrl-C writes the state and exits 0, and the next start resumes.

    Example: edgewatch run -c monitor.toml
    """
    if until_end != (out is not None):
        _bad_use("--until-end and --out go together")
    if (process_id is None) != (addresses is None):
        _bad_use("--process-id and --addresses go together")
    if addresses is not None and (processes != 1 or until_end):
        _bad_use("--addresses runs one process a machine, live: it goes with neither --processes nor --until-end")
    from flows.monitor import run as run_line
    from flows.own_errors import report_own_errors

    _check_clock()
    settings = _load(config, service=not until_end)
    if not until_end:
        report_own_errors(settings.observe, settings.environment, settings)
    progress = RunProgress("run")
    if addresses is not None and process_id is not None:
        _run_machine(settings, addresses, process_id, progress)
        return
    _outside(lambda: run_line(settings, processes=processes, until_end=until_end, out=out, report=progress), progress)


@app.command()
def check(
    config: ConfigFile,
    online: Annotated[bool, typer.Option("--online", help="Also ask Kafka and ClickHouse, and apply the schema.")] = False,
    as_json: Json = False,
) -> None:
    """Validate a configuration; all its problems are said at once.

    Example: edgewatch check -c monitor.toml --online
    """
    from flows.checks import describe, online_checks

    settings = _load(config, secrets=online)
    report: dict[str, Any] = describe(settings)
    found: list[Any] = []
    if online:
        progress = RunProgress("check")
        found = online_checks(settings, lambda records: progress(records, None))
        progress.stop()
    if as_json:
        print_json(report | {"online": [c.as_dict() for c in found]})
    else:
        print("\n".join(f"{name}: {text}" for name, text in report.items()))
        for checked in found:
            print(f"{'ok  ' if checked.ok else 'FAIL'} {checked.what}: {checked.words}")
    if not all(checked.ok for checked in found):
        raise typer.Exit(_FAILED)


@app.command()
def drill(
    config: ConfigFile,
    rule: Annotated[str, typer.Argument(help="The rule whose route is tried.")],
    severity: Annotated[str | None, typer.Option(help="critical or warning [default: the worst that the rule has].")] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that a channel has for each of the two messages.")] = 30.0,
    as_json: Json = False,
) -> None:
    """Send a marked alert and its end through every channel of a rule's route, and say what arrived.

    Example: edgewatch drill -c monitor.toml high_error_rate
    """
    from flows.drill import drill as drilled
    from flows.drill import severities_of

    settings = _load(config)
    options = next((each for each in settings.rules if each.name == rule), None)
    if options is None:
        _bad_use(f"no rule {rule!r}; there are: {', '.join(each.name for each in settings.rules)}")
    allowed = severities_of(options)
    if severity is not None and severity not in allowed:
        _bad_use(f"--severity {severity}: {rule} has {' and '.join(allowed)}")
    now = int(datetime.datetime.now(datetime.UTC).timestamp()) * 1000
    found = []
    for each in drilled(settings, rule, severity=severity or allowed[0], at=now, timeout_s=timeout):
        found.append(each)
        if not as_json:
            print(f"{'--  ' if each.ok is None else 'ok  ' if each.ok else 'FAIL'} {each.channel}: {each.words}", flush=True)
    if as_json:
        print_json([each.as_dict() for each in found])
    if not found:
        print(f"edgewatch: no route takes {rule} at {severity or allowed[0]}: nobody would hear of it", file=sys.stderr)
    if not found or any(each.ok is False for each in found):
        raise typer.Exit(_FAILED)


@app.command()
def generate(
    to: Annotated[str, typer.Option("--to", help="kafka, or a folder for Logpush files.")],
    hours: Annotated[float, typer.Option(help="Hours of event time.")] = 4.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 1,
    records: Annotated[int | None, typer.Option(help="About how many records in all.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Files: how often the incidents come.")] = 1,
    scenario: Annotated[str, typer.Option(help="A file of incidents (docs/traffic.md), or: all, one of each kind.")] = "",
    rate: Annotated[float | None, typer.Option(help="Kafka: live traffic, records a second; else as fast as it goes.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Kafka: records a message (NDJSON).")] = 1,
    brokers: Annotated[str, typer.Option(help="Kafka: host:port, comma-separated.")] = "127.0.0.1:9092",
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Kafka: its brokers, client settings and topics.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write synthetic traffic with labelled incidents, to Kafka or to Logpush files: three, or those of a scenario.

    Example: edgewatch generate --to kafka --rate 500
    """
    from flows.config import load
    from flows.generate import generate_files, generate_to_kafka

    settings = load(config) if config is not None else None
    if to == "kafka":
        given = settings.kafka if settings else None
        names = list(given.brokers) if given else brokers.split(",")
        topics = {dataset: topic for topic, dataset in settings.topic_datasets().items()} if settings else {}
        how = partial(generate_to_kafka, names, dict(given.client) if given else {}, topics, script=scenario, as_json=as_json)
        code = how(hours=hours, seed=seed, records=records, rate=rate, batch=batch)
    else:
        write = partial(generate_files, Path(to), rounds=rounds, script=scenario, as_json=as_json)
        code = write(hours=hours, seed=seed, records=records)
    raise typer.Exit(code)


@app.command()
def clickhouse(
    directory: Annotated[Path, typer.Option("--dir", "--directory", help="Where the data is kept.")] = Path("clickhouse"),
    listen: Annotated[str, typer.Option(help="host:port of the HTTP interface.")] = "127.0.0.1:8123",
) -> None:
    """Serve the embedded ClickHouse alone, over its HTTP interface.

    Ask it with any ClickHouse client, or: curl 'http://127.0.0.1:8123/?query=SELECT+1'

    Example: edgewatch clickhouse --dir data
    """
    from sinks.embedded import EmbeddedError, serve

    try:
        serve(directory, listen)
    except EmbeddedError as error:
        print(f"edgewatch: {error}", file=sys.stderr)
        raise typer.Exit(_FAILED) from error


SpoolConfig = Annotated[Path, typer.Option("--config", "-c", help="The configuration whose spool it is.")]
Ids = Annotated[list[str] | None, typer.Argument(help="Identities, as `list` shows them; none: all that are dead.")]


@spool_app.command("list")
def spool_list(config: SpoolConfig, as_json: Json = False) -> None:
    """Show what is queued and what is dead.

    Example: edgewatch spool list -c monitor.toml
    """
    with _open_spool(config) as spool:
        rows = spool.rows()
    if as_json:
        print_json(rows)
        return
    for row in rows:
        print(f"{row.state:7} {row.destination:12} attempts {row.attempts:<3} {row.id}  {row.error}")
    print(f"{sum(row.state == 'queued' for row in rows)} queued, {sum(row.state == 'dead' for row in rows)} dead")


@spool_app.command("retry")
def spool_retry(config: SpoolConfig, ids: Ids = None, as_json: Json = False) -> None:
    """Put dead items back into the queue.

    Example: edgewatch spool retry -c monitor.toml
    """
    with _open_spool(config) as spool:
        changed = spool.retry(ids or None)
    _say_changed("queued again", changed, as_json=as_json)


@spool_app.command("drop")
def spool_drop(config: SpoolConfig, ids: Ids = None, as_json: Json = False) -> None:
    """Drop dead items for good.

    Example: edgewatch spool drop -c monitor.toml 6f1c0b/slack
    """
    with _open_spool(config) as spool:
        changed = spool.drop(ids or None)
    _say_changed("dropped", changed, as_json=as_json)


@page_app.command("list")
def statuspage_list(config: SpoolConfig, as_json: Json = False) -> None:
    """Show the incidents proposed for the status page whose alerts are not over.

    Example: edgewatch status list -c monitor.toml
    """
    from flows.config import load

    with _open_spool(config) as spool:
        found = {each: words for page in _pages(load(config, secrets=False), spool) for each, words in page.proposals().items()}
    if as_json:
        print_json(found)
        return
    for episode, words in found.items():
        print(f"{episode}  {words['name']}\n    {words['body']}")
    print(f"{len(found)} proposed")


@page_app.command("approve")
def statuspage_approve(
    config: SpoolConfig,
    episode: Annotated[str, typer.Argument(help="The episode, as `list` shows it.")],
    as_json: Json = False,
) -> None:
    """Post a proposed incident; it is resolved with its alert.

    Example: edgewatch status approve -c monitor.toml 0123456789abcdef:1764547200
    """
    from flows.config import load

    with _open_spool(config) as spool:
        page: Any = next((each for each in _pages(load(config), spool) if episode in each.proposals()), None)
        if page is None:
            _bad_use(f"no incident is proposed for {episode}; `edgewatch status list` shows those that are")
        posted = _outside(lambda: page.approve(episode), None)
    if as_json:
        print_json({"episode": episode, "posted": bool(posted)})
    else:
        print("posted" if posted else "the page has it already")


def _say_changed(how: str, ids: list[str], *, as_json: bool) -> None:
    if as_json:
        print_json({"changed": ids})
    else:
        print(f"{len(ids)} {how}")


def _pages(config: "Config", spool: Any) -> list[Any]:
    from sinks.notebook import SpoolNotebook
    from sinks.statuspage import StatuspageOptions, build

    pages = []
    for name, options in config.channels.items():
        if isinstance(options, StatuspageOptions):
            page = build(name, options)
            page.notebook = SpoolNotebook(spool, name)
            pages.append(page)
    return pages


def _open_spool(config: Path) -> Any:
    import contextlib

    from flows.config import load
    from flows.run_folder import RunFolder
    from sinks.spool import Spool

    settings = load(config, secrets=False)
    path = RunFolder(Path(settings.engine.directory)).spool
    if not path.exists():
        _bad_use(f"there is no spool at {path}; `edgewatch run` makes it")
    return contextlib.closing(Spool(path))


def _load(path: Path, *, secrets: bool = True, service: bool = False) -> "Config":
    from flows.config import load
    from flows.own_log import set_up_logging

    settings = load(path, secrets=secrets)
    set_up_logging(settings, service=service)
    return settings


def _run_machine(settings: "Config", addresses: Path, number: int, progress: RunProgress) -> None:
    from flows.machines import read_place
    from flows.several import run_machine

    place = read_place(addresses, number, settings)
    _outside(lambda: run_machine(settings, place, progress), progress)


def _outside(work: Callable[[], Any], progress: RunProgress | None) -> Any:
    """Do the work; outside trouble becomes one line and exit code 1."""
    from flows.failure import explained

    try:
        with explained():
            return work()
    finally:
        if progress is not None:
            progress.stop()
    raise typer.Exit(_FAILED)


def _check_clock() -> None:
    """Refuse to go live with a clock that cannot be right: every record would seem to come from the future."""
    now = datetime.datetime.now(datetime.UTC)
    if now < _OLDEST_CLOCK:
        print(
            f"edgewatch: this machine's clock says {now:%Y-%m-%d}; set it, or every record is in its future",
            file=sys.stderr,
        )
        raise typer.Exit(_FAILED)


def _bad_use(words: str) -> NoReturn:
    print(f"edgewatch: {words}", file=sys.stderr)
    raise typer.Exit(_BAD_USE)


if __name__ == "__main__":
    main()
