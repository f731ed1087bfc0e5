"""Sweep tally: what each setting of one rule comes to: pages, alerts that fit an incident, and when each incident was found.

A range has two parts, the earlier one that settings are fitted on and the newest one that they are scored on. What is kept
does not grow with the range.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from flows.grouping import PAGES
from flows.incidents import Incident
from flows.sweep import Said

NEVER_FOUND = np.iinfo(np.int64).max
FIT, HELD_OUT = PARTS = range(2)
BY_PAGE, BY_NOTIFICATION = FOUND_BY = ("page", "notification")


class Tally:
    """Counts over the settings s of one rule, the two parts of the range and i incidents.

    `alerts` are what may find incidents: pages, or episodes that anybody heard of. `pages` counts what rings, a storm as one.
    """

    def __init__(self, rule: str, settings: int, incidents: Sequence[Incident], edges: tuple[int, int], grace_ms: int) -> None:
        """Start at nothing; windows count that end behind the first edge (ms), those up to the second are of the first part."""
        self._rule = rule
        self._incidents = incidents
        self._start, self._cut = edges
        self._grace = grace_ms
        shape = settings, len(PARTS)
        self.pages = np.zeros(shape, np.int64)
        self.alerts = {name: np.zeros(shape, np.int64) for name in FOUND_BY}
        self.right = {name: np.zeros(shape, np.int64) for name in FOUND_BY}
        self.first = {name: np.full((settings, len(incidents)), NEVER_FOUND) for name in FOUND_BY}

    def add(self, said: Said, keys: Sequence[str], settings: NDArray[np.int64]) -> None:
        """Take what was said in whole windows; `settings` says which setting of the rule each of the sweep's is."""
        for name, chosen in ((BY_PAGE, said.page), (BY_NOTIFICATION, said.begins)):
            self._count(name, said.where(chosen & (said.at > self._start)), keys, settings)

    def _count(self, name: str, said: Said, keys: Sequence[str], settings: NDArray[np.int64]) -> None:
        if not len(said.at):
            return
        setting = settings[said.setting]
        part = (said.at > self._cut).astype(np.int64)
        np.add.at(self.alerts[name], (setting, part), 1)
        if name == BY_PAGE:
            self._ring(setting, said.at)
        right = np.zeros(len(said.at), np.bool_)
        for number, incident in enumerate(self._incidents):
            low, high = np.searchsorted(said.at, (incident.start, incident.end + self._grace), side="right").tolist()
            if low == high or not any(incident.concerns(self._rule, key) for key in keys):
                continue
            concerned = np.array([incident.concerns(self._rule, key) for key in keys])[said.key[low:high]]
            right[low:high] |= concerned
            np.minimum.at(self.first[name][:, number], setting[low:high][concerned], said.at[low:high][concerned])
        np.add.at(self.right[name], (setting[right], part[right]), 1)

    def _ring(self, setting: NDArray[np.int64], at: NDArray[np.int64]) -> None:
        """Count pages; many alerts of one barrier are one."""
        barriers, counts = np.unique(np.stack([setting, at]), axis=1, return_counts=True)
        rung = np.where(counts > PAGES, 1, counts)
        np.add.at(self.pages, (barriers[0], (barriers[1] > self._cut).astype(np.int64)), rung)
