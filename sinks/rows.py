"""Rows on their way to ClickHouse: how the spool keeps them, and the destination that inserts them.

Guarantee: at-least-once and in order; tables collapse what was inserted twice. Rows are never given up for a
server that is away, only where the server says that the rows themselves are wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import zstandard

from sinks.clickhouse import ClickHouse
from sinks.notification import UNLIMITED
from sinks.spool import SpoolItem, Waiting

DESTINATION = "clickhouse"


@dataclass(frozen=True, slots=True)
class Rows:
    """Lines of one table (NDJSON)."""

    table: str
    data: bytes

    def to_bytes(self) -> bytes:
        """Give the payload that the spool keeps, compressed."""
        return zstandard.compress(msgspec.msgpack.encode((self.table, self.data)), 1)

    @staticmethod
    def from_bytes(payload: bytes) -> "Rows":
        """Undo `to_bytes`."""
        return Rows(*msgspec.msgpack.decode(zstandard.decompress(payload), type=tuple[str, bytes]))

    def item(self, identity: str, at: int) -> SpoolItem:
        """Give the item for the spool; `identity` is the same when a resume makes the same rows again."""
        return SpoolItem(f"{identity}/{DESTINATION}", DESTINATION, "", self.to_bytes(), at)


class RowsDestination:
    """ClickHouse as a destination: what waits goes out in one insert a table, in the order it came."""

    name = DESTINATION
    pace = UNLIMITED
    give_up_s = None
    speaks = False
    limit = 64

    def __init__(self, clickhouse: ClickHouse) -> None:
        """Insert into the server's database."""
        self._clickhouse = clickhouse

    def take(self, items: Sequence[Waiting], memory: dict[str, str]) -> int:
        """Give how many of the items the next attempt covers: all."""
        del memory
        return len(items)

    def send(self, items: Sequence[Waiting], memory: dict[str, str]) -> dict[str, str]:
        """Insert the rows of all items."""
        tables: dict[str, list[bytes]] = {}
        for item in items:
            rows = Rows.from_bytes(item.payload)
            tables.setdefault(rows.table, []).append(rows.data)
        for table, parts in tables.items():
            self._clickhouse.insert(table, b"".join(parts))
        return memory
