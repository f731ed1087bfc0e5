"""Snapshot bytes: plain values and numpy arrays as msgpack.

Why not pickle: reading a snapshot must never be able to run code.
"""

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

_ARRAY = 1


def pack(value: Any) -> bytes:
    """Pack dicts, lists, strings, numbers, bytes and arrays of numbers or booleans."""
    return _ENCODER.encode(value)


def unpack(data: bytes) -> Any:
    """Undo `pack`; arrays come back writable. Raises msgspec.DecodeError on anything else."""
    return _DECODER.decode(data)


def _encode(value: object) -> msgspec.msgpack.Ext:
    if isinstance(value, np.ndarray) and value.dtype.kind in "iufb":
        shape = [value.dtype.str, list(value.shape)]
        return msgspec.msgpack.Ext(_ARRAY, msgspec.msgpack.encode([*shape, value.tobytes()]))
    raise NotImplementedError(f"cannot pack {type(value).__name__}")


def _decode(code: int, data: memoryview) -> NDArray[Any]:
    if code != _ARRAY:
        raise msgspec.DecodeError(f"unknown extension {code}")
    dtype, shape, raw = msgspec.msgpack.decode(data, type=tuple[str, list[int], bytes])
    return np.frombuffer(raw, np.dtype(dtype)).reshape(shape).copy()


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_encode)
_DECODER = msgspec.msgpack.Decoder(ext_hook=_decode)
