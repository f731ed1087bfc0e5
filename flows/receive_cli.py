"""Receive command: `edgewatch receive`: the HTTP destination of Logpush jobs."""

import sys
from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")]

_BAD_USE = 2


def receive(config: ConfigFile) -> None:
    """Take Logpush uploads over HTTP and send them on to Kafka; SIGTERM or Ctrl-C finishes what is in flight and exits 0.

    Example: edgewatch receive -c monitor.toml
    """
    from flows.config import load
    from flows.options import ConfigError
    from flows.own_errors import report_own_errors
    from flows.own_log import set_up_logging
    from flows.receive import receive as serve

    settings = load(config)
    set_up_logging(settings, service=True)
    report_own_errors(settings.observe, settings.environment, settings)
    try:
        code = serve(settings)
    except ConfigError as error:
        print(f"{config}: {error}", file=sys.stderr)
        code = _BAD_USE
    raise typer.Exit(code)
