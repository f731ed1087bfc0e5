"""The spool: durable, each id once, order by episode, bounded, and safe on a full disk."""

import os
import sqlite3
import stat
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sinks.notification import Notification
from sinks.spool import KEEP_IDS, KEEP_IDS_MS, Spool, SpoolBroken, SpoolFull, SpoolItem
from tests.fakes.clock import ManualClock

MB = 1 << 20


def item(name: str, *, episode: str = "", destination: str = "slack", payload: bytes = b"x") -> SpoolItem:
    return SpoolItem(name, destination, episode or name, payload, 0)


def due(spool: Spool, destination: str = "slack", *, limit: int = 10, size: int = MB) -> list[str]:
    return [waiting.id for waiting in spool.due(destination, limit=limit, size=size)]


def test_what_was_put_is_there_after_a_restart(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    spool.put([item("a", payload=b"\x00\xff")])
    spool.close()
    again = Spool(tmp_path / "s")
    got = [(w.id, w.payload) for w in again.due("slack", limit=1, size=1)]
    again.close()
    assert got == [("a", b"\x00\xff")]


def test_an_id_is_taken_once_even_after_it_was_delivered(spool: Spool) -> None:
    first = spool.put([item("a"), item("a"), item("b")])
    spool.delivered("slack", ["a"], "a", {})
    second = spool.put([item("a"), item("b"), item("c")])
    assert (first, second, spool.queued(["slack"])) == (2, 1, 2)


def test_only_the_owner_can_read_the_files(spool: Spool) -> None:
    spool.put([item("a")])
    got = {stat.S_IMODE(each.stat().st_mode) for each in spool.path.parent.iterdir()}
    assert got == {0o600}


def test_a_failing_item_holds_back_its_own_episode_only(spool: Spool) -> None:
    spool.put([item("a1", episode="a"), item("b1", episode="b"), item("a2", episode="a")])
    spool.failed("slack", ["a1"], error="no", delay=60.0)
    assert due(spool) == ["b1"]
    spool.delivered("slack", ["b1"], "b", {})
    assert due(spool) == []


def test_items_of_an_episode_come_together_up_to_the_limits(spool: Spool) -> None:
    spool.put([item(f"r{n}", episode="all", payload=bytes(100)) for n in range(5)])
    assert due(spool, limit=3) == ["r0", "r1", "r2"]
    assert due(spool, size=250) == ["r0", "r1"]
    assert due(spool, size=1) == ["r0"]


def test_the_next_try_comes_when_it_is_due(spool: Spool, clock: ManualClock) -> None:
    spool.put([item("a")])
    spool.failed("slack", ["a"], error="no", delay=30.0)
    before = (due(spool), spool.next_due("slack"))
    clock.at += 30.0
    assert (before, due(spool)) == (([], 30.0), ["a"])


def test_memory_belongs_to_a_destination_and_an_episode(spool: Spool) -> None:
    spool.put([item("a", episode="e")])
    spool.delivered("slack", ["a"], "e", {"ts": "1"})
    got = (spool.memory("slack", "e"), spool.memory("pager", "e"), spool.memory("slack", "f"))
    assert got == ({"ts": "1"}, {}, {})


def test_dead_items_can_be_retried_and_dropped(spool: Spool) -> None:
    spool.put([item("a"), item("b")])
    spool.bury(["a", "b"], error="HTTP 404")
    dead = [(row.id, row.state, row.attempts, row.error) for row in spool.rows()]
    retried, dropped = spool.retry(["a"]), spool.drop()
    assert dead == [("a", "dead", 1, "HTTP 404"), ("b", "dead", 1, "HTTP 404")]
    assert (retried, dropped, due(spool), spool.put([item("b")])) == (["a"], ["b"], ["a"], 0)


def test_a_dead_page_is_not_retried_behind_its_delivered_resolve(spool: Spool) -> None:
    spool.put([item("page", episode="e"), item("resolve", episode="e")])
    spool.bury(["page"], error="HTTP 400")
    spool.delivered("slack", ["resolve"], "e", {})
    assert spool.retry() == []


def test_a_queued_item_can_be_dropped_by_its_id(spool: Spool) -> None:
    spool.put([item("a"), item("b")])
    assert (spool.drop(["a", "unknown"]), due(spool)) == (["a"], ["b"])


def test_delivered_ids_are_forgotten_after_their_time(spool: Spool, clock: ManualClock) -> None:
    spool.put([item("a")])
    spool.delivered("slack", ["a"], "a", {"x": "1"})
    clock.at += KEEP_IDS_MS / 1000 - 1
    spool.prune()
    kept = spool.counts()
    clock.at += 2
    spool.prune()
    assert (kept, spool.counts()) == ({("slack", "delivered"): 1}, {})


@pytest.mark.slow
def test_delivered_ids_are_bounded_in_number(spool: Spool) -> None:
    spool.put(item(str(n), episode="e") for n in range(KEEP_IDS + 500))
    spool.delivered("slack", [str(n) for n in range(KEEP_IDS + 500)], "e", {})
    spool.prune()
    assert spool.counts() == {("slack", "delivered"): KEEP_IDS}


def test_the_file_gives_back_the_room_of_delivered_payloads(spool: Spool) -> None:
    sizes = []
    for turn in range(3):
        names = [f"{turn}.{n}" for n in range(20)]
        spool.put(item(name, episode="e", payload=os.urandom(MB // 4)) for name in names)
        spool.delivered("slack", names, "e", {})
        spool.prune()
        with sqlite3.connect(spool.path) as db:
            sizes.append(db.execute("PRAGMA page_count").fetchone()[0] * 4096)
        db.close()
    assert max(sizes) < MB


@dataclass
class Disk:
    """A place for a spool, and how to leave it 2 MB of room or more."""

    place: Path
    limit: Callable[[Spool], None]
    grow: Callable[[], None]


def _pages(spool: Spool) -> None:
    spool._db.execute("PRAGMA max_page_count=500")


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Disk]:
    """Give a file system of 2 MB where one may be mounted, else a spool that SQLite holds to that size."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        yield Disk(place, _pages, lambda: None)
        return
    more = ["mount", "-o", "remount,size=20m", str(place)]
    yield Disk(place, lambda _: None, lambda: _run(more))
    _run(["umount", str(place)])


def test_a_full_disk_takes_nothing_loses_nothing_and_goes_on_when_there_is_room(small_disk: Disk) -> None:
    path = small_disk.place / "spool"
    spool = Spool(path)
    small_disk.limit(spool)
    spool.put([item("kept", payload=bytes(1000))])
    stored = [1]

    def fill() -> None:
        for n in range(100):
            stored[0] += spool.put([item(f"big{n}", payload=os.urandom(100_000))])

    with pytest.raises(SpoolFull) as raised:
        fill()
    names = [row.id for row in spool.rows()]
    assert str(path) in str(raised.value)
    assert (names[0], len(names)) == ("kept", stored[0])
    spool.close()
    small_disk.grow()
    again = Spool(path)
    assert (again.put([item("later")]), again.queued(["slack"])) == (1, stored[0] + 1)
    again.close()


def test_a_full_database_raises_spool_full_and_leaves_what_was_there(spool: Spool) -> None:
    spool.put([item("kept")])
    with spool._lock:
        pages = spool._db.execute("PRAGMA page_count").fetchone()[0]
        spool._db.execute(f"PRAGMA max_page_count={pages + 4}")
    with pytest.raises(SpoolFull, match=str(spool.path)):
        spool.put([item("a", payload=bytes(MB)), item("b")])
    assert due(spool) == ["kept"]


def test_ten_thousand_items_are_one_transaction(spool: Spool) -> None:
    assert spool.put(item(str(n), episode=str(n)) for n in range(10_000)) == 10_000


# As the first version wrote it: no version, and a payload from before notifications had a provenance.
_FIRST_TABLES = """
CREATE TABLE items (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, destination TEXT NOT NULL,
    episode TEXT NOT NULL, payload BLOB, at INTEGER NOT NULL, stored_at INTEGER NOT NULL, tried_at INTEGER,
    next_at INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0, state TEXT NOT NULL DEFAULT 'queued',
    done_at INTEGER, error TEXT NOT NULL DEFAULT '');
CREATE TABLE memory (destination TEXT NOT NULL, episode TEXT NOT NULL, content TEXT NOT NULL, changed_at INTEGER NOT NULL,
    PRIMARY KEY (destination, episode)) WITHOUT ROWID;
"""
_FIRST_PAYLOAD = (
    b'{"at":1764547500000,"id":"a","rule":"high_error_rate","key":{"host":"a"},"fingerprint":"f","episode":"f:1764547500",'
    b'"dedup_key":"edgewatch/production/high_error_rate/f:1764547500","status":"firing","severity":"critical","reason":"first",'
    b'"channels":["slack"],"group":null,"title":"t","text":"x","value":0.07,"threshold":0.05,"labels":{},"evidence":{},'
    b'"environment":"production"}'
)


def test_a_spool_of_the_first_version_is_read_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "s"
    db = sqlite3.connect(path)
    db.executescript(_FIRST_TABLES)
    query = "INSERT INTO items (id, destination, episode, payload, at, stored_at) VALUES ('a/slack', 'slack', 'f:1', ?, 0, 0)"
    db.execute(query, (_FIRST_PAYLOAD,))
    db.commit()
    db.close()
    spool = Spool(path)
    new = spool.put([item("a/slack"), item("b")])
    waiting = spool.due("slack", limit=10, size=MB)
    spool.close()
    assert (new, [Notification.from_bytes(each.payload).title for each in waiting]) == (1, ["t"])


@pytest.mark.parametrize("damage", ["newer", "no database"])
def test_what_is_no_spool_of_ours_is_refused_in_one_sentence(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "s"
    if damage == "newer":
        Spool(path).close()
        db = sqlite3.connect(path)
        db.execute("PRAGMA user_version=99")
        db.close()
    else:
        path.write_bytes(b"no database at all, but longer than a header" * 40)
    with pytest.raises(SpoolBroken, match="newer edgewatch" if damage == "newer" else "is damaged or no spool"):
        Spool(path)
