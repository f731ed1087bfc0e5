"""Budget: the endpoints that have a performance budget; the budgets themselves are limits by key, as overrides are."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from flows.judged import Window
from flows.rule import Rule
from flows.signal import Reading

ANY_OTHER = "*"


class Budget:
    """The signal of a rule of kind `budget`: the rows of keys whose endpoint has a budget."""

    hears_silence = False
    identity = ""

    def __init__(self, rule: Rule) -> None:
        """Take the rule; it says by which column endpoints are named."""
        self._rule = rule
        self._limit: dict[str, float | None] = {}

    def read(self, window: Window) -> Reading:
        """Give the rows of keys with a budget."""
        keys, values, counts = window.rows(self._rule)
        chosen = [place for place, key in enumerate(keys) if self._budget(key) is not None]
        places = np.array(chosen, np.int64)

        def facts(key: str) -> Mapping[str, Any]:
            return {"budget": {"endpoint": orjson.loads(key).get(self._rule.options.by), "limit": self._budget(key)}}

        return Reading([keys[place] for place in chosen], values[places], counts[places], facts=facts)

    def _budget(self, key: str) -> float | None:
        if key not in self._limit:
            budgets = self._rule.options.budgets
            endpoint = orjson.loads(key).get(self._rule.options.by, "")
            self._limit[key] = budgets.get(endpoint, budgets.get(ANY_OTHER))
        return self._limit[key]

    def to_state(self) -> dict[str, Any]:
        """Give nothing."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take nothing."""
