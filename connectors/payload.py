"""Payload: the bytes of one message or of one part of a file: inflating them, their lines, the records' own bytes."""

import gzip
import io
import zlib
from collections.abc import Callable, Sequence

import zstandard

from connectors.dataset import DecodeError

MAX_INFLATED = 1 << 30  # bytes; a Logpush upload holds 1 GB at most

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


def is_packed(payload: bytes) -> bool:
    """Tell gzip or zstd by the first bytes."""
    return payload.startswith((_GZIP, _ZSTD))


def inflate(payload: bytes) -> bytes:
    """Undo gzip or zstd, told by their first bytes; plain bytes come back as they are. Raises DecodeError."""
    try:
        if payload.startswith(_GZIP):
            with gzip.GzipFile(fileobj=io.BytesIO(payload)) as stream:
                inflated = stream.read(MAX_INFLATED + 1)
        elif payload.startswith(_ZSTD):
            with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(payload), read_across_frames=True) as reader:
                inflated = reader.read(MAX_INFLATED + 1)
        else:
            return payload
    except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
        raise DecodeError(f"compressed value cannot be inflated: {error}") from error
    if len(inflated) > MAX_INFLATED:
        raise DecodeError(f"compressed value inflates to more than {MAX_INFLATED} bytes")
    return inflated


def rows(payload: bytes) -> list[bytes]:
    """Give the lines that are not blank."""
    return list(filter(bytes.strip, payload.split(b"\n")))


class Sources:
    """The bytes of single records, found only when asked for: on a clean stream nobody asks.

    `split` gives the records' bytes of a whole message, or None where it is to be read line by line.
    """

    def __init__(self, payloads: Sequence[bytes | None], *, lines: bool, split: Callable[[bytes], list[bytes] | None]) -> None:
        """Take the payloads as they came; with `lines` they are parts of files."""
        self._payloads = payloads
        self._lines = lines
        self._split = split
        self._records: tuple[int, list[bytes]] = (-1, [])

    def __call__(self, payload: int, index: int) -> bytes:
        """Give the bytes of a record."""
        return self.records(payload)[index]

    def records(self, payload: int) -> list[bytes]:
        """Give the bytes of all records of a payload. Raises DecodeError where it cannot be inflated."""
        if self._records[0] != payload:
            value = self._payloads[payload] or b""
            plain = value if self._lines else inflate(value)
            found = None if self._lines else self._split(plain)
            self._records = payload, rows(plain) if found is None else found
        return self._records[1]
