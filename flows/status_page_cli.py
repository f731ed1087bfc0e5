"""Status page command: `edgewatch status-page`: how the components are and were, as files that any web server can serve."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from flows.as_json import print_json

_BAD_USE, _FAILED = 2, 1


def status_page(
    config: Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")],
    out: Annotated[Path, typer.Option(help="The folder: index.html and status.json are written there.")],
    days: Annotated[int, typer.Option(min=1, max=400, help="How many days are shown.")] = 90,
    zone: Annotated[str, typer.Option(help="Whose days they are, such as Europe/Berlin.")] = "UTC",
    every: Annotated[str | None, typer.Option(help="Write them again and again, such as 1m, until Ctrl-C.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Say what was written as JSON, for machines.")] = False,
) -> None:
    """Write a status page from what ClickHouse holds: components, bars of uptime, outages; no hosts and no figures.

    Example: edgewatch status-page -c monitor.toml --out public
    """
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    from flows.config import load
    from flows.explain_cli import opened
    from flows.failure import explained
    from flows.moment import duration
    from flows.status_page import status_of, write

    settings = load(config, secrets=False)
    if settings.clickhouse is None:
        print(f"edgewatch: {config} has no [clickhouse] to ask", file=sys.stderr)
        raise typer.Exit(_BAD_USE)
    try:
        wait_ms = duration(every) if every is not None else None
        days_of = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, OSError):
        print(f"edgewatch: --zone {zone}: give the name of a time zone such as UTC or Europe/Berlin", file=sys.stderr)
        raise typer.Exit(_BAD_USE) from None
    except ValueError as error:
        print(f"edgewatch: --every {every} or --zone {zone}: {error}", file=sys.stderr)
        raise typer.Exit(_BAD_USE) from error
    client = opened(settings)
    while True:
        done = False
        with explained():
            status = status_of(settings, client, now_ms=time.time_ns() // 1_000_000, days=days, zone=days_of)
            made = write(status, out)
            if as_json:
                print_json({"files": list(map(str, made)), "status": status.status})
            else:
                print(f"{', '.join(map(str, made))}: {status.status}", file=sys.stderr)
            done = True
        if wait_ms is None:
            raise typer.Exit(0 if done else _FAILED)
        time.sleep(wait_ms / 1000)
