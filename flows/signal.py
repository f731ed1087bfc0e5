"""Signal: what a rule judges at a barrier: one value a key, from the window's rows and from what is remembered of earlier ones.

Why apart from the rule: levels, hysteresis, episodes, policy and delivery are the same for every kind of rule; what differs
is the value, and what is said of it besides.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from flows.judged import Window
from flows.rule import Rule

BY_LIMITS = -1
Facts = Callable[[str], Mapping[str, Any]]


def no_facts(key: str) -> Mapping[str, Any]:  # noqa: ARG001 (a Facts)
    """Give nothing."""
    return {}


@dataclass(frozen=True, slots=True)
class Reading:
    """What a window shows of n keys, sorted: columns (n,).

    `present` says which left a row (None: all), `level` what is not decided by limits (BY_LIMITS elsewhere). `facts` gives
    what the evidence of a key says besides; a `limit` among them is the threshold shown.
    """

    keys: list[str]
    values: NDArray[np.float64]
    counts: NDArray[np.int64]
    present: NDArray[np.bool_] | None = None
    level: NDArray[np.int8] | None = None
    facts: Facts = no_facts


class Signal(Protocol):
    """One rule's values; `read` is called once a barrier, in the order of their ends."""

    @property
    def hears_silence(self) -> bool:
        """Tell whether windows without any record are read too."""
        ...

    @property
    def identity(self) -> str:
        """Name what is remembered: a rule whose signal has another identity starts afresh."""
        ...

    def read(self, window: Window) -> Reading:
        """Give what a window shows, and remember what later ones need."""
        ...

    def to_state(self) -> dict[str, Any]:
        """Give what is remembered as plain values; `load` undoes it."""
        ...

    def load(self, state: Mapping[str, Any]) -> None:
        """Take what a snapshot has."""
        ...


class Plain:
    """The rows as they are; remembers nothing."""

    hears_silence = False
    identity = ""

    def __init__(self, rule: Rule) -> None:
        """Take the rule whose metric and statistic are read."""
        self._rule = rule

    def read(self, window: Window) -> Reading:
        """Give the window's rows."""
        return Reading(*window.rows(self._rule))

    def to_state(self) -> dict[str, Any]:
        """Give nothing."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take nothing."""
