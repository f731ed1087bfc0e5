"""Early word: one message said before its window closed, and what is asked of where such words are kept."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from sinks.notification import Notification


class Word(msgspec.Struct, frozen=True, kw_only=True):
    """One early message, of the window of `dataset` that ends at `end` (ms) and the alert's `key` (canonical JSON)."""

    dataset: str
    end: int
    key: str
    said: Notification


class EarlyWords(Protocol):
    """Where early messages are kept."""

    def since(self, through: Mapping[str, int] | None) -> Sequence[Word]:
        """Give those of windows that end after `through` (ms, by dataset), in the order they were said.

        None: without a snapshot; then of windows that no run has judged.
        """

    def add(self, words: Sequence[Word]) -> None:
        """Keep some; durable when it returns."""


class NoWords:
    """Keeps none: for runs that say nothing early."""

    def since(self, through: Mapping[str, int] | None) -> Sequence[Word]:  # noqa: ARG002 (EarlyWords)
        """Give none."""
        return ()

    def add(self, words: Sequence[Word]) -> None:
        """Forget them."""


NO_WORDS = NoWords()
