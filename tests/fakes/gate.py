"""A gate in front of a Kafka broker: hands on what both sides say, but breaks what it is told to break.

Why not a broker of our own: the real one behind the gate takes, orders and keeps the messages, and here only faults are
made that it cannot be asked for. The broker tells clients its own address; in passing, the gate puts its port there.
"""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from tests.ports import free_port

_PRODUCE = 0
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with time 0: close sends RST
_FLEXIBLE = 9  # from this version on Produce writes lengths as varints and ends each part in tags


class Gate:
    """Serves on `address`; `fault` is what meets every message that a client produces, until it is taken back.

    A number: an answer with this error code, without asking the broker. "silent": nobody answers. "late": the broker
    takes it and its answer stays out. "reset", "lost": the same two, but the connection breaks.
    """

    def __init__(self, broker: str) -> None:
        """Stand before `broker` (host:port), which has to be on this machine."""
        host, _, port = broker.rpartition(":")
        self._broker = (host, int(port))
        self._server = socket.create_server(("127.0.0.1", free_port()))
        self.port = int(self._server.getsockname()[1])
        self.address = f"127.0.0.1:{self.port}"
        self.fault: int | str | None = None
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        """Serve."""
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close, and hang up on everybody."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        with self._lock:
            found, self._open = self._open, set()
        for each in found:
            _close(each)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                broker = socket.create_connection(self._broker)
                with self._lock:
                    self._open |= {client, broker}
                asked: set[bytes] = set()  # by their correlation ids, the messages that were handed on
                for way in (self._there, self._back):
                    threading.Thread(target=way, args=(client, broker, asked), daemon=True).start()

    def _there(self, client: socket.socket, broker: socket.socket, asked: set[bytes]) -> None:
        for frame in _frames(client):
            fault = self.fault if struct.unpack_from(">h", frame)[0] == _PRODUCE else None
            if isinstance(fault, int):
                _say(client, _refusal(frame, fault))
            elif fault == "reset":
                _close(client, reset=True)
            elif fault != "silent":
                if fault in ("late", "lost"):
                    asked.add(frame[4:8])
                _say(broker, frame)
        self._hang_up(client, broker)

    def _back(self, client: socket.socket, broker: socket.socket, asked: set[bytes]) -> None:
        theirs, ours = (self._broker[0].encode() + struct.pack(">i", port) for port in (self._broker[1], self.port))
        for frame in _frames(broker):
            if frame[:4] not in asked:
                _say(client, frame.replace(theirs, ours))
            elif self.fault == "lost":
                _close(client, reset=True)
        self._hang_up(client, broker)

    def _hang_up(self, *ends: socket.socket) -> None:
        with self._lock:
            self._open -= set(ends)
        for each in ends:
            _close(each)


def _frames(source: socket.socket) -> Iterator[bytes]:
    """Give each message of the protocol, without its length in front, until the connection ends."""
    with contextlib.suppress(OSError, EOFError):
        while True:
            (size,) = struct.unpack(">i", _exactly(source, 4))
            yield _exactly(source, size)


def _exactly(source: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        more = source.recv(size - len(found))
        if not more:
            raise EOFError
        found += more
    return found


def _say(to: socket.socket, frame: bytes) -> None:
    with contextlib.suppress(OSError):
        to.sendall(struct.pack(">i", len(frame)) + frame)


def _close(end: socket.socket, *, reset: bool = False) -> None:
    with contextlib.suppress(OSError):
        if reset:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        else:
            end.shutdown(socket.SHUT_RDWR)
    end.close()


def _refusal(frame: bytes, code: int) -> bytes:
    """Answer a Produce request of one message: its topic and partition, and the error's code."""
    version, correlation = struct.unpack_from(">h", frame, 2)[0], frame[4:8]
    (size,) = struct.unpack_from(">h", frame, 8)  # the client's id, which is never written as a varint
    at = 10 + size
    assert version >= _FLEXIBLE, f"Produce of version {version}: the gate knows {_FLEXIBLE} and later only"
    at += 1 + 1 + 2 + 4 + 1  # tags, no transactional id, acks, timeout, one topic
    end = at + frame[at]  # a length and the name: at most 126 bytes
    name = frame[at:end]
    (partition,) = struct.unpack_from(">i", frame, end + 1)
    part = struct.pack(">ihqqq", partition, code, -1, -1, -1) + b"\x01\x00\x00"  # no record errors, no words, no tags
    return correlation + b"\x00" + b"\x02" + name + b"\x02" + part + b"\x00" + struct.pack(">i", 0) + b"\x00"
