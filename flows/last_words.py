"""Last words: what a run that was given up still says to people: nobody else of it is left to say so.

It is the blindness episode of the run, so a later start that sees again ends it, and datasets are held until then. Where the
disk of the run is full, it is said from a temporary folder, and nobody ends it: too many words are better than none.
"""

import errno
import logging
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from flows.blindness import Blindness
from flows.config import Config
from flows.health import DOWN, Finding
from flows.outgoing import build_delivery
from flows.run_folder import RunFolder
from flows.writer import SpoolWriter
from sinks.spool import Spool

_DRAIN_S, _STOP_S = 20.0, 5.0
_HOUR_MS = 3_600_000
_log = logging.getLogger(__name__)


def last_words(config: Config, folder: RunFolder, starts: int, *, waits_for: str = "") -> bool:
    """Say that a run was given up after so many starts, 0 where it could not even be started again.

    Or that it `waits_for` machines. False where not everybody heard. Its processes must have ended.
    """
    now = time.time_ns() // 1_000_000
    datasets = sorted(set(config.topic_datasets().values()))
    findings = [Finding(DOWN, name, waits_for, starts, 0, whole=True) for name in datasets]
    try:
        return _said(config, folder, findings, now)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _log.error("%s; that the run was given up is said from a temporary folder", error)
    with tempfile.TemporaryDirectory() as name:
        place = RunFolder(Path(name) / "state")
        # Of one hour, it is one incident, however often the run is started meanwhile.
        return _said(config, place, findings, now // _HOUR_MS * _HOUR_MS)


def _said(config: Config, folder: RunFolder, down: Sequence[Finding], now: int) -> bool:
    spool = Spool(folder.spool)
    delivery = build_delivery(spool, config)
    delivery.start()
    put = SpoolWriter(spool, with_rows=config.clickhouse is not None, version=config.version).write_now
    blindness = Blindness(config, folder.blindness, folder.controls, put)
    known = {(each.cause, each.dataset): each for each in blindness.held}
    known |= {(DOWN, each.dataset): each for each in down}
    findings = sorted(known.values(), key=lambda each: (each.cause != DOWN, each.cause, each.dataset))
    try:
        blindness.take(findings, now)
        return delivery.drain(_DRAIN_S)
    finally:
        delivery.stop(_STOP_S)
        spool.close()
