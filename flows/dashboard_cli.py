"""Dashboard command: `edgewatch dashboard`: a page over the stored windows and decisions, until it is told to stop."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.config import ConfigErrors, load

_BAD_USE, _FAILED = 2, 1


def dashboard(
    config: Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")],
    listen: Annotated[str | None, typer.Option(help="host:port [default: dashboard.listen].")] = None,
    state: Annotated[Path | None, typer.Option("--state", help="The run's state folder, for silences.")] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Nobody adds silences or drills from the page.")] = False,
) -> None:
    """Serve the dashboard from ClickHouse: numbers, alerts and why, objectives, pipeline; Ctrl-C or SIGTERM ends it.

    Example: edgewatch dashboard -c monitor.toml --listen 127.0.0.1:8710
    """
    from flows.options import ConfigError, Reader
    from flows.own_log import set_up_logging

    settings = load(config, secrets=False)
    set_up_logging(settings)
    if settings.clickhouse is None:
        print(f"edgewatch: {config} has no [clickhouse]: the dashboard reads from there", file=sys.stderr)
        raise typer.Exit(_BAD_USE)
    problems: list[ConfigError] = []
    token = Reader(problems, config.parent, secrets=True).resolve(settings.dashboard.token, "dashboard.token")
    options = dataclasses.replace(
        settings.dashboard,
        listen=listen if listen is not None else settings.dashboard.listen,
        token=token,
        read_only=read_only or settings.dashboard.read_only,
    )
    problems += [ConfigError(f"dashboard.{key}", problem) for key, problem in options.problems()]
    if problems:
        raise ConfigErrors(str(config), problems)
    from flows.dashboard_server import serve

    if not serve(dataclasses.replace(settings, dashboard=options), state or Path(settings.engine.directory), _say):
        raise typer.Exit(_FAILED)


def _say(url: str) -> None:
    print(f"dashboard on {url}", file=sys.stderr, flush=True)
