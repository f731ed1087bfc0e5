"""Ingest options: the `[ingest]` table: how a folder of Logpush files is followed.

Topics, the dead-letter topic and the size of messages are those of `[receive]`: both feed the same topics.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

_LONGEST_TRANSACTION_MS = 900_000  # what brokers allow unless told otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestOptions:
    """How files are told to be complete, and where it is written which were taken."""

    done: str = field(default="edgewatch.ingested", metadata={"help": "topic of the files that were taken; made if missing"})
    settle_ms: int = field(
        default=10_000, metadata={"duration": True, "help": "a file that has not changed this long is taken"}
    )
    torn_after_ms: int = field(
        default=600_000,
        metadata={"duration": True, "help": "a torn file that has not changed this long is taken too"},
    )
    every_ms: int = field(default=5_000, metadata={"duration": True, "help": "how often the folder is looked at"})
    transaction_timeout_ms: int = field(
        default=120_000,
        metadata={"duration": True, "help": "how long one file may take; readers wait as long after a kill"},
    )

    def problems(self) -> Iterable[tuple[str, str]]:
        """Yield (key, problem) for what the types cannot say."""
        if not re.fullmatch(r"[a-zA-Z0-9._-]{1,249}", self.done):
            yield "done", f"{self.done!r} is no name of a topic"
        if not 1_000 <= self.transaction_timeout_ms <= _LONGEST_TRANSACTION_MS:  # noqa: PLR2004 (a second)
            yield "transaction_timeout", 'must be "1s" to "15m"'
        if self.every_ms < 100:  # noqa: PLR2004 (a tenth of a second)
            yield "every", 'must be at least "100ms"'
