"""Machine words: what the machines of a run say to machine 0, and what it answers; JSON over HTTP.

A machine joins a start until it is told to go, and reports each second while it runs. Starts have numbers: whoever hears of
another one than its own ends its process and joins again.
"""

import msgspec

from connectors.plan import Plan

JOIN, REPORT = "/join", "/report"


def authorization(token: str) -> str:
    """Give the header that shows a machine to be of the run; nothing where machines have no token.

    A secret that was made from a file ends in a line break, which is no part of it.
    """
    return f"Bearer {token.strip()}" if token.strip() else ""


class Join(msgspec.Struct, frozen=True, kw_only=True):
    """A machine wants to take part: of `machines`, with this configuration, of this `run` (None: of none yet).

    `parts` are the numbers of the recovery files that it has, `executions` and `fronts` what they know (see `resume_epoch`).
    """

    machine: int
    machines: int
    version: str
    run: str | None
    parts: tuple[int, ...]
    executions: list[tuple[int, int, int]]
    fronts: list[tuple[int, int, int]]


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """What a machine that goes works on: the number of the start, the plan, and from which window on (ms) is judged.

    `advances` is what machine 0 has of the recordings of its lanes, `resume` the epoch that the engine goes on from.
    """

    number: int
    plan: Plan
    begin: int | None
    resume: int | None
    advances: dict[str, str]


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    """The answer: `refused` says why not; `start` is there once all have joined, until then `missing` names the others.

    `make` has a machine of a new run make its recovery files.
    """

    run: str = ""
    refused: str = ""
    make: bool = False
    missing: tuple[str, ...] = ()
    start: Start | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """How the lanes of a machine are, in start `number`: rows of its mapped files (see `Gauges`), and new lines of advances.

    `leaves` says that it was told to stop, `ended` that its process has ended in good order: nothing more will come.
    """

    machine: int
    number: int
    leaves: bool
    ended: bool
    lanes: dict[str, list[int]]
    partitions: dict[str, list[int]]
    watermarks: dict[str, int]
    advances: dict[str, str]


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """The answer: which start runs (None: none), whether all stop reading and write their state, and what the others do."""

    number: int | None
    drain: bool
    ends: dict[str, int | None]
    watermarks: dict[str, int]
