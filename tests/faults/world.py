"""World: a line under load with all that stands around it, and a `fault` that hurts it, waits for it, and settles accounts."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sinks.embedded import Embedded
from tests.faults.account import Account, Figures, say
from tests.faults.line import Door, Hook, Line
from tests.faults.load import Load
from tests.faults.stepped_clock import SteppedClock
from tests.kafka import topics
from tests.kafka.broker import Broker
from tests.ports import free_port
from tests.runs import wait_until

TOPIC = "t"
PARTITIONS = 4


class World:
    """What one line needs. `load` goes on all the time."""

    def __init__(self, broker: Broker, clickhouse: Embedded, door: Door, hook: Hook, line: Line, load: Load) -> None:
        self.broker, self.clickhouse, self.door, self.hook, self.line, self.load = broker, clickhouse, door, hook, line, load
        self.clock: SteppedClock | None = None
        self.account = Account(line, load, hook, clickhouse.url)

    @contextlib.contextmanager
    def fault(self, name: str, *, repeats: int = 0) -> Iterator[None]:
        """Have the fault in a `with`, at the end of which it is over; `repeats`: messages that may come twice by it."""
        said, killed = self.account_duplicates, self._kills
        before = time.monotonic()
        yield
        lasted = time.monotonic() - before
        recovered = self.line.until_live()
        figures = self.account.settle(name, lasted_s=lasted, recovered_s=recovered)
        say(figures)
        # A run that a busy machine kept from its work was killed for it, too.
        assert figures.duplicates - said <= max(repeats, self._kills - killed)
        assert "Traceback" not in self.line.said()

    @property
    def _kills(self) -> int:
        return self.line.said().count("made no progress for")

    @property
    def account_duplicates(self) -> int:
        return sum(count - 1 for count in self.hook.taken.values() if count)


@contextlib.contextmanager
def world(
    folder: Path,
    *,
    broker: Broker | None = None,
    state: Callable[[Path], object] = lambda _: None,
    clock: SteppedClock | None = None,
    rate: int = 200,
    copies: int = 1,
    make: type[Line] = Line,
    **words: Any,
) -> Iterator[World]:
    """Start it all and wait until the line is live and has alerted.

    `state` may prepare the state folder, `words` go into the configuration.
    """
    with contextlib.ExitStack() as stack:
        broker = broker or stack.enter_context(Broker(folder / "kafka"))
        topics.create(broker.address, TOPIC, PARTITIONS, {"retention.ms": "-1"}, copies=copies)
        clickhouse = stack.enter_context(_kept(folder / "clickhouse"))
        door, hook = stack.enter_context(Door(clickhouse.url)), stack.enter_context(Hook())
        given = {"brokers": broker.address, "topic": TOPIC, "hook": hook.hook_url, "clickhouse": door.url, **words}
        line = make(folder, **given)
        line.environment = clock.environment if clock is not None else {}
        line.state.mkdir()
        state(line.state)
        load = stack.enter_context(Load(broker.address, TOPIC, partitions=PARTITIONS, rate=rate))
        made = World(broker, clickhouse, door, hook, line, load)
        made.clock = clock
        stack.callback(made.account.close)
        line.start()
        stack.callback(line.kill)
        line.until_live()
        wait_until(lambda: hook.taken, what="the first alert")
        yield made


@contextlib.contextmanager
def _kept(folder: Path) -> Iterator[Embedded]:
    """Give a server that comes back at its own port."""
    with Embedded(folder, port=free_port()) as server:
        yield server


__all__ = ["Figures", "World", "world"]
