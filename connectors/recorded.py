"""Recorded: what a live run wrote down of its reading, for a replay of what it read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from connectors.advances import Advance


@dataclass(frozen=True, slots=True)
class Recorded:
    """Where a live run began to read each partition (name -> offset), and what it decided by the clock."""

    starts: Mapping[str, int] = field(default_factory=dict)
    advances: Sequence[Advance] = ()
