"""Window folder: the windows.ndjson of a replay as columns: read once into files beside it, then as often as wanted.

The columns are kept in DIR/.windows, a folder a metric; they are made anew where windows.ndjson is another one than they were
made of. A folder that cannot be written to is read into a temporary one.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from flows.history import HistoryError, Rows

WINDOWS, INDEX = "windows.ndjson", ".windows"
_VERSION = 1
_BLOCK = 8 << 20  # bytes of lines that are parsed at a time
_ROWS = 1 << 20  # of a column that are looked at at a time
_DTYPES: Mapping[str, Any] = {"starts": np.int64, "codes": np.int32, "counts": np.int64, "sketch": np.bool_}

Report = Callable[[int, int], None]  # bytes read, of all


class _Line(msgspec.Struct):
    """A line of windows.ndjson."""

    count: int
    key: msgspec.Raw
    method: str
    metric: str
    statistic: str
    value: float
    window_end: str
    window_start: str


class _Column(msgspec.Struct):
    """What is kept of a metric: its keys in the order of their codes, its statistics, and how many rows."""

    name: str
    keys: list[str]
    statistics: list[str]
    rows: int


class _Index(msgspec.Struct):
    """What the columns were made of."""

    version: int
    size: int
    changed_ns: int
    length_ms: int
    metrics: list[_Column]


_LINES = msgspec.json.Decoder(_Line)


class WindowFolder:
    """A store over DIR/windows.ndjson."""

    def __init__(self, folder: Path, report: Report | None = None) -> None:
        """Open the columns, made first where they are not there; raises HistoryError."""
        self._source = folder / WINDOWS
        if not self._source.is_file():
            message = f"{folder} has no {WINDOWS}; `edgewatch replay --out {folder}` writes it when it is complete"
            raise HistoryError(message)
        self.name = str(self._source)
        self._place = contextlib.ExitStack()
        self._folder, self._index = self._opened(folder, report or (lambda *_: None))
        self._columns = {column.name: (number, column) for number, column in enumerate(self._index.metrics)}
        self._maps: dict[tuple[str, str], NDArray[Any]] = {}

    def close(self) -> None:
        """Remove what was only temporary."""
        self._place.close()

    @property
    def length_ms(self) -> int:
        """Give the length of the windows."""
        return self._index.length_ms

    @property
    def metrics(self) -> Mapping[str, tuple[str, ...]]:
        """Give the statistics of each metric."""
        return {name: tuple(column.statistics) for name, (_, column) in self._columns.items()}

    @property
    def sizes(self) -> Mapping[str, int]:
        """Give how many rows there are of each metric."""
        return {name: column.rows for name, (_, column) in self._columns.items()}

    def counts(self, metric: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Give the starts (ms), sorted, of the windows of a metric, and how many rows it left in each."""
        column = self._column(metric, "starts")
        found = _distinct(column)
        return found, np.diff(np.searchsorted(column, found), append=len(column))

    def starts(self, metrics: Sequence[str]) -> NDArray[np.int64]:
        """Give the starts (ms), sorted, of the windows in which one of these metrics left a row."""
        found = [_distinct(self._column(metric, "starts")) for metric in metrics]
        return np.unique(np.concatenate([np.zeros(0, np.int64), *found]))

    def keys(self, metric: str) -> list[str]:
        """Give the keys of a metric, sorted."""
        return sorted(self._columns[metric][1].keys)

    def rows(self, metric: str, statistics: Sequence[str], start: int, end: int, keys: Collection[str] | None = None) -> Rows:
        """Give the rows of windows that start in [start, end) ms, of all keys: they lie side by side."""
        del keys
        starts = self._column(metric, "starts")
        here = slice(*np.searchsorted(starts, [start, end]).tolist())
        codes = np.asarray(self._column(metric, "codes")[here])
        known = self._columns[metric][1].keys
        used = np.flatnonzero(np.bincount(codes, minlength=len(known))).tolist()
        order = sorted(used, key=known.__getitem__)
        places = np.zeros(len(known), np.int32)
        places[order] = np.arange(len(order))
        return Rows(
            [known[code] for code in order],
            np.asarray(starts[here]),
            places[codes],
            np.asarray(self._column(metric, "counts")[here]),
            {name: np.asarray(self._column(metric, f"value.{name}")[here]) for name in statistics},
            np.asarray(self._column(metric, "sketch")[here]),
        )

    def _column(self, metric: str, name: str) -> NDArray[Any]:
        if (metric, name) not in self._maps:
            number, column = self._columns[metric]
            path = self._folder / str(number) / name
            self._maps[metric, name] = np.memmap(path, _DTYPES.get(name, np.float64), "r", shape=(column.rows,))
        return self._maps[metric, name]

    def _opened(self, folder: Path, report: Report) -> tuple[Path, _Index]:
        """Give the folder of the columns, and what they are."""
        stat = self._source.stat()
        index = _read_index(folder / INDEX)
        if index is not None and (index.size, index.changed_ns) == (stat.st_size, stat.st_mtime_ns):
            return folder / INDEX, index
        try:
            made = Path(tempfile.mkdtemp(prefix=f"{INDEX}-", dir=folder))
        except OSError:
            made = Path(self._place.enter_context(tempfile.TemporaryDirectory(prefix="edgewatch-windows-")))
            return made, _make(self._source, made, stat, report)
        try:
            index = _make(self._source, made, stat, report)
            shutil.rmtree(folder / INDEX, ignore_errors=True)
            made.rename(folder / INDEX)
        finally:
            shutil.rmtree(made, ignore_errors=True)
        return folder / INDEX, index


