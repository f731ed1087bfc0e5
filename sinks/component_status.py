"""Component status: what a public page should show of each component; pure, kept in a notebook's words.

A component shows the worst of what the alerts mapped to it call for. It is changed only from "operational" or from
what was written last: any other status was set by a person, and stays until all alerts of the component are over.

Why `ours` holds two while a change is under way: it is written down before the call, and a call that broke may have
arrived or not. Either status is then ours, and neither a person's.
"""

from dataclasses import dataclass, field

import orjson

OPERATIONAL = "operational"
STATUSES = (OPERATIONAL, "degraded_performance", "partial_outage", "major_outage")  # from well to worst
_PREFIX, _CHANGES = "component/", "changes"
_HOUR_S = 3600.0
_FORGET_MS = 7 * 86_400_000


@dataclass(slots=True)
class ComponentStatus:
    """What is known of one component: the status that each episode calls for, and since when (ms)."""

    wants: dict[str, tuple[str, int]] = field(default_factory=dict)
    ours: tuple[str, ...] = ()
    person: bool = False

    def goal(self) -> str:
        """Give the worst that is called for."""
        return max((status for status, _ in self.wants.values()), key=STATUSES.index, default=OPERATIONAL)

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

    def __init__(self, content: dict[str, str]) -> None:
        """Read the content; a component that is not in it is as it should be."""
        self.others = {name: text for name, text in content.items() if not name.startswith(_PREFIX)}
        self._components = {
            name.removeprefix(_PREFIX): _read(text) for name, text in content.items() if name.startswith(_PREFIX)
        }

    def content(self) -> dict[str, str]:
        """Give what to keep."""
        kept = {name: each for name, each in self._components.items() if each.wants or each.ours}
        return {**self.others, **{_PREFIX + name: _text(each) for name, each in kept.items()}}

    def __getitem__(self, name: str) -> ComponentStatus:
        return self._components.setdefault(name, ComponentStatus())

    def held(self, episode: str) -> list[str]:
        """Give the components that an episode calls on."""
        return sorted(name for name, each in self._components.items() if episode in each.wants)

    def unsettled(self) -> list[str]:
        """Give the components whose last change did not come through."""
        return sorted(name for name, each in self._components.items() if each.unsettled())

    def want(self, episode: str, name: str, status: str, at: int) -> None:
        """Take down what an episode calls for; one unheard of for a week lost its resolve and is taken for over."""
        wants = self[name].wants
        wants[episode] = (status, at)
        for each in [each for each, (_, heard) in wants.items() if at - heard > _FORGET_MS]:
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
    wants = {episode: (status, at) for episode, (status, at) in found["wants"].items()}
    return ComponentStatus(wants, tuple(found["ours"]), found["person"])


def _text(component: ComponentStatus) -> str:
    found = {"wants": component.wants, "ours": component.ours, "person": component.person}
    return orjson.dumps(found, option=orjson.OPT_SORT_KEYS).decode()
