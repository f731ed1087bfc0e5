"""The client's HTTP against a real server (Debian's, 18.16): transport only, it is too old for the schema."""

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sinks.clickhouse import ClickHouse, ClickHouseOptions
from sinks.notification import DeliveryError
from tests import services
from tests.fakes.authority import Authority
from tests.ports import free_ports

_CONFIG = """<yandex>
<logger><level>warning</level><log>{d}/log</log><errorlog>{d}/err</errorlog></logger>
<http_port>{http}</http_port><https_port>{https}</https_port><tcp_port>{tcp}</tcp_port><listen_host>127.0.0.1</listen_host>
<path>{d}/data/</path><tmp_path>{d}/tmp/</tmp_path><mark_cache_size>5368709120</mark_cache_size>
<openSSL><server><certificateFile>{d}/localhost.crt</certificateFile><privateKeyFile>{d}/localhost.key</privateKeyFile>
<verificationMode>none</verificationMode><loadDefaultCAFile>false</loadDefaultCAFile></server></openSSL>
<users_config>{d}/users.xml</users_config><default_profile>default</default_profile>
<default_database>default</default_database>
</yandex>"""
_USERS = """<yandex><profiles><default></default></profiles><quotas><default></default></quotas><users>
<default><password>planted</password><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>
</default></users></yandex>"""


@dataclass(frozen=True)
class Server:
    """A running server: where it listens, and who signed its certificate."""

    url: str
    secure_url: str
    authority: Path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give a running server."""
    binary = shutil.which("clickhouse-server")
    if binary is None:
        services.missing("clickhouse-server")
    place = tmp_path_factory.mktemp("server")
    authority = Authority(place)
    authority.issue("localhost")
    http, https, tcp = free_ports(3)
    (place / "config.xml").write_text(_CONFIG.format(d=place, http=http, https=https, tcp=tcp))
    (place / "users.xml").write_text(_USERS)
    with (place / "out").open("wb") as out:
        command = [binary, f"--config-file={place}/config.xml"]
        process = subprocess.Popen(command, cwd=place, stdout=out, stderr=out)
    found = Server(f"http://127.0.0.1:{http}", f"https://localhost:{https}", authority.file)
    try:
        _until_up(process, found.url, place)
        yield found
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def url(server: Server) -> str:
    """Give the server's URL."""
    return server.url


def _until_up(server: subprocess.Popen[bytes], found: str, place: Path) -> None:
    client = ClickHouse(ClickHouseOptions(url=found, password="planted"))
    for _ in range(600):
        assert server.poll() is None, (place / "out").read_text() + (place / "err").read_text()
        with contextlib.suppress(DeliveryError):
            client.ping()
            return
        time.sleep(0.1)
    pytest.fail("clickhouse-server did not answer")


@pytest.fixture
def client(url: str) -> ClickHouse:
    """Give a client that may log in."""
    return ClickHouse(ClickHouseOptions(url=url, database="default", password="planted"))


def test_it_logs_in_and_tells_its_version(client: ClickHouse) -> None:
    assert client.ping().startswith("18.")


def test_a_wrong_password_is_one_clear_sentence(url: str) -> None:
    with pytest.raises(DeliveryError) as raised:
        ClickHouse(ClickHouseOptions(url=url, password="guess")).ping()
    assert str(raised.value) == f"clickhouse: user 'default' is refused at {url}; see [clickhouse] user and password"


def test_compressed_rows_arrive(client: ClickHouse) -> None:
    client._ask("CREATE TABLE IF NOT EXISTS default.rows (a String, n UInt64, t DateTime) ENGINE = Memory", {})
    lines = b"".join(b'{"a":"\xc3\xa9 %d","n":%d,"t":"2025-12-01T00:00:00Z","more":1}\n' % (n, n) for n in range(50_000))
    client.insert("rows", lines)
    got = client.query("SELECT count() AS c, max(n) AS n, any(toYear(t)) AS y FROM rows")
    assert [{name: int(value) for name, value in row.items()} for row in got] == [{"c": 50_000, "n": 49_999, "y": 2025}]


def test_a_missing_table_and_bad_rows_are_told_apart(client: ClickHouse) -> None:
    client._ask("CREATE TABLE IF NOT EXISTS default.strict (a UInt8) ENGINE = Memory", {})
    errors = []
    for table, line in (("nowhere", b"{}\n"), ("strict", b'{"a":"x"}\n')):
        with pytest.raises(DeliveryError) as raised:
            client.insert(table, line)
        errors.append((raised.value.retryable, raised.value.code))
    assert errors == [(True, "60"), (False, "27")]


def test_its_certificate_is_checked_against_the_authority_that_is_named(server: Server) -> None:
    def ask(url: str, authority: Path | None) -> str:
        return ClickHouse(ClickHouseOptions(url=url, password="planted", ca_file=str(authority or ""))).ping()

    assert ask(server.secure_url, server.authority).startswith("18.")
    look = "see [clickhouse] ca_file, and the host name of its url"
    for url, authority, why in (
        (server.secure_url, None, "unable to get local issuer certificate"),
        (server.secure_url.replace("localhost", "127.0.0.1"), server.authority, "IP address mismatch"),
    ):
        with pytest.raises(DeliveryError) as raised:
            ask(url, authority)
        said = str(raised.value)
        assert (said.startswith("clickhouse: the certificate is not trusted: "), why in said) == (True, True), said
        assert said.endswith(f", {url}; {look}")
        assert (raised.value.retryable, raised.value.code) == (True, "certificate")


def test_a_file_that_holds_no_authority_is_found_before_the_start(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    found = [list(ClickHouseOptions(ca_file=str(tmp_path / name)).problems()) for name in ("ca.pem", "none.pem")]
    assert found == [
        [("ca_file", f"{tmp_path / 'ca.pem'} cannot be read: no certificates (PEM)")],
        [("ca_file", f"{tmp_path / 'none.pem'} cannot be read: No such file or directory")],
    ]
