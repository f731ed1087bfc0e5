"""Shared run: which run the state of a machine is of, where several machines share one.

Each has files of one recovery store: put together with those of another run they would resume what never was.
"""

import secrets
from pathlib import Path

import msgspec

from flows.run_folder import RunFolder, read_note, write_note


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A small file of each machine's folder: which run its state is of, and on machine 0 whether all have begun it."""

    run: str
    begun: bool = False


def read_run(path: Path) -> Run | None:
    """Give which run a folder's state is of; None where no machine but this one has ever taken part. Raises SourceError."""
    return read_note(path, Run, "`edgewatch recovery reset` gives the state up")


def begin_run(folder: RunFolder) -> Run:
    """Give the run of machine 0's folder; a folder without recovery store begins a new one. Called before the store is made."""
    known, parts = read_run(folder.machines), any(folder.recovery.glob("*.sqlite3"))
    if known is not None and parts:
        return known
    made = Run(run=secrets.token_hex(8), begun=parts)
    write_note(folder.machines, made)
    return made
