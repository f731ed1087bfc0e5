"""The spool: one durable local queue (SQLite) for everything that leaves.

Guarantee: what `put` returned from is on the disk (WAL, synchronous=FULL) and is given out until it is
delivered, dead or dropped by a person; an id is taken once. A crash between a delivery and its record repeats
that one delivery.

Why one table: the id of a delivered item stays (without its payload) so that what a resume emits again is
recognised; these ids are bounded by age and by number, and freed pages go back to the file system, so the
file does not grow for ever.
"""

import contextlib
import errno
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

KEEP_IDS_MS = 30 * 86_400_000
KEEP_IDS = 200_000
KEEP_MEMORY_MS = 90 * 86_400_000
_VERSION = 1  # of the tables; spools from before versions were counted say 0 and have the same ones
_FREE_AT_LEAST = 1 << 20
_BUSY_S = 30.0
_WAITED_MS = 30_000
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}

_SCHEMA = """
CREATE TABLE IF NOT EXISTS items (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    destination TEXT NOT NULL,
    episode TEXT NOT NULL,
    payload BLOB,
    at INTEGER NOT NULL,
    stored_at INTEGER NOT NULL,
    tried_at INTEGER,
    next_at INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT 'queued',
    done_at INTEGER,
    error TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS waiting ON items (destination, episode, seq) WHERE state = 'queued';
CREATE INDEX IF NOT EXISTS due ON items (destination, seq, next_at) WHERE state = 'queued';
CREATE INDEX IF NOT EXISTS done ON items (done_at) WHERE state = 'delivered';
CREATE INDEX IF NOT EXISTS dead ON items (seq) WHERE state = 'dead';
CREATE TABLE IF NOT EXISTS memory (
    destination TEXT NOT NULL,
    episode TEXT NOT NULL,
    content TEXT NOT NULL,
    changed_at INTEGER NOT NULL,
    PRIMARY KEY (destination, episode)
) WITHOUT ROWID;
"""
_WAITING = "id, episode, payload, attempts, tried_at IS NOT NULL OR stored_at <= ?"
_COLUMNS = "id, destination, episode, at, stored_at, tried_at, next_at, attempts, state, error"
# The first item of an episode that is due: a failing item holds back its own episode only.
_DUE = """
SELECT episode FROM items AS item WHERE destination = ? AND state = 'queued' AND next_at <= ? AND NOT EXISTS (
    SELECT 1 FROM items AS earlier WHERE earlier.destination = item.destination AND earlier.episode =
    item.episode AND earlier.state = 'queued' AND earlier.seq < item.seq) ORDER BY seq LIMIT 1
"""


class SpoolBroken(Exception):
    """The file is no spool that this version of edgewatch can read."""


class SpoolFull(OSError):
    """The disk under the spool is full; nothing was lost and nothing was taken."""


@dataclass(frozen=True, slots=True)
class SpoolItem:
    """Something to deliver: `id` is taken once; order is kept within (destination, episode)."""

    id: str
    destination: str
    episode: str
    payload: bytes
    at: int  # event time, ms


@dataclass(frozen=True, slots=True)
class SpoolRow:
    """The state of one item, without its payload; times in ms UTC."""

    id: str
    destination: str
    episode: str
    at: int
    stored_at: int
    tried_at: int | None
    next_at: int
    attempts: int
    state: str  # "queued", "held" (see sinks/holding.py), "delivered" or "dead"
    error: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """An item given out for delivery."""

    id: str
    episode: str
    payload: bytes
    attempts: int
    waited: bool  # its destination could not take it when it came: it was tried, or is in the spool for a while


