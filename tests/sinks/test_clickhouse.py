"""ClickHouse: the schema and the client against chDB behind HTTP, and how rows get there."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson
import pytest

from sinks.clickhouse import ClickHouse, ClickHouseOptions, migrations, schema, tables
from sinks.delivery import Delivery
from sinks.embedded import Embedded
from sinks.notification import DeliveryError
from sinks.rows import Rows, RowsDestination
from sinks.spool import Spool
from tests.fakes.notifications import notification
from tests.fakes.scripted import Answer, ScriptedServer

START, END = "2025-12-01T00:00:00Z", "2025-12-01T00:05:00Z"
WINDOW = {
    "window_start": START,
    "window_end": END,
    "metric": "response_time",
    "key": {"ClientRequestHost": "a"},
}
LINES: dict[str, dict[str, object]] = {
    "window_metrics": {**WINDOW, "statistic": "p99", "value": 812.5, "count": 40, "method": "exact"},
    "window_histograms": {**WINDOW, "buckets": [-5, 0, 8389], "counts": [1, 2, 3]},
    "exemplars": {
        **WINDOW,
        "reason": "slowest",
        "value": 812.5,
        "event_time": "2025-12-01T00:01:52.123Z",
        "ray_id": "8f1a",
        "partition": "0",
        "offset": 7,
        "index": 2,
    },
    "evaluations": {
        "window_end": END,
        "rule": "slow",
        "key": {},
        "metric": "response_time",
        "statistic": "p99",
        "value": None,
        "count": 0,
        "level": "no_data",
        "state_before": "inactive",
        "state_after": "inactive",
        "severity": None,
        "suppressed_by": None,
    },
    "transitions": {
        "at": END,
        "rule": "slow",
        "key": {"path": '/a"b\\é'},
        "fingerprint": "f",
        "episode": "f:1",
        "from": "inactive",
        "to": "firing",
        "severity": "critical",
        "reason": "firing",
    },
    "pipeline_events": {
        "at": "2025-12-01T00:00:00.250Z",
        "event": "late",
        "dataset": "http_requests",
        "value": 3,
    },
    "dead_letters": {
        "dataset": "http_requests",
        "topic": "logs",
        "partition": 3,
        "offset": 9,
        "index": 0,
        "reason": "no event time",
        "payload": "{}",
    },
    "health_checks": {"at": START, "target": "api", "status": "up", "status_code": 200, "duration_ms": 12.5},
}
LINES["notifications"] = orjson.loads(notification(value=0.25).line())


def refused(act: object) -> DeliveryError:
    with pytest.raises(DeliveryError) as raised:
        act()  # type: ignore[operator]
    return raised.value


def test_every_table_of_the_design_is_there() -> None:
    assert sorted(tables()) == sorted(LINES)


@pytest.mark.slow
@pytest.mark.parametrize("table", sorted(LINES))
def test_the_lines_of_the_files_go_in_unchanged_and_a_repeat_collapses(clickhouse: ClickHouse, table: str) -> None:
    line = orjson.dumps(LINES[table], option=orjson.OPT_SORT_KEYS) + b"\n"
    clickhouse.insert(table, line)
    clickhouse.insert(table, line)
    rows = clickhouse.query(f"SELECT * FROM {table} FINAL")
    assert len(rows) == 1
    got = {name: rows[0][name] for name in LINES[table]}
    assert {name: _alike(value, LINES[table][name]) for name, value in got.items()} == LINES[table]


def _alike(got: object, want: object) -> object:
    """Give what came out as it went in: times with a zone, JSON as objects, numbers as numbers."""
    if isinstance(want, str) and want.endswith("Z") and isinstance(got, str):
        text = f"{got.replace(' ', 'T').removesuffix('.000')}Z"
        return want if text == want else got
    if isinstance(want, dict) and isinstance(got, str):
        return orjson.loads(got)
    return int(got) if isinstance(want, int) and isinstance(got, str) else got


def test_the_last_version_of_a_row_counts(clickhouse: ClickHouse) -> None:
    for value in (1.0, 2.0):
        line = {**LINES["window_metrics"], "value": value}
        clickhouse.insert("window_metrics", orjson.dumps(line))
    assert [row["value"] for row in clickhouse.query("SELECT value FROM window_metrics FINAL")] == [2.0]


def test_a_backtest_does_not_touch_live_rows(clickhouse: ClickHouse) -> None:
    for run in ("", "backtest-1"):
        clickhouse.insert("window_metrics", orjson.dumps({**LINES["window_metrics"], "run": run}))
    assert clickhouse.query("SELECT run FROM window_metrics FINAL ORDER BY run") == [
        {"run": ""},
        {"run": "backtest-1"},
    ]


def _bucket(values: np.ndarray) -> np.ndarray:
    """Give bucket numbers as windows do: the top 19 bits of the float, mirrored for negatives."""
    magnitude = (np.abs(values).view(np.int64) >> 45) + 1
    return np.where(values > 0, magnitude, np.where(values < 0, -magnitude, 0))


def test_percentiles_of_an_hour_come_from_the_histograms_of_its_windows(clickhouse: ClickHouse) -> None:
    rng = np.random.default_rng(3)
    parts = [rng.lognormal(5 + n % 3, 0.6, 500) * rng.choice([1, 1, 1, -1, 0], 500) for n in range(12)]
    lines = []
    for n, values in enumerate(parts):
        buckets, counts = np.unique(_bucket(values), return_counts=True)
        times = {
            "window_start": f"2025-12-01T00:{n * 5:02}:00Z",
            "window_end": f"2025-12-01T00:{n * 5 + 4:02}:59Z",
        }
        lines.append({**LINES["window_histograms"], **times, "buckets": buckets.tolist(), "counts": counts.tolist()})
    for _ in range(2):
        clickhouse.insert("window_histograms", b"\n".join(map(orjson.dumps, lines)))
    got = clickhouse.query("SELECT hour, key, count, p50, p90, p95, p99, p999 FROM hour_percentiles")
    whole = np.concatenate(parts)
    want = np.percentile(whole, [50, 90, 95, 99, 99.9], method="linear")
    assert (len(got), got[0]["hour"], got[0]["key"], got[0]["count"]) == (
        1,
        "2025-12-01 00:00:00",
        WINDOW["key"],
        6000,
    )
    np.testing.assert_allclose([got[0][name] for name in ("p50", "p90", "p95", "p99", "p999")], want, rtol=0.01)


def test_migrating_again_does_nothing(clickhouse: ClickHouse) -> None:
    clickhouse.insert("transitions", orjson.dumps(LINES["transitions"]))
    assert (clickhouse.migrate(), len(clickhouse.query("SELECT * FROM transitions"))) == ([], 1)


def test_migrating_says_what_it_did(embedded: Embedded) -> None:
    client = ClickHouse(ClickHouseOptions(url=embedded.url, database="fresh"))
    assert client.migrate() == [
        "database fresh made",
        "schema version 1 applied (11 statements)",
        "schema version 2 applied (1 statements)",
    ]


def test_rows_of_the_first_version_stay_and_the_next_ones_have_its_columns(embedded: Embedded) -> None:
    options = ClickHouseOptions(url=embedded.url, database="older")
    client = ClickHouse(options)
    client._ask("CREATE DATABASE older", {})
    for statement in dict(migrations(options))[1]:
        client._ask(statement, {})
    client._stamp(1)
    client.insert("exemplars", orjson.dumps(LINES["exemplars"]))
    assert client.migrate() == ["schema version 2 applied (1 statements)"]
    client.insert("exemplars", orjson.dumps(LINES["exemplars"] | {"offset": 99, "trace_id": "4bf9"}))
    found = client.query("SELECT offset, trace_id FROM exemplars ORDER BY offset DESC")
    assert [each["trace_id"] for each in found] == ["4bf9", ""]


def test_another_ttl_is_applied_to_every_table(embedded: Embedded, clickhouse: ClickHouse) -> None:
    database = clickhouse.query("SELECT currentDatabase() AS d")[0]["d"]
    other = ClickHouse(ClickHouseOptions(url=embedded.url, database=database, ttl="12h"))
    assert (other.migrate(), other.migrate()) == (["rows stay 12h instead of 400d"], [])
    found = other.query(
        f"SELECT count() AS n FROM system.tables WHERE database = '{database}'"
        " AND engine LIKE 'Replacing%' AND create_table_query LIKE '%toIntervalHour(12)%'"
    )
    assert int(found[0]["n"]) == len(tables())


def test_comments_and_placeholders_leave_no_trace() -> None:
    statements = [each for _, part in migrations(ClickHouseOptions(database="d")) for each in part]
    assert len(statements) == 12
    assert [each for each in statements if "{" in each or "--" in each or ";" in each] == []
    assert "{database}" in schema()


def test_a_missing_table_names_the_way_out_and_waits(clickhouse: ClickHouse) -> None:
    error = refused(lambda: clickhouse.insert("nowhere", b"{}\n"))
    assert (error.retryable, error.code, "edgewatch check --online" in str(error)) == (True, "60", True)


def test_rows_that_cannot_be_read_are_final(clickhouse: ClickHouse) -> None:
    errors = [
        refused(lambda: clickhouse.insert("exemplars", b"{bad\n")),
        refused(lambda: clickhouse.insert("window_metrics", b'{"labels": 7}\n')),
    ]
    assert [(error.retryable, error.code) for error in errors] == [(False, "26"), (False, "27")]


def test_nothing_to_insert_is_no_request(clickhouse: ClickHouse) -> None:
    clickhouse.insert("nowhere", b"\n")


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Give a server to script."""
    with ScriptedServer() as running:
        yield running


