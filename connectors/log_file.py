"""Log files: the files that Logpush writes to a bucket, plain, gzip or zstd: which names are theirs, and opening them.

gzip and zstd are told by the name, as Logpush and those who repack its files write it.
"""

import gzip
import io
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import zstandard

ENDINGS = (".ndjson", ".json", ".log", ".gz", ".zst", ".jsonl")
UNREADABLE = (OSError, EOFError, zlib.error, zstandard.ZstdError)  # what reading a torn or broken file raises

_BLOCK = 1 << 20


def is_log(path: Path) -> bool:
    """Tell a log file by its name; hidden ones are somebody's work in progress."""
    return not path.name.startswith(".") and path.name.endswith(ENDINGS)


def open_log(path: Path) -> BinaryIO:
    """Open a file, inflated; reading it may raise what `UNREADABLE` lists."""
    if path.name.endswith(".gz"):
        return gzip.open(path, "rb")  # type: ignore[return-value]
    if path.name.endswith(".zst"):
        return io.BufferedReader(_ZstdFrames(path.open("rb")), _BLOCK)
    return path.open("rb")


class _ZstdFrames(io.RawIOBase):
    """Inflates zstd frames one after the other; EOFError where the last one is torn (the library's reader just ends)."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        while not self._ready and self._feed():
            pass
        taken = self._ready[: len(view)]
        view[: len(taken)] = taken
        self._ready = self._ready[len(taken) :]
        return len(taken)

    def _feed(self) -> bool:
        data = self._file.read(_BLOCK // 8)
        if not data and self._frame is not None:
            raise EOFError("Compressed file ended before the end of its last frame")
        while data:
            frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
            self._ready += frame.decompress(data)
            self._frame, data = (None, frame.unused_data) if frame.eof else (frame, b"")
        return bool(self._ready) or self._frame is not None

    def close(self) -> None:
        self._file.close()
        super().close()
