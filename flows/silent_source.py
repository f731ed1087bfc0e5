"""Silent source: of the alerts that a silent dataset raises, one is said, and the others are inhibited by it.

Each absence rule, and each `no_data` of another rule, sees for itself that nothing comes. They all have one cause, so one page
says it: the most severe, of these the one that began first, then by name. Another one is kept quiet only where everybody who
would hear of it hears of that one; of keys nothing is said either, because whether they are silent is not known meanwhile.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from flows.alert_state import FIRING
from flows.evaluation import INHIBITED
from flows.judged import Judged
from flows.labels import Subject
from flows.metric import TOTAL
from flows.policy import Quiet
from flows.route import Routes
from flows.rule import Rule
from flows.window import WindowResult


class _Alert(NamedTuple):
    """One absence alert that fires, with its place: number of the book, place in it."""

    book: int
    place: int
    rule: Rule
    key: str
    severity: int
    start: int
    heard: frozenset[str]
    windows: float  # without a record of its metric, up to now

    @property
    def rank(self) -> tuple[int, int, str]:
        return -self.severity, self.start, self.rule.options.name


class SilentSource:
    """Remembers since when, and for how many windows, each dataset is silent."""

    def __init__(self, routes: Routes) -> None:
        """Take who hears of what."""
        self._routes = routes
        self.since: dict[str, int] = {}  # end of the first window without any record (ms), by dataset
        self.windows: dict[str, int] = {}  # without any record, by dataset

    def quiet(
        self, result: WindowResult, judged: Sequence[tuple[Rule, Judged]], quiet: list[Quiet] | None, *, silent: bool
    ) -> list[Quiet] | None:
        """Give `quiet` (as `Suppression.at`, a column for each of `judged`) with what the alert of a silent source inhibits."""
        if not silent:
            self.since.pop(result.dataset, None)
            self.windows.pop(result.dataset, None)
            return quiet
        since = self.since.setdefault(result.dataset, result.end)
        windows = self.windows[result.dataset] = self.windows.get(result.dataset, 0) + 1
        alerts = sorted(self._alerts(result.dataset, judged), key=lambda each: each.rank)
        # One that fired before is about a metric, and who heard of it has not heard of the source. An alert within the cooldown
        # of the last one began with that: its metric tells, which fell silent together with the source.
        speaking = [each for each in alerts if each.key == TOTAL and (each.start >= since or each.windows <= windows)]
        if not speaking:
            return quiet
        out = quiet or [np.zeros(len(each.keys), np.int8) for _, each in judged]
        said: set[str] = set()
        for each in [*speaking, *(each for each in alerts if each.key != TOTAL)]:
            if each.heard <= said and not out[each.book][each.place]:
                out[each.book][each.place] = INHIBITED
            elif each.key == TOTAL:  # behind a silence too: who silences the one alert does not want the next
                said |= each.heard
        return out

    def _alerts(self, dataset: str, judged: Iterable[tuple[Rule, Judged]]) -> Iterator[_Alert]:
        for book, (rule, each) in enumerate(judged):
            if rule.options.kind != "absence" or rule.metric.dataset != dataset or not rule.options.notify:
                continue
            columns = each.after.columns
            for place in np.flatnonzero(columns.state >= FIRING).tolist():
                severity = int(columns.severity[place])
                subject = Subject(rule.options.name, each.keys[place], severity)
                heard = self._routes.channels(self._routes.taken(rule, subject.key, severity))
                windows = float(each.cells.values[place])
                yield _Alert(book, place, rule, subject.key, severity, int(columns.start[place]), heard, windows)
