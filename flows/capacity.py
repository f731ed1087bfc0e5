"""Capacity: a value as a share of a stated capacity, and by which factor to scale so that the share is the target."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from flows.judged import Window
from flows.rule import Rule
from flows.signal import Reading


class Capacity:
    """The signal of a rule of kind `capacity`; remembers nothing."""

    hears_silence = False
    identity = ""

    def __init__(self, rule: Rule) -> None:
        """Take the rule; its capacity is above 0."""
        self._rule = rule

    def read(self, window: Window) -> Reading:
        """Give each key's share of the capacity."""
        keys, values, counts = window.rows(self._rule)
        options = self._rule.options
        place = {key: number for number, key in enumerate(keys)}

        def facts(key: str) -> Mapping[str, Any]:
            if key not in place:
                return {}
            measured = float(values[place[key]])
            factor = desired_factor(measured / options.capacity, options.target)
            return {"capacity": {"capacity": options.capacity, "measured": measured, "desired_factor": factor}}

        return Reading(keys, np.asarray(values / options.capacity, np.float64), counts, facts=facts)

    def to_state(self) -> dict[str, Any]:
        """Give nothing."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take nothing."""


def desired_factor(share: float, target: float) -> float:
    """Give by how much to multiply what serves, so that the share becomes the target; rounded up to hundredths."""
    return float(np.ceil(round(share / target * 100, 6)) / 100)
