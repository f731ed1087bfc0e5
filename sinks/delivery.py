"""Delivery: a thread a destination takes from the spool what is due; what is given up raises an alert.

Guarantee: at-least-once. One process delivers from a spool at a time; a second one is refused.
"""

import dataclasses
import fcntl
import logging
import random
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import IO

from sinks.clock import Clock, SystemClock
from sinks.failure import FailureAlert, notification_items
from sinks.lane import IDLE_S, Around, Destination, Lane, LaneStatus, unseen
from sinks.notebook import KeepsNotebook, SpoolNotebook
from sinks.notification import UNLIMITED, Channel, Notification, Pace
from sinks.proposal import TellsPeople, readers
from sinks.spool import Spool, Waiting

GIVE_UP_S = 6 * 3600.0
_EPISODE_ITEMS = 100
_DRAIN_S = 0.05
_BROKEN_S = 5.0
_BEGINS = frozenset({"first", "reopened", "unacknowledged"})  # what is the first word that some channel hears
_log = logging.getLogger("edgewatch.delivery")


class ChannelDestination:
    """A channel as a destination.

    `unsaid` says what becomes of an episode that fired and resolved while the channel was away, or while it waited for
    its turn: "each" still sends each notification, "once" sends one message for both, "never" sends nothing. Of one that
    was said before, both send its end only.
    """

    speaks = True
    limit = _EPISODE_ITEMS

    def __init__(  # noqa: PLR0913  a channel and how its kind is treated, named
        self,
        channel: Channel,
        *,
        pace: Pace = UNLIMITED,
        unsaid: str = "each",
        people: bool = False,
        reaches: bool = True,
        give_up_s: float = GIVE_UP_S,
    ) -> None:
        """Deliver by `channel`; `people`, `reaches`: see ChannelKind."""
        self.people, self.reaches = people, reaches
        self.name = channel.name
        self.pace = pace
        self.give_up_s: float | None = give_up_s
        self._channel = channel
        self._unsaid = unsaid

    def open(self, spool: Spool, people: Sequence[str]) -> None:
        """Give the channel its notebook, where it keeps one, and a way to say something by the channels of `people`."""
        if isinstance(self._channel, KeepsNotebook):
            self._channel.notebook = SpoolNotebook(spool, self.name)
        if isinstance(self._channel, TellsPeople):
            self._channel.tell = partial(_tell, spool, people)

    def take(self, items: Sequence[Waiting], memory: dict[str, str]) -> int:
        """Give how many of an episode's items the next attempt covers: those up to the resolve, or one."""
        if self._unsaid == "each" or not items[0].waited or len(items) == 1:
            return 1
        # A first message that got through to some of its readers is finished before anything else is said.
        if self._unsaid == "once" and memory and items[0].attempts and _notification(items[0]).reason in _BEGINS:
            return 1
        statuses = [_notification(item).status for item in items]
        return statuses.index("resolved") + 1 if "resolved" in statuses else 1

    def send(self, items: Sequence[Waiting], memory: dict[str, str]) -> dict[str, str]:
        """Say one notification, or what became of several."""
        last = _notification(items[-1])
        if len(items) == 1:
            return self._channel.send(last, memory)
        begins = _notification(items[0]).reason in _BEGINS
        if self._unsaid == "once":
            return self._channel.send(dataclasses.replace(last, reason="fired and resolved") if begins else last, memory)
        # An attempt whose answer was lost may have arrived, and what began before is open: else there is nothing to resolve.
        if memory or not begins or any(item.attempts for item in items):
            return self._channel.send(last, memory)
        return memory


