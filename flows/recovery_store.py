"""Recovery store: what Bytewax's SQLite files of a state folder hold, read without the engine and without running anything.

The engine pickles what steps give it, and ours give bytes. A pickle of bytes names no class, so here the reading of every
name is refused: a file that would run code on a resume is found before the engine sees it.
"""

import contextlib
import io
import json
import logging
import pickle
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from flows.sealed import SchemaUnknown, schema_of, unseal
from flows.snapshot import unpack

_log = logging.getLogger(__name__)
_EXECUTIONS = "SELECT ex_num, worker_count, resume_epoch FROM exs"
_FRONTS = "SELECT ex_num, worker_index, worker_frontier FROM fronts"
_OF_LATE = 8  # executions: a front may be there a moment before its execution is


class StoreBroken(Exception):
    """The store cannot be read, or holds what is no snapshot of ours; the sentence names the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One step's state of one key, as the engine would resume it."""

    step: str
    key: str
    epoch: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """What a resume would read: from which epoch on, the processes of the last start, and the newest snapshots before."""

    epoch: int | None
    executions: int
    processes: int
    snapshots: tuple[Snapshot, ...]

    def schemas(self) -> set[int]:
        """Give the versions of the snapshots."""
        return {schema_of(each.data) for each in self.snapshots}

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Give, by step, the number of keys and bytes."""
        out: dict[str, tuple[int, int]] = {}
        for each in self.snapshots:
            keys, size = out.get(each.step, (0, 0))
            out[each.step] = keys + 1, size + len(each.data)
        return dict(sorted(out.items()))

    def offsets(self) -> dict[str, dict[str, Any]]:
        """Give, by partition, the progress that reading goes on from (its `next_offset` is Kafka's)."""
        found: dict[str, dict[str, Any]] = {}
        for each in self._of("source"):
            found |= json.loads(each.data)
        return dict(sorted(found.items()))

    def closed(self) -> dict[str, int]:
        """Give, by dataset, the end (ms) of the last window that every shard has closed."""
        for each in self._of("sink"):
            barrier, _ = unpack(each.data)
            return {name: min(shards) for name, shards in barrier["closed"].items() if shards}
        return {}

    def _of(self, step: str) -> Iterator[Snapshot]:
        """Give the snapshots of a step without their versions; raises SchemaUnknown."""
        for each in self.snapshots:
            if each.step == step:
                yield Snapshot(step=step, key=each.key, epoch=each.epoch, data=unseal(each.data))


def read_store(folder: Path) -> Store:
    """Read all files of a store; raises StoreBroken."""
    executions: list[tuple[int, int, int]] = []
    fronts: list[tuple[int, int, int]] = []
    rows: list[tuple[str, str, int, bytes | None, Path]] = []
    for path in sorted(folder.glob("*.sqlite3")):
        with _reading(path) as file:
            executions += file.execute(_EXECUTIONS).fetchall()
            fronts += file.execute(_FRONTS).fetchall()
            found = file.execute("SELECT step_id, state_key, snap_epoch, ser_change FROM snaps").fetchall()
        rows += [(*row, path) for row in found]
    last = max(executions, default=None)
    epoch = resume_epoch(executions, fronts)
    newest: dict[tuple[str, str], Snapshot | None] = {}
    for step, key, at, data, path in sorted(rows, key=lambda row: row[:3]):
        state = None if data is None else _plain(data, path)  # what is never read again is looked at, too
        if epoch is not None and at < epoch:
            name = step.removeprefix("edgewatch.")
            newest[name, key] = None if state is None else Snapshot(step=name, key=key, epoch=at, data=state)
    kept = tuple(each for each in newest.values() if each is not None)
    return Store(epoch=epoch, executions=len(executions), processes=last[1] if last else 0, snapshots=kept)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a file of a store to be read; raises StoreBroken where that fails."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as file:
            yield file
    except sqlite3.Error as error:
        raise StoreBroken(f"{path} cannot be read: {error}") from error


def resume_epoch(executions: Iterable[tuple[int, int, int]], fronts: Iterable[tuple[int, int, int]]) -> int | None:
    """Give the epoch that the engine goes on from: what all workers of the last execution have passed; None before the first.

    An execution is (number, workers, epoch that it began at), a front (execution, worker, epoch that it has not passed).
    """
    last = max(executions, default=None)
    if last is None:
        return None
    number, workers, began = last
    passed = {worker: front for execution, worker, front in fronts if execution == number}
    return min(max(began, passed.get(worker, began)) for worker in range(workers))


def progress_in(folder: Path) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]:
    """Give the executions and fronts, of late, that the files of a folder know of. Raises StoreBroken."""
    executions: list[tuple[int, int, int]] = []
    fronts: list[tuple[int, int, int]] = []
    for path in sorted(folder.glob("*.sqlite3")):
        with _reading(path) as file:
            executions += file.execute(f"{_EXECUTIONS} ORDER BY ex_num DESC LIMIT {_OF_LATE}").fetchall()
            late = "WHERE ex_num > (SELECT MAX(ex_num) FROM fronts) - ?"
            fronts += file.execute(f"{_FRONTS} {late}", (_OF_LATE,)).fetchall()
    return executions, fronts


