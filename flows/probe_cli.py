"""Probe command: `edgewatch probe`: health and synthetic checks on time, their results to Kafka."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.as_json import print_json

_BAD_USE, _FAILED = 2, 1


def probe(
    config: Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")],
    location: Annotated[str, typer.Option(help="Where this runs, for probes that do not say so [default: local].")] = "",
    once: Annotated[bool, typer.Option("--once", help="Check each once, show it, and send nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --once: write the records, for machines.")] = False,
) -> None:
    """Run the checks of [[probe]], each in its interval, until SIGTERM or Ctrl-C; with --once, exit 1 where one fails.

    Example: edgewatch probe -c monitor.toml --once
    """
    from flows.config import load
    from flows.options import ConfigError
    from flows.own_errors import report_own_errors
    from flows.own_log import set_up_logging
    from flows.probe import check_once, probes_of
    from flows.probe import probe as run

    settings = load(config)
    set_up_logging(settings, service=not once)
    try:
        if not once:
            report_own_errors(settings.observe, settings.environment, settings)
            raise typer.Exit(run(settings, location))
        probes = probes_of(settings, location)
    except ConfigError as error:
        print(f"{config}: {error}", file=sys.stderr)
        raise typer.Exit(_BAD_USE) from error
    found = list(zip(probes, check_once(probes), strict=True))
    if as_json:
        rows = [each.health(outcome) for each, outcome in found]
        print_json(rows)
    else:
        width = max(len(each.options.name) for each in probes)
        for each, outcome in found:
            told = f"{outcome.failure} {outcome.step and repr(outcome.step) + ' '}- {outcome.words}" if outcome.failure else ""
            status = outcome.status or "---"
            mark = "ok  " if outcome.ok else "FAIL"
            print(f"{mark} {each.options.name:{width}}  {status}  {outcome.elapsed_ms:6.0f} ms  {told}".rstrip())
    if not all(outcome.ok for _, outcome in found):
        raise typer.Exit(_FAILED)
