"""Garbage: when a process that folds records looks for objects that only hold each other.

Decoding makes many short-lived objects, which are not worth looking at, so collections by number come seldom: after a million
more. What delivers leaves some fifty in a cycle with each request, and would keep 200 MB of them until then: so by time, too.
"""

import gc
import time
from collections.abc import Callable

_SELDOM = (1_000_000, 20, 50)
_EVERY_S = 60.0


def settle() -> None:
    """Leave out of all later collections what is there now, and let those by number come seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_SELDOM)


class Collector:
    """Collects what is young, once a minute at most."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """Begin with the minute."""
        self._now = now
        self._next = now() + _EVERY_S

    def collect_if_due(self) -> None:
        """Collect, where a minute has gone by: milliseconds, of what was made in it and is still there."""
        if self._now() >= self._next:
            self._next = self._now() + _EVERY_S
            gc.collect(0)