def forget_beyond(folder: Path, epoch: int | None) -> None:
    """Delete the snapshots from the epoch on that the engine goes on from.

    They are of an execution that ended before all had passed that epoch. The engine does not read them now, but leaves them:
    a step that hears nothing at the same epoch does not write over its own, and the next resume, beyond that epoch, would give
    it a state of before beside those of now. What cannot be written here
    (a full disk) the engine cannot write either, and says so.
    """
    if epoch is None:
        return
    for path in sorted(folder.glob("*.sqlite3")):
        try:
            with contextlib.closing(sqlite3.connect(path)) as file, file:
                if file.execute("SELECT 1 FROM snaps WHERE snap_epoch >= ? LIMIT 1", (epoch,)).fetchone():
                    file.execute("DELETE FROM snaps WHERE snap_epoch >= ?", (epoch,))
        except sqlite3.Error as error:
            _log.warning("%s cannot be written: %s", path, error)


def forget_unfinished(folder: Path) -> None:
    """Do so in a folder that has the whole store. Raises StoreBroken."""
    forget_beyond(folder, resume_epoch(*progress_in(folder)))


def check_store(folder: Path) -> None:
    """Refuse a store that this program must not resume from; raises StoreBroken or SchemaUnknown."""
    store = read_store(folder)
    try:
        for each in store.snapshots:
            unseal(each.data)
    except SchemaUnknown as error:
        raise SchemaUnknown(f"{folder.parent}: {error}") from None


def show(store: Store) -> Mapping[str, Any]:
    """Give plain values for people and machines; times in ms UTC. Raises SchemaUnknown, StoreBroken."""
    try:
        offsets, closed = store.offsets(), store.closed()
    except (msgspec.DecodeError, ValueError, KeyError, TypeError) as error:
        raise StoreBroken(f"a snapshot is not what this edgewatch writes: {error}") from error
    return {
        "schemas": sorted(store.schemas()),
        "epoch": store.epoch,
        "starts": store.executions,
        "processes": store.processes,
        "steps": {name: {"keys": keys, "bytes": size} for name, (keys, size) in store.sizes().items()},
        "partitions": offsets,
        "closed": closed,
    }


class _BytesOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def _plain(data: bytes, path: Path) -> bytes:
    """Read a pickle of bytes, and of nothing else."""
    try:
        found = _BytesOnly(io.BytesIO(data)).load()
    except Exception as error:
        raise StoreBroken(f"{path} holds a snapshot that edgewatch did not write ({error}); it was not loaded") from error
    if not isinstance(found, bytes):
        raise StoreBroken(f"{path} holds a snapshot that edgewatch did not write ({type(found).__name__}); it was not loaded")
    return found
