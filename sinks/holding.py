"""Holding: items of a spool that are kept back until what they belong to (a stream) has caught up.

Guarantee: as the spool's. What `hold` returned from is on the disk; `settle` is one transaction, so that after a crash all
of it has happened or nothing has. An id that was held, released or withdrawn is known, and never taken again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sinks.spool import Spool, SpoolItem

_SCHEMA = "CREATE TABLE IF NOT EXISTS held (id TEXT PRIMARY KEY, stream TEXT NOT NULL) WITHOUT ROWID"
_OF = "FROM items JOIN held USING (id) WHERE state = 'held' AND stream = ?"
# What a destination has, or had, of an episode: something that is not held, or a memory.
_KNOWN = """
EXISTS (SELECT 1 FROM items AS other WHERE other.destination = items.destination AND other.episode = items.episode
    AND other.state <> 'held')
OR EXISTS (SELECT 1 FROM memory WHERE memory.destination = items.destination AND memory.episode = items.episode)
"""


@dataclass(frozen=True, slots=True)
class Settlement:
    """What becomes of held items: `release` goes out with the payload given, `withdraw` never, `new` besides."""

    release: Mapping[str, bytes] = field(default_factory=dict)
    withdraw: Sequence[str] = ()
    new: Sequence[SpoolItem] = ()


class Holding:
    """The held items of one spool."""

    def __init__(self, spool: Spool) -> None:
        """Make the place for them where there is none."""
        self._spool = spool
        with spool._write() as db:
            db.execute(_SCHEMA)
            db.execute("CREATE INDEX IF NOT EXISTS held_items ON items (destination, episode, seq) WHERE state = 'held'")
            db.execute("CREATE INDEX IF NOT EXISTS of_episode ON items (destination, episode)")

    def hold(self, items: Iterable[SpoolItem], stream: str) -> None:
        """Store items that are not to go out yet; an id that is known is ignored. Raises SpoolFull."""
        stored, why = self._spool._ms(), f"waits until {stream} has caught up"
        rows = [(i.id, i.destination, i.episode, i.payload, i.at, stored, why) for i in items]
        with self._spool._write() as db:
            db.executemany(
                "INSERT INTO items (id, destination, episode, payload, at, stored_at, error, state)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, 'held') ON CONFLICT (id) DO NOTHING",
                rows,
            )
            held = "INSERT OR IGNORE INTO held SELECT id, ? FROM items WHERE id = ? AND state = 'held'"
            db.executemany(held, [(stream, row[0]) for row in rows])

    def streams(self) -> dict[str, float]:
        """Give the streams for which something is held, with the time of the oldest (seconds)."""
        with self._spool._lock:
            rows = self._spool._db.execute(
                "SELECT stream, min(stored_at) FROM items JOIN held USING (id) WHERE state = 'held' GROUP BY 1"
            ).fetchall()
        return {stream: oldest / 1000 for stream, oldest in rows}

    def episodes(self, stream: str) -> list[tuple[str, str, bool]]:
        """Give (destination, episode, whether the destination had something of it before), in the order they began."""
        query = f"SELECT destination, episode, {_KNOWN} {_OF} GROUP BY 1, 2 ORDER BY min(seq)"
        with self._spool._lock:
            rows = self._spool._db.execute(query, (stream,)).fetchall()
        return [(destination, episode, bool(known)) for destination, episode, known in rows]

    def items(self, stream: str, destination: str, episode: str) -> list[tuple[str, bytes]]:
        """Give the held items of an episode (id, payload), in their order."""
        query = f"SELECT id, payload {_OF} AND destination = ? AND episode = ? ORDER BY seq"
        with self._spool._lock:
            return self._spool._db.execute(query, (stream, destination, episode)).fetchall()

    def settle(self, settlement: Settlement) -> None:
        """Let held items go, or not, and store what is said instead. Raises SpoolFull: nothing has changed."""
        now = self._spool._ms()
        new = [(i.id, i.destination, i.episode, i.payload, i.at, now) for i in settlement.new]
        with self._spool._write() as db:
            woken = db.execute("SELECT DISTINCT destination FROM items WHERE state = 'held'").fetchall()
            db.executemany(
                "UPDATE items SET state = 'queued', error = '', payload = ? WHERE id = ? AND state = 'held'",
                [(payload, each) for each, payload in settlement.release.items()],
            )
            db.executemany(
                "UPDATE items SET state = 'delivered', payload = NULL, done_at = ?, error = 'not said: it was over'"
                " WHERE id = ? AND state = 'held'",
                [(now, each) for each in settlement.withdraw],
            )
            db.executemany(
                "INSERT INTO items (id, destination, episode, payload, at, stored_at)"
                " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
                new,
            )
            db.execute("DELETE FROM held WHERE NOT EXISTS (SELECT 1 FROM items WHERE items.id = held.id AND state = 'held')")
        self._spool.wake({destination for (destination,) in woken} | {item.destination for item in settlement.new})
