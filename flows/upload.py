"""Upload: the rows of a replay that is complete into the tables, under the name of a run.

Guarantee: at-least-once; tables collapse what comes twice. How far it came is kept in the replay's folder, so the same command
goes on where it was stopped. Live rows (the run without a name) are never touched here.
"""

import logging
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import orjson

from flows.decision_log import quoted
from flows.run_folder import RunFolder
from sinks.clickhouse import ClickHouse, tables
from sinks.files import read_blocks
from sinks.notification import DeliveryError

TABLES = {
    "windows": "window_metrics",
    "window_histograms": "window_histograms",
    "exemplars": "exemplars",
    "evaluations": "evaluations",
    "transitions": "transitions",
    "notifications": "notifications",
    "pipeline_events": "pipeline_events",
    "dead_letters": "dead_letters",
}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_BATCH = 4 << 20
_ATTEMPTS, _LONGEST_S = 8, 30.0
_log = logging.getLogger(__name__)


class RunExists(Exception):
    """There are rows under the name of a run already; the sentence says what can be done."""


class _Upload(msgspec.Struct):
    """How far an upload is: blocks that are in, by kind."""

    run: str
    cleared: bool = False
    done: dict[str, int] = msgspec.field(default_factory=dict)


def check_name(client: ClickHouse, folder: Path, run: str, *, replace: bool) -> None:
    """Refuse a name that has rows of another replay; raises RunExists."""
    state = _read(RunFolder.at(folder).upload)
    if replace or (state is not None and state.run == run):
        return
    held = [table for table in tables() if client.query(f"SELECT 1 AS n FROM {table} WHERE run = {quoted(run)} LIMIT 1")]  # noqa: S608
    if held:
        raise RunExists(f"run {run!r} has rows already (in {', '.join(held)}); give another --run, or --replace them")


def upload(client: ClickHouse, folder: RunFolder, *, run: str, version: str, told: Callable[[int], None]) -> dict[str, int]:
    """Insert what a replay's segments hold; gives table -> lines inserted by this call. Raises DeliveryError.

    `version` names the configuration in every row; `told` hears how many lines are in.
    """
    state = _read(folder.upload)
    if state is None or state.run != run:
        state = _Upload(run)
    if not state.cleared:
        for table in tables():
            _patiently(lambda name=table: client.execute(f"ALTER TABLE {name} DELETE WHERE run = {quoted(run)}"))  # type: ignore[misc]
        state.cleared = True
        _write(folder.upload, state)
    stamp = orjson.dumps({"config_version": version, "run": run})[:-1] + b","
    out: dict[str, int] = {}
    for kind, table in TABLES.items():
        for blocks, lines in _batches(folder.segments / f"{kind}.segment", state.done.get(kind, 0)):
            rows = b"".join(stamp + line[1:] for line in lines)
            _patiently(lambda name=table, data=rows: client.insert(name, data))  # type: ignore[misc]
            state.done[kind] = blocks
            _write(folder.upload, state)
            out[table] = out.get(table, 0) + len(lines)
            told(sum(out.values()))
    return out


def _batches(path: Path, skip: int) -> Iterator[tuple[int, list[bytes]]]:
    """Give (blocks read so far, lines) from block `skip` on."""
    lines: list[bytes] = []
    size = number = 0
    for number, (_, _, data) in enumerate(read_blocks(path), 1):
        if number <= skip:
            continue
        lines += data.splitlines(keepends=True)
        size += len(data)
        if size >= _BATCH:
            yield number, lines
            lines, size = [], 0
    if lines:
        yield number, lines


def _patiently(work: Callable[[], None]) -> None:
    """Do it, again and again while the server is away; raises what a person has to look at."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            work()
        except DeliveryError as error:
            if not error.retryable or attempt == _ATTEMPTS:
                raise
            wait = min(2.0**attempt, _LONGEST_S)
            _log.warning("%s; again in %d s", error, wait)
            time.sleep(wait)
        else:
            return


def _read(path: Path) -> _Upload | None:
    return msgspec.json.decode(path.read_bytes(), type=_Upload) if path.exists() else None


def _write(path: Path, state: _Upload) -> None:
    draft = path.with_suffix(".draft")
    draft.write_bytes(msgspec.json.encode(state))
    draft.replace(path)
