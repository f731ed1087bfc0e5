"""Hold: `for` of a rule: how often an evaluation has to be as bad as a severity before it fires.

Either so many in a row, or so many among the last few ("2 of 3"), for what is bad again and again but not all the time.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

MOST_AMONG = 31  # evaluations that are remembered: two bits each in a signed integer

_N_OF_M = re.compile(r"(\d+) of (\d+)")
_HELP = 'evaluations in a row, or "n of m"'


class Needed(NamedTuple):
    """So many evaluations among the last `among`; 0: in a row."""

    times: int
    among: int = 0

    def words(self, what: str = "") -> str:
        """Say it: `2 critical in a row`, `2 critical among the last 3`."""
        how = f"among the last {self.among}" if self.among else "in a row"
        return " ".join(filter(None, (str(self.times), what, how)))

    def __str__(self) -> str:
        """Give it as the file has it."""
        return f"{self.times} of {self.among}" if self.among else str(self.times)


def parse_needed(given: int | str) -> Needed:
    """Read what `for` says of one severity; raises ValueError in words. One of m, and n of n, need no memory of others."""
    if isinstance(given, int):
        if given < 1:
            message = f"must be at least 1, not {given}"
            raise ValueError(message)
        return Needed(given)
    found = _N_OF_M.fullmatch(given)
    if found is None:
        message = f'{given!r} is neither a number of evaluations in a row nor "n of m", such as "2 of 3"'
        raise ValueError(message)
    times, among = int(found[1]), int(found[2])
    if not 1 <= times <= among <= MOST_AMONG:
        message = f"{given!r}: n must be 1 to m, and m at most {MOST_AMONG}"
        raise ValueError(message)
    return Needed(times) if times in (1, among) else Needed(times, among)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """How many evaluations at a severity make it fire."""

    warning: int | str = field(default=2, metadata={"unit": "evaluations", "help": _HELP})
    critical: int | str = field(default=1, metadata={"unit": "evaluations", "help": _HELP})

    @property
    def for_warning(self) -> Needed:
        """Give what a warning needs; it must be valid."""
        return parse_needed(self.warning)

    @property
    def for_critical(self) -> Needed:
        """Give what critical needs; it must be valid."""
        return parse_needed(self.critical)

    def needed(self) -> dict[str, Needed]:
        """Give what each severity needs, by name; it must be valid."""
        return {"warning": self.for_warning, "critical": self.for_critical}

    @property
    def remembers(self) -> bool:
        """Tell whether it counts among the last few evaluations."""
        return bool(self.for_warning.among or self.for_critical.among)

    def problems(self) -> Iterable[tuple[str, str]]:
        """Yield (key, problem) for what the types cannot say."""
        for name, given in (("warning", self.warning), ("critical", self.critical)):
            try:
                parse_needed(given)
            except ValueError as error:
                yield name, str(error)
