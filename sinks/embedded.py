"""ClickHouse without a server: chDB in a process of its own, behind ClickHouse's HTTP interface on 127.0.0.1.

Why its own process: chDB takes one folder for one process, uses several hundred MB and all cores it finds,
and a crash of it must not take the flow along. Meant for one machine: no users, no TLS; other origins than
this machine's are refused.
"""

import argparse
import contextlib
import fcntl
import gzip
import io
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, TracebackType
from typing import IO, Any, Self

import uvicorn
import zstandard
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sinks.http import HttpClient
from sinks.notification import DeliveryError

_START_S = 60.0
_STOP_S = 20.0
_POLL_S = 0.05
_MISSING = "the embedded ClickHouse needs chdb: pip install 'edgewatch[embedded]'"
_READ_ONLY = re.compile(r"\s*(select|with|show|describe|desc|exists|explain)\b", re.IGNORECASE)
_QUOTED = re.compile(r"'(?:[^'\\]|\\.|'')*'|`[^`]*`|\"[^\"]*\"|--[^\n]*|/\*.*?\*/", re.DOTALL)
_INSERT = re.compile(r"\s*insert\b", re.IGNORECASE)
_CODE = re.compile(r"Code: (\d+)")
_SETTING = re.compile(r"[a-z][a-z0-9_]*")
_NO_SETTINGS = frozenset(
    {
        "query",
        "database",
        "default_format",
        "user",
        "password",
        "query_id",
        "session_id",
        "session_timeout",
        "compress",
    }
    | {"enable_http_compression", "buffer_size", "wait_end_of_query"}
)
_STATUS = {"60": 404, "81": 404, "62": 400, "47": 400, "241": 500, "516": 403}
_NO_DATA = "Code: 108"


class EmbeddedError(OSError):
    """The embedded server cannot run; the message says why and what to do."""


class Store:
    """One chDB session on a folder, used by one request at a time."""

    def __init__(self, directory: Path) -> None:
        """Take the folder; raises `EmbeddedError` where another has it or chDB is missing."""
        self._session: Any = None  # chDB has no types
        self._lock = threading.Lock()
        self._claim = _claim(directory)
        self._session = _chdb().Session(str(directory / "chdb"))

    def close(self) -> None:
        """Write everything out and free the folder."""
        with self._lock:
            if self._session is not None:
                self._session.close()
                self._session = None
            self._claim.close()

    def run(self, sql: str, *, database: str, settings: Mapping[str, str], output: str) -> bytes:
        """Run one statement (an INSERT with its data behind it); gives its output in the format `output`."""
        with self._lock:
            self._session.query(f"USE `{database}`")
            try:
                for name, value in settings.items():
                    self._session.query(f"SET {name} = '{_escaped(value)}'")
                return bytes(self._session.query(sql, output).bytes())
            finally:
                for name in settings:
                    with contextlib.suppress(Exception):
                        self._session.query(f"SET {name} = DEFAULT")


def application(store: Store) -> Starlette:
    """Give ClickHouse's HTTP interface over a store."""

    async def ping(_: Request) -> Response:
        return Response("Ok.\n")

    async def ask(request: Request) -> Response:
        if refusal := _foreign(request):
            return _answer_error(refusal, 403)
        try:
            data = _decoded(await request.body(), request.headers.get("content-encoding", ""))
            sql = _statement(request.query_params.get("query", ""), data)
        except (ValueError, OSError, EOFError, zstandard.ZstdError) as error:
            return _answer_error(f"Code: 354. DB::Exception: Cannot read the request: {error}", 400)
        if not sql.strip():
            return Response("Ok.\n")
        if request.method == "GET" and not _reads(sql):
            return _answer_error("Code: 164. DB::Exception: Cannot execute query in readonly mode: use POST", 403)
        return await run_in_threadpool(_run, store, sql, request)

    return Starlette(routes=[Route("/ping", ping), Route("/", ask, methods=["GET", "POST"])])


def serve(directory: Path, listen: str) -> None:
    """Serve until SIGTERM or SIGINT; `listen` is HOST:PORT. Raises `EmbeddedError`."""
    host, port = _address(listen)
    listener = _bind(host, port)
    store = Store(directory)
    config = uvicorn.Config(application(store), log_level="warning", lifespan="off", timeout_graceful_shutdown=int(_STOP_S / 2))
    try:
        # uvicorn raises the signal that ended it once more: by then it has done its work.
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, lambda *_: None)
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        store.close()
        listener.close()


class Embedded:
    """The server as a child process: `with Embedded(directory) as server: ... server.url`."""

    def __init__(self, directory: Path, *, port: int = 0) -> None:
        """Start nothing yet; port 0 takes a free one."""
        self.directory = directory
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._log_from = 0
        self.url = ""

    @property
    def pid(self) -> int:
        """Give the child's process id; 0 where there is none."""
        return self._process.pid if self._process is not None else 0

    def __enter__(self) -> Self:
        """Start it and wait until it answers."""
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop it."""
        self.stop()

    def start(self) -> None:
        """Start the child and wait until it answers; raises `EmbeddedError` with the child's own words."""
        port = self._port or _free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [
            sys.executable,
            "-m",
            "sinks.embedded",
            "--directory",
            str(self.directory),
            "--with-parent",
        ]
        command += ["--listen", f"127.0.0.1:{port}"]
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "server.log").open("ab") as log:
            self._log_from = log.tell()
            # The child ends when its standard input does: however this process ends, kill -9 included.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=_environment(),
                start_new_session=True,  # Ctrl-C reaches the parent, which stops it in its turn
            )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the child in good order (SIGTERM); a second time does nothing."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin:
            process.stdin.close()

    def _wait(self) -> None:
        until = time.monotonic() + _START_S
        client = HttpClient("clickhouse")
        with contextlib.closing(client):
            while time.monotonic() < until:
                if self._process is None or self._process.poll() is not None:
                    raise EmbeddedError(self._last_words())
                with contextlib.suppress(DeliveryError):
                    if client.request("GET", f"{self.url}/ping").ok:
                        return
                time.sleep(_POLL_S)
        message = f"the embedded ClickHouse did not answer within {_START_S:.0f} s; see {self.directory}/server.log"
        raise EmbeddedError(message)

    def _last_words(self) -> str:
        words = (self.directory / "server.log").read_bytes()[self._log_from :]
        lines = words.decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "the embedded ClickHouse ended at its start"


