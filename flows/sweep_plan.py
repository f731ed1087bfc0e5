"""Sweep plan: all settings that some axes span, as a grid: one number a setting, and for each rule its own settings.

Rules do not depend on each other, so a rule is judged once in each of its own settings, and a setting of all is put together
from those: three rules of ten settings each are judged thirty times and make a thousand.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from flows.kinds import expanded
from flows.metric import MetricOptions
from flows.options import ConfigError
from flows.rule import RuleOptions
from flows.sweep_axis import Axis, Value

MOST_SETTINGS = 20_000


@dataclass(frozen=True, slots=True)
class Grid:
    """One rule in all its settings; None where a setting contradicts itself. `axes` are places in the plan's."""

    rule: RuleOptions
    axes: tuple[int, ...]
    settings: tuple[RuleOptions | None, ...]
    why_not: str  # what is wrong with the first that contradicts itself


class Plan:
    """The settings of a sweep; number `n` runs through them, the last axis fastest."""

    def __init__(self, axes: Sequence[Axis], rules: Mapping[str, RuleOptions], metrics: Mapping[str, MetricOptions]) -> None:
        """Work out every setting; raises ConfigError where there are too many, or none that is sound."""
        self.axes = list(axes)
        self.shape = tuple(len(axis.values) for axis in axes)
        self.size = math.prod(self.shape)
        if self.size > MOST_SETTINGS:
            sizes = " x ".join(map(str, self.shape))
            raise ConfigError("--sweep", f"{sizes} = {self.size} settings; at most {MOST_SETTINGS} are tried: use larger steps")
        swept = dict.fromkeys(axis.rule for axis in axes)
        self.grids = {name: self._grid(rules[name], metrics) for name in swept}
        self.sound = np.ones(self.size, np.bool_)
        for name, grid in self.grids.items():
            self.sound &= np.array([each is not None for each in grid.settings])[self.numbers(name)]
        if not self.sound.any():
            why = next(grid.why_not for grid in self.grids.values() if grid.why_not)
            raise ConfigError("--sweep", f"none of the {self.size} settings is one that a rule can have: {why}")

    def numbers(self, rule: str) -> NDArray[np.int64]:
        """Give (settings,) which of a rule's own settings each setting has."""
        places = np.unravel_index(np.arange(self.size), self.shape)
        axes = self.grids[rule].axes
        chosen = tuple(places[axis] for axis in axes)
        return np.ravel_multi_index(chosen, tuple(self.shape[axis] for axis in axes))

    def values(self, number: int) -> tuple[Value, ...]:
        """Give the value of each axis in a setting."""
        places = np.unravel_index(number, self.shape)
        return tuple(axis.values[int(place)] for axis, place in zip(self.axes, places, strict=True))

    def places(self, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """Give (n, axes) where settings are on the axes, from 0 to 1."""
        places = np.stack(np.unravel_index(numbers, self.shape), axis=1)
        return np.asarray(places / np.maximum(np.array(self.shape) - 1, 1))

    def current(self) -> int | None:
        """Give the setting that the configuration has now; None where it is not among them."""
        places = []
        for axis in self.axes:
            now = axis.of(self.grids[axis.rule].rule)
            if now not in axis.values:
                return None
            places.append(axis.values.index(now))
        return int(np.ravel_multi_index(tuple(places), self.shape))

    def changed(self, number: int) -> dict[str, RuleOptions]:
        """Give the rules of a setting."""
        return {name: self._setting(grid, number, name) for name, grid in self.grids.items()}

    def _setting(self, grid: Grid, number: int, name: str) -> RuleOptions:
        found = grid.settings[int(self.numbers(name)[number])]
        if found is None:
            raise ConfigError("--sweep", f"setting {number} of {name} contradicts itself: {grid.why_not}")
        return found

    def _grid(self, options: RuleOptions, metrics: Mapping[str, MetricOptions]) -> Grid:
        axes = tuple(number for number, axis in enumerate(self.axes) if axis.rule == options.name)
        shape = tuple(self.shape[axis] for axis in axes)
        known = set(options.problems())  # an expanded rule may have what only its kind of TOML may not
        out: list[RuleOptions | None] = []
        why_not = ""
        for number in range(math.prod(shape)):
            changed = options
            for axis, place in zip(axes, np.unravel_index(number, shape), strict=True):
                changed = self.axes[axis].put(changed, self.axes[axis].values[int(place)])
            problem = next((each for each in changed.problems() if each not in known), None)
            why_not = why_not or (f"{options.name}.{problem[0]} {problem[1]}" if problem else "")
            out.append(None if problem else expanded([changed], [], metrics)[0])
        return Grid(options, axes, tuple(out), why_not)


def by_signal(settings: Iterable[RuleOptions | None]) -> list[list[int]]:
    """Give the places of settings that read the same signal, so that one sweep judges them."""
    groups: dict[str, list[int]] = {}
    for number, options in enumerate(settings):
        if options is not None:
            groups.setdefault(_signal_key(options), []).append(number)
    return list(groups.values())


_FREE = frozenset(
    {"above", "below", "recover", "for_", "clear", "repeat_ms", "repeat_backoff", "max_repeats", "cooldown_ms", "overrides"}
)


def _signal_key(options: RuleOptions) -> str:
    # What a change is compared with leaves out windows of too few records.
    free = _FREE if options.kind == "change" else _FREE | {"min_count", "min_bad"}
    side = "above" if options.above else "below"
    return repr((side, [getattr(options, column.name) for column in fields(options) if column.name not in free]))
