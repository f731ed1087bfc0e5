"""A clock that stands until it is turned."""

import threading


class ManualClock:
    """Waiting turns the clock instead of waiting."""

    def __init__(self, at: float = 1_764_547_200.0) -> None:
        """Start at 2025-12-01T00:00:00Z."""
        self.at = at

    def now(self) -> float:
        """Give the time it shows."""
        return self.at

    def wait(self, event: threading.Event, seconds: float) -> None:
        """Turn it."""
        if not event.is_set():
            self.at += seconds
