"""Component status: what a public page should show of each component; pure, kept in a notebook's words.

A component shows the worst of what the alerts mapped to it call for. It is changed only from "operational" or from
what was written last: any other status was set by a person, and stays until all alerts of the component are over.

Why `ours` holds two while a change is under way: it is written down before the call, and a call that broke may have
arrived or not. Either status is then ours, and neither a person's.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

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


class Want(NamedTuple):
    """What an alert calls for: a status, for a key of a rule; the key is empty where the alert is about all of them."""

    status: str
    key: str = ""
    rule: str = ""


def worst(wants: Collection[Want], heard: Mapping[str, int], keys: int = 0) -> str:
    """Give the worst of what alerts call for; an outage of less than half of the keys is a partial one.

    Counted are a rule's keys against those it has `heard`, by rule: rules have keys of different sorts. Where it is said how
    many `keys` a component has, those of all rules are counted against that. A rule that is not known to hear any is about all.
    """
    status = max((each.status for each in wants), key=STATUSES.index, default=OPERATIONAL)
    if status != MAJOR:
        return status
    out: dict[str, set[str]] = {}
    for each in wants:
        if each.status == MAJOR:
            out.setdefault("" if keys else each.rule, set()).add(each.key)
    whole = ("" in found or len(found) >= ALL_FROM * (keys or heard.get(rule, 0)) for rule, found in out.items())
    return MAJOR if any(whole) else PARTIAL


@dataclass(slots=True)
class ComponentStatus:
    """What is known of one component: what each episode calls for and when it was heard of (ms), and the keys heard by rule.

    `keys` is how many keys (hosts, locations) it has; 0 where that is not said.
    """

    wants: dict[str, tuple[Want, int]] = field(default_factory=dict)
    heard: dict[str, int] = field(default_factory=dict)
    ours: tuple[str, ...] = ()
    person: bool = False
    keys: int = 0

    def goal(self) -> str:
        """Give the worst that is called for."""
        return worst([want for want, _ in self.wants.values()], self.heard, self.keys)

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

    def want(self, episode: str, name: str, want: Want, at: int, heard: int = 0) -> None:
        """Take down what an episode calls for, and of how many keys its rule has `heard`, 0 where it does not say.

        An episode unheard of for a week lost its resolve and is taken for over.
        """
        component = self[name]
        component.wants[episode] = (want, at)
        if heard:
            component.heard[want.rule] = heard
        for each in [each for each, (_, last) in component.wants.items() if at - last > _FORGET_MS]:
            del component.wants[each]

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
    wants = {episode: (Want(status, *named), at) for episode, (status, at, *named) in found["wants"].items()}
    return ComponentStatus(wants, found.get("heard", {}), tuple(found["ours"]), found["person"])


def _text(component: ComponentStatus) -> str:
    wants = {episode: [want.status, at, want.key, want.rule] for episode, (want, at) in component.wants.items()}
    rules = {want.rule for want, _ in component.wants.values()}
    heard = {rule: number for rule, number in component.heard.items() if rule in rules}
    found = {"wants": wants, "heard": heard, "ours": component.ours, "person": component.person}
    return orjson.dumps(found, option=orjson.OPT_SORT_KEYS).decode()