def client(server: ScriptedServer, **more: str) -> ClickHouse:
    return ClickHouse(ClickHouseOptions(url=server.url, **more))


def test_rows_go_compressed_with_the_login_in_headers(server: ScriptedServer) -> None:
    client(server, user="eve", password="planted").insert("transitions", b"{}\n")
    seen = server.seen[0]
    assert (seen.headers["x-clickhouse-user"], seen.headers["x-clickhouse-key"]) == ("eve", "planted")
    assert (seen.headers["content-encoding"], gzip.decompress(seen.body)) == ("gzip", b"{}\n")
    assert "planted" not in seen.path


@pytest.mark.parametrize(
    ("answer", "retried"),
    [
        (Answer(500, b"Code: 241. DB::Exception: Memory limit exceeded"), True),
        (Answer(500, b"Code: 252. DB::Exception: Too many parts"), True),
        (Answer(500, b"Code: 202. DB::Exception: Too many simultaneous queries"), True),
        (Answer(500, b"Code: 243. DB::Exception: Cannot reserve 1 MiB"), True),
        (Answer(404, b"Code: 81. DB::Exception: Database edgewatch does not exist"), True),
        (Answer(403, b"Code: 516. DB::Exception: eve: Authentication failed"), True),
        (Answer(502, b"bad gateway"), True),
        (Answer(429, b"slow down"), True),
        (Answer(fault="reset"), True),
        (Answer(400, b"Code: 117. DB::Exception: Unknown field found"), False),
        (Answer(413, b"too large"), False),
        (Answer(200, b"Code: 27. DB::Exception: Cannot parse input"), False),
    ],
)
def test_what_is_retried(server: ScriptedServer, answer: Answer, retried: bool) -> None:  # noqa: FBT001
    server.script = [answer]
    error = refused(lambda: client(server, user="eve", password="planted").insert("transitions", b"{}\n"))
    assert (error.retryable, "planted" in str(error)) == (retried, False)