class Spool:
    """One spool file; safe to use from several threads, and beside another process that lists or drops."""

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        """Open or create the file, readable by its owner only. Raises `SpoolFull`, `SpoolBroken`."""
        self.path = path
        self._now = now
        self._lock = threading.RLock()
        self._listeners: list[Callable[[set[str]], None]] = []
        with _full_disk(path), _readable(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            path.chmod(0o600)
            self._db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            _check_version(self._db, path)
            for pragma in (
                "auto_vacuum=INCREMENTAL",
                "journal_mode=WAL",
                "synchronous=FULL",
                "journal_size_limit=16777216",
                f"user_version={_VERSION}",
            ):
                self._db.execute(f"PRAGMA {pragma}")
            self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        with self._lock:
            self._db.close()

    def listen(self, listener: Callable[[set[str]], None]) -> None:
        """Call `listener` with the destinations of each `put` that stored something."""
        self._listeners.append(listener)

    def put(self, items: Iterable[SpoolItem]) -> int:
        """Store items, on the disk when it returns; gives how many were new. `SpoolFull`: none is stored."""
        stored = self._ms()
        rows = [(i.id, i.destination, i.episode, i.payload, i.at, stored) for i in items]
        if not rows:
            return 0
        with self._write() as db:
            new = db.executemany(
                "INSERT INTO items (id, destination, episode, payload, at, stored_at)"
                " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
                rows,
            ).rowcount
        if new:
            self.wake({row[1] for row in rows})
        return new

    def is_new(self) -> bool:
        """Tell whether nothing was ever put into it."""
        with self._lock:
            return self._db.execute("SELECT 1 FROM sqlite_sequence WHERE name = 'items'").fetchone() is None

    def wake(self, destinations: set[str]) -> None:
        """Tell the listeners that something waits for these destinations."""
        for listener in self._listeners:
            listener(destinations)

    # What delivery asks and records.

    def due(self, destination: str, *, limit: int, size: int) -> list[Waiting]:
        """Give the first queued items of the first due episode: at most `limit`, and `size` bytes or one."""
        with self._lock:
            found = self._db.execute(_DUE, (destination, self._ms())).fetchone()
            if found is None:
                return []
            rows = self._db.execute(
                f"SELECT {_WAITING} FROM items"  # noqa: S608  columns only
                " WHERE destination = ? AND episode = ? AND state = 'queued' ORDER BY seq LIMIT ?",
                (self._ms() - _WAITED_MS, destination, found[0], limit),
            )
            out: list[Waiting] = []
            for row in rows:
                size -= len(row[2])
                if out and size < 0:
                    break
                out.append(_waiting(row))
            return out

    def next_due(self, destination: str) -> float | None:
        """Give the seconds until the next queued item may be tried; None without one."""
        with self._lock:
            row = self._db.execute(
                "SELECT min(next_at) FROM items WHERE destination = ? AND state = 'queued'", (destination,)
            ).fetchone()
        return None if row[0] is None else max(0.0, (row[0] - self._ms()) / 1000)

    def memory(self, destination: str, episode: str) -> dict[str, str]:
        """Give what a destination remembers of an episode."""
        with self._lock:
            row = self._db.execute(
                "SELECT content FROM memory WHERE destination = ? AND episode = ?", (destination, episode)
            ).fetchone()
        return dict(orjson.loads(row[0])) if row else {}

    def delivered(self, destination: str, ids: Sequence[str], episode: str, memory: dict[str, str]) -> None:
        """Record a delivery: payloads go, ids and the episode's memory stay."""
        now = self._ms()
        with self._write() as db:
            db.executemany(
                "UPDATE items SET state = 'delivered', payload = NULL, done_at = ?, attempts = attempts + 1,"
                " error = '', tried_at = coalesce(tried_at, ?) WHERE id = ?",
                [(now, now, each) for each in ids],
            )
            self._remember(destination, episode, memory, now)

    def failed(self, destination: str, ids: Sequence[str], *, error: str, delay: float) -> None:
        """Record a failed attempt: these come again in `delay` seconds, all others count as waiting too."""
        now = self._ms()
        with self._write() as db:
            db.executemany(
                "UPDATE items SET attempts = attempts + 1, error = ?, next_at = ? WHERE id = ?",
                [(error, now + int(delay * 1000), each) for each in ids],
            )
            db.execute(
                "UPDATE items SET tried_at = ? WHERE destination = ? AND state = 'queued' AND tried_at IS NULL",
                (now, destination),
            )

    def bury(self, ids: Sequence[str], *, error: str) -> None:
        """Give items up after a last attempt: they stay, with their payload, until retried or dropped."""
        now = self._ms()
        with self._write() as db:
            db.executemany(
                "UPDATE items SET state = 'dead', done_at = ?, error = ?, attempts = attempts + 1,"
                " tried_at = coalesce(tried_at, ?) WHERE id = ?",
                [(now, error, now, each) for each in ids],
            )

    def expired(self, destination: str, *, age: float, limit: int) -> list[Waiting]:
        """Give queued items whose destination has failed for `age` seconds since they could be tried."""
        with self._lock:
            rows = self._db.execute(
                f"SELECT {_WAITING} FROM items"  # noqa: S608  columns only
                " WHERE destination = ? AND state = 'queued' AND tried_at <= ? ORDER BY seq LIMIT ?",
                (self._ms() - _WAITED_MS, destination, self._ms() - int(age * 1000), limit),
            ).fetchall()
        return [_waiting(row) for row in rows]

    def remember(self, destination: str, episode: str, memory: dict[str, str]) -> None:
        """Keep what a destination remembers of an episode."""
        with self._write():
            self._remember(destination, episode, memory, self._ms())

    # What people ask: `edgewatch spool list|retry|drop`.

    def counts(self) -> dict[tuple[str, str], int]:
        """Give the number of items by (destination, state), delivered ones as long as their ids stay."""
        with self._lock:
            rows = self._db.execute("SELECT destination, state, count(*) FROM items GROUP BY 1, 2 ORDER BY 1, 2").fetchall()
        return {(destination, state): count for destination, state, count in rows}

    def queued(self, destinations: Iterable[str]) -> int:
        """Give the number of items that still wait for these destinations."""
        with self._lock:
            return sum(
                self._db.execute("SELECT count(*) FROM items WHERE destination = ? AND state = 'queued'", (each,)).fetchone()[0]
                for each in destinations
            )

    def oldest(self) -> dict[str, int]:
        """Give, by destination, when the item that has waited longest was stored (ms UTC)."""
        with self._lock:
            rows = self._db.execute(
                "SELECT destination, min(stored_at) FROM items WHERE state = 'queued' GROUP BY 1"
            ).fetchall()
        return dict(rows)

    def rows(self, *, states: Sequence[str] = ("queued", "held", "dead"), limit: int = 1000) -> list[SpoolRow]:
        """Give items in these states in the order they came."""
        marks = ", ".join("?" * len(states))
        with self._lock:
            rows = self._db.execute(
                f"SELECT {_COLUMNS} FROM items WHERE state IN ({marks}) ORDER BY seq LIMIT ?",  # noqa: S608  marks only
                (*states, limit),
            ).fetchall()
        return [SpoolRow(*row) for row in rows]

    def retry(self, ids: Sequence[str] | None = None) -> list[str]:
        """Queue dead items again (all without `ids`); gives the ids that were.

        An item stays dead where something later of its episode was delivered: no page comes after its
        resolve.
        """
        with self._write() as db:
            wanted = None if ids is None else set(ids)
            dead = [row[0] for row in db.execute(_REVIVABLE) if wanted is None or row[0] in wanted]
            db.executemany(
                "UPDATE items SET state = 'queued', done_at = NULL, tried_at = NULL, next_at = 0 WHERE id = ?",
                [(each,) for each in dead],
            )
        return dead

    def drop(self, ids: Sequence[str] | None = None, *, destination: str | None = None) -> list[str]:
        """Forget items: those named, else the dead ones (of one destination); gives their ids."""
        with self._write() as db:
            if ids is not None:
                found = [row[0] for each in ids for row in db.execute(_UNDELIVERED, (each,))]
            else:
                query = "SELECT id FROM items WHERE state = 'dead' AND (? IS NULL OR destination = ?)"
                found = [row[0] for row in db.execute(query, (destination, destination))]
            now = self._ms()
            db.executemany(
                "UPDATE items SET state = 'delivered', payload = NULL, done_at = ?, error = 'dropped' WHERE id = ?",
                [(now, each) for each in found],
            )
        return found

    def prune(self) -> None:
        """Forget delivered ids and memories that are too old or too many, and give free pages back."""
        now = self._ms()
        with self._write() as db:
            db.execute("DELETE FROM items WHERE state = 'delivered' AND done_at < ?", (now - KEEP_IDS_MS,))
            old = "SELECT max(seq) - ? FROM items"
            db.execute(f"DELETE FROM items WHERE state = 'delivered' AND seq <= ({old})", (KEEP_IDS,))  # noqa: S608
            db.execute("DELETE FROM memory WHERE changed_at < ?", (now - KEEP_MEMORY_MS,))
        with self._lock, _full_disk(self.path):
            # Not execute(): that stops after the first page.
            self._db.executescript("PRAGMA incremental_vacuum")

    def _remember(self, destination: str, episode: str, memory: dict[str, str], now: int) -> None:
        if memory:
            self._db.execute(
                "INSERT OR REPLACE INTO memory VALUES (?, ?, ?, ?)",
                (destination, episode, orjson.dumps(memory).decode(), now),
            )
        else:
            query = "DELETE FROM memory WHERE destination = ? AND episode = ?"
            self._db.execute(query, (destination, episode))

    def _ms(self) -> int:
        return int(self._now() * 1000)

    @contextlib.contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _full_disk(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise


def _waiting(row: tuple[str, str, bytes, int, int]) -> Waiting:
    identity, episode, payload, attempts, waited = row
    return Waiting(identity, episode, payload, attempts, bool(waited))


_UNDELIVERED = "SELECT id FROM items WHERE id = ? AND state <> 'delivered'"
_REVIVABLE = """
SELECT id FROM items AS item WHERE state = 'dead' AND NOT (episode <> '' AND EXISTS (
    SELECT 1 FROM items AS later WHERE later.destination = item.destination AND later.episode = item.episode
    AND later.seq > item.seq AND later.state = 'delivered')) ORDER BY seq
"""


@contextlib.contextmanager
def _full_disk(path: Path) -> Iterator[None]:
    """Say `SpoolFull` where SQLite or the system says that there is no room."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if _is_full(error, path):
            raise _spool_full(path) from error
        raise
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise _spool_full(path) from error
        raise


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode not in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise
        problem = f"{path} is damaged or no spool ({error}); move it away, and what waits in it is not delivered"
        raise SpoolBroken(problem) from error


def _check_version(db: sqlite3.Connection, path: Path) -> None:
    (found,) = db.execute("PRAGMA user_version").fetchone()
    if found > _VERSION:
        raise SpoolBroken(f"{path} was written by a newer edgewatch (version {found} of the spool, {_VERSION} is known here)")


def _is_full(error: sqlite3.OperationalError, path: Path) -> bool:
    if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
        return True
    # The shared-memory file of the WAL cannot grow on a full disk: SQLite calls that an I/O error.
    in_trouble = (error.sqlite_errorcode & 0xFF) in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}
    return in_trouble and shutil.disk_usage(path.parent).free < _FREE_AT_LEAST


def _spool_full(path: Path) -> SpoolFull:
    problem = "the disk under the spool is full; free some space, nothing is lost"
    return SpoolFull(errno.ENOSPC, problem, str(path))
