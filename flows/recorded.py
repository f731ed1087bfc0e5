"""Recorded: what a live run wrote down beside its log, taken into the folder of a replay, so that it decides alike.

Taken are where the run began to read, what it decided by the clock (advances), control events with their stamps, and how far
it has judged. Copies, and made once: the live run goes on meanwhile, and a replay never touches its files.
"""

import shutil
from pathlib import Path

import msgspec

from connectors.advances import read_advances, write_advances
from connectors.plan import read_plan
from connectors.recorded import Recorded
from connectors.source import SourceError
from flows.run_folder import RunFolder

_ADVANCES, _PLAN = "advances.ndjson", "plan.json"


def take_recorded(state: Path, folder: RunFolder) -> None:
    """Copy the recordings of the live run in `state`; nothing where that was done before. Raises SourceError."""
    done = folder.recorded / _PLAN
    if done.exists():
        return
    plan = state / _PLAN
    if not plan.is_file():
        raise SourceError(f"{state} holds no recordings of a live run (no {_PLAN}); give its [engine].directory")
    try:
        live = read_plan(plan)
    except msgspec.DecodeError as error:
        raise SourceError(f"{plan} is not the plan of a run: {error}") from error
    if live.identity.get("mode") != "live":
        raise SourceError(f"{state} belongs to a bounded run, which records nothing; give the [engine].directory of a live one")
    folder.recorded.mkdir(exist_ok=True)
    closed = RunFolder.at(state).firing  # first: it may only say less than the events that are copied after it
    for path in (closed, RunFolder.at(state).controls):
        if path.exists():
            shutil.copyfile(path, folder.path / path.name)
    write_advances(folder.recorded / _ADVANCES, read_advances(sorted((state / "advances").glob("*.ndjson"))))
    draft = done.with_suffix(".draft")
    shutil.copyfile(plan, draft)
    draft.replace(done)


def recorded_in(folder: RunFolder) -> Recorded | None:
    """Give the recordings that were taken into a replay's folder; None where it has none."""
    if not (folder.recorded / _PLAN).exists():
        return None
    starts = {partition.name: partition.start for partition in read_plan(folder.recorded / _PLAN).partitions}
    return Recorded(starts, read_advances([folder.recorded / _ADVANCES]))
