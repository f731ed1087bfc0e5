"""Dashboard queries: asks ClickHouse for a page's rows, each question once for all who look at the same time.

An answer is kept for half a minute, or until a window closes: twenty people at one page ask the same. The rows of a window come
in several inserts, so shortly after it closed answers are kept for a moment only.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from flows.dashboard_steps import LASTING_S, Steps
from sinks.clickhouse import ClickHouse, Queries

Rows = list[dict[str, Any]]
_KEPT_S = 30.0
_MOMENT_S = 5.0
SETTLED_S = 10.0  # after which the rows of a window that closed are there
_MOST = 400


class _Answer:
    """One question's answer, and whoever waits for it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.at = float("-inf")
        self.value: Any = None


class Remembered(Queries):
    """A client whose answers are remembered; safe from any thread. Methods raise DeliveryError."""

    def __init__(self, client: ClickHouse, *, database: str, kept_s: float = _KEPT_S) -> None:
        """Take an open client."""
        self._client = client
        self._kept_s = kept_s
        self._moved = float("-inf")
        self._lock = threading.Lock()
        self._answers: OrderedDict[str, _Answer] = OrderedDict()
        self._lasting: OrderedDict[str, _Answer] = OrderedDict()
        self.database = database
        self.steps = Steps(self.query)

    def query(self, sql: str) -> Rows:
        """Give the rows of a SELECT; nobody changes them."""
        rows: Rows = self.once(sql, lambda: self._client.query(sql))
        return rows

    def once(self, name: str, make: Callable[[], Any], *, lasting: bool = False) -> Any:
        """Give what was made under a name; made anew when it is old, by one for all who wait.

        What is lasting does not change when a window closes.
        """
        kept = self._lasting if lasting else self._answers
        with self._lock:
            answer = kept.setdefault(name, _Answer())
            kept.move_to_end(name)
            while len(kept) > _MOST:
                kept.popitem(last=False)
        with answer.lock:
            if time.monotonic() - answer.at > LASTING_S if lasting else self._old(answer):
                began = time.monotonic()
                answer.value = make()
                answer.at = began
            return answer.value

    def held(self, name: str) -> Any:
        """Give what is there under a name without waiting; None where it is old or not there."""
        answer = self._answers.get(name)
        return None if answer is None or self._old(answer) else answer.value

    def _old(self, answer: _Answer) -> bool:
        return time.monotonic() - answer.at > (self._kept_s if self.settled else min(self._kept_s, _MOMENT_S))

    @property
    def settled(self) -> bool:
        """Tell whether the last window that closed did so long enough ago for its rows to be there."""
        return time.monotonic() - self._moved > SETTLED_S

    def forget(self) -> None:
        """Ask anew from now on: a window has closed."""
        with self._lock:
            self._answers.clear()
            self._moved = time.monotonic()
