"""Status server: /livez, /readyz, /metrics and /status of a live run, from a thread of the process that has the output.

Whoever reaches the address may read: it holds no secrets and takes no orders. An address that is taken costs a warning,
not the run: alerts matter more than figures about them.
"""

import logging
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
    """Serves until stopped."""

    def __init__(self, application: Starlette, address: tuple[str, int]) -> None:
        """Listen; where that is not possible, say so and serve nothing."""
        self._served: Served | None = None
        try:
            self._served = Served(application, address, "status")
        except OSError as error:
            _log.warning(
                "observe.listen: cannot listen on %s:%d: %s; /metrics and probes are off for this run",
                *address,
                error.strerror or error,
            )

    def stop(self) -> None:
        """Stop serving."""
        if self._served is not None:
            self._served.stop()
