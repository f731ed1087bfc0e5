"""Archive extent: from when to when the records of a folder of log files are, for those who asked for another time.

Only the first and the last file of each partition are read: files in name order are in the order of time.
"""

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from connectors.dataset import Dataset
from connectors.decoder import Decoder
from connectors.event_time import EARLIEST, moment_words
from connectors.log_blocks import blocks
from connectors.log_file import UNREADABLE, open_log

_BLOCK = 10_000


def archive_extents(datasets: Mapping[str, Dataset], files: Mapping[str, Iterable[list[Path]]]) -> list[str]:
    """Say of each dataset what is there: `http_requests: records from 2025-12-01 00:00:00 UTC to ...`.

    `files` gives by dataset a list of files, in name order, for each of its partitions.
    """
    out = []
    for name, partitions in files.items():
        decoder = Decoder(datasets[name], frozenset())
        ends = [path for listed in partitions if listed for path in dict.fromkeys((listed[0], listed[-1]))]
        times = [at for path in ends for at in _span(decoder, path)]
        said = f"records from {moment_words(min(times))} to {moment_words(max(times))}" if times else "no record"
        out.append(f"{name}: {said}")
    return out


def _span(decoder: Decoder, path: Path) -> list[int]:
    """Give the first and the last event time (ms) of a file; nothing where no record has one."""
    found: list[int] = []
    with contextlib.suppress(*UNREADABLE), open_log(path) as stream:  # what came before a tear counts
        for lines, _, broken in blocks(stream, _BLOCK):
            times = decoder.decode([] if broken else [lines], lines=True).times
            good = times[times >= EARLIEST]
            found = [*found, int(good.min()), int(good.max())] if len(good) else found
            found = [min(found), max(found)] if found else found
    return found
