"""Dashboard queries: asks ClickHouse for a page's rows, each question once for all who look at the same time.

An answer is kept for half a minute, or until a window closes: twenty people at one page ask the same. The rows of a window come
in several inserts, so shortly after it closed answers are kept for a moment only.
"""

import threading
import time
from collections import OrderedDict
from typing import Any

from sinks.clickhouse import ClickHouse, Queries

Rows = list[dict[str, Any]]
_KEPT_S = 30.0
_MOMENT_S = 2.0
SETTLED_S = 10.0  # after which the rows of a window that closed are there
_MOST = 400


class _Answer:
    """One question's answer, and whoever waits for it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.at = float("-inf")
        self.rows: Rows = []


class Remembered(Queries):
    """A client whose answers are remembered; safe from any thread. Methods raise DeliveryError."""

    def __init__(self, client: ClickHouse, *, database: str, kept_s: float = _KEPT_S) -> None:
        """Take an open client."""
        self._client = client
        self._kept_s = kept_s
        self._moved = float("-inf")
        self._lock = threading.Lock()
        self._answers: OrderedDict[str, _Answer] = OrderedDict()
        self.database = database

    def query(self, sql: str) -> Rows:
        """Give the rows of a SELECT; nobody changes them."""
        with self._lock:
            answer = self._answers.setdefault(sql, _Answer())
            self._answers.move_to_end(sql)
            while len(self._answers) > _MOST:
                self._answers.popitem(last=False)
        with answer.lock:
            if time.monotonic() - answer.at > (self._kept_s if self.settled else min(self._kept_s, _MOMENT_S)):
                answer.rows = self._client.query(sql)
                answer.at = time.monotonic()
            return answer.rows

    @property
    def settled(self) -> bool:
        """Tell whether the last window that closed did so long enough ago for its rows to be there."""
        return time.monotonic() - self._moved > SETTLED_S

    def forget(self) -> None:
        """Ask anew from now on: a window has closed."""
        with self._lock:
            self._answers.clear()
            self._moved = time.monotonic()
