"""Restart: where a live run goes on whose state was given up: one small file of the state folder, read at every start."""

from pathlib import Path

import msgspec

from flows.run_folder import RunFolder, RunSpec, read_note


class Restart(msgspec.Struct, frozen=True, kw_only=True):
    """Windows that start at `start` (ms) or later are judged; `alerts` says where the alerts before come from."""

    start: int
    alerts: str | None = None


def read_restart(path: Path) -> Restart | None:
    """Give where to go on; None where no state was given up. Raises SourceError."""
    return read_note(path, Restart, "`edgewatch recovery reset` writes it anew")


def since_restart(spec: RunSpec, state: Path) -> RunSpec:
    """Let a replay of a run that went on so begin where it went on, with the alerts that it took. Raises SourceError.

    What was read before is in no recording; a replay that begins later is left as it is.
    """
    restart = read_restart(RunFolder.at(state).restart)
    if restart is None or (spec.start is not None and spec.start > restart.start):
        return spec
    return spec.with_(start=restart.start, alerts=restart.alerts)
