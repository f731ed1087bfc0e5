"""Wire: stands before a port, and can be cut: connections stay open, and nothing comes through until it is mended.

As on a network that loses all: what was sent meanwhile arrives later, and who connects hears nothing.
"""

import contextlib
import socket
import threading
import time

from tests.ports import free_port

_CONNECT_S = 10.0  # a machine is reached, or not; that nothing listens there yet its wire does not say
_PIECE = 1 << 16


class Wire:
    """Listens on a port of its own (`port`), and hands on to another one of this machine."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._whole = threading.Event()
        self._whole.set()
        self._listener = socket.create_server(("127.0.0.1", free_port()))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Let nothing through."""
        self._whole.clear()

    def mend(self) -> None:
        """Let all through again."""
        self._whole.set()

    def close(self) -> None:
        """Take no more connections."""
        self.mend()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._join, args=(near,), daemon=True).start()

    def _join(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError), self._reach() as far:
            back = threading.Thread(target=self._hand_on, args=(far, near), daemon=True)
            back.start()
            self._hand_on(near, far)
            back.join()

    def _reach(self) -> socket.socket:
        deadline = time.monotonic() + _CONNECT_S
        while True:
            self._whole.wait()
            try:
                return socket.create_connection(("127.0.0.1", self._to))
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def _hand_on(self, source: socket.socket, target: socket.socket) -> None:
        """Hand on until there is no more, and say so; an end by force ends both ways."""
        try:
            while piece := source.recv(_PIECE):
                self._whole.wait()
                target.sendall(piece)
            self._whole.wait()
            target.shutdown(socket.SHUT_WR)
        except OSError:
            for each in (source, target):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