def _run(store: Store, sql: str, request: Request) -> Response:
    settings = {name: value for name, value in request.query_params.items() if name not in _NO_SETTINGS}
    wrong = next((name for name in settings if not _SETTING.fullmatch(name)), None)
    if wrong is not None:
        return _answer_error(f"Code: 115. DB::Exception: Unknown setting {wrong!r}. (UNKNOWN_SETTING)", 404)
    database = request.query_params.get("database") or request.headers.get("x-clickhouse-database") or "default"
    output = request.query_params.get("default_format") or "TabSeparated"
    try:
        body = store.run(sql, database=database.replace("`", ""), settings=settings, output=output)
    except Exception as error:  # noqa: BLE001  chDB raises more than one class; its text says what ClickHouse would
        text = str(error)
        if text.startswith(_NO_DATA):
            return Response(b"")
        return _answer_error(text if "Code: " in text else f"Code: 1001. DB::Exception: {text}", None)
    return _answer(body, request)


def _answer(body: bytes, request: Request) -> Response:
    headers = {"X-ClickHouse-Server-Display-Name": "edgewatch"}
    wanted = request.headers.get("accept-encoding", "")
    if request.query_params.get("enable_http_compression") == "1" and "gzip" in wanted:
        body, headers["Content-Encoding"] = gzip.compress(body, 1), "gzip"
    return Response(body, media_type="text/plain; charset=UTF-8", headers=headers)


def _answer_error(text: str, status: int | None) -> Response:
    found = _CODE.search(text)
    code = found.group(1) if found else "0"
    headers = {"X-ClickHouse-Exception-Code": code}
    return Response(f"{text.strip()}\n", status or _STATUS.get(code, 500), headers, "text/plain; charset=UTF-8")


def _foreign(request: Request) -> str:
    """Say why a request is refused that a page of some other site made a browser send; '' where it is not."""
    host = request.url.hostname or ""
    local = {"127.0.0.1", "localhost", "::1"}
    bound = (request.scope.get("server") or ("", 0))[0]
    origin = request.headers.get("origin")
    if host not in local | {bound} or (origin and origin.split("://")[-1] != request.headers.get("host")):
        return "Code: 497. DB::Exception: Requests of other sites are refused. (ACCESS_DENIED)"
    return ""


def _reads(sql: str) -> bool:
    bare = _QUOTED.sub(" ", sql).strip().rstrip(";")
    return bool(_READ_ONLY.match(bare)) and ";" not in bare


def _statement(query: str, data: bytes) -> str:
    """Join the statement of the URL and the body: data behind an INSERT, or the statement itself."""
    text = data.decode("utf-8")
    return f"{query}\n{text}" if query and text else query or text


def _decoded(body: bytes, encoding: str) -> bytes:
    if encoding in {"", "identity"}:
        return body
    if encoding == "gzip":
        return gzip.decompress(body)
    if encoding == "zstd":
        return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(body)).read()
    message = f"Content-Encoding {encoding} is not one of gzip, zstd"
    raise ValueError(message)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")


def _chdb() -> ModuleType:
    try:
        from chdb import session  # noqa: PLC0415  an extra: only who serves needs it
    except ImportError:
        raise EmbeddedError(_MISSING) from None
    module: Any = session
    return module  # type: ignore[no-any-return]


def _claim(directory: Path) -> IO[str]:
    directory.mkdir(parents=True, exist_ok=True)
    claim = (directory / "lock").open("a+")
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        claim.seek(0)
        other = f"another embedded ClickHouse (process {claim.read().strip() or '?'})"
        message = f"{directory} is in use by {other}; stop it first"
        claim.close()
        raise EmbeddedError(message) from None
    claim.truncate(0)
    claim.write(f"{os.getpid()}\n")
    claim.flush()
    return claim


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit():
        message = f"{listen!r} is not HOST:PORT, e.g. 127.0.0.1:8123"
        raise EmbeddedError(message)
    return host.strip("[]"), int(port)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP: asyncio turns Nagle's algorithm off (40 ms an answer) only where the socket says so.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        message = f"cannot listen on {host}:{port}: {error.strerror or error}"
        raise EmbeddedError(message) from None
    return listener


def _free_port() -> int:
    with contextlib.closing(_bind("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def _environment() -> dict[str, str]:
    """Let the child find this package wherever it was found here."""
    here = str(Path(__file__).resolve().parent.parent)
    known = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{known}" if known else here}


def _end_with_parent() -> None:
    def watch() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True, name="parent").start()


def main(arguments: list[str] | None = None) -> int:
    """Run the server from a shell: `python -m sinks.embedded --directory D --listen 127.0.0.1:8123`."""
    parser = argparse.ArgumentParser(prog="python -m sinks.embedded", description=main.__doc__)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--listen", default="127.0.0.1:8123")
    parser.add_argument("--with-parent", action="store_true", help="end when standard input does")
    options = parser.parse_args(arguments)
    if options.with_parent:
        _end_with_parent()
    try:
        serve(options.directory, options.listen)
    except EmbeddedError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
