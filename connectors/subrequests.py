"""Subrequests: those that requests' records hold inside, as records beside them, at the places of their requests.

Why here too, though the receiver takes them out: topics and archives that others wrote give the same windows as those that came
through it. A subrequest whose own time is none has that of its request, and one of a request without a time is none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from connectors.decoded import Decoded, joined
from connectors.event_time import EARLIEST
from connectors.merged import unmerged


@dataclass(frozen=True, slots=True)
class Holding:
    """The bytes of a record that may hold subrequests, and its place: the payload's number and the record's place in it."""

    payload: int
    index: int
    row: bytes


class Subrequests:
    """Reads what is inside; `decode` gives columns of lines, one a payload."""

    def __init__(self, event_time: Sequence[str], decode: Callable[[list[bytes]], Decoded]) -> None:
        """Take the keys of the event time."""
        self._event_time = event_time
        self._decode = decode

    def beside(self, decoded: Decoded, holding: Sequence[Holding], source: Callable[[int, int], bytes]) -> Decoded:
        """Give the records and, behind each of those that are `holding`, its subrequests."""
        good = decoded.times >= EARLIEST
        timed = set(zip(decoded.payload[good].tolist(), decoded.index[good].tolist(), strict=True))
        holding = [each for each in holding if (each.payload, each.index) in timed]
        inside, owners = self._inside(holding, frozenset())
        odd = {*owners[inside.payload[inside.times < EARLIEST]].tolist(), *(int(owners[r.payload]) for r in inside.refusals)}
        if odd:
            inside, owners = self._inside(holding, frozenset(odd))
        if not len(owners):
            return decoded
        payload = np.array([each.payload for each in holding], np.int32)[owners]
        index = np.array([each.index for each in holding], np.int32)[owners]
        placed = replace(
            inside,
            payload=payload[inside.payload],
            index=index[inside.payload],
            refusals=[replace(r, payload=int(payload[r.payload]), index=int(index[r.payload])) for r in inside.refusals],
        )
        return joined([decoded, placed], source)

    def _inside(self, holding: Sequence[Holding], odd: frozenset[int]) -> tuple[Decoded, np.ndarray]:
        """Read the subrequests of records, and give whose each is; those of `odd` ones have the times of their requests."""
        texts: list[bytes] = []
        owners: list[int] = []
        for number, each in enumerate(holding):
            found = unmerged(each.row, self._event_time, own_times=number not in odd)[1:]
            texts += found
            owners += [number] * len(found)
        return self._decode(texts), np.array(owners, np.int64)
