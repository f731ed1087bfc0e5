"""Top command: asks a run for its report every few seconds and draws it until Ctrl-C."""

import sys
import time
from pathlib import Path
from typing import Annotated

import httpx
import msgspec
import typer
from rich.console import Console
from rich.live import Live

from flows.config import load
from flows.self_report import SelfReport
from flows.top import Top

_TIMEOUT_S = 5.0
_FAILED = 1


def top(
    config: Annotated[Path, typer.Option("--config", "-c", help="The configuration of the run.")],
    url: Annotated[str | None, typer.Option(help="Where it answers [default: from observe.listen].")] = None,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Look once, and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The report as JSON, once.")] = False,
) -> None:
    """Show a running edgewatch live: throughput, lag, watermarks, windows, alerts, deliveries.

    Example: edgewatch top -c monitor.toml
    """
    settings = load(config, secrets=False)
    address = settings.observe.address
    if url is None and address is None:
        print('edgewatch: observe.listen is "off": the run answers nowhere; give --url', file=sys.stderr)
        raise typer.Exit(2)
    place = url.rstrip("/") if url is not None else _url(address or ("", 0))
    if as_json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(_ask(place))) + b"\n")
        return
    view = Top(hang_after_s=settings.engine.hang_after_ms / 1000)
    if once:
        view.take(_ask(place))
        Console().print(view.draw())
        return
    console = Console()
    with Live(console=console, screen=sys.stdout.isatty(), auto_refresh=False) as live:
        while True:
            view.take(_ask(place))
            live.update(view.draw(console.height), refresh=True)
            time.sleep(every)


def _url(address: tuple[str, int]) -> str:
    host, port = address
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (nothing listens here)
    return f"http://[{here}]:{port}" if ":" in here else f"http://{here}:{port}"


def _ask(place: str) -> SelfReport:
    """Ask a run for its report; one that does not answer ends the command."""
    try:
        answer = httpx.get(f"{place}/status", timeout=_TIMEOUT_S, trust_env=False)
        answer.raise_for_status()
        return msgspec.json.decode(answer.content, type=SelfReport)
    except (httpx.HTTPError, httpx.InvalidURL, msgspec.DecodeError) as error:
        print(f"edgewatch: {place}/status does not answer as a run does: {error}; does `edgewatch run` run?", file=sys.stderr)
        raise typer.Exit(_FAILED) from error