def _read_index(folder: Path) -> _Index | None:
    try:
        index = msgspec.json.decode((folder / "index.json").read_bytes(), type=_Index)
    except (OSError, msgspec.DecodeError):
        return None
    return index if index.version == _VERSION else None


def _distinct(starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give the distinct ones of sorted numbers, read a part at a time."""
    found, last = [np.zeros(0, np.int64)], -(2**62)
    for first in range(0, len(starts), _ROWS):
        part = np.asarray(starts[first : first + _ROWS])
        found.append(part[np.flatnonzero(np.diff(part, prepend=last))])
        last = int(part[-1])
    return np.concatenate(found)


def _make(source: Path, folder: Path, stat: os.stat_result, report: Report) -> _Index:
    """Read all lines into columns; raises HistoryError with the number of a line that cannot be used."""
    maker = _Maker(source, folder)
    with contextlib.ExitStack() as opened, source.open("rb") as file:
        maker.files = opened
        read = 0
        for data in _blocks(file):
            maker.add(data)
            read += len(data)
            report(read, stat.st_size)
        maker.finish()
    columns = [_Column(name, list(each.codes), list(each.statistics), each.rows) for name, each in maker.metrics.items()]
    index = _Index(_VERSION, stat.st_size, stat.st_mtime_ns, maker.length_ms, columns)
    (folder / "index.json").write_bytes(msgspec.json.encode(index))
    return index


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    """Give whole lines, several megabytes at a time; the last line may lack its end."""
    rest = b""
    while data := file.read(_BLOCK):
        data, _, rest = (rest + data).rpartition(b"\n")
        if data:
            yield data + b"\n"
    if rest:
        yield rest


@dataclass(slots=True)
class _Metric:
    """The columns of a metric as they are made."""

    codes: dict[str, int] = field(default_factory=dict)
    statistics: tuple[str, ...] = ()
    rows: int = 0
    files: dict[str, BinaryIO] = field(default_factory=dict)


class _Maker:
    """Lines to columns; a row is the lines of one window, metric and key, one after the other."""

    def __init__(self, source: Path, folder: Path) -> None:
        self._source = source
        self._folder = folder
        self._times: dict[str, int] = {}
        self._line = 0
        self._held: list[_Line] = []  # of the row that goes on
        self._last = (-(2**62), "")
        self.metrics: dict[str, _Metric] = {}
        self.length_ms = 0
        self.files = contextlib.ExitStack()

    def add(self, data: bytes) -> None:
        """Take whole lines."""
        lines = self._held + self._decoded(data)
        held = len(self._held)
        cut = len(lines)
        while cut and _same_row(lines[cut - 1], lines[-1]):
            cut -= 1
        self._take(lines[:cut], self._line - held)
        self._line += len(lines) - held
        self._held = lines[cut:]

    def finish(self) -> None:
        """Take the last row."""
        self._take(self._held, self._line - len(self._held))

    def _decoded(self, data: bytes) -> list[_Line]:
        try:
            return _LINES.decode_lines(data)
        except msgspec.DecodeError:
            pass
        for number, line in enumerate(data.splitlines(), self._line + 1):
            try:
                _LINES.decode(line)
            except msgspec.DecodeError as error:
                raise self._broken(number, str(error)) from error
        raise self._broken(self._line + 1, "it cannot be read")

    def _broken(self, number: int, problem: str) -> HistoryError:
        way_out = "a replay of the same records into a new folder writes it anew"
        return HistoryError(f"{self._source}, line {number}: not a line of windows: {problem}; {way_out}")

    def _take(self, lines: list[_Line], before: int) -> None:
        """Take whole rows; `before` is the number of the line before the first."""
        first = 0
        while first < len(lines):
            place = lines[first].window_start, lines[first].metric
            last = first + 1
            while last < len(lines) and (lines[last].window_start, lines[last].metric) == place:
                last += 1
            self._rows(lines[first:last], before + first)
            first = last

    def _rows(self, lines: list[_Line], before: int) -> None:
        """Take the lines of one window and metric."""
        head = lines[0]
        start, length = self._time(head.window_start, before + 1), self._time(head.window_end, before + 1)
        length -= start
        if length <= 0 or (self.length_ms and length != self.length_ms):
            raise self._broken(before + 1, f"its window is {length / 1000:g} s long, others {self.length_ms / 1000:g} s")
        if (start, head.metric) <= self._last:
            raise self._broken(before + 1, "it comes after later ones")
        self.length_ms, self._last = length, (start, head.metric)
        metric = self.metrics.get(head.metric) or self._begun(head.metric, lines)
        width = len(metric.statistics)
        names = [line.statistic for line in lines]
        keys = [bytes(line.key).decode() for line in lines]
        whole = names == list(metric.statistics) * (len(lines) // width) and all(
            keys[0::width] == keys[n::width] for n in range(1, width)
        )
        if not whole or len(set(names)) < width or len(set(keys[::width])) != len(lines) // width:
            raise self._broken(before + 1, f"the rows of {head.metric} in this window are not whole")
        self._write(metric, start, keys[::width], lines)

    def _write(self, metric: _Metric, start: int, keys: list[str], lines: list[_Line]) -> None:
        width, size = len(metric.statistics), len(keys)
        codes = [metric.codes.setdefault(key, len(metric.codes)) for key in keys]
        sketched = [any(line.method == "sketch" for line in lines[n : n + width]) for n in range(0, len(lines), width)]
        metric.files["starts"].write(np.full(size, start, np.int64).tobytes())
        metric.files["codes"].write(np.array(codes, np.int32).tobytes())
        metric.files["counts"].write(np.array([line.count for line in lines[::width]], np.int64).tobytes())
        metric.files["sketch"].write(np.array(sketched, np.bool_).tobytes())
        for place, name in enumerate(metric.statistics):
            values = np.array([line.value for line in lines[place::width]], np.float64)
            metric.files[f"value.{name}"].write(values.tobytes())
        metric.rows += size

    def _begun(self, name: str, lines: list[_Line]) -> _Metric:
        statistics = [line.statistic for line in lines if bytes(line.key) == bytes(lines[0].key)]
        metric = self.metrics[name] = _Metric(statistics=tuple(statistics))
        folder = self._folder / str(len(self.metrics) - 1)
        folder.mkdir()
        for column in (*_DTYPES, *(f"value.{each}" for each in statistics)):
            metric.files[column] = self.files.enter_context((folder / column).open("wb"))
        return metric

    def _time(self, text: str, number: int) -> int:
        """Give ms; few times come again and again."""
        if text not in self._times:
            try:
                self._times[text] = int(datetime.fromisoformat(text).timestamp() * 1000)
            except ValueError as error:
                raise self._broken(number, f"{text!r} is not a time") from error
        return self._times[text]


def _same_row(line: _Line, other: _Line) -> bool:
    return line.window_start == other.window_start and line.metric == other.metric
