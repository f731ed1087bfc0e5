"""Dashboard server: the page, what it asks as JSON, and what it hears as it happens; reads ClickHouse only.

Writes go to the state folder of the run, where the command line writes silences too.
"""

import asyncio
import contextlib
import hashlib
import mimetypes
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from connectors.http_server import Listening
from connectors.http_server import serve as serve_http
from flows.config import Config
from flows.dashboard_asked import BadQuestion
from flows.dashboard_door import Door, Guarded
from flows.dashboard_queries import Remembered
from flows.dashboard_views import Views
from flows.dashboard_warm import Warmth
from flows.dashboard_writes import Writes
from flows.explain_cli import opened
from flows.report_source import ReportError
from sinks.clickhouse import ClickHouse
from sinks.notification import DeliveryError

VIEWS = ("", "overview", "live", "explore", "alerts", "slos", "budgets", "health", "business", "pipeline", "backtests")
_ASSETS = ("uplot.min.js", "uplot.min.css", "charts.js", "page.css")
_AS_CSV = ("series", "flow", "heatmap", "alerts", "slos")
_LARGEST = 65_536
_LOOK_S = 1.0
_GRACE_S = 5
_SIGN_S = 15.0  # proxies cut connections that say nothing


class Dashboard:
    """The application; `stopping` ends the streams so that a stop is not waited for."""

    def __init__(self, config: Config, views: Views, writes: Writes, door: Door) -> None:
        """Take what answers."""
        self.stopping = False
        self._looks = 0
        self.warmth = Warmth(views, lambda: self._looks)
        self._config = config
        self._views = views
        self._writes = writes
        self._door = door
        self._assets = _assets()
        shared = (
            *("overview", "series", "keys", "heatmap", "alerts", "records", "slos", "budgets", "health", "business"),
            *("pipeline", "flow", "runs"),
        )
        routes = [
            Route("/livez", lambda _: PlainTextResponse("ok\n")),
            Route("/readyz", self._ready),
            Route("/login", self._login, methods=["GET", "POST"]),
            Route("/app/{name}", self._asset),
            *(Route(f"/{name}", self._page) for name in VIEWS),
            *(Route(f"/api/{name}", self._answers(getattr(views, name))) for name in ("meta", "alert")),
            *(Route(f"/api/{name}", self._shares(getattr(views, name))) for name in shared),
            *(Route(f"/api/{name}.csv", self._csv(getattr(views, f"{name}_csv"))) for name in _AS_CSV),
            Route("/api/silences", self._answers(self._silences)),
            Route("/api/silences", self._takes(self._add), methods=["POST"]),
            Route("/api/silences/expire", self._takes(self._expire), methods=["POST"]),
            Route("/api/drill", self._takes(self._drill), methods=["POST"]),
            Route("/api/events", self._events),
        ]
        self.application = Guarded(Starlette(routes=routes), door)

    async def _ready(self, _: Request) -> Response:
        return PlainTextResponse("ok\n") if self.warmth.ready else PlainTextResponse("not yet\n", 503)

    async def _login(self, request: Request) -> Response:
        if request.method == "POST":
            return await self._door.login(request)
        return self._door.login_page(request.query_params.get("next", ""))

    async def _page(self, _: Request) -> Response:
        body, _tag, _kind = self._assets["index.html"]
        return Response(body, media_type="text/html; charset=utf-8", headers={"Cache-Control": "no-store"})

    async def _asset(self, request: Request) -> Response:
        found = self._assets.get(request.path_params["name"])
        if found is None:
            return PlainTextResponse("no such file\n", 404)
        body, tag, kind = found
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(body, media_type=kind, headers=headers)

    def _answers(self, work: Callable[[Request], Any]) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            return await self._told(lambda: work(request))

        return answer

    def _shares(self, work: Callable[[Request], Any]) -> Callable[[Request], Any]:
        """Answer those who ask the same by one answer, while it is remembered."""

        async def answer(request: Request) -> Response:
            name, kept = f"{request.url.path}?{request.url.query}", self._views.remembered
            self._looks += 1
            body = kept.held(name)
            if body is not None:
                return _as_json(body)
            return await self._told(lambda: kept.once(name, lambda: _dumped(work(request))))

        return answer

    def _takes(self, work: Callable[[dict[str, Any], str], Any]) -> Callable[[Request], Any]:
        """Take a JSON object; who sent it comes from the door."""

        async def answer(request: Request) -> Response:
            body = b""
            async for chunk in request.stream():
                body += chunk
                if len(body) > _LARGEST:
                    return _json({"problem": "too long"}, 413)
            try:
                asked = orjson.loads(body)
            except orjson.JSONDecodeError:
                asked = None
            if not isinstance(asked, dict):
                return _json({"problem": "send a JSON object"}, 400)
            return await self._told(lambda: work(asked, request.state.user))

        return answer

    async def _told(self, work: Callable[[], Any]) -> Response:
        """Do the work in a thread; trouble is one sentence."""
        try:
            found = await run_in_threadpool(work)
            if isinstance(found, Response):
                return found
            return _as_json(found) if isinstance(found, bytes) else _json(found)
        except BadQuestion as error:
            return _json({"problem": str(error)}, 400)
        except ReportError as error:
            return _json({"problem": str(error)}, 404)
        except DeliveryError as error:
            return _json({"problem": str(error)}, 503)

    def _csv(self, work: Callable[[Request], str]) -> Callable[[Request], Any]:
        headers = {"Content-Disposition": 'attachment; filename="edgewatch.csv"', "Cache-Control": "no-store"}

        async def answer(request: Request) -> Response:
            return await self._told(lambda: Response(work(request), 200, headers, "text/csv; charset=utf-8"))

        return answer

    def _silences(self, _: Request) -> Any:
        return {"there": self._writes.there, "silences": self._writes.silences(_now())}

    def _add(self, asked: dict[str, Any], user: str) -> Any:
        named = asked.get("author")
        author = named if self._door.names_nobody and isinstance(named, str) and named.strip() else user
        return self._writes.add(asked, author, _now())

    def _expire(self, asked: dict[str, Any], _: str) -> Any:
        return self._writes.expire(str(asked.get("id", "")), _now())

    def _drill(self, asked: dict[str, Any], _: str) -> Any:
        severity = asked.get("severity")
        return self._writes.drill(str(asked.get("rule", "")), severity if isinstance(severity, str) else None, _now())

    async def _events(self, _: Request) -> Response:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._happening(), media_type="text/event-stream", headers=headers)

    async def _happening(self) -> AsyncIterator[bytes]:
        """Say how far windows are, each time that changes; and a sign of life in between."""
        before, said = b"", time.monotonic()
        yield b"retry: 2000\n\n"
        while not self.stopping:
            try:
                found = orjson.dumps(await run_in_threadpool(self._views.live))
            except DeliveryError as error:
                found = orjson.dumps({"problem": str(error)})
            if found != before:
                yield b"event: state\ndata: " + found + b"\n\n"
                before, said = found, time.monotonic()
            elif time.monotonic() - said > _SIGN_S:
                yield b": still here\n\n"
                said = time.monotonic()
            await asyncio.sleep(_LOOK_S)


