"""Writers: where the line's output goes: segments for files, the spool for everything that leaves the machine.

Guarantee: what `write_batch` took is durable in the spool when it returns (an alert must not wait for a snapshot), and
nothing is unflushed when `snapshot` returns. What a resume emits again carries the same identity and is recognised.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import orjson

from flows.barrier import Output
from flows.catch_up import CatchUp
from flows.engine import Writer
from flows.firing import KIND, FiringFile
from flows.output import Block, Closed
from flows.spool_ids import rows_id, said_id
from sinks.files import Segments
from sinks.notification import Notification
from sinks.rows import Rows
from sinks.spool import Spool, SpoolItem

TABLES = {
    "windows": "window_metrics",
    "evaluations": "evaluations",
    "transitions": "transitions",
    "notifications": "notifications",
    "exemplars": "exemplars",
    "window_histograms": "window_histograms",
    "dead_letters": "dead_letters",
    "pipeline_events": "pipeline_events",
}


class SegmentWriter(Writer):
    """Writes blocks to the segments of a bounded run."""

    def __init__(self, folder: Path, state: bytes | None) -> None:
        """Open the folder, cut back to the snapshot."""
        self._segments = Segments(folder, orjson.loads(state) if state else None)

    def write_batch(self, items: list[Output]) -> None:
        """Append the blocks."""
        for item in items:
            if isinstance(item, Block) and item.kind != KIND:
                self._segments.append(item.kind, item.at, item.name, item.data)
        self._segments.flush()

    def snapshot(self) -> bytes:
        """Make everything durable."""
        return orjson.dumps(self._segments.lengths())

    def close(self) -> None:
        """Close the segments."""
        self._segments.close()


class SpoolWriter(Writer):
    """Puts notifications and rows into the spool; `with_rows` says whether a ClickHouse is configured."""

    def __init__(  # noqa: PLR0913  a spool and what listens to it, all named
        self,
        spool: Spool,
        *,
        with_rows: bool,
        version: str = "",
        firing: FiringFile | None = None,
        beat: Callable[[], None] | None = None,
        catch_up: CatchUp | None = None,
    ) -> None:
        """Take an open spool; `version` names the configuration in every row, `firing` keeps what is open.

        `beat` is called when windows were closed and what they led to is in the spool; `catch_up` holds back what is stale.
        """
        self._spool = spool
        self._beat = beat
        self._catch_up = catch_up
        self._firing = firing
        self._with_rows = with_rows
        self._stamp = orjson.dumps({"config_version": version})[:-1] + b","

    def write_batch(self, items: list[Output]) -> None:
        """Commit the items in one transaction; raises SpoolFull."""
        if self._firing is not None:
            self._firing.take(items)
        held = self._catch_up.take(items) if self._catch_up is not None else {}
        self._spool.put(self._items(items, held))
        if self._beat is not None and any(isinstance(item, Closed) for item in items):
            self._beat()

    def write_now(self, items: Sequence[Output]) -> None:
        """Commit what no window says, of which nothing waits for a catch-up; raises SpoolFull."""
        self._spool.put(self._items(items, {}))

    def _items(self, items: Sequence[Output], held: Mapping[str, frozenset[str]]) -> Iterable[SpoolItem]:
        for item in items:
            if isinstance(item, Notification):
                payload = item.to_bytes()
                for channel in item.channels:
                    if channel in held.get(item.id, ()):
                        continue
                    yield SpoolItem(said_id(item.id, channel), channel, item.episode, payload, item.at)
            elif self._with_rows and isinstance(item, Block) and item.kind in TABLES:
                rows = Rows(TABLES[item.kind], b"".join(self._stamp + line[1:] for line in item.data.splitlines(keepends=True)))
                yield rows.item(rows_id(item), item.at)

    def snapshot(self) -> bytes:
        """Give nothing: the spool is its own state."""
        return b""

    def close(self) -> None:
        """Leave the spool open; delivery still reads it."""


class BothWriter(Writer):
    """Writes to segments and to the spool."""

    def __init__(self, segments: SegmentWriter, spool: SpoolWriter) -> None:
        """Take the two."""
        self._segments = segments
        self._spool = spool

    def write_batch(self, items: list[Output]) -> None:
        """Write to the spool first: it may be full, and then nothing is half written."""
        self._spool.write_batch(items)
        self._segments.write_batch(items)

    def snapshot(self) -> bytes:
        """Give the segments' state."""
        return self._segments.snapshot()

    def close(self) -> None:
        """Close both."""
        self._segments.close()
        self._spool.close()


class NotedWriter(Writer):
    """A writer of whose snapshots somebody takes note."""

    def __init__(self, writer: Writer, written: Callable[[], None]) -> None:
        """Take the two."""
        self._writer = writer
        self._written = written

    def write_batch(self, items: list[Output]) -> None:
        """Write."""
        self._writer.write_batch(items)

    def snapshot(self) -> bytes:
        """Give the writer's, and say so."""
        state = self._writer.snapshot()
        self._written()
        return state

    def close(self) -> None:
        """Close the writer."""
        self._writer.close()
