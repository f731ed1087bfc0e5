"""Status server: /livez, /readyz, /metrics and /status of a live run, from a thread of the process that has the output.

Whoever reaches the address may read: it holds no secrets and takes no orders. An address that is taken costs a warning,
not the run: alerts matter more than figures about them; it is asked for again until it is there.
"""

import logging
import threading
from collections.abc import Callable

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from flows.exposition import CONTENT_TYPE, exposed
from flows.self_report import SelfReport, unready
from flows.served import Served

_log = logging.getLogger(__name__)
_AGAIN_S = 5.0


def probes(idle_s: Callable[[], float], problems: Callable[[], list[str]], *, hang_after_s: float) -> list[Route]:
    """Give /livez and /readyz; they ask for the time without progress and for what is wrong at each request."""

    def livez(_: Request) -> Response:
        idle = idle_s()
        if hang_after_s and idle > hang_after_s:
            return PlainTextResponse(f"no progress for {idle:.0f} s\n", 503)
        return PlainTextResponse("ok\n")

    def readyz(_: Request) -> Response:
        found = problems()
        return PlainTextResponse("".join(f"{each}\n" for each in found) or "ok\n", 503 if found else 200)

    return [Route("/livez", livez), Route("/readyz", readyz)]


def application(report: Callable[[], SelfReport], *, hang_after_s: float) -> Starlette:
    """Make the application of the process that has the output; `report` is asked at each request."""

    def metrics(_: Request) -> Response:
        return Response(exposed(report()), media_type=CONTENT_TYPE)

    def status(_: Request) -> Response:
        return Response(msgspec.json.encode(report()), media_type="application/json")

    asked = probes(
        lambda: report().idle_s, lambda: list(unready(report(), hang_after_s=hang_after_s)), hang_after_s=hang_after_s
    )
    return Starlette(routes=[*asked, Route("/metrics", metrics), Route("/status", status)])


class StatusServer:
    """Serves until stopped. An address that is taken it asks for again, as by a process that is about to end."""

    def __init__(self, application: Starlette, address: tuple[str, int]) -> None:
        """Listen; where that is not possible yet, say so and go on asking."""
        self._application, self._address = application, address
        self._served: Served | None = None
        self._stopped = threading.Event()
        self._asks: threading.Thread | None = None
        error = self._listen()
        if error is not None:
            words = f"cannot listen on {address[0]}:{address[1]}: {error.strerror or error}"
            _log.warning("observe.listen: %s; no /metrics and probes until it can, which is tried every %d s", words, _AGAIN_S)
            self._asks = threading.Thread(target=self._ask, name="status", daemon=True)
            self._asks.start()

    def _listen(self) -> OSError | None:
        try:
            self._served = Served(self._application, self._address, "status")
        except OSError as error:
            return error
        return None

    def _ask(self) -> None:
        while not self._stopped.wait(_AGAIN_S):
            if self._listen() is None:
                _log.info("observe.listen: %s:%d could be taken: /metrics and probes are there", *self._address)
                return

    def stop(self) -> None:
        """Stop serving."""
        self._stopped.set()
        if self._asks is not None:
            self._asks.join()
        if self._served is not None:
            self._served.stop()
