"""A wire between a client and a server, whatever they speak, that can be cut and on which answers can be kept waiting."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.ports import free_port

_PIECE = 1 << 16
_SOON_S = 0.005


class Wire:
    """Serves on `port` and hands on to 127.0.0.1:`server`.

    `deaf` takes connections and hands nothing on; `away` hangs up at once. While `holds()` is true, what the server says
    waits, and `held` is set, until `release`.
    """

    def __init__(self, server: int) -> None:
        """Listen."""
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", free_port()))
        self.port = int(self._listener.getsockname()[1])
        self.deaf = self.away = False
        self.taken = 0
        self.holds: Callable[[], bool] = lambda: False
        self.held = threading.Event()
        self._released = threading.Event()
        self._clients: list[socket.socket] = []

    def __enter__(self) -> Self:
        """Serve."""
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Hang up on everybody."""
        self.release()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def release(self) -> None:
        """Hand on what was kept waiting, and all that comes."""
        self.holds = lambda: False
        self._released.set()

    def cut(self) -> None:
        """Hang up on those that are connected."""
        while self._clients:
            _close(self._clients.pop())

    def until_read(self) -> None:
        """Wait until the clients have read all that was handed on to them, as the kernel tells."""
        ports = {client.getpeername()[1] for client in self._clients if client.fileno() != -1}
        while any(_unread(port) for port in ports):
            time.sleep(_SOON_S)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.taken += 1
                if self.away:
                    _close(client)
                    continue
                self._clients.append(client)
                if not self.deaf:
                    server = socket.create_connection(("127.0.0.1", self._server))
                    threading.Thread(target=self._there, args=(client, server), daemon=True).start()
                    threading.Thread(target=self._back, args=(client, server), daemon=True).start()

    def _there(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := client.recv(_PIECE):
                server.sendall(piece)
        _close(server)

    def _back(self, client: socket.socket, server: socket.socket) -> None:
        # A Kafka broker tells clients its own address: in passing, the wire puts itself there.
        theirs, ours = (b"127.0.0.1" + struct.pack(">i", port) for port in (self._server, self.port))
        with contextlib.suppress(OSError):
            while piece := server.recv(_PIECE):
                if self.holds():
                    self.held.set()
                    self._released.wait()
                client.sendall(piece.replace(theirs, ours))
        _close(client)


def _unread(port: int) -> bool:
    """Tell whether the socket of a local port has received what its process has not read."""
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        local, queues = line.split()[1], line.split()[4]
        if int(local.partition(":")[2], 16) == port:
            return int(queues.partition(":")[2], 16) > 0
    return False


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
