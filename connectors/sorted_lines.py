"""Sorted lines: which lines of a block are records of a dataset, as the flow will judge them, and which are dead letters.

Only event time and identity are decoded. A block without a bad line, which is nearly every one, is passed on as it came.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from connectors.dataset import Dataset
from connectors.decoded import EXCERPT
from connectors.decoder import Decoder
from connectors.event_time import EARLIEST
from connectors.merged import KEY, unmerged
from connectors.payload import rows
from connectors.personal import Cleaner
from connectors.progress import NO_LIMIT, time_reason
from connectors.upload import LONGEST_LINE

_LONGEST_KEY = 64  # bytes
_WITHHELD = b"(withheld: it may hold personal data)"  # no JSON, so the flow refuses it where it goes on


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no record: its number in the upload (from 0, blank lines not counted), why, its first bytes, and all.

    `whole` is empty where nothing may be kept of it, or where it is too long.
    """

    line: int
    reason: str
    excerpt: bytes
    whole: bytes = b""


@dataclass(frozen=True, slots=True)
class SortedLines:
    """A block as one Kafka message: `value` is empty where no line is a record; `lines` counts all that are not blank.

    A line may hold several records: subrequests that were merged into their request.
    """

    value: bytes
    key: bytes
    records: int
    lines: int
    bad: tuple[BadLine, ...]


class LineSorter:
    """Sorts the lines of one dataset."""

    def __init__(self, dataset: Dataset, *, keep_bad: bool, cleaner: Cleaner | None = None) -> None:
        """Take the dataset; with `keep_bad` bad lines stay among the records, for the flow to refuse.

        A `cleaner` takes what is personal out of records. A bad line cannot be cleaned, so nothing of it is shown or kept.
        """
        self._cleaner = cleaner
        self._decoder = Decoder(dataset, frozenset(), unmerge=False)
        self._keep_bad = keep_bad
        self._unmerged = dataset.event_time if dataset.kind == "http_requests" else None

    def sort(self, block: bytes, before: int) -> SortedLines:
        """Sort a block; `before` lines of the upload stand before it."""
        if not block.strip():
            return SortedLines(b"", b"", 0, 0, ())
        if len(block) > LONGEST_LINE:
            start = _WITHHELD if self._cleaner else block[:EXCERPT]
            if self._keep_bad:
                return SortedLines(start, b"", 1, 1, ())
            return SortedLines(b"", b"", 0, 1, (BadLine(before, f"a line longer than {LONGEST_LINE} bytes", start),))
        decoded = self._decoder.decode([block], lines=True)
        bad = {refusal.index: (refusal.reason, refusal.excerpt) for refusal in decoded.refusals}
        for place in np.flatnonzero(decoded.times < EARLIEST).tolist():
            reason = time_reason(int(decoded.times[place]), NO_LIMIT, self._decoder)
            bad[int(decoded.index[place])] = (reason, decoded.source(place)[:EXCERPT])
        lines = len(decoded.times) + len(decoded.refusals)
        if self._cleaner is not None:
            return self._cleaned(self._cleaner, rows(block), bad, before)
        name = next((each for each in decoded.identity[:1] if each), None)
        key = name.encode()[:_LONGEST_KEY] if name else _digest(block)
        if not bad and not self._merged(block):
            return SortedLines(block, key, lines, lines, ())
        found = rows(block)
        kept: list[bytes] = []
        for index, row in enumerate(found):
            if index not in bad:
                kept += self._records(row)
            elif self._keep_bad:
                kept.append(row)
        letters = () if self._keep_bad else tuple(BadLine(before + index, *bad[index], found[index]) for index in sorted(bad))
        return SortedLines(b"\n".join(kept), key, len(kept), lines, letters)

    def _merged(self, block: bytes) -> bool:
        return self._unmerged is not None and KEY in block

    def _records(self, row: bytes) -> list[bytes]:
        """Give the records of a good line; subrequests whose own time is none have that of their request."""
        if self._unmerged is None:
            return [row]
        found = unmerged(row, self._unmerged)
        if len(found) > 1 and (self._decoder.decode([b"\n".join(found)], lines=True).times < EARLIEST).any():
            return unmerged(row, self._unmerged, own_times=False)
        return found

    def _cleaned(self, cleaner: Cleaner, lines: list[bytes], bad: dict[int, tuple[str, bytes]], before: int) -> SortedLines:
        """Clean a block line by line; its key is made of what is left, as an identity may be personal."""
        kept: list[bytes] = []
        letters: list[BadLine] = []
        for index, line in enumerate(lines):
            reason = bad[index][0] if index in bad else ""
            found = [] if reason else [cleaner.clean(each) for each in self._records(line)]
            clean = [each for each in found if each is not None]
            if found and len(clean) == len(found):
                kept += clean
            elif self._keep_bad:
                kept.append(_WITHHELD)
            else:
                letters.append(BadLine(before + index, reason or "it cannot be read to take out what is personal", _WITHHELD))
        value = b"\n".join(kept)
        return SortedLines(value, _digest(value), len(kept), len(lines), tuple(letters))


def _digest(value: bytes) -> bytes:
    return hashlib.blake2b(value, digest_size=8).hexdigest().encode()
