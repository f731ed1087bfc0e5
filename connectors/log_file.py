"""Log files: the files that Logpush writes to a bucket, plain, gzip or zstd: which names are theirs, and opening them.

gzip and zstd are told by the name, as Logpush and those who repack its files write it. Gzip is inflated by ISA-L, which takes
a third of the time of zlib.
"""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import zstandard
from isal import isal_zlib

ENDINGS = (".ndjson", ".json", ".log", ".gz", ".zst", ".jsonl", ".csv")
_BROKEN: type[Exception] = isal_zlib.error  # type: ignore[assignment]  # its stubs say that it is an instance
UNREADABLE = (OSError, EOFError, _BROKEN, zstandard.ZstdError)  # what reading a torn or broken file raises

_READ = 1 << 20
_PACKED = 1 << 17
_GZIP = 31  # wbits: a gzip header and trailer


def is_log(path: Path) -> bool:
    """Tell a log file by its name; hidden ones are somebody's work in progress."""
    return not path.name.startswith(".") and path.name.endswith(ENDINGS)


def open_log(path: Path) -> BinaryIO:
    """Open a file, inflated; reading it may raise what `UNREADABLE` lists."""
    if path.name.endswith(".gz"):
        return io.BufferedReader(_Members(path.open("rb"), lambda: isal_zlib.decompressobj(_GZIP), b"\0"), _READ)
    if path.name.endswith(".zst"):
        return io.BufferedReader(_Members(path.open("rb"), _zstd, b""), _READ)
    return path.open("rb")


def packed_position(stream: BinaryIO) -> int:
    """Give how many bytes of the file itself were read of a stream that `open_log` gave."""
    members = getattr(stream, "raw", None)
    return members.tell_packed() if isinstance(members, _Members) else stream.tell()


def size_of(path: Path) -> int:
    """Give how large a file is; 0 where it is not there."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _zstd() -> Any:
    return zstandard.ZstdDecompressor().decompressobj()


class _Members(io.RawIOBase):
    """Inflates members (gzip) or frames (zstd) one after the other; EOFError where the last one is torn.

    What came before a tear is given first: the libraries' own readers keep it or just end.
    """

    def __init__(self, file: BinaryIO, make: Callable[[], Any], padding: bytes) -> None:
        self._file = file
        self._make = make
        self._padding = padding  # may stand between members
        self._member: Any = None
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def tell_packed(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        while not self._ready and self._feed():
            pass
        size = min(len(self._ready), len(view))
        view[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def _feed(self) -> bool:
        data = self._file.read(_PACKED)
        if not data and self._member is not None:
            raise EOFError("Compressed file ended before the end of its last part")
        parts = []
        data = data if self._member is not None else data.lstrip(self._padding)
        while data:
            member = self._member or self._make()
            parts.append(member.decompress(data))
            self._member, data = (None, member.unused_data.lstrip(self._padding)) if member.eof else (member, b"")
        self._ready = memoryview(b"".join(parts))
        return bool(self._ready) or self._member is not None

    def close(self) -> None:
        self._file.close()
        super().close()
