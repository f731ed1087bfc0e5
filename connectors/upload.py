"""Upload: the body of one Logpush upload, spooled as it comes, then inflated step by step and cut into blocks of lines.

Nothing of an upload leaves before all of it was inflated once: what is torn, broken or too large leaves nothing behind, so
that its repeat repeats nothing. The second inflating costs a tenth of the whole. Blocks depend on the bytes alone: a repeated
upload makes the same ones.
"""

import hashlib
import re
import tempfile
from collections.abc import Iterator
from typing import IO, Any

import msgspec
from isal import isal_zlib

LONGEST_LINE = 900_000  # bytes; a longer line fits into no Kafka message

_STEP = 262_144  # bytes inflated at a time
_READ = 65_536
_IN_MEMORY = 2_097_152  # bytes of a body; the rest of it is on the disk
_RATIO_FROM = 67_108_864  # bytes; a small upload may be as regular as it likes
_LARGEST_ARRAY = 67_108_864  # bytes; an array is read whole
_GZIP = b"\x1f\x8b"
_WINDOW = 31  # the largest window, in a gzip wrapper
_BROKEN: type[Exception] = isal_zlib.error  # type: ignore[assignment]  # its stubs say that it is an instance

# What Logpush sends when a job is made, in the three spellings that documentation and receivers know.
_VALIDATION = re.compile(rb'\s*(?:\{\s*"content"\s*:\s*"tests?"\s*\}|test)\s*')
_LONGEST_VALIDATION = 64


class UploadRefused(Exception):
    """An upload that can never be accepted: the HTTP status, and one sentence."""

    def __init__(self, status: int, reason: str) -> None:
        """Take what the answer says."""
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Upload:
    """A body; closed by its owner."""

    def __init__(self, encoding: str, *, max_inflated: int, max_ratio: int) -> None:
        """Take the Content-Encoding, in lower case. Raises UploadRefused."""
        if encoding not in ("", "identity", "gzip", "x-gzip"):
            raise UploadRefused(415, f"Content-Encoding {encoding[:40]!r} is not read: send gzip or none")
        self._must_be_gzip = encoding in ("gzip", "x-gzip")
        self._max_inflated = max_inflated
        self._max_ratio = max_ratio
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 (closed by close)
        self._hash = hashlib.blake2b(digest_size=16)
        self.size = 0
        self.inflated = 0

    def write(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    def close(self) -> None:
        """Let the disk space go."""
        self._file.close()

    @property
    def digest(self) -> bytes:
        """Give what tells the body from others."""
        return self._hash.digest()

    def verify(self) -> bool:
        """Inflate all of it and keep nothing; tells whether it is a validation upload. Raises UploadRefused."""
        start = b""
        self.inflated = 0
        for piece in self._pieces():
            self.inflated += len(piece)
            if len(start) <= _LONGEST_VALIDATION:
                start += piece[:_LONGEST_VALIDATION]
            if self.inflated > self._max_inflated:
                raise UploadRefused(413, f"the upload inflates to more than {self._max_inflated} bytes")
            if self.inflated > _RATIO_FROM and self.inflated > self._max_ratio * self.size:
                raise UploadRefused(413, f"the upload inflates to more than {self._max_ratio} times its size")
        return self.inflated <= _LONGEST_VALIDATION and is_validation(start)

    def blocks(self, size: int) -> Iterator[bytes]:
        """Give the lines in blocks of about `size` bytes; a longer line stands alone, cut where it is too long."""
        pieces = self._pieces()
        first = next(pieces, b"")
        if first.lstrip()[:1] == b"[" and self.inflated <= _LARGEST_ARRAY:
            array = _unwrapped(b"".join([first, *pieces]))
            yield from cut(iter([array]), size)
            return
        yield from cut(_chained(first, pieces), size)

    def _pieces(self) -> Iterator[bytes]:
        """Give the inflated body in pieces of at most a step."""
        self._file.seek(0)
        data = self._file.read(_READ)
        if not self._must_be_gzip and not data.startswith(_GZIP):
            while data:
                yield data
                data = self._file.read(_READ)
            return
        inflater = isal_zlib.decompressobj(_WINDOW)
        fresh = True
        while data:
            try:
                piece = inflater.decompress(data, _STEP)
            except _BROKEN as error:
                raise UploadRefused(400, f"the body cannot be inflated: {error}") from error
            fresh = False
            if piece:
                yield piece
            data = inflater.unconsumed_tail
            if inflater.eof:  # one member may follow another; zeros are padding
                data = (inflater.unused_data or self._file.read(_READ)).lstrip(b"\0")
                inflater, fresh = isal_zlib.decompressobj(_WINDOW), True
            elif not data:
                data = self._file.read(_READ)
        if not fresh:
            yield from self._rest(inflater)

    def _rest(self, inflater: Any) -> Iterator[bytes]:
        """Give what is still inside after all was fed. Raises UploadRefused where the stream has no end."""
        while piece := inflater.decompress(b"", _STEP):
            yield piece
        if not inflater.eof:
            raise UploadRefused(400, "the body cannot be inflated: it ends before its gzip stream does")


def is_validation(text: bytes) -> bool:
    """Tell what Logpush sends, to try a destination, when a job is made."""
    return len(text) <= _LONGEST_VALIDATION and _VALIDATION.fullmatch(text) is not None


def _chained(first: bytes, others: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from others


def _unwrapped(body: bytes) -> bytes:
    """Give the elements of a JSON array as lines (a newline in them is a blank); what is no array stays as it is."""
    try:
        elements = msgspec.json.decode(body, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body
    return b"\n".join(bytes(element).replace(b"\n", b" ") for element in elements)


def cut(pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Cut a stream at newlines into blocks of at most `size` bytes, or of one line."""
    held = b""
    too_long = False
    for piece in pieces:
        held += piece
        if too_long:
            end = held.find(b"\n")
            held, too_long = (held[end + 1 :], False) if end >= 0 else (b"", True)
        start = 0
        while len(held) - start > size:
            end = held.rfind(b"\n", start, start + size)
            if end < 0:
                end = held.find(b"\n", start + size)
            if end < 0:
                break
            yield held[start:end]
            start = end + 1
        held = held[start:]
        if len(held) > LONGEST_LINE and b"\n" not in held:
            yield held
            held, too_long = b"", True
    if held:
        yield held
