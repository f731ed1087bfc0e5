"""Judged: one window as rules want it, and what it did to the alerts of one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.alert_state import AlertColumns, Step
from flows.rule import Rule
from flows.window import MetricRows, WindowResult

_OTHER = ':"(other)"'  # what a value looks like in canonical JSON; inside a longer text its quotes were escaped


class Window:
    """One window's rows as rules want them: of some keys, never `(other)`."""

    def __init__(self, result: WindowResult, partitions: Sequence[Mapping[str, Any]]) -> None:
        self.result = result
        self.partitions = list(partitions)
        self._chosen: dict[tuple[str, str], tuple[list[str], NDArray[np.int64] | None]] = {}

    def rows(self, rule: Rule) -> tuple[list[str], NDArray[np.float64], NDArray[np.int64]]:
        """Give the keys that a rule judges, their values and counts."""
        rows = self.result.metrics.get(rule.options.metric)
        if rows is None:
            return [], np.zeros(0), np.zeros(0, np.int64)
        place = rule.options.metric, rule.keys
        if place not in self._chosen:
            self._chosen[place] = _choose(rows, rule.keys)
        keys, chosen = self._chosen[place]
        values = rows.statistics[rule.options.statistic]
        return (keys, values, rows.counts) if chosen is None else (keys, values[chosen], rows.counts[chosen])


def _choose(rows: MetricRows, kind: str) -> tuple[list[str], NDArray[np.int64] | None]:
    """Give the wanted keys, and their places where they are not all."""
    chosen = [
        place
        for place, key in enumerate(rows.keys)
        if (kind == "all" or (key == "{}") == (kind == "total")) and _OTHER not in key
    ]
    if len(chosen) == len(rows.keys):
        return rows.keys, None
    return [rows.keys[place] for place in chosen], np.array(chosen, np.int64)


@dataclass(frozen=True, slots=True)
class Cells:
    """What a window has for the known keys of a rule: columns (k,), NaN and 0 where there is no row."""

    values: NDArray[np.float64]
    counts: NDArray[np.int64]
    level: NDArray[np.int8]

    def take(self, places: NDArray[np.int64]) -> "Cells":
        """Give the cells at `places`."""
        return Cells(self.values[places], self.counts[places], self.level[places])


@dataclass(frozen=True, slots=True)
class Judged:
    """What one window did to a rule's alerts: columns (k,) over `keys`; `gone` are those that were forgotten."""

    keys: list[str]
    cells: Cells
    before: AlertColumns
    after: Step
    gone: "Judged | None" = None
