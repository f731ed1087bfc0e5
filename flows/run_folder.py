"""Run folder: what one run keeps on disk: its spec, plan, recovery store, spool, segments; one run at a time in it."""

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from connectors.source import SourceError

_Note = TypeVar("_Note", bound=msgspec.Struct)
_FIXED = {
    "recorded": "--recorded",
    "alerts": "--alerts",
    "rows": "--into-clickhouse",
    "allowed_lateness_ms": "--allowed-lateness",
}


class FolderInUse(Exception):
    """Another run works in the same folder."""


class RunSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What every process of a run must know; times in ms UTC."""

    mode: Literal["replay", "until_end", "live"]
    config: str
    source: str
    start: int | None
    end: int | None
    state: str
    out: str | None
    recorded: str | None = None  # the state folder of a live run whose recordings are taken
    alerts: str | None = None  # where the alerts as they were at `start` are read: `clickhouse` or a folder
    rows: bool = False  # a replay makes the rows that only tables have, too
    allowed_lateness_ms: int | None = None  # in place of the configuration's
    machine: int = 0  # of `machines`
    machines: int = 1

    def with_(self, **changes: Any) -> "RunSpec":
        """Give the spec with other values."""
        return msgspec.structs.replace(self, **changes)


class RunFolder:
    """Paths inside the folder."""

    def __init__(self, path: Path) -> None:
        """Make the folder, for its owner only; what is in it and others could read or write is closed to them.

        Raises SourceError where it, or something in it, belongs to another user, who could have put anything there.
        """
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        place = path.resolve()
        for each in (place, *place.rglob("*")):
            with contextlib.suppress(FileNotFoundError):  # a draft that was put in its place meanwhile
                _close_to_others(each)
        self._name(path)

    @classmethod
    def at(cls, path: Path) -> "RunFolder":
        """Give the paths inside a folder of another run, which is left as it is."""
        out = cls.__new__(cls)
        out._name(path)
        return out

    def _name(self, path: Path) -> None:
        self.path = path
        self.recovery = path / "recovery"
        self.spool = path / "spool" / "spool-0.db"
        self.segments = path / "segments"
        self.board = path / "board"
        self.spec = path / "run.json"
        self.controls = path / "controls.ndjson"
        self.early = path / "early.ndjson"
        self.firing = path / "firing.json"
        self.deployed = path / "deployed.json"
        self.blindness = path / "blindness.json"
        self.dead_letters = path / "dead_letters.ndjson"
        self.recorded = path / "recorded"
        self.recall = path / "recall"
        self.doubts = path / "doubts.json"
        self.upload = path / "upload.json"
        self.plan = path / "plan.json"
        self.restart = path / "restart.json"
        self.clock = path / "clock.json"
        self.machines = path / "machines.json"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder; raises FolderInUse where another run does."""
        with open(self.path / "lock", "a+", opener=private) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.seek(0)
                owner = file.read().strip() or "unknown"
                raise FolderInUse(
                    f"{self.path} is in use by another run (process {owner}); stop it, or give this run a folder of its own"
                ) from error
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def refuse_other(self, spec: RunSpec) -> None:
        """Refuse to go on with a replay that was begun with other options; raises SourceError."""
        if not self.spec.exists() or not (self.path / "plan.json").exists():
            return
        before = read_spec(self.spec)
        for name, option in _FIXED.items():
            was, now = getattr(before, name), getattr(spec, name)
            if was != now:
                raise SourceError(
                    f"{self.path} was begun with {option} {was or 'not given'}, and now it is {now or 'not given'}: "
                    "change it back, or start in a new folder"
                )

    def write_spec(self, spec: RunSpec) -> None:
        """Write the spec for the processes of this run."""
        self.spec.write_bytes(msgspec.json.encode(spec))


def private(name: str, flags: int) -> int:
    """Open a file that nobody else may read or write: an opener for `open`."""
    return os.open(name, flags, 0o600)


def read_note(path: Path, kind: type[_Note], way_out: str) -> _Note | None:
    """Read a small file of a state folder; None where there is none. Raises SourceError, which says the way out."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise SourceError(f"{path} is broken: {error}; {way_out}") from error


def write_note(path: Path, note: msgspec.Struct) -> None:
    """Write a small file in one piece; it is on the disk when this returns."""
    draft = path.with_suffix(".draft")
    with open(draft, "wb", opener=private) as file:
        file.write(msgspec.json.encode(note))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _close_to_others(path: Path) -> None:
    found = path.lstat()
    if found.st_uid != os.geteuid():
        raise SourceError(
            f"{path} belongs to user {found.st_uid}, and this is user {os.geteuid()}: run as that user, or give it to this one "
            "(chown -R) if nobody else can have written into it"
        )
    if not stat.S_ISLNK(found.st_mode) and stat.S_IMODE(found.st_mode) & 0o077:
        path.chmod(stat.S_IMODE(found.st_mode) & 0o700)


def read_spec(path: Path) -> RunSpec:
    """Read a spec; ValueError (msgspec) where the file holds something else."""
    return msgspec.json.decode(path.read_bytes(), type=RunSpec)
