"""How often a destination is called: a token bucket while it answers, a circuit breaker while it does not.

Both are told the time (seconds) and hold no clock.
"""

from sinks.notification import Pace

_FAILURES = 5
_PROBE_S = 5.0
_PROBE_MAX_S = 60.0


class TokenBucket:
    """Lets `pace.burst` calls through at once and `pace.per_second` from then on."""

    def __init__(self, pace: Pace) -> None:
        """Start full."""
        self._pace = pace
        self._tokens = float(pace.burst)
        self._at: float | None = None

    def take(self, now: float) -> float:
        """Take a token and give 0, or give the seconds until there is one."""
        passed = 0.0 if self._at is None else max(0.0, now - self._at)
        self._at = now
        self._tokens = min(float(self._pace.burst), self._tokens + passed * self._pace.per_second)
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / self._pace.per_second


class Breaker:
    """Opens after failures in a row; then lets probes through, ever further apart, until one succeeds."""

    def __init__(self, failures: int = _FAILURES) -> None:
        """Start closed."""
        self._limit = failures
        self._failures = 0
        self._probe_s = _PROBE_S
        self._until = 0.0
        self.open_since: float | None = None

    def wait(self, now: float) -> float:
        """Give the seconds until a call is let through."""
        return 0.0 if self.open_since is None else max(0.0, self._until - now)

    def failed(self, now: float) -> bool:
        """Count a failure; true where the breaker opens by it (not where a probe failed)."""
        self._failures += 1
        if self.open_since is not None:
            self._probe_s = min(self._probe_s * 2, _PROBE_MAX_S)
            self._until = now + self._probe_s
            return False
        if self._failures < self._limit:
            return False
        self.open_since, self._probe_s, self._until = now, _PROBE_S, now + _PROBE_S
        return True

    def answered(self, now: float) -> float | None:
        """Close it; gives the seconds it was open, None where it was not."""
        since, self.open_since, self._failures = self.open_since, None, 0
        return None if since is None else now - since