class Delivery:
    """Delivers what is in a spool until stopped."""

    def __init__(  # noqa: PLR0913  a spool, where it goes, and what it goes by, named
        self,
        spool: Spool,
        destinations: Sequence[Destination],
        *,
        environment: str = "",
        clock: Clock | None = None,
        jitter: random.Random | None = None,
        around: Around = unseen,
    ) -> None:
        """Start nothing yet; `around` is entered for each attempt."""
        self._spool = spool
        self._clock = clock or SystemClock()
        channels = [each for each in destinations if isinstance(each, ChannelDestination)]
        for each in channels:
            each.open(spool, [other.name for other in channels if other.people])
        speakers = [each.name for each in destinations if each.speaks]
        self._failure = FailureAlert(spool, speakers, environment=environment, clock=self._clock)
        draw = (jitter or random.Random()).random  # noqa: S311  spreads retries, guards nothing
        self.lanes = {
            each.name: Lane(
                spool,
                each,
                clock=self._clock,
                random=draw,
                lost=partial(self._failure.lost, each.name),
                well=partial(self._failure.well, each.name),
                around=around,
            )
            for each in destinations
        }
        self._wake = {name: threading.Event() for name in self.lanes}
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._claim: IO[str] | None = None
        spool.listen(self._woken)

    def start(self) -> None:
        """Start a thread a destination; raises OSError where another process delivers from this spool."""
        self._claim = _claim(self._spool.path)
        unknown = sorted({name for name, state in self._spool.counts() if state == "queued"} - self.lanes.keys())
        if unknown:
            _log.warning("items wait for %s, which is not configured: `edgewatch spool drop`", ", ".join(unknown))
        for name, lane in self.lanes.items():
            thread = threading.Thread(target=self._run, args=(lane, self._wake[name]), name=f"deliver-{name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self, timeout: float = 10.0) -> bool:
        """Let the attempts under way end, and stop; false where one did not end in time."""
        self._stopping.set()
        for event in self._wake.values():
            event.set()
        until = self._clock.now() + timeout
        for thread in self._threads:
            thread.join(max(0.0, until - self._clock.now()))
        ended = not any(thread.is_alive() for thread in self._threads)
        if ended and self._claim is not None:
            self._claim.close()
            self._claim = None
        return ended

    def drain(self, timeout: float) -> bool:
        """Wait until everything is delivered or dead; false where `timeout` (seconds) was not enough."""
        until = self._clock.now() + timeout
        while self._spool.queued(self.lanes):
            if self._clock.now() >= until or self._stopping.is_set():
                return False
            self._clock.wait(self._stopping, _DRAIN_S)
        return True

    def unheard(self) -> bool:
        """Tell whether nobody hears: each channel that reaches somebody is down, or lost something and took nothing since."""
        reaching = [lane for lane in self.lanes.values() if getattr(lane.destination, "reaches", False)]
        return bool(reaching) and all(lane.down or self._failure.open(lane.destination.name) for lane in reaching)

    def status(self) -> list[LaneStatus]:
        """Say how each destination does."""
        return [lane.status() for lane in self.lanes.values()]

    def _run(self, lane: Lane, wake: threading.Event) -> None:
        while not self._stopping.is_set():
            wake.clear()
            try:
                wait = lane.step()
            except Exception:  # noqa: BLE001  one lane's bug must not end its thread: what waits would wait for ever
                _log.exception("delivery to %s stumbled, going on; this is a bug", lane.destination.name)
                wait = _BROKEN_S
            if wait > 0 and not self._stopping.is_set():
                self._clock.wait(wake, min(wait, _BROKEN_S if wait > IDLE_S else IDLE_S))

    def _woken(self, names: set[str]) -> None:
        for name in names & self._wake.keys():
            self._wake[name].set()


def _tell(spool: Spool, people: Sequence[str], said: Notification) -> None:
    spool.put(notification_items(dataclasses.replace(said, channels=readers(said, people))))


def _notification(item: Waiting) -> Notification:
    return Notification.from_bytes(item.payload)


def _claim(path: Path) -> IO[str]:
    """Hold the spool's lock file; the system frees it however the process ends."""
    claim = path.with_name(f"{path.name}.lock").open("w")
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        claim.close()
        message = f"another process delivers from {path}; stop it first"
        raise OSError(message) from None
    return claim
