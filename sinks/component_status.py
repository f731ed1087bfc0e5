"""Component status: what a public page should show of each component; pure, kept in a notebook's words.

A component shows the worst of what the alerts mapped to it call for. It is changed only from "operational" or from
what was written last: any other status was set by a person, and stays until all alerts of the component are over.

Why `ours` holds two while a change is under way: it is written down before the call, and a call that broke may have
arrived or not. Either status is then ours, and neither a person's.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import orjson

OPERATIONAL = "operational"
DEGRADED, PARTIAL, MAJOR = "degraded_performance", "partial_outage", "major_outage"
STATUSES = (OPERATIONAL, DEGRADED, PARTIAL, MAJOR)  # from well to worst
# What the built-in rules speak of; components of other names take alerts by `map` or by their label `component`.
BUILT_IN = {
    "api": (
        *("high_error_rate", "high_server_error_rate", "slow_responses"),
        *("unhealthy", "unhealthy_worker", "degraded_worker", "probe_down"),
    ),
    "database": ("slow_database", "unhealthy_database", "degraded_database"),
    "cache": ("low_cache_hit_rate", "redis_down"),
    "websocket": ("websocket_down",),
}
# Where the platform calls a part degraded, the page says so, though that is a warning.
SHOWN_WARNINGS = ("degraded_database", "degraded_worker")
ALL_FROM = 0.5  # the share of its keys from which a component is down as a whole
_PREFIX, _CHANGES = "component/", "changes"
_HOUR_S = 3600.0
_FORGET_MS = 7 * 86_400_000


def worst(wants: Collection[tuple[str, str]], keys: int) -> str:
    """Give the worst of what alerts (status, key) call for; an outage of less than half of so many keys is a partial one.

    The key is empty where an alert is about all of them; with 0 `keys` it is not known how many there are.
    """
    status = max((status for status, _ in wants), key=STATUSES.index, default=OPERATIONAL)
    if status != MAJOR or not keys:
        return status
    out = {key for status, key in wants if status == MAJOR}
    return MAJOR if "" in out or len(out) >= ALL_FROM * keys else PARTIAL


@dataclass(slots=True)
class ComponentStatus:
    """What is known of one component: the status that each episode calls for, since when (ms) and for which key.

    `keys` is how many keys (hosts, locations) it has; 0 where that is not said.
    """

    wants: dict[str, tuple[str, int, str]] = field(default_factory=dict)
    ours: tuple[str, ...] = ()
    person: bool = False
    keys: int = 0

    def goal(self) -> str:
        """Give the worst that is called for."""
        return worst([(status, key) for status, _, key in self.wants.values()], self.keys)

    def change(self, current: str) -> str | None:
        """Give what to write where the page shows `current`, or None; sees whether a person was there."""
        if not self.wants and not self.ours:
            self.person = False
            return None
        if self.person or current not in (self.ours or (OPERATIONAL,)):
            self.person, self.ours = bool(self.wants), ()
            return None
        goal = self.goal()
        if current == goal:
            self.settle(goal)
            return None
        self.ours = (current, goal)
        return goal

    def settle(self, status: str) -> None:
        """Take note that the page shows what we wrote."""
        self.ours = (status,) if self.wants else ()

    def unsettled(self) -> bool:
        """Tell whether the page may show something else than is called for."""
        return not self.person and self.ours != ((self.goal(),) if self.wants else ())


class ComponentBoard:
    """The components in a notebook's content; `others` is what else it holds."""

    def __init__(self, content: dict[str, str], keys: Mapping[str, int] | None = None) -> None:
        """Read the content; a component that is not in it is as it should be. `keys` is how many each has, by name."""
        self._keys = keys or {}
        self.others = {name: text for name, text in content.items() if not name.startswith(_PREFIX)}
        self._components = {
            name.removeprefix(_PREFIX): _read(text) for name, text in content.items() if name.startswith(_PREFIX)
        }
        for name, each in self._components.items():
            each.keys = self._keys.get(name, 0)

    def content(self) -> dict[str, str]:
        """Give what to keep."""
        kept = {name: each for name, each in self._components.items() if each.wants or each.ours}
        return {**self.others, **{_PREFIX + name: _text(each) for name, each in kept.items()}}

    def __getitem__(self, name: str) -> ComponentStatus:
        return self._components.setdefault(name, ComponentStatus(keys=self._keys.get(name, 0)))

    def held(self, episode: str) -> list[str]:
        """Give the components that an episode calls on."""
        return sorted(name for name, each in self._components.items() if episode in each.wants)

    def unsettled(self) -> list[str]:
        """Give the components whose last change did not come through."""
        return sorted(name for name, each in self._components.items() if each.unsettled())

    def want(self, episode: str, name: str, status: str, at: int, key: str = "") -> None:
        """Take down what an episode calls for; one unheard of for a week lost its resolve and is taken for over."""
        wants = self[name].wants
        wants[episode] = (status, at, key)
        for each in [each for each, (_, heard, _) in wants.items() if at - heard > _FORGET_MS]:
            del wants[each]

    def release(self, episode: str) -> None:
        """Forget what an episode called for."""
        for name in self.held(episode):
            del self[name].wants[episode]

    def spend(self, now: float, limit: int) -> bool:
        """Count a change at `now` (seconds), false where `limit` were made in the hour before."""
        made = [each for each in self.others.get(_CHANGES, "").split() if now - _HOUR_S < float(each) <= now]
        if len(made) >= limit:
            return False
        self.others[_CHANGES] = " ".join([*made, f"{now:.0f}"])
        return True


def _read(text: str) -> ComponentStatus:
    found = orjson.loads(text)
    wants = {episode: (status, at, "".join(key)) for episode, (status, at, *key) in found["wants"].items()}
    return ComponentStatus(wants, tuple(found["ours"]), found["person"])


def _text(component: ComponentStatus) -> str:
    found = {"wants": component.wants, "ours": component.ours, "person": component.person}
    return orjson.dumps(found, option=orjson.OPT_SORT_KEYS).decode()
