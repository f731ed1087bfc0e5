"""A real HTTP server on 127.0.0.1 whose answers can be scripted, one a request."""

import json
import socket
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from tests.ports import free_port

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with time 0: close sends RST


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The body, read as JSON."""
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer; `fault` breaks it.

    "deaf" does not read the request's body, "silent" answers nothing, "stall" sends the head and no body, "reset" drops
    the connection. With "late" and "lost" the request is served first, then answered never or by a dropped connection.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    fault: str = ""


def of_json(status: int, body: object, **headers: str) -> Answer:
    """Give an answer with a JSON body; `retry_after` becomes Retry-After."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, json.dumps(body).encode(), {"Content-Type": "application/json", **named})


class _Server(ThreadingHTTPServer):
    """Clients that go away in the middle are what these tests are about: nothing to print."""

    def handle_error(self, request: object, client_address: object) -> None:
        del request, client_address


class ScriptedServer:
    """Answers by `script` while it lasts, then by `reply`; None in a script is a request that `reply` answers."""

    def __init__(self, port: int = 0) -> None:
        """Listen at once, on a free port where none is given."""
        self.script: list[Answer | None] = []
        self.seen: list[Seen] = []
        self.lock = threading.Lock()
        self._gone = threading.Event()
        self._server = _Server(("127.0.0.1", port or free_port()), self._requests())
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        """Serve."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop serving."""
        self._gone.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def reply(self, seen: Seen) -> Answer:
        """Answer what no script answers."""
        del seen
        return Answer()

    def _take(self, seen: Seen) -> Answer:
        with self.lock:
            self.seen.append(seen)
            answer = self.script.pop(0) if self.script else None
            if answer is None:
                return self.reply(seen)
            if answer.fault in {"late", "lost"}:
                self.reply(seen)
            return answer

    def _deaf(self) -> bool:
        with self.lock:
            deaf = bool(self.script) and self.script[0] is not None and self.script[0].fault == "deaf"
            return deaf and self.script.pop(0) is not None

    def _requests(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Requests(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # head and body are two writes: an answer took 40 ms

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
                del format, arguments

            def do_GET(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                self._answer()

            def do_PATCH(self) -> None:
                self._answer()

            def do_PUT(self) -> None:
                self._answer()

            def _answer(self) -> None:
                if fake._deaf():
                    fake._gone.wait()
                    self.close_connection = True
                    return
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                headers = {name.lower(): value for name, value in self.headers.items()}
                fake._send(self, fake._take(Seen(self.command, self.path, headers, body)))

        return Requests

    def _send(self, request: BaseHTTPRequestHandler, answer: Answer) -> None:
        request.close_connection = bool(answer.fault)
        if answer.fault in {"reset", "lost"}:
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            request.connection.close()
            return
        if answer.fault in {"silent", "late"}:
            self._gone.wait()
            return
        request.send_response(answer.status)
        for name, value in answer.headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(answer.body)))
        request.end_headers()
        if answer.fault == "stall":
            self._gone.wait()
            return
        request.wfile.write(answer.body)
