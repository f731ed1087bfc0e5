"""Served: an HTTP application in a thread of its own, beside what a process is there for."""

import socket
import threading
from typing import Any

import uvicorn

_STOP_S = 2.0


class Served:
    """Serves until stopped."""

    def __init__(self, application: Any, address: tuple[str, int], name: str) -> None:
        """Listen; raises OSError where that is not possible."""
        host, port = address
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        config = uvicorn.Config(application, log_level="warning", access_log=False, lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]}, name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop serving."""
        self._server.should_exit = True
        self._thread.join(_STOP_S)
