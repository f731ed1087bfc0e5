"""The embedded server: ClickHouse's HTTP interface, one folder for one server, and no child left behind."""

import gzip
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import zstandard

from sinks.embedded import Embedded, EmbeddedError, main


def ask(server: Embedded, method: str = "POST", **more: object) -> httpx.Response:
    with httpx.Client(trust_env=False, timeout=30.0) as client:
        return client.request(method, f"{server.url}/", **more)  # type: ignore[arg-type]


def test_a_statement_comes_in_the_url_or_the_body(embedded: Embedded) -> None:
    got = [
        ask(embedded, "GET", params={"query": "SELECT 1 AS x FORMAT JSONEachRow"}).text,
        ask(embedded, content=b"SELECT 1 AS x").text,
        ask(embedded, params={"default_format": "JSONEachRow"}, content=b"SELECT 1 AS x").text,
    ]
    assert got == ['{"x":1}\n', "1\n", '{"x":1}\n']


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["", "gzip", "zstd"])
def test_the_data_of_an_insert_may_be_compressed(embedded: Embedded, encoding: str) -> None:
    table = f"plain_{encoding}"
    ask(embedded, content=f"CREATE TABLE {table} (a String) ENGINE = MergeTree ORDER BY a".encode())
    data = '{"a":"é;\' SELECT"}\n'.encode()
    packed = {"": data, "gzip": gzip.compress(data), "zstd": zstandard.compress(data)}[encoding]
    query = f"INSERT INTO {table} FORMAT JSONEachRow"
    ask(embedded, params={"query": query}, content=packed, headers={"Content-Encoding": encoding})
    assert ask(embedded, content=f"SELECT a FROM {table}".encode()).text == "é;\\' SELECT\n"


def test_a_broken_compression_is_refused(embedded: Embedded) -> None:
    query = {"query": "INSERT INTO x FORMAT JSONEachRow"}
    codes = [
        ask(embedded, params=query, content=b"no gzip", headers={"Content-Encoding": name}).status_code
        for name in ("gzip", "zstd", "br")
    ]
    assert codes == [400, 400, 400]


def test_errors_look_like_clickhouses(embedded: Embedded) -> None:
    answer = ask(embedded, content=b"SELECT * FROM nowhere.at_all")
    assert (answer.status_code, answer.headers["x-clickhouse-exception-code"]) == (404, "81")
    assert answer.text.startswith("Code: 81. DB::Exception: ")


def test_settings_hold_for_one_request(embedded: Embedded) -> None:
    read = "SELECT value FROM system.settings WHERE name = 'max_threads'"
    during = ask(embedded, params={"max_threads": "3"}, content=read.encode()).text
    after = ask(embedded, content=read.encode()).text
    assert (during, after != during) == ("3\n", True)


@pytest.mark.parametrize(
    "query",
    [
        "CREATE DATABASE evil",
        "SELECT 1; CREATE DATABASE evil",
        "/* SELECT */ DROP DATABASE default",
        "INSERT INTO x VALUES (1)",
    ],
)
def test_a_get_only_reads(embedded: Embedded, query: str) -> None:
    assert ask(embedded, "GET", params={"query": query}).status_code == 403


def test_a_semicolon_in_a_text_is_no_second_statement(embedded: Embedded) -> None:
    assert ask(embedded, "GET", params={"query": "SELECT ';' -- ; \n;"}).text == ";\n"


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Host": "evil.example"}])
def test_a_page_of_another_site_is_refused(embedded: Embedded, headers: dict[str, str]) -> None:
    assert ask(embedded, content=b"SELECT 1", headers=headers).status_code == 403


def test_answers_can_be_compressed(embedded: Embedded) -> None:
    answer = ask(embedded, params={"enable_http_compression": "1"}, content=b"SELECT 1")
    assert (answer.headers["content-encoding"], answer.text) == ("gzip", "1\n")


@pytest.mark.slow
def test_a_folder_has_one_server_and_keeps_its_rows(tmp_path: Path) -> None:
    with Embedded(tmp_path / "d") as first:
        ask(first, content=b"CREATE TABLE kept (a Int64) ENGINE = MergeTree ORDER BY a")
        ask(first, content=b"INSERT INTO kept VALUES (7)")
        with pytest.raises(EmbeddedError, match=r"is in use by another embedded ClickHouse \(process \d+\)"):
            Embedded(tmp_path / "d").start()
    with Embedded(tmp_path / "d") as second:
        assert ask(second, content=b"SELECT a FROM kept").text == "7\n"


def test_a_taken_port_is_one_clear_sentence(embedded: Embedded, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listen = embedded.url.removeprefix("http://")
    code = main(["--directory", str(tmp_path), "--listen", listen])
    assert (code, capsys.readouterr().err) == (2, f"cannot listen on {listen}: Address already in use\n")


def test_a_wrong_address_is_one_clear_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--directory", str(tmp_path), "--listen", "8123"])
    assert (code, capsys.readouterr().err) == (2, "'8123' is not HOST:PORT, e.g. 127.0.0.1:8123\n")


def test_without_chdb_the_way_out_is_named(tmp_path: Path) -> None:
    (tmp_path / "chdb").mkdir()
    (tmp_path / "chdb" / "__init__.py").write_text("raise ImportError('no chdb here')")
    command = [
        sys.executable,
        "-m",
        "sinks.embedded",
        "--directory",
        str(tmp_path / "d"),
        "--listen",
        "127.0.0.1:0",
    ]
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path.cwd()}"}
    ended = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (
        2,
        "the embedded ClickHouse needs chdb: pip install 'edgewatch[embedded]'\n",
    )


_PARENT = """
import sys, time
from pathlib import Path
from sinks.embedded import Embedded
server = Embedded(Path(sys.argv[1]))
server.start()
print(server._process.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.slow
def test_the_server_ends_with_a_killed_parent(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _PARENT, str(tmp_path / "d")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(Path.cwd())}
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        watch = os.pidfd_open(child)
        parent.send_signal(signal.SIGKILL)
    assert _ended(watch)


def _ended(watch: int) -> bool:
    """Wait until the process of this descriptor is gone."""
    ready, _, _ = select.select([watch], [], [], 60.0)
    os.close(watch)
    return bool(ready)


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_good_order(tmp_path: Path, sent: signal.Signals) -> None:
    server = Embedded(tmp_path / "d")
    server.start()
    process = server._process
    assert process is not None
    process.send_signal(sent)
    assert process.wait(240) == 0
    server.stop()
