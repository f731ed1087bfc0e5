"""Engine options: the `[engine]` table; apart from the engine, so that reading a configuration needs none."""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """The `[engine]` table: how a run is split, kept and watched."""

    shards: int = field(
        default=8, metadata={"unit": "shards", "help": "parts that keys fall into; the most processes that can share windows"}
    )
    snapshot_interval_ms: int = field(default=20_000, metadata={"duration": True, "help": "how often state is written"})
    stale_after_ms: int = field(
        default=1_800_000,
        metadata={"duration": True, "help": "live: what is said later than this waits for the catch-up; 0s: never"},
    )
    stale_wait_ms: int = field(
        default=600_000,
        metadata={"duration": True, "help": "what waits for the catch-up goes out after this, caught up or not"},
    )
    hang_after_ms: int = field(
        default=60_000,
        metadata={"duration": True, "help": "live: a run that makes no progress this long is started again; 0s: never"},
    )
    token: str = field(
        default="", repr=False, metadata={"secret": True, "help": "what the machines of a run know each other by (--addresses)"}
    )
    allow_public: bool = field(
        default=False,
        metadata={"help": "true: a machine of a run (--addresses) may listen on a public address, without a password"},
    )
    directory: str = field(default="state", metadata={"help": "folder of the plan, recovery store, spool and advances"})

    def problems(self) -> Iterable[tuple[str, str]]:
        """Yield (key, problem) for what the types cannot say."""
        if not 1 <= self.shards <= 256:  # noqa: PLR2004 (a shard number is one byte)
            yield "shards", f"must be 1 to 256, not {self.shards}"
        if self.snapshot_interval_ms < 100:  # noqa: PLR2004
            yield "snapshot_interval", "must be at least 100ms"
        if 0 < self.hang_after_ms < 5000:  # noqa: PLR2004 (a start alone takes seconds)
            yield "hang_after", "must be at least 5s, or 0s for never"
        if not all("!" <= each <= "~" for each in self.token.strip()):
            yield "token", "must be of printable ASCII characters, without blanks"
        if self.stale_wait_ms < 1000:  # noqa: PLR2004
            yield "stale_wait", "must be at least 1s"
