"""History source: opens the history that a command names: windows of a replay, of ClickHouse, or replayed now from records."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import orjson

from flows.config import Config, ConfigErrors
from flows.history import History, HistoryError, Store
from flows.metric import MetricOptions
from flows.options import ConfigError, Reader
from flows.output import rfc3339
from flows.rule import RuleOptions
from flows.stored_windows import StoredWindows
from flows.window_folder import WindowFolder
from sinks.clickhouse import ClickHouse, ClickHouseOptions

SOURCES = "kafka, archive:DIR, clickhouse, clickhouse:RUN or windows:DIR"
REPLAYED = "replay"  # the folder in --out that holds the windows of records that were read
_MADE_OF = "made-of.json"
_TOTAL_S = 600.0  # a query over a year may take minutes
_AS_STORED = "A metric whose definition changed is judged as it was measured then; a replay from the records measures it anew"
_WAY_OUT = "replay from the records (--source kafka or archive:DIR)"

Replay = Callable[[Config, "Wish", Path, "Report"], bool]  # into a folder; False: told to stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Which history is meant: `source` (SOURCES), windows that start in [start, end) ms, None: all that are there.

    `warm_up_ms` before `start` are wanted too.
    """

    source: str
    start: int | None
    end: int | None
    warm_up_ms: int
    out: Path
    processes: int = 1

    @property
    def first(self) -> int | None:
        """Give from when on windows are wanted."""
        return None if self.start is None else self.start - self.warm_up_ms


class _MadeOf(msgspec.Struct, frozen=True, kw_only=True):
    """What the windows of a folder were made of; times in ms UTC."""

    source: str
    start: int | None
    end: int | None
    warm_up_ms: int
    measures: str


class Report(Protocol):
    """Is told how far reading is: how many of a unit, the event time reached (ms), and which share of all is done."""

    def begin(self, unit: str) -> None:
        """Count something else from now on."""
        ...

    def __call__(self, records: int, event_ms: int | None, share: float | None = None) -> None:
        """Take the figures of now."""
        ...


class Stopped(Exception):
    """The replay was told to stop; the same command goes on."""


def check_source(source: str) -> None:
    """Raise ConfigError where a source is none."""
    kind, _, name = source.partition(":")
    wrong = (kind in ("archive", "windows") and not name) or (kind == "kafka" and bool(name)) or source == "clickhouse:"
    if wrong or kind not in ("kafka", "archive", "clickhouse", "windows"):
        raise ConfigError("--source", f"{source!r}: give {SOURCES}")


@contextlib.contextmanager
def opened(config: Config, wish: Wish, bonds: Sequence[Sequence[str]], replay: Replay, report: Report) -> Iterator[History]:
    """Open a history; raises HistoryError, ConfigError, DeliveryError, Stopped, and what a replay raises."""
    with contextlib.ExitStack() as stack:
        kind, _, name = wish.source.partition(":")
        store: Store
        if kind == "clickhouse":
            if config.clickhouse is None:
                raise ConfigError("clickhouse", "is missing in the configuration, so there are no windows to read from there")
            client = ClickHouse(with_password(config, config.clickhouse), total=_TOTAL_S)
            stack.callback(client.close)
            store = StoredWindows(client, config.metrics, run=name, url=config.clickhouse.url)
        else:
            folder = Path(name) if kind == "windows" else _replayed(config, wish, replay, report)
            report.begin("MB of windows")
            store = WindowFolder(folder, lambda read, size: report(read >> 20, None, read / max(size, 1)))
            stack.callback(store.close)
        report.begin("windows")
        yield History(store, config.metrics, bonds)


def with_password(config: Config, options: ClickHouseOptions) -> ClickHouseOptions:
    """Read the one secret that is needed; raises ConfigErrors."""
    problems: list[ConfigError] = []
    password = Reader(problems, config.source.parent, secrets=True).resolve(options.password, "clickhouse.password")
    if problems:
        raise ConfigErrors(str(config.source), problems)
    return replace(options, password=password)


def _replayed(config: Config, wish: Wish, replay: Replay, report: Report) -> Path:
    """Replay records into the folder of windows; what is there of the same records and metrics is used."""
    folder = wish.out / REPLAYED
    folder.mkdir(parents=True, exist_ok=True)
    made_of = _MadeOf(
        source=wish.source, start=wish.start, end=wish.end, warm_up_ms=wish.warm_up_ms, measures=_measures(config)
    )
    note = folder / _MADE_OF
    if note.is_file() and _read_note(note) != made_of:
        message = (
            f"{folder} holds windows of other records, metrics or times: give another --out, or read it as windows:{folder}"
        )
        raise HistoryError(message)
    note.write_bytes(msgspec.json.encode(made_of))
    summary = folder / "summary.json"
    if not summary.is_file() and not replay(config, wish, folder, report):
        raise Stopped(f"stopped; the same command with --out {wish.out} goes on")
    nothing = orjson.loads(summary.read_bytes()).get("empty")
    if nothing:
        raise HistoryError(nothing)
    return folder


def kept_times(out: Path, source: str) -> tuple[int | None, int | None]:
    """Give from when to when (ms) records of a source were replayed into a folder before; None where they were not."""
    note = _read_note(out / REPLAYED / _MADE_OF)
    return (note.start, note.end) if note is not None and note.source == source else (None, None)


