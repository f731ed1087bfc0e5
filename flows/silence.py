"""Silence: alerts that a person keeps quiet for a while, with a name, a reason and an end.

It comes from outside the log, so it is a control event: for each dataset it is stamped with the first window end that it
applies to, durably and before it takes effect. What is closed by then never changes, and a resume or replay that finds the
stamps decides the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from flows.matcher import Matchers

LONGEST_MS = 7 * 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """One silence; times in ms UTC, `[start, end)`, judged at a window's end."""

    id: str
    matchers: Matchers
    author: str
    reason: str
    start: int
    end: int

    def holds(self, at: int) -> bool:
        """Tell whether it is in force at a window's end."""
        return self.start <= at < self.end


class Silences(Protocol):
    """Where silences come from."""

    def at(self, dataset: str, end: int) -> Sequence[Silence]:
        """Give those in force at a window's end; one not seen before is stamped first, durably."""

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
