"""Engine options: the `[engine]` table; apart from the engine, so that reading a configuration needs none."""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """The `[engine]` table."""

    shards: int = field(default=8, metadata={"help": "parts that keys fall into; the most processes that can share windows"})
    snapshot_interval_ms: int = field(default=20_000, metadata={"duration": True, "help": "how often state is written"})
    directory: str = field(default="state", metadata={"help": "folder of the plan, recovery store, spool and advances"})

    def problems(self) -> Iterable[tuple[str, str]]:
        """Yield (key, problem) for what the types cannot say."""
        if not 1 <= self.shards <= 256:  # noqa: PLR2004 (a shard number is one byte)
            yield "shards", f"must be 1 to 256, not {self.shards}"
        if self.snapshot_interval_ms < 100:  # noqa: PLR2004
            yield "snapshot_interval", "must be at least 100ms"
