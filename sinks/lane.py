"""A lane: what delivers to one destination, one attempt a step, by the one retry policy that holds for all.

Order is kept within an episode: a failing item holds back its own episode only. Rows have one episode, so
they keep one order. A retryable failure waits with exponential back-off and full jitter, or as long as the
other end asks for (`Retry-After`, then for the whole destination); failures in a row open the circuit
breaker. An item is given up on a permanent error, or when its destination has failed for `give_up_s` since it
could first be tried.
"""

import logging
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from sinks.clock import Clock
from sinks.http import scrub
from sinks.notification import DeliveryError, Pace
from sinks.pace import Breaker, TokenBucket
from sinks.spool import Spool, SpoolFull, Waiting

IDLE_S = 1.0
BACK_OFF_S = 1.0
BACK_OFF_MAX_S = 300.0
_DISK_S = 2.0
_PRUNE_S = 60.0
_BYTES = 1 << 20  # compressed; rows grow twentyfold on the way out
_EXPIRED = 1000
_log = logging.getLogger("edgewatch.delivery")


Around = Callable[[str, Sequence[Waiting]], AbstractContextManager[None]]


def unseen(destination: str, items: Sequence[Waiting]) -> AbstractContextManager[None]:  # noqa: ARG001
    """Look at no attempt."""
    return nullcontext()


class Destination(Protocol):
    """Where items go; `give_up_s` None never gives up, `speaks` says whether people read it."""

    @property
    def name(self) -> str:
        """The name in the spool."""
        ...

    @property
    def pace(self) -> Pace:
        """How fast it may be called."""
        ...

    @property
    def give_up_s(self) -> float | None:
        """How long a retryable failure is retried."""
        ...

    @property
    def speaks(self) -> bool:
        """Whether it takes notifications."""
        ...

    @property
    def limit(self) -> int:
        """How many items of an episode `take` is shown at most."""
        ...

    def take(self, items: Sequence[Waiting], memory: dict[str, str]) -> int:
        """Give how many of the items, from the first, the next attempt covers: one at least."""
        ...

    def send(self, items: Sequence[Waiting], memory: dict[str, str]) -> dict[str, str]:
        """Make one attempt; gives what to remember of the episode. Raises `DeliveryError`."""
        ...


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """How a destination does; times in seconds UTC."""

    destination: str
    queued: int
    attempts: int
    delivered: int
    dead: int
    down_since: float | None
    last_error: str


