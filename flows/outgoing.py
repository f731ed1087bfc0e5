"""Outgoing: the delivery of a configuration: its channels, and ClickHouse as one destination more."""

from flows.config import Config
from sinks.channels import destinations
from sinks.clickhouse import ClickHouse
from sinks.delivery import Delivery
from sinks.lane import Destination
from sinks.rows import RowsDestination
from sinks.spool import Spool


def build_delivery(spool: Spool, config: Config, *, channels: bool = True) -> Delivery:
    """Make the delivery from a spool; without `channels` only rows go out."""
    out: list[Destination] = list(destinations(config.channels)) if channels else []
    if config.clickhouse is not None:
        out.append(RowsDestination(ClickHouse(config.clickhouse)))
    return Delivery(spool, out, environment=config.environment)
