"""Run folder: what one run keeps on disk: its spec, plan, recovery store, spool, segments; one run at a time in it."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec


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


class RunFolder:
    """Paths inside the folder."""

    def __init__(self, path: Path) -> None:
        """Make the folder, for its owner only."""
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o700)
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

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder; raises FolderInUse where another run does."""
        with (self.path / "lock").open("a+") as file:
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

    def write_spec(self, spec: RunSpec) -> None:
        """Write the spec for the processes of this run."""
        self.spec.write_bytes(msgspec.json.encode(spec))


def read_spec(path: Path) -> RunSpec:
    """Read a spec; ValueError (msgspec) where the file holds something else."""
    return msgspec.json.decode(path.read_bytes(), type=RunSpec)