def _read_note(path: Path) -> _MadeOf | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_MadeOf)
    except (OSError, msgspec.DecodeError):
        return None


def covered(history: History, start: int | None, end: int | None) -> tuple[int, int]:
    """Give from where to where in [start, end) ms there are windows; raises HistoryError where there are none.

    A history without any window, or a range beside it, is an error that says what is there.
    """
    first, last = history.start, history.end
    if first is None or last is None:
        way_out = "no record of the range is theirs" if _read_note(Path(history.store.name).parent / _MADE_OF) else _WAY_OUT
        raise HistoryError(f"{history.store.name} holds no window of the configured metrics; {way_out}")
    low, high = max(first, first if start is None else start), min(last, last if end is None else end)
    here = [int(np.count_nonzero((found >= low) & (found < high))) for found in map(history.starts, history.datasets)]
    if not any(here):
        asked = f"{'the beginning' if start is None else rfc3339(start)} to {'the end' if end is None else rfc3339(end)}"
        there = f"the first begins at {rfc3339(first)}, the last ends at {rfc3339(last)}"
        raise HistoryError(f"{history.store.name} holds no window in {asked}: {there}")
    return low, high


def check(history: History, config: Config) -> dict[str, str]:
    """Raise HistoryError where the windows cannot be judged by a configuration; gives rules without any window, and why.

    What the windows lack is an error where they were measured by another configuration: the metric may be a new one. It is
    none where the history has nothing of a whole dataset, or where all these metrics were measured and left no row.
    """
    name, window = history.store.name, config.window
    if history.length_ms and history.length_ms != window.length_ms:
        lengths = f"{history.length_ms / 1000:g} s long, those of the configuration {window.length_ms / 1000:g} s"
        raise HistoryError(f"the windows of {name} are {lengths} (window.length); change that, or {_WAY_OUT}")
    for starts in map(history.starts, history.datasets):
        between = np.diff(starts)
        pane = window.pane_ms
        if len(between) and (int(between.min()) < pane or bool((between % pane).any())):
            spaces = f"begin every {int(between.min()) / 1000:g} s, those of the configuration every {pane / 1000:g} s"
            raise HistoryError(f"the windows of {name} {spaces} (window.hop); change that, or {_WAY_OUT}")
    measured = _read_note(Path(name).parent / _MADE_OF)
    whole = measured is not None and measured.measures == _measures(config)
    lacks: list[str] = []
    left: dict[str, str] = {}
    for rule, dataset, what in _missing(history.store, config.rules, config.metrics):
        if whole or not len(history.starts(dataset)):
            left[rule] = f"no row of {what}" if len(history.starts(dataset)) else f"no window of {dataset}"
        else:
            lacks.append(f"{what} (rule {rule})")
    if lacks:
        raise HistoryError(f"{name} lacks {', '.join(lacks)}: take these rules out, or {_WAY_OUT}")
    return left


def measured_otherwise(history: History, config: Config, start: int, end: int) -> list[str]:
    """Say of the windows in [start, end) ms what may have been measured by another definition than the configuration's.

    A replay's folder knows the definition of each metric; rows in ClickHouse know the version of a whole configuration.
    """
    store = history.store
    if isinstance(store, StoredWindows):
        found = store.versions(start, end)
        if [version for version, *_ in found] in ([], [config.version]):
            return []
        made = ", ".join(f"{version or 'unnamed'} ({rfc3339(first)} to {rfc3339(last)})" for version, first, last in found)
        several = f"{len(found)} configurations" if len(found) > 1 else "another configuration"
        return [f"the windows were made by {several}, versions {made}; this one is {config.version}. {_AS_STORED}"]
    measured = _summary(Path(store.name).parent).get("metrics", {})
    judged = {rule.metric for rule in config.rules if rule.kind != "composite"}
    now = {each.name: each.identity for each in config.metrics if each.name in judged}
    changed = sorted(name for name in now if measured.get(name, now[name]) != now[name])
    if not changed:
        return []
    return [f"{', '.join(changed)}: the windows of {store.name} were measured by another definition. {_AS_STORED}"]


def _summary(folder: Path) -> dict[str, Any]:
    try:
        found = orjson.loads((folder / "summary.json").read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def _measures(config: Config) -> str:
    """Give what identifies the metrics and windows of a configuration."""
    return hashlib.sha256(f"{config.metrics} {config.window}".encode()).hexdigest()


def _missing(store: Store, rules: Sequence[RuleOptions], metrics: Sequence[MetricOptions]) -> Iterator[tuple[str, str, str]]:
    """Say what rules need and the store does not have: rule, dataset, and what; a metric of events may never have had one."""
    known = {metric.name: metric for metric in metrics}
    there = store.metrics
    for rule in rules:
        if rule.kind == "composite":
            continue
        dataset = known[rule.metric].dataset
        if rule.metric not in there:
            if rule.kind != "event":
                yield rule.name, dataset, rule.metric
            continue
        wanted = {rule.statistic} | ({"bad", "good"} if rule.kind == "slo" else set())
        lacks = wanted & set(known[rule.metric].statistics()) - set(there[rule.metric])
        if lacks:
            yield rule.name, dataset, f"{rule.metric} {', '.join(sorted(lacks))}"
