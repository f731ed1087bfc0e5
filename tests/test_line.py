"""The whole line, from bytes to files, by the acceptance definitions: archives, a real Kafka, processes, kill -9."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess

import pytest

from tests.runs import (
    ACCEPTANCE,
    FILES,
    checked,
    config_for,
    edgewatch,
    hurry,
    is_defined,
    judge,
    make_logs,
    outputs,
    produce_archive,
    start,
    wait_until,
)

pytestmark = pytest.mark.slow

RECORDS = 60_000
MONITOR = ACCEPTANCE / "monitor.toml"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Give the acceptance data as files."""
    return make_logs(tmp_path_factory.mktemp("archive") / "logs", records=RECORDS)


@pytest.fixture(scope="module")
def replayed(archive, tmp_path_factory):
    """Give the replay of the files by one process: what every other run is compared with."""
    out = tmp_path_factory.mktemp("replayed") / "out"
    checked("replay", "-c", MONITOR, "--source", f"archive:{archive}", "--out", out)
    return out


def topics_of(topic):
    return {"http_requests": topic(4), "performance": topic(3)}


def test_windows_and_alerts_of_an_archive_agree_with_the_definitions(archive, replayed):
    assert "0 wrong" in judge("oracle", archive, replayed)
    assert "0 wrong" in judge("alerts", MONITOR, replayed)
    summary = json.loads((replayed / "summary.json").read_bytes())
    assert summary["notifications"] == len((replayed / "notifications.ndjson").read_bytes().splitlines()) > 0


def test_sketched_percentiles_agree_within_their_bound(archive, tmp_path):
    config = tmp_path / "monitor.toml"
    config.write_text(MONITOR.read_text().replace("[window]", "[window]\nexact_samples = 500"))
    checked("replay", "-c", config, "--source", f"archive:{archive}", "--out", tmp_path / "out")
    assert "0 wrong" in judge("oracle", archive, tmp_path / "out", 500)
    assert b'"sketch"' in (tmp_path / "out" / "windows.ndjson").read_bytes()


def test_dead_letters_say_where_and_why(archive, replayed):
    summary = json.loads((replayed / "summary.json").read_bytes())
    letters = [json.loads(line) for line in (replayed / summary["dead_letter_file"]).read_bytes().splitlines()]
    assert len(letters) == summary["dead_letters"] > 0
    assert all(letter["topic"] == "http_requests" and letter["partition"][0] == "p" for letter in letters)
    reasons = {letter["reason"].split(" ")[0] for letter in letters}
    assert {"not", "no", "event"} <= reasons


@pytest.mark.parametrize("processes", [2, 4])
def test_several_processes_give_the_same_bytes(archive, replayed, tmp_path, processes):
    checked("replay", "-c", MONITOR, "--source", f"archive:{archive}", "--out", tmp_path / "out", "--processes", processes)
    assert outputs(tmp_path / "out") == outputs(replayed)


def test_other_chunk_sizes_give_the_same_bytes(archive, replayed, tmp_path):
    config = tmp_path / "monitor.toml"
    config.write_text(MONITOR.read_text().replace('start = "earliest"', 'start = "earliest"\npoll_records = 137'))
    checked("replay", "-c", config, "--source", f"archive:{archive}", "--out", tmp_path / "out")
    assert outputs(tmp_path / "out") == outputs(replayed)


def test_the_runner_without_an_engine_gives_the_same_bytes(archive, replayed, tmp_path):
    from flows.barrier import Scope
    from flows.config import load
    from flows.inputs import archive_datasets, open_source
    from flows.line import build_line
    from flows.output import Block
    from flows.run_folder import RunSpec
    from flows.runner import run_line
    from sinks.files import Segments, write_outputs

    config = load(MONITOR)
    spec = RunSpec(mode="replay", config="", source=f"archive:{archive}", start=None, end=None, state=str(tmp_path), out=None)
    line = build_line(config, archive_datasets(config, spec))
    segments = Segments(tmp_path / "segments", None)

    def emit(output):
        if isinstance(output, Block):
            segments.append(output.kind, output.at, output.name, output.data)

    run_line(line, open_source(config, line, spec), Scope(), emit)
    segments.close()
    write_outputs(tmp_path / "segments", tmp_path)
    assert outputs(tmp_path) == outputs(replayed)


def test_a_range_selects_the_windows_that_start_in_it(archive, replayed, tmp_path):
    low, high = "2025-12-01T01:00:00Z", "2025-12-01T02:00:00Z"
    checked("replay", "-c", MONITOR, "--source", f"archive:{archive}", "--from", low, "--to", high, "--out", tmp_path / "out")
    whole = (replayed / "windows.ndjson").read_bytes().splitlines()
    want = [line for line in whole if low <= json.loads(line)["window_start"] < high]
    assert (tmp_path / "out" / "windows.ndjson").read_bytes().splitlines() == want


def test_the_same_folder_resumes_and_a_finished_one_stays_as_it_is(archive, tmp_path):
    arguments = ("replay", "-c", MONITOR, "--source", f"archive:{archive}", "--out", tmp_path / "out")
    checked(*arguments)
    before = outputs(tmp_path / "out")
    checked(*arguments)
    assert outputs(tmp_path / "out") == before


