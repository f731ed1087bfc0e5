"""The notebook: what a channel remembers over all episodes, for a service that shows their sum.

Guarantee: on the disk when `write` returns.

Why apart from the episode's memory: that one is given to one attempt, knows of no other episode, and is recorded
after the attempt. What is about to be changed in public has to be written down before.
"""

import sqlite3
from typing import Protocol, runtime_checkable

from sinks.notification import DeliveryError
from sinks.spool import Spool, SpoolFull

_ALL = ""  # no notification is of this episode


class Notebook(Protocol):
    """Words by name; `write` replaces all of them."""

    def read(self) -> dict[str, str]:
        """Give what was written last."""
        ...

    def write(self, content: dict[str, str]) -> None:
        """Keep it. Raises a retryable `DeliveryError` where the disk is full."""
        ...


@runtime_checkable
class KeepsNotebook(Protocol):
    """A channel that has one; delivery gives it the spool's."""

    notebook: Notebook


class LooseNotebook:
    """A notebook of this process, gone with it: for a channel that is used without a spool."""

    def __init__(self) -> None:
        """Start empty."""
        self._content: dict[str, str] = {}

    def read(self) -> dict[str, str]:
        """Give what was written last."""
        return dict(self._content)

    def write(self, content: dict[str, str]) -> None:
        """Keep it."""
        self._content = dict(content)


class SpoolNotebook:
    """The notebook of one destination, in the spool."""

    def __init__(self, spool: Spool, destination: str) -> None:
        """Read nothing yet."""
        self._spool, self._destination = spool, destination

    def read(self) -> dict[str, str]:
        """Give what was written last."""
        return self._spool.memory(self._destination, _ALL)

    def write(self, content: dict[str, str]) -> None:
        """Keep it. Raises a retryable `DeliveryError` where the disk is full."""
        try:
            self._spool.remember(self._destination, _ALL, content)
        except (SpoolFull, sqlite3.OperationalError) as error:
            message = f"{self._destination}: cannot write down what is about to change: {error}"
            raise DeliveryError(message, retryable=True, code="spool") from error