def test_a_refused_login_names_the_keys(server: ScriptedServer) -> None:
    server.script = [Answer(403, b"Code: 516. DB::Exception: eve: Authentication failed")]
    error = refused(client(server, user="eve").ping)
    assert str(error) == f"clickhouse: user 'eve' is refused at {server.url}; see [clickhouse] user and password"


def test_no_secret_shows_in_the_options() -> None:
    assert "planted" not in repr(ClickHouseOptions(password="planted"))


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"cluster": "main"}, "cluster"),
        ({"ttl": "400"}, "ttl"),
        ({"ttl": "0d"}, "ttl"),
        ({"database": "a; DROP"}, "database"),
        ({"url": "clickhouse://h"}, "url"),
    ],
)
def test_wrong_options_are_named(options: dict[str, str], key: str) -> None:
    assert [name for name, _ in ClickHouseOptions(**options).problems()] == [key]


def test_rows_wait_in_the_spool_in_order_and_arrive_once_it_is_back(
    embedded: Embedded, clickhouse: ClickHouse, tmp_path: Path
) -> None:
    del embedded
    spool = Spool(tmp_path / "spool")
    line = LINES["transitions"]
    items = [
        Rows("transitions", orjson.dumps({**line, "fingerprint": str(n)}) + b"\n").item(f"transitions/{n}", 0)
        for n in range(200)
    ]
    spool.put(items)
    assert spool.put(items) == 0
    delivery = Delivery(spool, [RowsDestination(clickhouse)])
    delivery.start()
    assert (delivery.drain(60.0), delivery.stop()) == (True, True)
    got = clickhouse.query("SELECT count() AS n, uniqExact(fingerprint) AS u FROM transitions")
    spool.close()
    assert [(int(row["n"]), int(row["u"])) for row in got] == [(200, 200)]
