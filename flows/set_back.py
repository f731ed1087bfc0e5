"""Set back: a process whose clock was set back begins again from its last snapshot.

Why: the engine waits for times of day, for the next read as for the next snapshot. An hour back, it would wait for an hour.
"""

import logging
import os
import sys
import threading
from collections.abc import Callable

from connectors.steady_clock import uptime_ms, wall_ms

_LEAST_MS = 5_000  # what an engine may sleep too long without harm
_LOOK_S = 0.5
_log = logging.getLogger(__name__)


class SetBack:
    """Looks until stopped; calls `again` once where the clock of the day has gone back against the machine's uptime."""

    def __init__(
        self, again: Callable[[], None], *, wall: Callable[[], int] = wall_ms, uptime: Callable[[], int] = uptime_ms
    ) -> None:
        """Take what is done then."""
        self._again, self._wall, self._uptime = again, wall, uptime
        self._before = wall() - uptime()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="set-back", daemon=True)

    def look(self) -> bool:
        """Look once; True where it was set back since the last time."""
        now = self._wall() - self._uptime()
        back, self._before = self._before - now, now
        if back < _LEAST_MS:
            return False
        _log.error("the clock was set back by %d s: this process begins again from its last snapshot", back // 1000)
        return True

    def __enter__(self) -> None:
        self._thread.start()

    def _loop(self) -> None:
        while not self._end.wait(_LOOK_S):
            if self.look():
                self._again()
                return

    def __exit__(self, *_: object) -> None:
        self._end.set()


def end_at_once() -> None:
    """End this process, as a kill would; its supervisor starts it again."""
    os._exit(1)


def begin_again() -> None:
    """Have this process be replaced by a new one of the same command: it has no supervisor."""
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  our own command line
