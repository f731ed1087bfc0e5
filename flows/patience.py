"""Patience: how long windows wait for the datasets that they are judged with, and from when silence counts, in a live run.

Giving up, and beginning to listen, are decided by a clock, so they are control events: durable before they take
effect, and read again by resume and replay.
"""

import logging
import time
from collections.abc import Callable
from typing import Protocol

from flows.output import rfc3339

_log = logging.getLogger(__name__)


class Record(Protocol):
    """Where what was given up is kept."""

    def gave_up(self, dataset: str, end: int) -> bool:
        """Tell whether windows that end at `end` are judged without a dataset."""

    def give_up(self, dataset: str, closed: int, end: int) -> None:
        """Keep that windows that end in (`closed`, `end`] are; durable when it returns."""

    def began(self, dataset: str) -> int | None:
        """Give the end of the first window whose silence was judged."""

    def begin(self, dataset: str, end: int) -> None:
        """Keep which it is; durable when it returns."""


class Recorded:
    """Gives up what was given up, and nothing more."""

    def __init__(self, record: Record) -> None:
        """Take where it is kept."""
        self._record = record

    def gave_up(self, dataset: str, end: int) -> bool:
        """Tell whether windows that end at `end` are judged without a dataset."""
        return self._record.gave_up(dataset, end)

    def gives_up(self, dataset: str, closed: int, end: int) -> bool:  # noqa: ARG002 (a Patience)
        """Tell the same."""
        return self._record.gave_up(dataset, end)

    def begins(self, dataset: str, end: int) -> int:
        """Give the end of the first window whose silence was judged; `end` where that is not known."""
        began = self._record.began(dataset)
        return end if began is None else began


class Limited:
    """Gives up a dataset for the windows that have waited for it too long."""

    def __init__(self, record: Record, wait_ms: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Take where it is kept, and how long a window waits."""
        self._record = record
        self._wait_s = wait_ms / 1000
        self._clock = clock
        self._since: dict[tuple[str, int], float] = {}

    def gave_up(self, dataset: str, end: int) -> bool:
        """Tell whether windows that end at `end` are judged without a dataset."""
        return self._record.gave_up(dataset, end)

    def gives_up(self, dataset: str, closed: int, end: int) -> bool:
        """Tell it of a window that waits; decide it where it has waited long enough."""
        if self._record.gave_up(dataset, end):
            return True
        since = self._since.setdefault((dataset, end), self._clock())
        if self._clock() - since < self._wait_s:
            return False
        self._since = {place: at for place, at in self._since.items() if place[0] != dataset or place[1] > end}
        _log.warning("%s: not waited for any longer: windows up to %s are judged without it", dataset, rfc3339(end))
        self._record.give_up(dataset, closed, end)
        return True

    def begins(self, dataset: str, end: int) -> int:
        """Give the end of the first window whose silence is judged: `end`, unless that was decided before."""
        if self._record.began(dataset) is None:
            self._record.begin(dataset, end)
        began = self._record.began(dataset)
        return end if began is None else began
