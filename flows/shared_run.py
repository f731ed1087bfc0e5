"""Shared run: which run the state of a machine is of, where several machines share one.

Each has files of one recovery store: put together with those of another run they would resume what never was.
"""

import os
import secrets
from pathlib import Path

import msgspec

from connectors.source import SourceError
from flows.run_folder import RunFolder, private


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A small file of each machine's folder: which run its state is of, and on machine 0 whether all have begun it."""

    run: str
    begun: bool = False


def read_run(path: Path) -> Run | None:
    """Give which run a folder's state is of; None where no machine but this one has ever taken part. Raises SourceError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Run)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise SourceError(f"{path} is broken: {error}; `edgewatch recovery reset` gives the state up") from error


def write_run(path: Path, run: Run) -> None:
    """Write the file in one piece; it is on the disk when this returns."""
    draft = path.with_suffix(".draft")
    with open(draft, "wb", opener=private) as file:
        file.write(msgspec.json.encode(run))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def begin_run(folder: RunFolder) -> Run:
    """Give the run of machine 0's folder; a folder without recovery store begins a new one. Called before the store is made."""
    known, parts = read_run(folder.machines), any(folder.recovery.glob("*.sqlite3"))
    if known is not None and parts:
        return known
    made = Run(run=secrets.token_hex(8), begun=parts)
    write_run(folder.machines, made)
    return made
