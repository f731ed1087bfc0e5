"""Under Bytewax: the live flow for Bytewax's own runner: `python -m bytewax.run "flows.under_bytewax:flow('monitor.toml')"`.

One process, whose runner watches over it: it takes the signals, so the run ends at once and resumes from its last snapshot
(`edgewatch run` writes one first), and nothing starts it again. Everything else is the same line over the same state folder.
"""

import atexit
import contextlib
from pathlib import Path
from typing import Any

from flows.config import load
from flows.engine import dataflow
from flows.monitor import live_spec, prepared
from flows.own_log import set_up_logging
from flows.process import opened
from flows.run_folder import RunFolder


def flow(config: str) -> Any:
    """Give the Bytewax Dataflow of a configuration; holds its state folder until the process ends, so a second is refused.

    Bytewax has to be given `-r DIRECTORY/recovery`, DIRECTORY being `engine.directory`: without it state would be lost.
    """
    settings = load(Path(config))
    set_up_logging(settings, service=True)
    spec = live_spec(settings)
    folder = RunFolder(Path(spec.state))
    held = contextlib.ExitStack()
    atexit.register(held.close)
    held.enter_context(folder.locked())
    prepared(settings, spec, folder)
    run, outbox = opened(settings, spec)
    held.callback(outbox.close, drain=False)
    return dataflow(run)
