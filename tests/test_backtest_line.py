"""Backtests from records, from topics, from windows and from ClickHouse against a replay of the same records."""

import json
import re
import socket

import pytest

from flows.cli import app
from flows.config import load
from sinks.clickhouse import ClickHouse, ClickHouseOptions
from sinks.embedded import Embedded
from tests.runs import ACCEPTANCE, checked, config_for, edgewatch, make_logs, produce_archive

pytestmark = pytest.mark.slow

RECORDS = 30_000
MONITOR = ACCEPTANCE / "monitor.toml"
OF_RECORDS = ("exemplars", "contribution")  # evidence that windows do not hold


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Give the acceptance data as files."""
    return make_logs(tmp_path_factory.mktemp("archive") / "logs", records=RECORDS)


@pytest.fixture(scope="module")
def replayed(archive, tmp_path_factory):
    """Give the replay of the files."""
    out = tmp_path_factory.mktemp("replayed") / "out"
    checked("replay", "-c", MONITOR, "--source", f"archive:{archive}", "--out", out)
    return out


def decided(folder):
    """Give transitions as bytes, and notifications without the evidence that needs records."""
    notifications = [json.loads(line) for line in (folder / "notifications.ndjson").read_text().splitlines()]
    for each in notifications:
        each["evidence"] = {name: value for name, value in each["evidence"].items() if name not in OF_RECORDS}
    return (folder / "transitions.ndjson").read_bytes(), notifications


def evaluations(folder):
    """Count the decision records of a replay."""
    return (folder / "evaluations.ndjson").read_bytes().count(b"\n")


def agrees(out, replayed):
    """Hold a backtest to a replay."""
    assert decided(out) == decided(replayed)
    figures = json.loads((out / "backtest.json").read_bytes())
    said, moved = decided(replayed)[1], decided(replayed)[0].count(b"\n")
    assert (figures["notifications"]["total"], figures["transitions"]["total"]) == (len(said), moved)
    assert figures["evaluations"] == evaluations(replayed)
    assert len(said) > 0


def milder(config):
    """Give a configuration beside another one, with the limits of two rules changed."""
    changed = config.with_name(f"milder-{config.name}")
    text = config.read_text().replace("critical = 0.05", "critical = 0.5").replace("critical = 3000", "critical = 1500")
    assert text != config.read_text()
    changed.write_text(text)
    return changed


def differs(old, new, source, *options):
    """Give what a diff finds."""
    done = edgewatch("diff", old, new, "--source", source, "--json", *options)
    assert (done.returncode, done.stdout[:1], "Traceback" in done.stderr) == (0, "{", False), done.stdout[:200] + done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def difference(replayed, tmp_path_factory):
    """Give what a diff finds in the windows of the replay."""
    old = tmp_path_factory.mktemp("diff") / "monitor.toml"
    old.write_text(MONITOR.read_text())
    found = differs(old, milder(old), f"windows:{replayed}")
    assert len(found["differences"]) > 0
    return found


def test_of_an_archive_that_is_read_once(archive, replayed, tmp_path):
    arguments = ("backtest", "-c", MONITOR, "--source", f"archive:{archive}", "--out", tmp_path / "out", "--processes", 2)
    checked(*arguments)
    agrees(tmp_path / "out", replayed)
    made = (tmp_path / "out" / "replay" / "windows.ndjson").stat().st_mtime_ns
    checked(*arguments)
    agrees(tmp_path / "out", replayed)
    assert (tmp_path / "out" / "replay" / "windows.ndjson").stat().st_mtime_ns == made


def test_of_topics(archive, replayed, tmp_path, brokers, topic, difference):
    names = {"http_requests": topic(4), "performance": topic(3)}
    produce_archive(brokers, archive, names, batch=200)
    config = config_for(tmp_path / "monitor.toml", brokers, names)
    checked("backtest", "-c", config, "--out", tmp_path / "out")
    agrees(tmp_path / "out", replayed)
    assert differs(config, milder(config), "kafka") == difference
    changed = config.with_name("measured-otherwise.toml")
    changed.write_text(config.read_text().replace("EdgeResponseStatus >= 400", "EdgeResponseStatus >= 500"))
    found = differs(config, changed, "kafka", "--out", tmp_path / "diff", "--processes", 2)
    assert found["old"] == difference["old"]
    assert list(found["changes"]["metrics"]) == ["error_rate"]


def test_of_windows_without_any_connection(replayed, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(socket.socket, "connect", lambda _, address: asked.append(address))
    arguments = ["backtest", "-c", MONITOR, "--source", f"windows:{replayed}", "--out", tmp_path / "out", "--evaluations"]
    assert (app([str(each) for each in arguments], standalone_mode=False), asked) == (None, [])
    agrees(tmp_path / "out", replayed)
    written = ((folder / "evaluations.ndjson").read_bytes() for folder in (tmp_path / "out", replayed))
    assert next(written) == next(written)


def test_of_rows_in_clickhouse_live_or_of_a_run(replayed, tmp_path, tmp_path_factory, difference):
    lines = (replayed / "windows.ndjson").read_bytes()
    with Embedded(tmp_path_factory.mktemp("chdb")) as server:
        config = tmp_path / "monitor.toml"
        config.write_text(f'{MONITOR.read_text()}\n[clickhouse]\nurl = "{server.url}"\n')
        client = ClickHouse(ClickHouseOptions(url=server.url))
        client.migrate()
        client.insert("window_metrics", lines)
        client.insert("window_metrics", lines.replace(b'"value":', b'"run":"may","value":'))
        for table in ("evaluations", "transitions", "notifications"):
            client.insert(table, (replayed / f"{table}.ndjson").read_bytes())
        client.close()
        assert differs(config, milder(config), "clickhouse") == difference
        moved, said = decided(replayed)
        late = b"".join(line for line in moved.splitlines(keepends=True) if json.loads(line)["at"] > "2025-12-01T01:35:00Z")
        later = [each for each in said if each["at"] > "2025-12-01T01:35:00Z"]
        middle = ["-c", config, "--source", "clickhouse", "--from", "2025-12-01T01:35:00Z"]

        def begun(name, *alerts):
            done = checked("backtest", *middle, *alerts, "--out", tmp_path / name)
            taken = "Alerts before it: those of the decision records of clickhouse" in done.stdout
            assert taken or "those of these rules on the windows from" in done.stdout
            assert not taken or decided(tmp_path / name) == (late, later)
            return taken

        assert begun("asked", "--alerts", "clickhouse")
        assert not begun("others")  # another configuration has judged
        stamp = b'{"config_version":"%b",' % load(config, secrets=False).version.encode()
        client = ClickHouse(ClickHouseOptions(url=server.url))
        judged = (replayed / "evaluations.ndjson").read_bytes()
        client.insert("evaluations", b"".join(stamp + line[1:] for line in judged.splitlines(keepends=True)))
        client.close()
        assert begun("mine")
        assert not begun("none", "--alerts", "none")
        assert not begun("warm", "--warm-up", "1h")
        compared = differs(config, milder(config), "clickhouse", *middle[4:], "--alerts", "clickhouse")
        figures = json.loads((tmp_path / "asked" / "backtest.json").read_bytes())
        assert compared["old"]["pages"] == figures["pages"]["total"]
        for source in ("clickhouse", "clickhouse:may"):
            checked("backtest", "-c", config, "--source", source, "--out", tmp_path / source.replace(":", "-"))
            agrees(tmp_path / source.replace(":", "-"), replayed)


def test_a_range_beside_the_records_says_what_was_read_also_the_second_time(archive, tmp_path):
    times = ("--from", "2024-01-01T00:00:00Z", "--to", "2024-01-02T00:00:00Z")
    for _ in range(2):
        done = edgewatch("backtest", "-c", MONITOR, "--source", f"archive:{archive}", *times, "--out", tmp_path / "out")
        assert done.returncode == 2
        assert re.search(
            r"records that were read are from 20\S+ to \S+\. What is there: http_requests: records from 20.* UTC to 20.* UTC",
            done.stderr,
        )
