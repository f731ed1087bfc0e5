"""Rows of a replay in the tables: under a run's name beside the live ones, and in their place where a range is repaired."""

import json
import shutil

import pytest

from flows.config import load
from flows.monitor import run_archive
from sinks.clickhouse import ClickHouse, ClickHouseOptions
from sinks.embedded import Embedded
from tests.runs import ACCEPTANCE, checked, edgewatch, make_logs

pytestmark = pytest.mark.slow

FROM, TO = "2025-12-01T01:00:00Z", "2025-12-01T02:00:00Z"
FILES = {
    "windows": "window_metrics",
    "evaluations": "evaluations",
    "transitions": "transitions",
    "notifications": "notifications",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Give a folder with logs and a configuration whose ClickHouse holds the live rows of these logs."""
    pytest.importorskip("chdb", reason="missing service: chdb (pip install 'edgewatch[embedded]')")
    folder = tmp_path_factory.mktemp("rows")
    make_logs(folder / "logs", records=12_000)
    with Embedded(folder / "clickhouse") as server:
        text = (ACCEPTANCE / "monitor.toml").read_text()
        (folder / "monitor.toml").write_text(
            f'{text}\n[engine]\ndirectory = "{folder / "state"}"\n[clickhouse]\nurl = "{server.url}"\n'
        )
        config = load(folder / "monitor.toml")
        said = run_archive(config, folder / "logs", folder / "live", on_notification=lambda _: None, report=lambda *_: None)
        assert said["delivered"]
        yield folder, ClickHouse(ClickHouseOptions(url=server.url))


def count(client, table, where):
    return int(client.query(f"SELECT count() AS n FROM {table} FINAL WHERE {where}")[0]["n"])


def into(folder, logs, out, *more):
    return ["replay", "-c", folder / "monitor.toml", "--source", f"archive:{logs}", "--out", out, "--into-clickhouse", *more]


def live_rows(client, table, where):
    columns = "* EXCEPT (inserted_at, version)"
    rows = client.query(f"SELECT {columns} FROM {table} FINAL WHERE run = '' AND {where}")
    return sorted(json.dumps(row, sort_keys=True) for row in rows)


def test_rows_go_under_a_name_of_their_own_and_live_ones_stay(place, tmp_path):
    folder, client = place
    live = {table: live_rows(client, table, "1") for table in FILES.values()}
    out = tmp_path / "out"
    checked(*into(folder, folder / "logs", out, "--run", "again"))
    for name, table in FILES.items():
        assert count(client, table, "run = 'again'") == len((out / f"{name}.ndjson").read_bytes().splitlines()), table
    for table in ("exemplars", "window_histograms", "pipeline_events"):
        assert count(client, table, "run = 'again'") == count(client, table, "run = ''") > 0, table
    assert {table: live_rows(client, table, "1") for table in FILES.values()} == live
    checked(*into(folder, folder / "logs", out, "--run", "again"))  # the same command goes on, and there is nothing left
    done = edgewatch(*into(folder, folder / "logs", tmp_path / "other", "--run", "again"))
    assert (done.returncode, "run 'again' has rows already (in window_metrics" in done.stderr) == (2, True)
    ranged = ("--from", FROM, "--to", TO, "--run", "again", "--replace")
    checked(*into(folder, folder / "logs", tmp_path / "less", *ranged))
    rows = len((tmp_path / "less" / "windows.ndjson").read_bytes().splitlines())
    assert count(client, "window_metrics", "run = 'again'") == rows


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ((), "give the run a name"),
        (("--run", "a b"), "give the run a name"),
        (("--run", "x", "--publish"), "--publish needs --from and --to"),
        (("--run", "x", "--publish", "--from", FROM, "--to", TO), "here is no terminal; give --yes"),
    ],
)
def test_a_run_without_a_name_or_a_repair_without_a_range_or_an_answer_is_refused(place, tmp_path, more, words):
    folder, _ = place
    done = edgewatch(*into(folder, folder / "logs", tmp_path / "out", *more))
    assert (done.returncode, words in done.stderr, done.stdout) == (2, True, "")


def test_publishing_repairs_the_rows_of_the_range_and_leaves_decisions_and_all_else(place, tmp_path):
    folder, client = place
    kept = "NOT (window_start >= '2025-12-01 01:00:00' AND window_start < '2025-12-01 02:00:00')"
    tables = ("window_metrics", "window_histograms", "exemplars")
    outside = {table: live_rows(client, table, kept) for table in tables}
    decided = {table: live_rows(client, table, "1") for table in ("evaluations", "transitions", "notifications")}
    fixed = tmp_path / "logs"  # as if a parser had been fixed: one host is called otherwise, another is not there
    shutil.copytree(folder / "logs", fixed)
    shutil.rmtree(fixed / "http_requests" / "p1")
    ranged = ("--from", FROM, "--to", TO, "--run", "fixed")
    done = checked(*into(folder, fixed, tmp_path / "out", *ranged, "--publish", "--yes"))
    assert "window_metrics: " in done.stdout
    assert "published" in done.stdout
    for table in tables:
        assert {table: live_rows(client, table, kept)} == {table: outside[table]}
        inside = live_rows(client, table, f"NOT ({kept})")
        rows = client.query(f"SELECT * EXCEPT (inserted_at, version) FROM {table} FINAL WHERE run = 'fixed'")
        assert inside == sorted(json.dumps(row | {"run": ""}, sort_keys=True) for row in rows), table
        assert inside
    assert {table: live_rows(client, table, "1") for table in decided} == decided
    again = checked(*into(folder, fixed, tmp_path / "out", *ranged, "--publish", "--yes"))
    assert "all the same" in again.stdout
    assert "published" not in again.stdout


def test_a_range_that_a_live_run_has_not_judged_is_not_published(place, tmp_path):
    folder, client = place
    before = live_rows(client, "window_metrics", "1")
    (folder / "state").mkdir(exist_ok=True)
    (folder / "state" / "firing.json").write_text('{"http_requests": {"at": 1764550800000, "alerts": []}}')
    ranged = ("--from", FROM, "--to", TO, "--run", "early", "--publish", "--yes")
    done = edgewatch(*into(folder, folder / "logs", tmp_path / "out", *ranged))
    (folder / "state" / "firing.json").unlink()
    assert (done.returncode, "judged http_requests only up to 2025-12-01T01:00:00Z" in done.stderr) == (1, True)
    assert live_rows(client, "window_metrics", "1") == before
