"""Early log: what was said before its window closed, on the disk before it leaves.

Why not the snapshot alone: after a crash the batches since the last one are read again in another order, and with what people
have silenced meanwhile, so another alert may be said early, or none. Who heard before the crash must be confirmed or told
that it is over all the same.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from flows.early_word import Word

_KEPT = 10_000  # lines; those before them are of windows that closed long ago


class EarlyLog:
    """A file of the state folder, one JSON object a line; a last line that a crash tore never left and is cut off."""

    def __init__(self, path: Path, closed: Mapping[str, int], kept: int = _KEPT) -> None:
        """Take the file, up to which window end (ms) each dataset was judged, and how many lines are kept."""
        self._path = path
        self._closed = closed
        self._kept = kept
        self._lines: int | None = None  # not known before the first `add`

    def since(self, through: Mapping[str, int] | None) -> Sequence[Word]:
        """Give those of windows that end after `through`; None: after those that were judged."""
        ends = self._closed if through is None else through
        return [word for word in map(_DECODER.decode, self._whole()) if word.end > ends.get(word.dataset, -1)]

    def add(self, words: Sequence[Word]) -> None:
        """Append some."""
        if self._lines is None or self._lines > 2 * self._kept:
            self._shorten()
        with self._path.open("ab") as file:
            file.write(b"".join(_ENCODER.encode(word) + b"\n" for word in words))
            file.flush()
            os.fsync(file.fileno())
        self._lines = (self._lines or 0) + len(words)

    def _whole(self) -> list[bytes]:
        data = self._path.read_bytes() if self._path.exists() else b""
        return data[: data.rfind(b"\n") + 1].splitlines()

    def _shorten(self) -> None:
        """Write the last lines anew, in one piece."""
        lines = self._whole()[-self._kept :]
        draft = self._path.with_suffix(".draft")
        with draft.open("wb") as file:
            file.write(b"".join(line + b"\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)
        self._lines = len(lines)


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Word)
