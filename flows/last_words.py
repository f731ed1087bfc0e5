"""Last words: what a run that was given up still says to people: nobody else of it is left to say so.

It is the blindness episode of the run, so a later start that sees again ends it, and datasets are held until then.
"""

import time

from flows.blindness import Blindness
from flows.config import Config
from flows.health import DOWN, Finding
from flows.outgoing import build_delivery
from flows.run_folder import RunFolder
from flows.writer import SpoolWriter
from sinks.spool import Spool

_DRAIN_S, _STOP_S = 20.0, 5.0


def last_words(config: Config, folder: RunFolder, starts: int) -> bool:
    """Say that a run was given up after so many starts; False where not everybody heard. Its processes must have ended."""
    spool = Spool(folder.spool)
    delivery = build_delivery(spool, config)
    delivery.start()
    put = SpoolWriter(spool, with_rows=config.clickhouse is not None, version=config.version).write_now
    blindness = Blindness(config, folder.blindness, folder.controls, put)
    datasets = sorted(set(config.topic_datasets().values()))
    known = {(each.cause, each.dataset): each for each in blindness.held}
    known |= {(DOWN, name): Finding(DOWN, name, "", starts, 0, whole=True) for name in datasets}
    findings = sorted(known.values(), key=lambda each: (each.cause != DOWN, each.cause, each.dataset))
    blindness.take(findings, time.time_ns() // 1_000_000)
    heard = delivery.drain(_DRAIN_S)
    delivery.stop(_STOP_S)
    spool.close()
    return heard