class Lane:
    """Delivers to one destination. `lost` is called with the items that were given up and the error."""

    def __init__(  # noqa: PLR0913  three inputs and two ears, all named
        self,
        spool: Spool,
        destination: Destination,
        *,
        clock: Clock,
        random: Callable[[], float],
        lost: Callable[[Sequence[Waiting], str], None],
        well: Callable[[], None],
        around: Around = unseen,
    ) -> None:
        """Start with a closed breaker; `well` is called after each delivery, `around` is entered for each attempt."""
        self.destination = destination
        self._spool, self._clock, self._random, self._lost, self._well = spool, clock, random, lost, well
        self._around = around
        self._bucket, self._breaker = TokenBucket(destination.pace), Breaker()
        self._held_until = self._prune_at = 0.0
        self._one_by_one = 0
        self._unsaved: list[Callable[[], None]] = []
        self._disk_full = False
        self._attempts = self._delivered = self._dead = 0
        self._last_error = ""

    def step(self) -> float:
        """Make at most one attempt; gives the seconds until the next step is worth it."""
        now = self._clock.now()
        if self._unsaved and not self._save():
            return _DISK_S
        wait = max(self._held_until - now, self._breaker.wait(now))
        if wait > 0:
            return min(wait, IDLE_S)
        name = self.destination.name
        items = self._spool.due(name, limit=self.destination.limit, size=_BYTES)
        if not items:
            self._prune(now)
            soon = self._spool.next_due(name)
            return IDLE_S if soon is None else min(max(soon, 0.01), IDLE_S)
        wait = self._bucket.take(now)
        if wait > 0:
            return min(wait, IDLE_S)
        self._attempt(items)
        return 0.0

    def status(self) -> LaneStatus:
        """Say how the destination does."""
        name = self.destination.name
        return LaneStatus(
            destination=name,
            queued=self._spool.queued([name]),
            attempts=self._attempts,
            delivered=self._delivered,
            dead=self._dead,
            down_since=self._breaker.open_since,
            last_error=self._last_error,
        )

    @property
    def down(self) -> bool:
        """Whether its destination fails for now: the breaker is open."""
        return self._breaker.open_since is not None

    def _attempt(self, items: Sequence[Waiting]) -> None:
        episode = items[0].episode
        memory = self._spool.memory(self.destination.name, episode)
        before = dict(memory)
        items = items[: 1 if self._one_by_one else self.destination.take(items, memory)]
        self._attempts += 1
        try:
            with self._around(self.destination.name, items):
                after = self.destination.send(items, memory)
        except DeliveryError as error:
            if memory != before:
                self._record(partial(self._spool.remember, self.destination.name, episode, memory))
            self._failed(items, error)
        except Exception as error:  # noqa: BLE001  our bug in one channel must not silence it: set aside, loudly
            text = f"{self.destination.name}: {type(error).__name__}: {scrub(str(error))}"
            _log.error("%s broke on %s; this is a bug", self.destination.name, items[0].id)
            self._refused(items, text)
        else:
            self._done(items, episode, after)

    def _done(self, items: Sequence[Waiting], episode: str, memory: dict[str, str]) -> None:
        self._delivered += len(items)
        self._one_by_one = max(0, self._one_by_one - 1)
        ids = [item.id for item in items]
        self._record(partial(self._spool.delivered, self.destination.name, ids, episode, memory))
        self._answered()
        self._record(self._well)

    def _failed(self, items: Sequence[Waiting], error: DeliveryError) -> None:
        self._last_error = str(error)
        if not error.retryable:
            self._answered()
            self._refused(items, str(error))
            return
        now = self._clock.now()
        if error.retry_after is not None:
            delay = max(error.retry_after, BACK_OFF_S)
            self._held_until = now + delay
        else:
            delay = self._back_off(items[0].attempts)
            if self._breaker.failed(now):
                waiting = self._spool.queued([self.destination.name])
                _log.warning("%s is down, %d waiting, nothing is lost: %s", self.destination.name, waiting, error)
        ids = [item.id for item in items]
        self._record(partial(self._spool.failed, self.destination.name, ids, error=str(error), delay=delay))
        self._expire(str(error))

    def _refused(self, items: Sequence[Waiting], error: str) -> None:
        """Give up an item that will never be taken; several are tried one by one first, to find it."""
        if len(items) > 1:
            self._one_by_one = len(items)
        else:
            self._give_up(items, error)

    def _expire(self, error: str) -> None:
        """Give up all that waited too long: the destination failed just now, so each would fail in turn."""
        if self.destination.give_up_s is None:
            return
        old = self._spool.expired(self.destination.name, age=self.destination.give_up_s, limit=_EXPIRED)
        if old:
            self._give_up(old, error)

    def _give_up(self, items: Sequence[Waiting], error: str) -> None:
        self._last_error = error
        self._dead += len(items)
        self._one_by_one = max(0, self._one_by_one - 1)
        _log.error(
            "%s did not take %d item(s), see `edgewatch spool list`: %s",
            self.destination.name,
            len(items),
            error,
        )
        self._record(partial(self._spool.bury, [item.id for item in items], error=error))
        self._record(partial(self._lost, items, error))

    def _answered(self) -> None:
        down = self._breaker.answered(self._clock.now())
        if down is not None:
            _log.warning("%s is back after %.0f s", self.destination.name, down)

    def _back_off(self, attempts: int) -> float:
        """Give a time between 0 and the exponential limit (full jitter): clients do not come all at once."""
        return self._random() * min(BACK_OFF_MAX_S, BACK_OFF_S * 2.0 ** min(attempts, 20))

    def _record(self, write: Callable[[], None]) -> None:
        """Write to the spool, later where the disk is full: what was sent must not be sent again for that."""
        self._unsaved.append(write)
        self._save()

    def _save(self) -> bool:
        while self._unsaved:
            try:
                self._unsaved[0]()
            except (SpoolFull, sqlite3.OperationalError) as error:
                if not self._disk_full:
                    _log.error("cannot record a delivery, trying again: %s", error)
                self._disk_full = True
                return False
            self._unsaved.pop(0)
        self._disk_full = False
        return True

    def _prune(self, now: float) -> None:
        if now >= self._prune_at:
            self._prune_at = now + _PRUNE_S
            self._record(self._spool.prune)
