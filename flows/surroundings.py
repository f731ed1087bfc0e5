"""Surroundings: what the state folder of a run adds to its decision records: silences, deliveries, early words."""

from pathlib import Path

from flows.config import Config
from flows.controls import Controls
from flows.early_log import EarlyLog
from flows.run_folder import RunFolder
from flows.suppressor import Surroundings
from sinks.spool import Spool

_JUDGED_ALL = 2**62  # no window is to be stamped by asking
_MOST = 100_000


def surroundings(folder: Path, config: Config) -> Surroundings:
    """Read silences, deliveries and early words from a state folder; what is not there is left out."""
    if not folder.is_dir():
        return Surroundings()
    paths = RunFolder.at(folder)
    judged = dict.fromkeys((metric.dataset for metric in config.metrics), _JUDGED_ALL)
    silences = Controls(paths.controls, judged) if paths.controls.exists() else None
    deliveries: dict[str, list[str]] = {}
    if paths.spool.exists():
        spool = Spool(paths.spool)
        try:
            for row in spool.rows(states=("queued", "delivered", "dead"), limit=_MOST):
                name, slash, _ = row.id.partition("/")
                if slash:
                    words = {"queued": "waits", "delivered": "was delivered", "dead": "was given up"}[row.state]
                    error = f": {row.error}" if row.error and row.state != "delivered" else ""
                    attempts = f" after {row.attempts} attempts" if row.attempts > 1 else ""
                    deliveries.setdefault(name, []).append(f"{row.destination} {words}{attempts}{error}")
        finally:
            spool.close()
    ahead = {(word.said.rule, word.key, word.end): word.said for word in EarlyLog(paths.early, {}).since({})}
    return Surroundings(silences, deliveries, ahead)
