"""Sweep run: judges every setting of the swept rules, and the other rules as they are, in one pass over a history."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from flows.history import Chunk, History, keys_of, readings_of, wanted_of
from flows.incidents import Incident
from flows.judged import Window
from flows.kinds import signal_of
from flows.metric import MetricOptions
from flows.options import ConfigError
from flows.paging import Paging, PagingConfig
from flows.policy import NO_SILENCES
from flows.rule import Rule, RuleOptions, compile_rule
from flows.signal import Reading, Signal
from flows.silence import Silences
from flows.slo import SloOptions
from flows.sweep import Readings, Sweep
from flows.sweep_plan import Plan, by_signal
from flows.sweep_tally import Tally
from flows.window import WindowOptions, WindowResult

MOST_CELLS = 4_000_000  # settings x keys of one rule; 100 bytes each
_PIECE = 16_000_000  # cells x windows that are judged before they are counted
_IN_ONE_WINDOW = ("threshold", "capacity", "budget")  # what these judge needs no memory

Progress = Callable[[int], None]  # the end (ms) of the last window judged


class SweepConfig(PagingConfig, Protocol):
    """What of a configuration a sweep needs."""

    @property
    def rules(self) -> Sequence[RuleOptions]:
        """Give all rules."""
        ...

    @property
    def metrics(self) -> Sequence[MetricOptions]:
        """Give all metrics."""
        ...

    @property
    def slos(self) -> Sequence[SloOptions]:
        """Give the objectives."""
        ...

    @property
    def window(self) -> WindowOptions:
        """Give how windows are cut."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """What is counted: windows that start in [start, end) ms; those that end up to `cut` are fitted on.

    Windows from `warm` on are judged too, for the state that they leave.
    """

    warm: int
    start: int
    end: int
    cut: int
    grace_ms: int


@dataclass(frozen=True, slots=True)
class Judged:
    """What a pass gives: the tally of each swept rule over its own settings, and of all other rules as they are.

    `left_out` are rules that were not judged, with the reason.
    """

    swept: dict[str, Tally]
    others: dict[str, Tally]
    left_out: dict[str, str] = field(default_factory=dict)


class _Group:
    """Settings of one rule that read one signal."""

    def __init__(self, rules: Sequence[Rule], numbers: Sequence[int], tally: Tally, made: tuple[Paging, Signal, int]) -> None:
        self._rule = rules[0]
        self._sweep = Sweep(rules, made[0])
        self._signal, self._pane_ms = made[1:]
        self._numbers = np.array(numbers, np.int64)
        self._tally = tally
        self._last_end: int | None = None

    def take(self, chunk: Chunk, keys: Sequence[str]) -> None:
        """Judge the windows of a chunk; `keys` are those that its metric has in the whole history."""
        if self._rule.options.kind in _IN_ONE_WINDOW:
            readings = readings_of(self._rule, chunk, keys_of(self._rule, keys))
        else:
            readings = _readings(self._read(chunk))
        cells = len(self._numbers) * max(len(readings.keys), len(self._sweep.keys), 1)
        if cells > MOST_CELLS:
            count = f"{len(self._numbers)} settings of {self._rule.options.name} for {len(readings.keys)} keys"
            raise ConfigError("--sweep", f"{count} are more than {MOST_CELLS} cells in memory; try fewer settings")
        length = max(_PIECE // cells // 16, 1)
        for first in range(0, len(readings.ends), length):
            said = self._sweep.run(_piece(readings, slice(first, first + length)))
            self._tally.add(said, self._sweep.keys, self._numbers)

    def _read(self, chunk: Chunk) -> Iterator[tuple[int, Reading]]:
        """Read windows through the signal; those without any record too, where it hears silence."""
        for number, end in enumerate(chunk.ends.tolist()):
            if self._signal.hears_silence and self._last_end is not None:
                for silent in range(self._last_end + self._pane_ms, end, self._pane_ms):
                    yield silent, self._signal.read(_silent(chunk, silent))
            self._last_end = end
            yield end, self._signal.read(Window(chunk.window(number), ()))


class Pass:
    """One pass over a history."""

    def __init__(self, history: History, plan: Plan, config: SweepConfig, incidents: Sequence[Incident], span: Range) -> None:
        self._history = history
        self._plan = plan
        self._config = config
        self._incidents = incidents
        self._span = span
        self._metrics = {metric.name: metric for metric in config.metrics}

    def run(self, silences: Silences = NO_SILENCES, progress: Progress = lambda _: None) -> Judged:
        """Judge everything; raises ConfigError where a rule has too many keys for so many settings."""
        paging = Paging(self._config, silences)
        swept = {name: grid.settings for name, grid in self._plan.grids.items()}
        rules = {rule.name: rule for rule in self._config.rules}
        left_out = {name: why for name, rule in rules.items() if (why := _why_left_out(rule, swept))}
        others: dict[str, Sequence[RuleOptions | None]] = {
            name: (rule,) for name, rule in rules.items() if name not in swept and name not in left_out
        }
        tallies = {name: self._tally(name, len(each)) for name, each in {**swept, **others}.items()}
        groups = self._groups({**swept, **others}, tallies, paging)
        used = [rule for rule in rules.values() if rule.name in tallies]
        wanted = wanted_of(used, self._config.metrics)
        for chunks in self._history.chunks(self._span.warm, self._span.end, wanted):
            for chunk in chunks:
                for name, group in groups:
                    metric = rules[name].metric
                    if self._metrics[metric].dataset == chunk.dataset and len(chunk.starts):
                        group.take(chunk, self._history.keys(metric))
                if len(chunk.ends):
                    progress(int(chunk.ends[-1]))
        return Judged({n: tallies[n] for n in swept}, {n: tallies[n] for n in others}, left_out)

    def _tally(self, name: str, settings: int) -> Tally:
        return Tally(name, settings, self._incidents, (self._span.start, self._span.cut), self._span.grace_ms)

    def _groups(
        self, settings: Mapping[str, Sequence[RuleOptions | None]], tallies: Mapping[str, Tally], paging: Paging
    ) -> list[tuple[str, _Group]]:
        slos, pane_ms = {slo.name: slo for slo in self._config.slos}, self._config.window.pane_ms
        out = []
        for name, each in settings.items():
            for numbers in by_signal(each):
                options = [option for number in numbers if (option := each[number]) is not None]
                rules = [compile_rule(option, self._metrics[option.metric]) for option in options]
                made = paging, signal_of(rules[0], slos, {}), pane_ms
                out.append((name, _Group(rules, numbers, tallies[name], made)))
        return out


def _why_left_out(rule: RuleOptions, swept: Mapping[str, object]) -> str:
    if rule.kind != "composite":
        return ""
    moved = [name for name in rule.members if name in swept]
    return f"is made of {', '.join(rule.members)}" + (f", of which {', '.join(moved)} is swept" if moved else "")


def _silent(chunk: Chunk, end: int) -> Window:
    return Window(WindowResult(chunk.dataset, end - chunk.length_ms, end, {}, {}), ())


def _piece(readings: Readings, rows: slice) -> Readings:
    level = None if readings.level is None else readings.level[rows]
    columns = (readings.values[rows], readings.counts[rows], readings.present[rows])
    return Readings(readings.ends[rows], readings.keys, *columns, level)


def _readings(read: Iterator[tuple[int, Reading]]) -> Readings:
    """Lay the readings of some windows beside each other."""
    found = list(read)
    keys = sorted({key for _, reading in found for key in reading.keys})
    known = {key: place for place, key in enumerate(keys)}
    shape = len(found), len(keys)
    values, counts = np.full(shape, np.nan), np.zeros(shape, np.int64)
    present, level = np.zeros(shape, np.bool_), np.full(shape, -1, np.int8)
    for number, (_, reading) in enumerate(found):
        places: NDArray[np.int64] = np.array([known[key] for key in reading.keys], np.int64)
        values[number, places], counts[number, places] = reading.values, reading.counts
        present[number, places] = True if reading.present is None else reading.present
        if reading.level is not None:
            level[number, places] = reading.level
    return Readings(np.array([end for end, _ in found], np.int64), keys, values, counts, present, level)
