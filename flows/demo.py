"""Demo: four hours of synthetic traffic through the whole line, on one machine, without any service.

Traffic with three labelled incidents is written as Logpush files, the line reads them, its rows go to an
embedded ClickHouse, alerts are printed as they fire in event time, and all that is shown at the end is asked
from the tables.
"""

import dataclasses
import fcntl
import math
import os
import shutil
import sys
from importlib import resources
from pathlib import Path

from rich.console import Console

from connectors.incident import Incident
from connectors.traffic import Traffic, TrafficOptions, write_archive
from flows.bar import Bar
from flows.config import Config, load
from flows.dashboard_options import DashboardOptions
from flows.demo_report import Account, print_report
from flows.monitor import Summary, run_archive
from sinks.clickhouse import ClickHouse, ClickHouseOptions
from sinks.console import render
from sinks.embedded import Embedded
from sinks.notification import DeliveryError, Notification

DIRECTORY = Path("edgewatch-demo")

_RATE = 40.0  # records a second, so four hours are 576 000 records
_RECORDS_MAX = 6_000_000  # a longer span has fewer records a second, not more minutes to wait
_HOURS_MAX = 24 * 31
_MARK = ".edgewatch-demo"
_PARTS = ("logs", "out", "clickhouse", "monitor.toml", _MARK)
_WIDTH_PLAIN = 120
_FAILED, _INCOMPLETE = 2, 1


class DemoError(OSError):
    """The demonstration cannot start; the message says why and what to do."""


def demo(directory: Path | None = None, hours: float = 4, seed: int = 1, *, listen: str = "") -> int:
    """Run the demonstration in `directory` (default ./edgewatch-demo; an earlier one there is replaced).

    With `listen` (host:port) the dashboard is served there afterwards, until Ctrl-C or SIGTERM.

    Gives the exit code: 0, 1 where ClickHouse did not take all rows, 2 where it cannot run.
    """
    out = _console()
    try:
        options = traffic_options(hours, seed)
        for key, problem in DashboardOptions(listen=listen).problems() if listen else ():
            message = f"--{key}: {problem}"
            raise DemoError(message)
        folder = directory or DIRECTORY
        prepare(folder)
        return _run(folder, options, out, listen)
    except (OSError, DeliveryError) as error:
        sys.stderr.write(f"edgewatch demo: {error}\n")
        return _FAILED


def traffic_options(hours: float, seed: int) -> TrafficOptions:
    """Choose the volume for a span; raises DemoError on a span or seed that makes no sense."""
    if not (math.isfinite(hours) and 0 < hours <= _HOURS_MAX):
        message = f"--hours must be above 0 and at most {_HOURS_MAX}, not {hours:g}"
        raise DemoError(message)
    if seed < 0:
        message = f"--seed must not be negative, not {seed}"
        raise DemoError(message)
    return TrafficOptions(seed=seed, hours=hours, records_per_second=min(_RATE, _RECORDS_MAX / (hours * 3600)))


def prepare(directory: Path) -> None:
    """Make the folder, or empty that of an earlier demonstration; raises DemoError where it is another."""
    if directory.exists() and not directory.is_dir():
        message = f"{directory} is not a folder; choose another with --dir"
        raise DemoError(message)
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()) and not (directory / _MARK).exists():
        message = f"{directory} holds something else already; choose another folder with --dir"
        raise DemoError(message)
    _refuse_in_use(directory / "clickhouse" / "lock", directory)
    for name in _PARTS:
        path = directory / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    (directory / _MARK).write_text("edgewatch demo replaces this folder\n", encoding="utf-8")


def _refuse_in_use(lock: Path, directory: Path) -> None:
    if not lock.exists():
        return
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"an embedded ClickHouse still serves {directory}; stop it or choose another with --dir"
            raise DemoError(message) from None


def _run(directory: Path, options: TrafficOptions, out: Console, listen: str) -> int:
    config = _configuration(directory)
    traffic = Traffic(options)
    _say(out, f"[bold]Traffic[/]: {_volume(options, traffic)}, into {directory / 'logs'}")
    incidents = _write(traffic, directory / "logs")
    _say(out, "[bold]Alerts[/], at the event time at which they fire:\n")
    with Embedded(directory / "clickhouse") as server:
        config = dataclasses.replace(config, clickhouse=ClickHouseOptions(url=server.url))
        summary = _watch(config, directory, traffic.total, out)
        client = ClickHouse(ClickHouseOptions(url=server.url))
        try:
            account = Account(directory, tuple(incidents), summary["records"], summary["seconds"])
            print_report(client, account, out)
        finally:
            client.close()
        if listen and not _serve(config, directory, listen, out):
            return _FAILED
    if not summary["delivered"]:
        sys.stderr.write("edgewatch demo: ClickHouse did not take all rows in time: the tables above are incomplete\n")
        return _INCOMPLETE
    return 0


def _serve(config: Config, directory: Path, listen: str, out: Console) -> bool:
    """Show what was stored until it is told to stop; False where that is not possible."""
    from flows.dashboard_server import serve  # noqa: PLC0415  most demonstrations are without

    shown = dataclasses.replace(config, dashboard=DashboardOptions(listen=listen))
    return serve(shown, directory / "out" / ".state", lambda url: _say(out, f"\n[bold]Dashboard[/]: {url} (Ctrl-C ends it)"))


def _configuration(directory: Path) -> Config:
    """Put the configuration where it can be read, changed and used again."""
    path = directory / "monitor.toml"
    path.write_bytes(resources.files("flows").joinpath("demo.toml").read_bytes())
    return load(path)


def _write(traffic: Traffic, logs: Path) -> list[Incident]:
    with Bar("writing files", traffic.total) as bar:
        return write_archive(traffic, logs, lambda done, _: bar.advance(done))


def _watch(config: Config, directory: Path, total: int, out: Console) -> Summary:
    with Bar("watching", total) as bar:

        def show(notification: Notification) -> None:
            bar.print(out, render(notification, colour=out.is_terminal and not out.no_color))

        return run_archive(
            config,
            directory / "logs",
            directory / "out",
            on_notification=show,
            report=lambda done, *_: bar.advance(done),
        )


def _volume(options: TrafficOptions, traffic: Traffic) -> str:
    rate = f"{options.records_per_second:g} records/s"
    if options.records_per_second < _RATE:
        rate = f"{options.records_per_second:.1f} records/s instead of {_RATE:g}, as the span is long"
    records = f"{traffic.total:,}".replace(",", " ")
    return f"{options.hours:g} h, {records} records ({rate}), seed {options.seed}"


def _say(out: Console, text: str) -> None:
    out.print(text, highlight=False, soft_wrap=True)


def _console() -> Console:
    """Give the console of standard output: plain and wide where it is no terminal (or as COLUMNS says)."""
    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        return Console()
    return Console(width=_WIDTH_PLAIN)
