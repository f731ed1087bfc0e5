"""Status server: /livez, /readyz, /metrics and /status of a live run, from a thread of the process that has the output.

Whoever reaches the address may read: it holds no secrets and takes no orders. An address that is taken costs a warning,
not the run: alerts matter more than figures about them.
"""

import logging
import socket
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from flows.exposition import CONTENT_TYPE, exposed
from flows.self_report import SelfReport, unready

_STOP_S = 2.0
_log = logging.getLogger(__name__)


def application(report: Callable[[], SelfReport], *, hang_after_s: float) -> Starlette:
    """Make the application; `report` is asked at each request."""

    def livez(_: Request) -> Response:
        idle = report().idle_s
        if hang_after_s and idle > hang_after_s:
            return PlainTextResponse(f"no progress for {idle:.0f} s\n", 503)
        return PlainTextResponse("ok\n")

    def readyz(_: Request) -> Response:
        problems = unready(report(), hang_after_s=hang_after_s)
        return PlainTextResponse("".join(f"{each}\n" for each in problems) or "ok\n", 503 if problems else 200)

    def metrics(_: Request) -> Response:
        return Response(exposed(report()), media_type=CONTENT_TYPE)

    def status(_: Request) -> Response:
        return Response(msgspec.json.encode(report()), media_type="application/json")

    routes: dict[str, Callable[[Request], Any]] = {"livez": livez, "readyz": readyz, "metrics": metrics, "status": status}
    return Starlette(routes=[Route(f"/{name}", answer) for name, answer in routes.items()])


class StatusServer:
    """Serves until stopped."""

    def __init__(self, report: Callable[[], SelfReport], address: tuple[str, int], *, hang_after_s: float) -> None:
        """Listen; where that is not possible, say so and serve nothing."""
        self._server: uvicorn.Server | None = None
        try:
            listener = _listener(address)
        except OSError as error:
            _log.warning(
                "observe.listen: cannot listen on %s:%d: %s; /metrics and probes are off for this run",
                *address,
                error.strerror or error,
            )
            return
        config = uvicorn.Config(
            application(report, hang_after_s=hang_after_s), log_level="warning", access_log=False, lifespan="off"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]}, name="status", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop serving."""
        if self._server is not None:
            self._server.should_exit = True
            self._thread.join(_STOP_S)


def _listener(address: tuple[str, int]) -> socket.socket:
    host, port = address
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
