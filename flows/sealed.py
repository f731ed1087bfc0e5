"""Sealed: snapshots with the version of their schema in front, so that state which this program does not know is refused.

State without a version is of the first schema: it was written before there were versions. Raise `SCHEMA` when state that
was packed by the program before cannot be read as it is.
"""

SCHEMA = 2  # 1: barrier and output were two steps
_MARK = b"\xc1ew"  # a byte that opens neither msgpack nor JSON


class SchemaUnknown(Exception):
    """A snapshot of another schema; the sentence says which, and the way out."""


def seal(state: bytes) -> bytes:
    """Put the version before a step's state."""
    return _MARK + SCHEMA.to_bytes(2, "big") + state


def unseal(data: bytes) -> bytes:
    """Give the state behind the version; raises SchemaUnknown."""
    version = schema_of(data)
    if version != SCHEMA:
        raise SchemaUnknown(
            f"the recovery store has state of schema {version}, and this edgewatch reads schema {SCHEMA}: run the version "
            "that wrote it, or go on from the last closed window: edgewatch recovery reset -c CONFIG --keep-alerts"
        )
    return data[len(_MARK) + 2 :] if data.startswith(_MARK) else data


def schema_of(data: bytes) -> int:
    """Give the version of a snapshot."""
    return int.from_bytes(data[len(_MARK) : len(_MARK) + 2], "big") if data.startswith(_MARK) else 1