def test_a_folder_begun_with_something_else_is_refused(archive, replayed, tmp_path):
    config = tmp_path / "monitor.toml"
    config.write_text(MONITOR.read_text().replace('length = "5m"', 'length = "10m"'))
    done = edgewatch("replay", "-c", config, "--source", f"archive:{archive}", "--out", replayed)
    assert done.returncode == 1
    assert "window" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("batch", [1, 777])
def test_a_replay_from_kafka_gives_the_bytes_of_the_archive(archive, replayed, tmp_path, brokers, topic, batch):
    names = topics_of(topic)
    produce_archive(brokers, archive, names, batch=batch)
    config = config_for(tmp_path / "monitor.toml", brokers, names)
    checked("replay", "-c", config, "--out", tmp_path / "out")
    assert outputs(tmp_path / "out") == outputs(replayed)
    objects = {"EDGEWATCH_CONSUME": "0"} if batch == 1 else {}
    checked("replay", "-c", config, "--out", tmp_path / "two", "--processes", 2, **objects)
    assert outputs(tmp_path / "two") == outputs(replayed)


def test_an_empty_topic_changes_nothing(archive, replayed, tmp_path, brokers, topic):
    names = topics_of(topic)
    produce_archive(brokers, archive, names, batch=500)
    config = config_for(tmp_path / "monitor.toml", brokers, names)
    config.write_text(config.read_text().replace("topics = { ", f'topics = {{ "{topic(2)}" = "http_requests", '))
    checked("replay", "-c", config, "--out", tmp_path / "out")
    assert outputs(tmp_path / "out") == outputs(replayed)


def killed_while_running(command, log, victim):
    """Start a run, wait until it has written state, and kill -9 `victim(pid)`; gives whether it was still running."""
    recovered = command[-1] / ".state" / "recovery"
    before = _last_snapshot(recovered)
    process = start(*command, log=log)
    wait_until(lambda: process.poll() is not None or _last_snapshot(recovered) > before, what="a snapshot")
    running = process.poll() is None
    if running:
        os.kill(victim(process.pid), signal.SIGKILL)
    process.wait(240)
    wait_until(lambda: not _children(process.pid), what="the end of its children")
    return running


def _last_snapshot(folder):
    """Give the epoch of the last snapshot in a recovery store."""
    found = 0
    for path in folder.glob("*.sqlite3"):
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            found = max(found, database.execute("SELECT max(snap_epoch) FROM snaps").fetchone()[0] or 0)
    return found


def _children(pid):
    found = subprocess.run(["pgrep", "-s", str(pid)], capture_output=True, text=True, check=False).stdout.split()
    return [int(child) for child in found if int(child) != pid]


@pytest.mark.parametrize("processes", [1, 2])
def test_kill_9_twice_and_resume_equals_the_unbroken_run(archive, replayed, tmp_path, brokers, topic, processes):
    names = topics_of(topic)
    produce_archive(brokers, archive, names)
    config = config_for(tmp_path / "monitor.toml", brokers, names, start='"earliest"\npoll_records = 60')
    config.write_text(config.read_text() + '\n[engine]\nsnapshot_interval = "200ms"\n')
    out = tmp_path / "out"
    command = ("run", "-c", config, "--until-end", "--processes", processes, "--out", out)
    log = tmp_path / "log"

    def child(pid):
        return _children(pid)[0] if processes > 1 else pid

    kills = [killed_while_running(command, log, victim) for victim in (child, lambda pid: pid)]
    assert kills == [True, True], log.read_text()
    hurry(config)
    checked(*command)
    assert outputs(out) == outputs(replayed)


def test_sigterm_writes_state_exits_0_and_the_next_start_goes_on(archive, replayed, tmp_path, brokers, topic):
    names = topics_of(topic)
    produce_archive(brokers, archive, names)
    config = config_for(tmp_path / "monitor.toml", brokers, names, start='"earliest"\npoll_records = 60')
    command = ("run", "-c", config, "--until-end", "--out", tmp_path / "out")
    process = start(*command, log=tmp_path / "log")
    board = tmp_path / "out" / ".state" / "board"
    wait_until(lambda: board.exists() and any(board.read_bytes()), what="the first records")
    process.send_signal(signal.SIGTERM)
    assert process.wait(240) == 0, (tmp_path / "log").read_text()
    assert not (tmp_path / "out" / "windows.ndjson").exists()
    hurry(config)
    checked(*command)
    assert outputs(tmp_path / "out") == outputs(replayed)
    assert set(FILES) <= {path.stem for path in (tmp_path / "out").glob("*.ndjson")}


@pytest.mark.parametrize(
    ("more", "want"),
    [
        ("", True),
        ("[[inhibit]]\nsource = { rule = 'a' }\ntarget = { rule = 'b' }\n", False),
        ("[[rule]]\nname = 'x'\nkind = 'absence'\nmetric = 'm'\n", False),
        ("[[route]]\nmatch = { a = 'b' }\nchannels = ['console']\n", False),
    ],
)
def test_the_definition_is_asked_of_every_replay_that_it_covers(tmp_path, more, want):
    path = tmp_path / "monitor.toml"
    path.write_text(MONITOR.read_text() + more)
    assert is_defined(path, tmp_path / "out") is want
    (tmp_path / "out" / ".state").mkdir(parents=True)
    (tmp_path / "out" / ".state" / "controls.ndjson").touch()
    assert not is_defined(path, tmp_path / "out")
