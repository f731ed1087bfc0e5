"""App errors command: `edgewatch errors`: errors of the platform's own code to Sentry."""

import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

_BAD_USE, _FAILED = 2, 1


def errors(config: Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")]) -> None:
    """Send errors in Workers events and application logs to Sentry, one of those alike in a while, until SIGTERM or Ctrl-C.

    Example: edgewatch errors -c monitor.toml
    """
    from confluent_kafka import KafkaException

    from connectors.forward import TopicMissing
    from flows.app_errors import app_errors
    from flows.config import load
    from flows.options import ConfigError
    from flows.own_errors import report_own_errors
    from flows.own_log import set_up_logging

    settings = load(config)
    set_up_logging(settings, service=True)
    report_own_errors(settings.observe, settings.environment, settings)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        sent = app_errors(settings, stop)
    except ConfigError as error:
        print(f"{config}: {error}", file=sys.stderr)
        raise typer.Exit(_BAD_USE) from error
    except (TopicMissing, KafkaException) as error:
        print(f"edgewatch: {error}", file=sys.stderr)
        raise typer.Exit(_FAILED) from error
    print(f"{sent} events sent", file=sys.stderr)
