"""Ingest command: `edgewatch ingest DIR`: the files of a folder, synced from a bucket, to Kafka, each once."""

import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

_BAD_USE, _FAILED, _INTERRUPTED = 2, 1, 130


def ingest(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The folder; sub-folders named as datasets hold theirs.")],
    config: Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")],
    follow: Annotated[bool, typer.Option("--follow", help="Go on with the files that come.")] = False,
    dataset: Annotated[str | None, typer.Option(help="Of files outside of such sub-folders [default: the first one].")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON, for machines.")] = False,
) -> None:
    """Send Logpush files on to Kafka, each file exactly once, also after a crash in the middle of one.

    Example: edgewatch ingest logs -c monitor.toml --follow
    """
    from connectors.forward import NotTaken, TopicMissing
    from connectors.transaction import TakenOver
    from flows.config import load
    from flows.ingest import Ingest, summary
    from flows.observe import RunProgress
    from flows.options import ConfigError
    from flows.own_errors import report_own_errors
    from flows.own_log import set_up_logging

    settings = load(config)
    set_up_logging(settings, service=follow)
    report_own_errors(settings.observe, settings.environment, settings)
    if not directory.is_dir():
        print(f"edgewatch: {directory} is not a folder", file=sys.stderr)
        raise typer.Exit(_BAD_USE)
    stop = threading.Event()
    heard: list[int] = []

    def told(number: int, _frame: object) -> None:
        heard.append(number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, told)
    progress = RunProgress("ingest")
    try:
        running = Ingest(settings, directory, dataset, lambda records: progress(records, None))
        running.run(follow=follow, stopped=stop.wait)
    except ConfigError as error:
        print(f"{config}: {error}", file=sys.stderr)
        raise typer.Exit(_BAD_USE) from error
    except (NotTaken, TopicMissing, TakenOver) as error:
        print(f"edgewatch: {error}", file=sys.stderr)
        raise typer.Exit(_FAILED) from error
    finally:
        progress.stop()
    total = running.total
    if as_json:
        sys.stdout.buffer.write(summary(total) + b"\n")
    else:
        print(f"{total.files:,} files: {total.records:,} records, {total.dead_letters:,} dead letters")
    if heard and (signal.SIGINT in heard or not follow):
        raise typer.Exit(_INTERRUPTED)
