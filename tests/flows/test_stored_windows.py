"""Windows in ClickHouse against the windows that were stored."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flows.config import loads
from flows.history import History, HistoryError
from flows.history_source import measured_otherwise
from flows.metric import MetricOptions
from flows.rows import window_lines
from flows.stored_windows import StoredWindows
from flows.window import MetricRows, WindowResult
from sinks.clickhouse import ClickHouse, ClickHouseOptions
from sinks.embedded import Embedded
from sinks.notification import DeliveryError
from tests.flows.history import LENGTH, START
from tests.flows.test_history import shown

FOREVER = 2**62
KEYS = sorted(["{}", '{"host":"a","zone":"\u00e9 \'\\\\"}', '{"host":"b"}'])
METRICS = (
    MetricOptions(name="latency", kind="distribution", dataset="d", value="x", group_by=("host", "zone")),
    MetricOptions(name="jobs", kind="count", dataset="e"),
)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    with Embedded(tmp_path_factory.mktemp("chdb")) as server:
        yield server


@pytest.fixture
def client(embedded, request):
    name = "".join(c if c.isalnum() else "_" for c in request.node.name)[:60]
    found = ClickHouse(ClickHouseOptions(url=embedded.url, database=f"t_{name}"))
    found.migrate()
    yield found
    found.close()


def windows(count, *, more=0.0, keys=KEYS):
    """Make windows of both datasets; the n-th lacks a key."""
    out = []
    for n in range(count):
        here = [key for place, key in enumerate(keys) if place != n % 4]
        size, times = len(here), (START + n * LENGTH, START + (n + 1) * LENGTH)
        columns = {name: np.arange(size) + n * 10.5 + more for name in METRICS[0].statistics()}
        columns["count"] = np.full(size, 5.0)
        rows = MetricRows("latency", here, np.full(size, 5 + n), columns, np.arange(size) == 1)
        out.append(WindowResult("d", *times, {"latency": rows} if size else {}, {}))
        if n % 3 == 0:
            rows = MetricRows(
                "jobs",
                ["{}"],
                np.array([n]),
                {"count": np.array([1.0 * n]), "rate": np.array([0.5 * n])},
                np.zeros(1, np.bool_),
            )
            out.append(WindowResult("e", *times, {"jobs": rows}, {}))
    return out


def store(client, results, run=""):
    """Insert windows as a run does."""
    lines = b"".join(block.data for result in results for block in window_lines(result))
    if run:
        lines = lines.replace(b'{"count"', b'{"run":"%b","count"' % run.encode())
    client.insert("window_metrics", lines)


@pytest.mark.slow
@pytest.mark.parametrize("cells", [1, 50, 2_000_000])
def test_windows_come_back_as_they_were_stored_in_chunks_of_any_size(client, cells):
    results = windows(9)
    store(client, results)
    history = History(StoredWindows(client, METRICS), METRICS, cells=cells)
    assert shown(history.windows(0, FOREVER)) == shown(results)
    start, end = START + 2 * LENGTH, START + 5 * LENGTH
    assert shown(history.windows(start, end)) == shown([each for each in results if start <= each.start < end])
    assert (history.start, history.end, history.length_ms) == (START, START + 9 * LENGTH, LENGTH)
    assert history.keys("latency") == sorted(KEYS)


def test_of_a_row_that_was_inserted_again_the_last_version_counts_and_runs_are_apart(client):
    store(client, windows(6))
    store(client, windows(6, more=1000.0), run="other")
    store(client, windows(4, more=7.0))
    live = History(StoredWindows(client, METRICS), METRICS)
    assert shown(live.windows(0, FOREVER)) == shown([*windows(4, more=7.0), *windows(6)[len(windows(4)) :]])
    other = History(StoredWindows(client, METRICS, run="other"), METRICS)
    assert shown(other.windows(0, FOREVER)) == shown(windows(6, more=1000.0))


def test_rows_of_keys_that_come_and_go_and_were_inserted_again_are_those_of_the_last_version(client):
    first = [
        each for n in range(40) for each in windows(n + 1, keys=[f'{{"host":"{n:02}","zone":"z"}}'])[-1:] if each.dataset == "d"
    ]
    again = [
        each
        for n in range(40)
        for each in windows(n + 1, more=7.0, keys=[f'{{"host":"{n:02}","zone":"z"}}'])[-1:]
        if n % 3 == 1 and each.dataset == "d"
    ]
    store(client, first)
    lines = b"".join(block.data for result in again for block in window_lines(result))
    # The same keys, their fields the other way round.
    turned = re.sub(rb'"key":\{("host":"\d+"),("zone":"z")\}', rb'"key":{\2,\1}', lines)
    assert turned != lines
    client.insert("window_metrics", turned)
    want = {each.start: each for each in [*first, *again]}
    history = History(StoredWindows(client, METRICS), METRICS)
    assert shown(history.windows(0, FOREVER)) == shown([each for _, each in sorted(want.items())])


def test_only_what_is_wanted_is_read(client):
    store(client, windows(3))
    history = History(StoredWindows(client, METRICS), METRICS)
    found = [each.metrics["latency"] for each in history.windows(0, FOREVER, {"latency": {"p99"}}) if each.dataset == "d"]
    want = [each.metrics["latency"] for each in windows(3) if each.dataset == "d"]
    assert [rows.statistics["p99"].tolist() for rows in found] == [rows.statistics["p99"].tolist() for rows in want]
    assert {name for rows in found for name in rows.statistics} == {"p99"}


def test_only_the_keys_that_matter_are_read(client):
    store(client, windows(9))
    history = History(StoredWindows(client, METRICS), METRICS)
    wanted, keys = {"latency": {"p50", "p99"}}, {"latency": {KEYS[0], KEYS[2], "unknown"}}
    ((chunk, _),) = history.chunks(0, FOREVER, wanted, keys)
    ((whole, _),) = history.chunks(0, FOREVER, wanted)
    some, every = chunk.tables["latency"], whole.tables["latency"]
    assert some.keys == [KEYS[0], KEYS[2]]
    assert np.array_equal(some.values["p99"], every.values["p99"][:, [0, 2]], equal_nan=True)
    ((none, _),) = history.chunks(0, FOREVER, wanted, {"latency": {"unknown"}})
    assert none.tables["latency"].keys == []


def test_rows_of_which_a_statistic_is_missing_are_left_out(client):
    lines = b"".join(block.data for result in windows(3) for block in window_lines(result))
    torn = [line for n, line in enumerate(lines.splitlines(keepends=True)) if n != 4]
    client.insert("window_metrics", b"".join(torn))
    history = History(StoredWindows(client, METRICS), METRICS)
    assert sum(len(each.metrics["latency"].keys) for each in history.windows(0, FOREVER) if each.dataset == "d") == 5


def test_windows_of_two_lengths_are_refused(client):
    store(client, windows(2))
    store(client, [WindowResult("d", START, START + 60_000, windows(2)[0].metrics, {})])
    with pytest.raises(HistoryError, match="holds windows of 60 s and 300 s"):
        _ = StoredWindows(client, METRICS).length_ms


def test_a_table_without_rows_is_an_empty_history(client):
    history = History(StoredWindows(client, METRICS), METRICS)
    assert (history.start, history.end, history.length_ms, list(history.windows(0, FOREVER))) == (None, None, 0, [])


def test_a_server_that_is_away_is_named():
    client = ClickHouse(ClickHouseOptions(url="http://127.0.0.1:9"))
    with pytest.raises(DeliveryError, match=r"cannot connect.*127.0.0.1:9"):
        _ = History(StoredWindows(client, METRICS), METRICS).start
    client.close()


def test_the_versions_of_the_configurations_that_made_the_windows_of_a_range_are_named(client):
    results = [each for each in windows(6) if each.dataset == "d"]
    for part, version in ((results[:3], b"aaa"), (results[3:], b"bbb")):
        lines = b"".join(block.data for result in part for block in window_lines(result))
        client.insert("window_metrics", lines.replace(b'{"count"', b'{"config_version":"%b","count"' % version))
    found = StoredWindows(client, METRICS)
    late, last = START + 3 * LENGTH, START + 5 * LENGTH
    assert found.versions(0, FOREVER) == [("aaa", START, START + 2 * LENGTH), ("bbb", late, last)]
    assert found.versions(late, FOREVER) == [("bbb", late, last)]
    history, config = History(found, METRICS), loads("", Path("monitor.toml"), secrets=False)
    (words,) = measured_otherwise(history, config, 0, FOREVER)
    assert words.startswith("the windows were made by 2 configurations, versions aaa (2025-12-01T00:00:00Z to ")
    assert f"; this one is {config.version}. A metric whose definition changed is judged as it was measured then" in words
    assert measured_otherwise(history, replace(config, version="bbb"), late, FOREVER) == []
