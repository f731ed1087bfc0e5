"""ClickHouse over HTTP: rows as JSONEachRow, compressed, and the schema.

Guarantee: at-least-once. Every table is a ReplacingMergeTree ordered by the identity of its rows, so a row
inserted again collapses (read with FINAL); the last version counts.

Why gzip: every server that speaks ClickHouse's HTTP interface reads it, old ones included.
"""

import gzip
import re
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Protocol

import orjson

from sinks.http import Answer, HttpClient, trusted
from sinks.native import Column, blocks
from sinks.notification import DeliveryError

TOTAL_S = 60.0
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TTL = re.compile(r"([1-9][0-9]{0,4})([smhd])")
_UNITS = {"s": "SECOND", "m": "MINUTE", "h": "HOUR", "d": "DAY"}
_CODE = re.compile(r"Code: (\d+)")
_TABLE_MISSING = frozenset({"60", "81"})
_NO_ACCESS = frozenset({"192", "193", "194", "497", "516"})
# The rows themselves are at fault (cannot parse, wrong type, unknown column ...): they are refused for ever.
_BAD_ROWS = frozenset({"6", "16", "26", "27", "33", "38", "41", "53", "62", "69", "70", "72", "117", "131", "349"})
_BAD_REQUEST, _TOO_LARGE = 400, 413
_SETTINGS = {"date_time_input_format": "best_effort", "input_format_skip_unknown_fields": "1"}
_SECTION = re.compile(r"^-- version (\d+)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClickHouseOptions:
    """Where rows go, and how long they stay."""

    url: str = field(default="http://127.0.0.1:8123", metadata={"help": "HTTP interface of the server"})
    database: str = field(default="edgewatch", metadata={"help": "made if it is not there"})
    user: str = field(default="default", metadata={"help": "user name"})
    password: str = field(default="", repr=False, metadata={"secret": True, "help": "password, empty for none"})
    ca_file: str = field(default="", metadata={"help": "CA certificates (PEM) to trust instead of the system's"})
    cluster: str = field(default="", metadata={"help": "ON CLUSTER and replicated engines: not yet"})
    ttl: str = field(default="400d", metadata={"help": "how long rows stay after they were written"})

    def problems(self) -> Iterator[tuple[str, str]]:
        """Say what the types cannot."""
        if not re.match(r"https?://[^/\s]", self.url):
            yield "url", "is not an http:// or https:// URL"
        try:
            trusted(self.ca_file)
        except OSError as error:
            why = "no certificates (PEM)" if isinstance(error, ssl.SSLError) else error.strerror
            yield "ca_file", f"{self.ca_file} cannot be read: {why}"
        if not _NAME.fullmatch(self.database):
            yield "database", f"{self.database!r} is not a name of letters, digits and _"
        if self.cluster:
            yield "cluster", "not yet: only a single server (leave it empty)"
        if not _TTL.fullmatch(self.ttl):
            yield "ttl", f"{self.ttl!r} is not a duration such as 400d or 12h"


class Queries(Protocol):
    """What those need who only read. Methods raise `DeliveryError`."""

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Give the rows of a SELECT without a FORMAT."""
        ...


class ClickHouse:
    """One server and database. Methods raise `DeliveryError`, not retryable where the rows are at fault."""

    def __init__(self, options: ClickHouseOptions, *, total: float = TOTAL_S) -> None:
        """Open no connection yet."""
        self._options = options
        self._http = HttpClient(
            "clickhouse",
            secrets=(options.password,),
            total=total,
            ca_file=options.ca_file,
            untrusted="see [clickhouse] ca_file, and the host name of its url",
        )
        self._headers = {"X-ClickHouse-User": options.user}
        if options.password:
            self._headers["X-ClickHouse-Key"] = options.password

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def ping(self) -> str:
        """Give the server's version, after logging in."""
        return self._ask("SELECT version()", {}).body.decode().strip()

    def migrate(self) -> list[str]:
        """Bring the schema up to date; gives what was done, nothing when it was."""
        done: list[str] = []
        if not self._exists():
            self._ask(f"CREATE DATABASE IF NOT EXISTS {self._options.database}", {})
            done.append(f"database {self._options.database} made")
        have = self._version()
        for version, statements in migrations(self._options):
            if version <= have:
                continue
            for statement in statements:
                self._ask(statement, {})
            self._stamp(version)
            done.append(f"schema version {version} applied ({len(statements)} statements)")
        return done + self._keep(have)

    def insert(self, table: str, ndjson: bytes) -> None:
        """Insert lines (one JSON object each) into a table of the database."""
        if not ndjson.strip():
            return
        query = f"INSERT INTO {self._name(table)} FORMAT JSONEachRow"
        self._ask(query, _SETTINGS, gzip.compress(ndjson, 1, mtime=0))

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Give the rows of a SELECT without a FORMAT, run in the database."""
        answer = self._ask(f"{sql.strip().rstrip(';')} FORMAT JSONEachRow", {"database": self._options.database})
        return [orjson.loads(line) for line in answer.body.splitlines()]

    def execute(self, statement: str) -> None:
        """Run a statement that gives no rows, in the database; a mutation is waited for."""
        self._ask(statement, {"database": self._options.database, "mutations_sync": "1"})

    def columns(self, sql: str) -> Iterator[dict[str, Column]]:
        """Give what a SELECT without a FORMAT gives, block by block, uncompressed: numbers hardly shrink (`native.blocks`)."""
        settings = {"database": self._options.database, "enable_http_compression": "0"}
        body = self._ask(f"{sql.strip().rstrip(';')} FORMAT Native", settings).body
        try:
            yield from blocks(body)
        except ValueError as error:
            raise self._http.error(f"the answer cannot be read: {error}", retryable=True) from error

    def _name(self, table: str) -> str:
        return f"{self._options.database}.{table}"

    def _exists(self) -> bool:
        query = f"SELECT count() FROM system.databases WHERE name = '{self._options.database}'"  # noqa: S608  checked name
        return self._ask(query, {}).body.strip() != b"0"

    def _version(self) -> int:
        query = f"EXISTS TABLE {self._name('schema_version')}"
        if self._ask(query, {}).body.strip() == b"0":
            return 0
        return int(self._ask(f"SELECT max(schema) FROM {self._name('schema_version')}", {}).body)  # noqa: S608  checked name

    def _stamp(self, version: int) -> None:
        rows = f"(schema, ttl) VALUES ({version}, '{self._options.ttl}')"
        self._ask(f"INSERT INTO {self._name('schema_version')} {rows}", {})

    def _keep(self, had: int) -> list[str]:
        """Change how long rows stay where the configuration says otherwise than the tables."""
        if not had:
            return []
        query = f"SELECT argMax(ttl, (schema, applied_at)) FROM {self._name('schema_version')}"  # noqa: S608  checked name
        ttl = self._ask(query, {}).body.decode().strip()
        if ttl == self._options.ttl:
            return []
        for table in tables():
            self._ask(f"ALTER TABLE {self._name(table)} MODIFY TTL inserted_at + {interval(self._options.ttl)}", {})
        self._stamp(max(version for version, _ in migrations(self._options)))
        return [f"rows stay {self._options.ttl} instead of {ttl}"]

    def _ask(self, query: str, settings: Mapping[str, str], body: bytes | None = None) -> Answer:
        """Run a statement; with `body` (gzip) the statement goes into the URL."""
        params = {"enable_http_compression": "1", **settings}
        headers = dict(self._headers)
        if body is None:
            content = query.encode()
        else:
            params["query"], content = query, body
            headers["Content-Encoding"] = "gzip"
        url = self._options.url.rstrip("/") + "/"
        answer = self._http.request("POST", url, content=content, headers=headers, params=params, whole=True)
        if not answer.ok or b"DB::Exception" in answer.body[:64]:
            raise self._refused(answer)
        return answer

    def _refused(self, answer: Answer) -> DeliveryError:
        found = _CODE.search(answer.body[:1000].decode("utf-8", "replace"))
        code = answer.headers.get("x-clickhouse-exception-code") or (found.group(1) if found else "")
        if code in _TABLE_MISSING:
            problem = f"{answer.text} (make the tables with `edgewatch check --online`)"
            return self._http.error(problem, retryable=True, code=code)
        if code in _NO_ACCESS:
            who = f"user {self._options.user!r} is refused at {self._options.url}"
            problem = f"{who}; see [clickhouse] user and password"
            return self._http.error(problem, retryable=True, code=code)
        final = code in _BAD_ROWS or (not code and answer.status in {_BAD_REQUEST, _TOO_LARGE})
        if final:
            return self._http.error(f"HTTP {answer.status}: {answer.text}", retryable=False, code=code)
        wait = self._http.refused(answer).retry_after
        return self._http.error(f"HTTP {answer.status}: {answer.text}", retryable=True, retry_after=wait, code=code)


def schema() -> str:
    """Give the schema's text, with its placeholders."""
    return resources.files("sinks").joinpath("schema.sql").read_text("utf-8")


def migrations(options: ClickHouseOptions) -> list[tuple[int, list[str]]]:
    """Give the statements of each schema version, in order."""
    text = schema().replace("{database}", options.database).replace("{ttl}", interval(options.ttl))
    parts = _SECTION.split(text)[1:]
    return [(int(number), _statements(body)) for number, body in zip(parts[::2], parts[1::2], strict=True)]


def tables() -> list[str]:
    """Give the names of the tables that hold rows."""
    return [
        name for name in re.findall(r"CREATE TABLE IF NOT EXISTS \{database\}\.(\w+)", schema()) if name != "schema_version"
    ]


def interval(ttl: str) -> str:
    """Write a duration such as 400d as SQL."""
    found = _TTL.fullmatch(ttl)
    if not found:
        message = f"{ttl!r} is not a duration"
        raise ValueError(message)
    return f"INTERVAL {found.group(1)} {_UNITS[found.group(2)]}"


def _statements(body: str) -> list[str]:
    """Cut at the semicolons that end a line; comments go."""
    code = "\n".join(line for line in body.splitlines() if not line.lstrip().startswith("--"))
    return [statement.strip() for statement in re.split(r";\s*$", code, flags=re.MULTILINE) if statement.strip()]
