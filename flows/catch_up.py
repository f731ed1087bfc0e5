"""Catch-up: holds back what a live run says long after its time, until it has caught up; then says what is still true.

Decisions are the same with and without: it is only delivery that waits. What is held is in the spool, and a kill at any
point loses and repeats nothing. A dataset has caught up when its newest closed window is not stale. Where that does not
come, what waits for longer than `stale_wait` goes out as if it had (fail open): a page that may be old is better than none.
"""

import logging
import sqlite3
import threading
from collections.abc import Iterable, Mapping

from flows.backlog import Ended, digest, ended, last_word
from flows.barrier import Output
from flows.engine_options import EngineOptions
from flows.output import About, Closed
from sinks.clock import Clock, SystemClock
from sinks.holding import Holding, Settlement
from sinks.notification import Notification
from sinks.spool import Spool, SpoolFull, SpoolItem

_LOOK_S = 2.0
_log = logging.getLogger("edgewatch.delivery")


class CatchUp:
    """Keeps back what is stale. `ended` says by channel what is heard of incidents that are over (see ChannelKind)."""

    def __init__(
        self,
        spool: Spool,
        ended: Mapping[str, str],
        options: EngineOptions,
        *,
        environment: str = "",
        clock: Clock | None = None,
    ) -> None:
        """Take up what an earlier run held."""
        self._ended = dict(ended)
        self._options = options
        self._environment = environment
        self._clock = clock or SystemClock()
        self._holding = Holding(spool)
        self._behind = set(self._holding.streams())
        self._dataset = ""
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="catch-up", daemon=True)

    def take(self, items: Iterable[Output]) -> dict[str, frozenset[str]]:
        """Hold what is stale among a barrier's output, durably; gives the channels that each notification is held from, by id.

        Settles what is held of a dataset once a window of it closes in time. Raises SpoolFull.
        """
        held: dict[str, frozenset[str]] = {}
        waiting: list[SpoolItem] = []
        with self._lock:
            for item in items:
                if isinstance(item, About):
                    self._hold(waiting)
                    self._dataset = item.dataset
                elif isinstance(item, Notification) and self._waits(item):
                    channels = [name for name in item.channels if self._ended.get(name) != "each"]
                    payload = item.to_bytes()
                    waiting += [SpoolItem(f"{item.id}/{name}", name, item.episode, payload, item.at) for name in channels]
                    held[item.id] = frozenset(channels)
                elif isinstance(item, Closed):
                    self._hold(waiting)
                    if item.dataset in self._behind and not self._stale(item.end):
                        self._settle(item.dataset, "has caught up")
            self._hold(waiting)
        return held

    def overdue(self) -> None:
        """Let go what has waited for too long. Raises SpoolFull."""
        with self._lock:
            latest = self._clock.now() - self._options.stale_wait_ms / 1000
            for dataset, oldest in self._holding.streams().items():
                if oldest <= latest:
                    self._settle(dataset, "has not caught up in time")

    def start(self) -> None:
        """Look out for what is overdue from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking; what is held stays held."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.overdue()
            except (SpoolFull, sqlite3.OperationalError) as error:
                _log.error("what waits for the catch-up stays: %s", error)
            self._clock.wait(self._stopping, _LOOK_S)

    def _stale(self, at: int) -> bool:
        after = self._options.stale_after_ms
        return after > 0 and self._clock.now() * 1000 - at > after

    def _waits(self, notification: Notification) -> bool:
        """Tell whether something is stale, or comes behind what is held: nothing overtakes within an episode."""
        return self._dataset in self._behind or self._stale(notification.at)

    def _hold(self, waiting: list[SpoolItem]) -> None:
        if waiting:
            if self._dataset not in self._behind:
                _log.warning("%s is behind: what it says waits until it has caught up", self._dataset)
            self._holding.hold(waiting, self._dataset)
            self._behind.add(self._dataset)
            waiting.clear()

    def _settle(self, dataset: str, why: str) -> None:
        """Say what is still open, and of the rest one digest a channel."""
        release: dict[str, bytes] = {}
        withdraw: list[str] = []
        over: dict[str, list[Ended]] = {}
        for channel, episode, known in self._holding.episodes(dataset):
            items = self._holding.items(dataset, channel, episode)
            if self._ended.get(channel) == "each":  # it was not when they were held
                release |= dict(items)
                continue
            said = [Notification.from_bytes(payload) for _, payload in items]
            word = last_word(said, known=known)
            told = "" if word is None else f"{word.id}/{channel}"
            withdraw += [identity for identity, _ in items if identity != told]
            if word is not None:
                release[told] = word.to_bytes()
            elif self._ended.get(channel, "digest") == "digest":
                over.setdefault(channel, []).append(ended(said))
        digests = [(channel, digest(self._environment, channel, found)) for channel, found in over.items()]
        new = [SpoolItem(f"{said.id}/{name}", name, said.episode, said.to_bytes(), said.at) for name, said in digests]
        self._holding.settle(Settlement(release, withdraw, new))
        self._behind.discard(dataset)
        counts = len(release), len(withdraw), len(new)
        _log.warning("%s %s: of what waited, %d are said, %d are not, and %d digests instead", dataset, why, *counts)
