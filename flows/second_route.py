"""Second route: who else hears of an alert that nobody has taken up: said, open for a route's `escalate_after`, not silenced.

Who has no pager takes an alert up by silencing it (`edgewatch silence add`); a mute time and an inhibition hold it back as they
hold back all that is said. It is said once an episode, and who heard it hears of the end too. Where a pager is configured this
is its business, and the option is refused.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.alert_state import FIRING, Step
from flows.route import Routes
from flows.rule import Rule


class SecondRoute:
    """Of one rule's open alerts: since when (ms) each is heard of, and who has heard by a second route, by key."""

    def __init__(self, rule: Rule, routes: Routes) -> None:
        """Take the rule and the routes."""
        self._rule = rule
        self._routes = routes
        self._since: dict[str, int] = {}
        self._heard: dict[str, list[str]] = {}

    @property
    def waits(self) -> bool:
        """Tell whether somebody may hear of an open alert yet."""
        return bool(self._since)

    def due(self, keys: Sequence[str], after: Step, quiet: NDArray[np.int8] | None, now: int) -> list[int]:
        """Give the places among the sorted `keys` of the alerts to be said by a second route at a window's end.

        `quiet` (k,) says what keeps each quiet. What has another word at this barrier waits for the next.
        """
        if not self._since:
            return []
        free = (after.columns.state == FIRING) & (after.notice == 0) & ~after.columns.flapping
        free &= True if quiet is None else quiet == 0
        return [place for place in np.flatnonzero(free).tolist() if self._who(keys[place], after, place, now)]

    def _who(self, key: str, after: Step, place: int, now: int) -> frozenset[str]:
        return self.channels(key, int(after.columns.severity[place]), now) if key in self._since else frozenset()

    def channels(self, key: str, severity: int, now: int) -> frozenset[str]:
        """Give who hears at a window's end of an alert that somebody heard of."""
        taken = self._routes.taken(self._rule, key, severity)
        return self._routes.seconds(taken, now - self._since[key]) - set(self._heard.get(key, ()))

    def note(self, key: str, at: int, second: frozenset[str] | None) -> None:
        """Take that something was said of an alert; `second` are those who heard it by a second route."""
        if self._routes.has_second:
            self._since.setdefault(key, at)
            if second:
                self._heard[key] = sorted({*self._heard.get(key, ()), *second})

    def end(self, key: str) -> None:
        """Take that the end of an alert was said."""
        self._since.pop(key, None)
        self._heard.pop(key, None)

    def to_state(self) -> dict[str, Any]:
        """Give plain values; `load` undoes it."""
        return {"since": self._since, "second": self._heard} if self._since else {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take what a snapshot has."""
        self._since, self._heard = dict(state.get("since", {})), dict(state.get("second", {}))
