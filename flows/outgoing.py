"""Outgoing: the delivery of a configuration: its channels, ClickHouse as one destination more, and what waits in a catch-up."""

from collections.abc import Sequence

from flows.catch_up import CatchUp
from flows.config import Config
from sinks.channels import destinations, kind_of
from sinks.clickhouse import ClickHouse
from sinks.clock import Clock
from sinks.delivery import Delivery
from sinks.lane import Around, Destination, unseen
from sinks.rows import RowsDestination
from sinks.spool import Spool, Waiting


def build_delivery(
    spool: Spool, config: Config, *, channels: bool = True, clock: Clock | None = None, around: Around = unseen
) -> Delivery:
    """Make the delivery from a spool; without `channels` only rows go out. `around` is entered for each attempt."""
    out: list[Destination] = list(destinations(config.channels)) if channels else []
    if config.clickhouse is not None:
        out.append(_Rows(ClickHouse(config.clickhouse)))
    return Delivery(spool, out, environment=config.environment, clock=clock, around=around)


def build_catch_up(spool: Spool, config: Config, clock: Clock | None = None) -> CatchUp:
    """Make what holds back, in a live run, what is said long after its time."""
    ended = {name: kind_of(options).ended for name, options in config.channels.items()}
    return CatchUp(spool, ended, config.engine, environment=config.environment, clock=clock)


class _Rows(RowsDestination):
    """ClickHouse, whose schema is brought up to date before the first rows: it may have been away at the start."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        super().__init__(clickhouse)
        self._server = clickhouse
        self._ready = False

    def send(self, items: Sequence[Waiting], memory: dict[str, str]) -> dict[str, str]:
        """Insert the rows of all items."""
        if not self._ready:
            self._server.migrate()
            self._ready = True
        return super().send(items, memory)
