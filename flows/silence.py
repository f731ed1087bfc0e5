"""Silence: alerts that a person keeps quiet for a while, with a name, a reason and an end.

It comes from outside the log, so it is a control event: for each dataset it is stamped with the first window end that it
applies to, durably and before it takes effect. What is closed by then never changes, and a resume or replay that finds the
stamps decides the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from flows.matcher import Matchers, parse_match

LONGEST_MS = 7 * 86_400_000
FOREVER_MS = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """One silence; times in ms UTC, `[start, end)`, judged at a window's end."""

    id: str
    matchers: Matchers
    author: str
    reason: str
    start: int
    end: int
    blind: bool = False  # by nobody: the run does not see what is going on, so it says nothing of it

    def holds(self, at: int) -> bool:
        """Tell whether it is in force at a window's end."""
        return self.start <= at < self.end


def blindness(name: str, text: str) -> Silence:
    """Give what keeps every alert quiet while the run is blind; `text` says why."""
    return Silence(id=name, matchers=parse_match({}), author="edgewatch", reason=text, start=0, end=FOREVER_MS, blind=True)


class Silences(Protocol):
    """Where silences come from."""

    def at(self, dataset: str, end: int) -> Sequence[Silence]:
        """Give those in force at a window's end, a blindness among them; one not seen before is stamped first, durably."""

    def known(self, dataset: str, end: int) -> Sequence[Silence]:
        """Give those that will be in force at a window's end, as far as is known now; nothing is stamped."""


class NoSilences:
    """None at all."""

    def known(self, dataset: str, end: int) -> Sequence[Silence]:  # noqa: ARG002
        """Give none."""
        return ()

    def at(self, dataset: str, end: int) -> Sequence[Silence]:  # noqa: ARG002 (none anywhere, at no time)
        """Give none."""
        return ()
