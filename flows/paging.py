"""Paging: what rings a person: the first word of an episode that reaches a pager, counted once until that episode is resolved.

A pager is a channel that can be acknowledged (PagerDuty); where a configuration has none, critical alerts are taken to page.
A repeat rings nobody, because a pager that has an alert open only adds to it. More than PAGES alerts of one barrier are one
page, as `grouping` makes one storm of them.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from flows.grouping import PAGES
from flows.labels import SEVERITY_NAMES, Labels
from flows.mute import Mute
from flows.policy import NO_SILENCES, PolicyOptions
from flows.route import RouteOptions, Routes
from flows.rule import CRITICAL, WARNING, Rule
from flows.silence import Silences

SEVERITY_CODES = range(len(SEVERITY_NAMES))


class PagingConfig(Protocol):
    """What of a configuration decides who is rung."""

    @property
    def environment(self) -> str:
        """Give the name of the environment."""
        ...

    @property
    def labels(self) -> dict[str, str]:
        """Give the labels that go on every alert."""
        ...

    @property
    def routes(self) -> Sequence[RouteOptions]:
        """Give the routes, the first that fits first."""
        ...

    @property
    def policy(self) -> PolicyOptions:
        """Give pagers and mute times."""
        ...


class Spoken(Protocol):
    """What of a notification decides whether it rings."""

    @property
    def episode(self) -> str:
        """Give the episode that it is of."""
        ...

    @property
    def status(self) -> str:
        """Give firing or resolved."""
        ...

    @property
    def severity(self) -> str:
        """Give how bad it is."""
        ...

    @property
    def channels(self) -> Sequence[str]:
        """Give who is told."""
        ...


class Paging:
    """Tells of each alert whether a pager hears of it, and when a mute time or a silence keeps it quiet."""

    def __init__(self, config: PagingConfig, silences: Silences = NO_SILENCES) -> None:
        """Make routes, mute times and silences ready."""
        self.labels = Labels(config.environment, config.labels)
        self._routes = Routes(config.routes, self.labels)
        self._pagers = config.policy.pagers
        self._mutes = [Mute(options) for options in config.policy.mutes]
        self._silences = silences

    def rings(self, rule: Rule, keys: Sequence[str]) -> NDArray[np.bool_]:
        """Give (severities, k) whether an alert of a severity (code) rings; severity 0 never does."""
        out = np.zeros((len(SEVERITY_CODES), len(keys)), np.bool_)
        if not self._pagers:
            out[CRITICAL] = True
            return out
        for severity in (WARNING, CRITICAL):
            for place, key in enumerate(keys):
                channels = self._routes.channels(self._routes.taken(rule, key, severity))
                out[severity, place] = bool(channels & self._pagers)
        return out

    def quiet(self, rule: Rule, end: int, keys: Sequence[str]) -> NDArray[np.bool_] | None:
        """Give (severities, k) what a silence or a mute time keeps quiet at a window's end; None where nothing can."""
        silences = self._silences.at(rule.metric.dataset, end)
        mutes = [mute for mute in self._mutes if mute.holds(end)]
        if not silences and not mutes:
            return None
        out = np.zeros((len(SEVERITY_CODES), len(keys)), np.bool_)
        for severity in SEVERITY_CODES:
            kept = [each.matchers for each in silences]
            kept += [mute.matchers for mute in mutes if not (mute.except_critical and severity == CRITICAL)]
            for place, key in enumerate(keys):
                labels = self.labels.of(rule, key, severity)
                out[severity, place] = any(matchers.matches(labels) for matchers in kept)
        return out


class Pages:
    """Counts pages among notifications, which come in their order."""

    def __init__(self, pagers: frozenset[str]) -> None:
        """Take the channels that are pagers."""
        self._pagers = pagers
        self._open: set[str] = set()

    def is_page(self, said: Spoken) -> bool:
        """Tell whether a notification rings somebody."""
        if said.status == "resolved":
            self._open.discard(said.episode)
            return False
        rings = bool(self._pagers & set(said.channels)) if self._pagers else said.severity == SEVERITY_NAMES[CRITICAL]
        if not rings or said.episode in self._open:
            return False
        self._open.add(said.episode)
        return True


def pages(barriers: Iterable[int]) -> int:
    """Count pages, given the barrier of each alert that rings: a storm of them is one."""
    return sum(count if count <= PAGES else 1 for count in Counter(barriers).values())
