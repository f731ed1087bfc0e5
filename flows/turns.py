"""Turns: which windows are judged next, and in which order.

A dataset's windows are judged in the order of their ends, as soon as all its shards have closed them. Bonded datasets go in
step: a window waits until all of them are closed up to its end, so that an alert of one can decide about one of another by
the same event time in every run. How long it waits is limited in a live run (`barrier_wait`): a dataset that was given up up
to some end is judged apart up to there, and so are the others from it. What was given up is recorded, so a replay does alike.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from connectors.batch import DONE, UNHEARD


class Patience(Protocol):
    """Says which windows do not wait for a dataset."""

    def gave_up(self, dataset: str, end: int) -> bool:
        """Tell whether windows that end at `end` (ms) are judged without a dataset."""

    def gives_up(self, dataset: str, closed: int, end: int) -> bool:
        """Tell it now that such a window waits for a dataset that is closed up to `closed`; may decide it, durably."""

    def begins(self, dataset: str, end: int) -> int:
        """Give the end of the first window whose silence is judged, which may be `end`; may decide it, durably."""


class Endless:
    """Waits for ever, as a bounded run can."""

    def gave_up(self, dataset: str, end: int) -> bool:  # noqa: ARG002 (a Patience)
        """Never."""
        return False

    def gives_up(self, dataset: str, closed: int, end: int) -> bool:  # noqa: ARG002
        """Never."""
        return False

    def begins(self, dataset: str, end: int) -> int:  # noqa: ARG002
        """Give the first that there is."""
        return end


ENDLESS = Endless()


class Turn(NamedTuple):
    """One window to judge; `beside` are the bonded datasets whose alerts count for it."""

    dataset: str
    end: int
    beside: tuple[str, ...]


class Turns:
    """What is closed (`low`) and what has been judged (`through`), by dataset: window ends in ms."""

    def __init__(self, panes: Mapping[str, int], bonds: Sequence[Sequence[str]], patience: Patience) -> None:
        """Take the time from one window end to the next of each dataset, and the bonds; the first of one end goes first."""
        self._panes = dict(panes)
        found = [tuple(name for name in bond if name in panes) for bond in bonds]
        self._bond = {name: next((bond for bond in found if name in bond), (name,)) for name in panes}
        self._patience = patience
        self.low = dict.fromkeys(panes, UNHEARD)
        self.through = dict.fromkeys(panes, UNHEARD)
        self.silent: dict[str, int] = {}  # up to which end silence has been judged, or there was none
        self.rest: dict[str, int] = {}  # how far in time a dataset's input came that has ended (ms), where that is known

    def due(
        self, dataset: str, pending: Mapping[str, Collection[int]], hears_silence: Callable[[str], bool]
    ) -> tuple[list[Turn], list[str]]:
        """Give the windows that can be judged now that `dataset` came further, and the datasets that are judged further."""
        found: list[tuple[int, int, Turn]] = []
        further = []
        for rank, name in enumerate(self._bond[dataset]):
            through = self._through(name, pending[name])
            ends = self._ends(name, through, pending[name], silence=hears_silence(name))
            found += [(end, rank, Turn(name, end, self._beside(name, end))) for end in ends]
            if through > self.through[name]:
                self.through[name] = through
                further.append(name)
        return [turn for *_, turn in sorted(found)], further

    def _through(self, name: str, pending: Collection[int]) -> int:
        """Give up to which end a dataset can be judged: what it has closed, and the others of its bond too."""
        through = self.low[name]
        for other in self._bond[name]:
            closed = reached = self.low[other]
            if other == name or closed >= through:
                continue
            for end in sorted(end for end in pending if closed < end <= through):
                if not self._patience.gives_up(other, closed, end):
                    break
                reached = end
            through = reached
        return through

    def _beside(self, name: str, end: int) -> tuple[str, ...]:
        if self._patience.gave_up(name, end):
            return ()
        return tuple(other for other in self._bond[name] if other != name and not self._patience.gave_up(other, end))

    def _ends(self, name: str, through: int, pending: Collection[int], *, silence: bool) -> list[int]:
        """Give the ends up to `through`: of windows with records, and of all where rules hear silence."""
        ends = sorted(end for end in pending if end <= through)
        if through <= self.through[name] or not silence:
            return ends
        before, rest = self.silent.get(name, self.through[name]), self.rest.get(name)
        if self.low[name] == DONE:
            # The end of the input closes what there is; silence after it is not the platform's. What waits for other datasets
            # comes later, and the silence before it counts.
            last = min(through, max([*pending, before if rest is None else max(rest, before)]))
        else:
            last = max([*ends, through if rest is None else min(through, rest)])
        if last == UNHEARD:
            return ends
        # Where a live run began to listen depends on when it was started, so that is recorded.
        first = min([*ends, last]) if before == UNHEARD else before + self._panes[name]
        began = self._patience.begins(name, first)
        first = began if before == UNHEARD else max(first, began)
        self.silent[name] = max(before, last)
        return sorted({*ends, *range(first, last + 1, self._panes[name])})
