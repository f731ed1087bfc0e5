"""Personal data: values of records that are hashed with a key, or dropped, before they leave the door.

A hash is keyed (BLAKE2b), so nobody without the key can try all addresses; the same value gives the same hash, so unique
users can still be counted. It fails closed: a line that cannot be read well enough to be cleaned does not pass.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import orjson

from connectors.record_path import RecordPath

_HASH_BYTES = 16


class Cleaner:
    """Cleans records of the values at some paths."""

    def __init__(self, *, drop: Sequence[str], hashed: Sequence[str], key: str) -> None:
        """Take paths, of which `RecordPath` knows the form, and the key of hashes."""
        self._drop = [RecordPath.parse(path) for path in drop]
        self._hashed = [RecordPath.parse(path) for path in hashed]
        self._key = key.encode()[:64]

    def clean(self, row: bytes) -> bytes | None:
        """Give a record without what is personal; None where it cannot be read."""
        try:
            record = orjson.loads(row)
        except orjson.JSONDecodeError:
            return self._clean_odd(row)
        self._change(record)
        try:
            return orjson.dumps(record)
        except TypeError:  # what was read can be too large to be written
            return self._clean_odd(row)

    def _clean_odd(self, row: bytes) -> bytes | None:
        """Clean what the strict reader refuses and the flow does not: invalid UTF-8, lone surrogates, numbers of any size."""
        try:
            record = json.loads(row.decode("utf-8", "surrogateescape"))
            self._change(record)
            return json.dumps(record, separators=(",", ":"), allow_nan=False).encode()
        except (ValueError, RecursionError):
            return None

    def _change(self, record: Any) -> None:
        for path in self._drop:
            for holder, last in _holders(record, path):
                if isinstance(holder, dict):
                    del holder[last]
                else:
                    holder[last] = None
        for path in self._hashed:
            for holder, last in _holders(record, path):
                holder[last] = self._hash(holder[last])

    def _hash(self, value: Any) -> str | None:
        if value is None or value == "":
            return value  # type: ignore[no-any-return]  # what is absent stays absent
        text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), key=self._key, digest_size=_HASH_BYTES).hexdigest()


def _holders(record: Any, path: RecordPath) -> list[tuple[Any, Any]]:
    """Give what holds a value at a path, and under which key: as a key of its own, and inside."""
    found: list[tuple[Any, Any]] = []
    if isinstance(record, dict) and path.text in record:
        found.append((record, path.text))
    holder = record
    for step in path.steps[:-1]:
        holder = _inside(holder, step)
    if not path.is_key and _has(holder, path.steps[-1]):
        found.append((holder, path.steps[-1]))
    return found


def _has(holder: Any, step: str | int) -> bool:
    if isinstance(step, str):
        return isinstance(holder, dict) and step in holder
    return isinstance(holder, list) and 0 <= step < len(holder)


def _inside(holder: Any, step: str | int) -> Any:
    return holder[step] if _has(holder, step) else None