def _assets() -> dict[str, tuple[bytes, str, str]]:
    """Read the page's files: name -> content, tag, type."""
    web = resources.files("sinks").joinpath("web")
    found = [web.joinpath(name) for name in _ASSETS] + sorted(web.joinpath("app").iterdir(), key=lambda each: each.name)
    out = {}
    for each in found:
        body = each.read_bytes()
        kind = mimetypes.guess_type(each.name)[0] or "application/octet-stream"
        shown = "text/javascript" if each.name.endswith(".js") else kind
        out[each.name] = (body, f'"{hashlib.sha256(body).hexdigest()[:20]}"', f"{shown}; charset=utf-8")
    return out


def _json(value: Any, status: int = 200) -> Response:
    return _as_json(_dumped(value), status)


def _dumped(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def _as_json(body: bytes, status: int = 200) -> Response:
    return Response(body, status, {"Cache-Control": "no-store"}, "application/json")


def _now() -> int:
    return int(time.time() * 1000)


def made(config: Config, client: ClickHouse, folder: Path) -> Dashboard:
    """Make the application of a configuration; `folder` is the state folder of its run."""
    assert config.clickhouse is not None  # noqa: S101 (the caller has looked)
    door, writes = Door(config.dashboard), Writes(config, folder)
    page = {"page": door.page_secret, "read_only": door.read_only, "names_nobody": door.names_nobody, "silences": writes.there}
    name = config.clickhouse.database
    kept, fresh = Remembered(client, database=name), Remembered(client, database=name, kept_s=_LOOK_S / 2)
    return Dashboard(config, Views(config, kept, fresh, folder, page), writes, door)


def serve(config: Config, folder: Path, on_start: Callable[[str], Any]) -> bool:
    """Serve until a signal, and tell `on_start` the address; False where it cannot listen, which is said on standard error.

    `folder` is the state folder of the run.
    """
    host, port = config.dashboard.address
    client = opened(config)
    dashboard = made(config, client, folder)
    shown = f"[{host}]" if ":" in host else host

    def stop() -> None:
        dashboard.stopping = True

    def started(host: str, port: int) -> None:
        on_start(f"http://{host}:{port}/")
        dashboard.warmth.start()

    try:
        with contextlib.closing(_bound(host, port)):
            pass
        listening = Listening(host=host, port=port, grace_s=_GRACE_S)
        return serve_http(dashboard.application, listening, on_start=partial(started, shown), on_stop=stop)
    except OSError as error:
        sys.stderr.write(f"edgewatch: cannot listen on {host}:{port}: {error.strerror or error}; give another --listen\n")
        return False
    finally:
        dashboard.warmth.stop()
        client.close()


def _bound(host: str, port: int) -> socket.socket:
    """Try the address: uvicorn would end the process over one that is taken."""
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
