"""Dashboard queries: asks ClickHouse for a page's rows, each question once for all who look at the same time.

An answer is kept for a few seconds: windows close every few minutes, and twenty people at one page ask the same.
"""

import threading
import time
from collections import OrderedDict
from typing import Any

from sinks.clickhouse import ClickHouse, Queries

Rows = list[dict[str, Any]]
_KEPT_S = 5.0
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
            if time.monotonic() - answer.at > self._kept_s:
                answer.rows = self._client.query(sql)
                answer.at = time.monotonic()
            return answer.rows

    def forget(self) -> None:
        """Ask anew from now on: rows have come."""
        with self._lock:
            self._answers.clear()
