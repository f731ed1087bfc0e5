"""Judged: one window as rules want it, and what it did to the alerts of one.

A window without any record is judged too, by the rules that hear silence.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.alert_state import AlertColumns, Step
from flows.metric import TOTAL
from flows.rule import Rule
from flows.window import MetricRows, WindowResult

_OTHER = ':"(other)"'  # what a value looks like in canonical JSON; inside a longer text its quotes were escaped


Explain = Callable[[WindowResult, Rule, Sequence[str]], Mapping[str, list[dict[str, Any]]]]


def explains_nothing(_: WindowResult, __: Rule, ___: Sequence[str]) -> Mapping[str, list[dict[str, Any]]]:
    """Give nothing."""
    return {}


class Window:
    """One window's rows as rules want them: of some keys, never `(other)`."""

    def __init__(
        self, result: WindowResult, partitions: Sequence[Mapping[str, Any]], explain: Explain = explains_nothing
    ) -> None:
        self.result = result
        self.explain = explain
        self.partitions = list(partitions)
        self.judged: dict[str, Judged] = {}  # by rule, as they are judged
        self.is_silent = not any(rows.keys for rows in result.metrics.values())
        self._chosen: dict[tuple[str, str], MetricRows] = {}

    def rows(self, rule: Rule) -> tuple[list[str], NDArray[np.float64], NDArray[np.int64]]:
        """Give the keys that a rule judges, their values and counts."""
        rows = self.metric(rule.options.metric, rule.keys)
        if rows is None:
            return [], np.zeros(0), np.zeros(0, np.int64)
        return rows.keys, rows.statistics[rule.options.statistic], rows.counts

    def metric(self, name: str, kind: str) -> MetricRows | None:
        """Give the rows of a metric for a kind of keys (KEYS of rule); None where it left none."""
        rows = self.result.metrics.get(name)
        if rows is None:
            return None
        if (name, kind) not in self._chosen:
            self._chosen[name, kind] = _chosen(rows, kind)
        return self._chosen[name, kind]


def _chosen(rows: MetricRows, kind: str) -> MetricRows:
    """Give the rows of the wanted keys."""
    chosen = [
        place
        for place, key in enumerate(rows.keys)
        if (kind == "all" or (key == TOTAL) == (kind == "total")) and _OTHER not in key
    ]
    if len(chosen) == len(rows.keys):
        return rows
    places = np.array(chosen, np.int64)
    return MetricRows(
        rows.metric,
        [rows.keys[place] for place in chosen],
        rows.counts[places],
        {name: column[places] for name, column in rows.statistics.items()},
        rows.sketch[places],
    )


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
    """What one window did to a rule's alerts: columns (k,) over `keys`; `gone` are those that were forgotten.

    `seen`: how many keys the rule could see, its total left out, where `keys` are not all that it knows.
    """

    keys: list[str]
    cells: Cells
    before: AlertColumns
    after: Step
    gone: "Judged | None" = None
    seen: int | None = None


def count_seen(keys: Sequence[str], seen: NDArray[np.bool_]) -> int:
    """Count the keys of a rule, sorted, that it could see: those with a row, or whose alert is open; its total left out."""
    return int(np.count_nonzero(seen)) - (keys[-1:] == [TOTAL] and bool(seen[-1]))
