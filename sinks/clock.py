"""The clock that delivery goes by, so that a test can turn its own."""

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Wall time, and waiting for it."""

    def now(self) -> float:
        """Give the time, seconds UTC since 1970."""
        ...

    def wait(self, event: threading.Event, seconds: float) -> None:
        """Return once `event` is set or `seconds` have passed."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        """Give the time, seconds UTC since 1970."""
        return time.time()

    def wait(self, event: threading.Event, seconds: float) -> None:
        """Return once `event` is set or `seconds` have passed."""
        event.wait(seconds)
