"""Company: what comes with the visits where incidents follow a script: crawlers, floods, repeats, more datasets."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from connectors.incident import Incident
from connectors.scenario import Scenario
from connectors.script import flood, struck
from connectors.side_lines import APP_LOGS, BUSINESS, HEALTH, business_lines, health_lines, log_lines
from connectors.visit import Stretch, Visits, draw_rays, draw_visits, taken, together
from connectors.visit_lines import Lines

_CRAWLERS = 0.05  # of the visits, at every hour alike
_AGAIN, _WELL_THEN = 0.4, 0.5  # of what failed is tried again, and of that is well then
_AGAIN_MS = (500, 3000)
_FAILED, _OK = 500, 200


class Company:
    """The visits and lines that go along; nothing is remembered from one stretch to the next."""

    def __init__(self, scenario: Scenario, incidents: Sequence[Incident]) -> None:
        """Take the platform and the incidents of the script."""
        self._scenario = scenario
        self._incidents = incidents
        self._crawlers = np.flatnonzero(np.array(["bot/" in client for client in scenario.clients]))

    def visits(self, rng: np.random.Generator, visits: Visits, stretch: Stretch) -> Visits:
        """Give all visits of a stretch as the incidents leave them."""
        usual = len(visits.ray)
        crawled = draw_visits(rng, self._scenario, (), stretch, int(usual * _CRAWLERS + rng.random()))
        if len(self._crawlers):
            crawled = replace(crawled, client=self._crawlers[rng.integers(0, len(self._crawlers), len(crawled.ray))])
        all_visits = struck(rng, self._scenario, self._incidents, together([visits, crawled]))
        all_visits = together([all_visits, _again(rng, all_visits, stretch)])
        floods = [flood(rng, self._scenario, each, stretch, usual) for each in self._incidents if each.name == "ddos"]
        return together([all_visits, *(each for each in floods if each is not None)])

    def datasets(self, rng: np.random.Generator, lines: dict[str, Lines], visits: Visits, stretch: Stretch) -> dict[str, Lines]:
        """Give the lines of all datasets, without those that a silent source keeps to itself."""
        whole = lines | {
            HEALTH: health_lines(rng, self._incidents, stretch),
            APP_LOGS: log_lines(rng, self._scenario, self._incidents, visits),
            BUSINESS: business_lines(rng, self._scenario, visits),
        }
        for each in self._incidents:
            if each.name == "silent_source" and each.place in whole:
                whole[each.place] = _without(whole[each.place], each)
        return whole


def _again(rng: np.random.Generator, visits: Visits, stretch: Stretch) -> Visits:
    """Give the visits of clients that were failed and try again, seconds later; half of them are well then."""
    chosen = np.flatnonzero((visits.status >= _FAILED) & (rng.random(len(visits.status)) < _AGAIN))
    found = taken(visits, chosen)
    delay = rng.integers(*_AGAIN_MS, len(chosen))
    produced = np.minimum(found.produced + delay, stretch.end_ms - 1)
    return replace(
        found,
        produced=produced,
        events=np.minimum(found.events + delay, produced),
        ray=draw_rays(rng, len(chosen)),
        status=np.where(rng.random(len(chosen)) < _WELL_THEN, _OK, found.status),
    )


def _without(lines: Lines, incident: Incident) -> Lines:
    kept = np.flatnonzero((lines.events < incident.start_ms) | (lines.events >= incident.end_ms))
    texts = [lines.texts[place] for place in kept.tolist()]
    return Lines(lines.produced[kept], lines.events[kept], lines.ray[kept], lines.host[kept], texts)
