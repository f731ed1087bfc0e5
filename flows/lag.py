"""Lag: how many records of each partition wait at the broker, as rows for who looks later.

They come from the watcher and its clock, never from windows: a window's rows are the same however often it is made again.
"""

from collections.abc import Callable, Sequence

from flows.health import Sample
from flows.output import Block, canonical, rfc3339

EVENT = "lag"
EVERY_MS = 30_000


class LagRows:
    """Writes a row a partition and half a minute; a partition whose end or position is not known gets none."""

    def __init__(self, put: Callable[[Sequence[Block]], None]) -> None:
        """Take who keeps rows."""
        self._put = put
        self._next = 0

    def take(self, sample: Sample) -> None:
        """Take what was seen. Raises SpoolFull."""
        blocks = lag_blocks(sample)
        if sample.at >= self._next and blocks:
            self._put(blocks)
            self._next = sample.at + EVERY_MS


def lag_blocks(sample: Sample) -> list[Block]:
    """Give a block a dataset: messages behind the broker's end (its high watermark) at the time of the look."""
    at = sample.at // 1000 * 1000
    lines: dict[str, list[bytes]] = {}
    for signs in sample.partitions:
        if signs.end is None or signs.position is None:
            continue
        topic, _, partition = signs.partition.rpartition("/")
        row = {"at": rfc3339(at), "dataset": signs.dataset, "topic": topic, "partition": partition}
        waiting = float(max(signs.end - signs.position, 0))
        lines.setdefault(signs.dataset, []).append(canonical(row | {"event": EVENT, "value": waiting}) + b"\n")
    return [Block("pipeline_events", at, dataset, b"".join(found)) for dataset, found in sorted(lines.items())]
