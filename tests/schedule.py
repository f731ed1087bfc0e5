"""ByModule: tests of a file go to one process where the file has a fixture for all of them, others to whichever is free.

A world of broker, ClickHouse and line takes longer to set up than its tests take, and a fixture is set up once a process.
"""

from functools import cache
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling


class ByModule(LoadScopeScheduling):  # type: ignore[misc]  # shipped without types
    """Schedules in the order of collection: the largest number of tests is not what takes longest."""

    def __init__(self, config: pytest.Config, log: Producer | None = None) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return path if shares(self.config.rootpath / path) else nodeid


@cache
def shares(path: Path) -> bool:
    """Whether a file of tests has a fixture that is made once for all of them."""
    return 'scope="module"' in path.read_text(encoding="utf-8")
