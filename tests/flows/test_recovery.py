"""The recovery store as people see it: shown, given up, moved, and refused where it is not what this program wrote."""

import io
import os
import pickle
import shutil
import sqlite3
import stat
import tarfile

import msgspec
import pytest
import zstandard

from connectors.source import SourceError
from flows.engine import parts_in
from flows.recovery_store import StoreBroken, check_store, forget_unfinished, read_store, resume_epoch
from flows.run_folder import RunFolder, write_note
from flows.sealed import SCHEMA, SchemaUnknown, schema_of, seal, unseal
from flows.shared_run import Run
from tests.runs import ACCEPTANCE, checked, edgewatch, make_logs

pytestmark = pytest.mark.slow


class Runs_a_command:  # noqa: N801 (reads as what it is)
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Give a folder with a replay's output, its state, and a configuration whose state folder that is."""
    folder = tmp_path_factory.mktemp("recovery")
    logs = make_logs(folder / "logs", records=3000)
    checked("replay", "-c", ACCEPTANCE / "monitor.toml", "--source", f"archive:{logs}", "--out", folder / "out")
    (folder / "out" / ".state" / "firing.json").write_text('{"http_requests": {"at": 1764547500000, "alerts": [{}, {}]}}')
    return folder


@pytest.fixture
def state(done, tmp_path):
    """Give a copy of the state."""
    return RunFolder(shutil.copytree(done / "out" / ".state", tmp_path / "state"))


def config_of(path, folder):
    text = (ACCEPTANCE / "monitor.toml").read_text()
    assert "[engine]" not in text
    path.write_text(f'{text}\n[engine]\ndirectory = "{folder}"\n')
    return path


@pytest.fixture
def config(state, tmp_path):
    return config_of(tmp_path / "monitor.toml", state.path)


def change(store, statement, *values):
    for path in store.glob("*.sqlite3"):
        with sqlite3.connect(path) as file:
            file.execute(statement, values)
        file.close()


def modes(folder):
    return {
        oct(stat.S_IMODE(path.stat().st_mode))
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name == "recovery"
    }


def test_a_version_is_put_before_state_and_state_without_one_is_of_the_first_schema():
    assert unseal(seal(b"state")) == b"state"
    assert (schema_of(b'{"a": 1}'), schema_of(b""), SCHEMA) == (1, 1, 2)
    with pytest.raises(SchemaUnknown, match=r"state of schema 3, and this edgewatch reads schema 2.*recovery reset"):
        unseal(b"\xc1ew\x00\x03state")


def test_show_says_where_a_resume_goes_on(config, state):
    found = msgspec.json.decode(checked("recovery", "show", "-c", config, "--json").stdout)
    assert (found["schemas"], found["starts"], found["processes"]) == ([2], 1, 1)
    assert set(found["steps"]) == {"source", "window", "sink"}
    assert all(each["bytes"] > 0 for each in found["steps"].values())
    planned = msgspec.json.decode(state.plan.read_bytes())["partitions"]
    assert sorted(found["partitions"]) == sorted(f"{each['topic']}/{each['partition']}" for each in planned)
    assert sum(each["records"] for each in found["partitions"].values()) > 2500
    assert set(found["closed"]) == {each["dataset"] for each in planned}
    text = checked("recovery", "show", "-c", config).stdout
    assert "dataset http_requests: closed to its end" in text
    assert "partition http_requests/" in text


@pytest.mark.parametrize(
    ("executions", "fronts", "epoch"),
    [
        ([], [(0, 0, 7)], None),
        ([(0, 2, 1)], [], 1),
        ([(0, 2, 1), (1, 2, 10)], [(0, 0, 30), (1, 0, 14), (1, 1, 12)], 12),
        ([(1, 3, 10)], [(1, 0, 14), (1, 1, 12)], 10),  # of the third nothing was heard
        ([(1, 1, 10)], [(1, 0, 4), (2, 0, 20)], 10),  # a front may be there before its execution is
    ],
)
def test_a_resume_goes_on_from_what_all_workers_have_passed(executions, fronts, epoch):
    assert resume_epoch(executions, fronts) == epoch


def test_snapshots_of_what_was_not_finished_are_forgotten_before_a_resume(state):
    kept = read_store(state.recovery)
    names = "step_id, state_key, snap_epoch"
    more = f"INSERT INTO snaps ({names}, ser_change) SELECT {names} + ?, NULL FROM snaps"
    for beyond in (1_000_000, 2_000_000):
        change(state.recovery, more, beyond)
    assert read_store(state.recovery) == kept
    forget_unfinished(state.recovery)
    assert read_store(state.recovery) == kept
    change(state.recovery, "UPDATE fronts SET worker_frontier = worker_frontier + 5000000")
    assert read_store(state.recovery).snapshots == kept.snapshots  # nothing of what was beyond


def test_state_of_the_first_schema_which_had_no_versions_stops_the_start(done, tmp_path):
    out = shutil.copytree(done / "out", tmp_path / "out")
    for path in RunFolder(out / ".state").recovery.glob("*.sqlite3"):
        with sqlite3.connect(path) as file:
            for row, data in file.execute("SELECT rowid, ser_change FROM snaps WHERE ser_change IS NOT NULL").fetchall():
                assert pickle.loads(data).startswith(b"\xc1ew")  # noqa: S301 (ours)
                file.execute("UPDATE snaps SET ser_change = ? WHERE rowid = ?", (pickle.dumps(unseal(pickle.loads(data))), row))  # noqa: S301
        file.close()
    again = edgewatch("replay", "-c", ACCEPTANCE / "monitor.toml", "--source", f"archive:{done / 'logs'}", "--out", out)
    assert (again.returncode, "state of schema 1, and this edgewatch reads schema 2" in again.stderr) == (1, True)


def test_state_of_another_schema_stops_the_start_and_says_the_way_out(done, tmp_path):
    out = shutil.copytree(done / "out", tmp_path / "out")
    change(RunFolder(out / ".state").recovery, "UPDATE snaps SET ser_change = ?", pickle.dumps(b"\xc1ew\x00\x07..."))
    again = edgewatch("replay", "-c", ACCEPTANCE / "monitor.toml", "--source", f"archive:{done / 'logs'}", "--out", out)
    assert (again.returncode, "Traceback" in again.stderr) == (1, False)
    assert "has state of schema 7, and this edgewatch reads schema 2" in again.stderr
    assert "edgewatch recovery reset -c CONFIG --keep-alerts" in again.stderr


def test_a_snapshot_that_would_run_code_is_refused_and_does_not_run(done, state, tmp_path):
    planted = tmp_path / "planted"
    change(state.recovery, "UPDATE snaps SET ser_change = ?", pickle.dumps(Runs_a_command(planted)))
    with pytest.raises(StoreBroken, match="that edgewatch did not write"):
        check_store(state.recovery)
    out = shutil.copytree(done / "out", tmp_path / "out")
    shutil.copytree(state.recovery, out / ".state" / "recovery", dirs_exist_ok=True)
    again = edgewatch("replay", "-c", ACCEPTANCE / "monitor.toml", "--source", f"archive:{done / 'logs'}", "--out", out)
    assert (again.returncode, "that edgewatch did not write" in again.stderr) == (1, True)
    config = config_of(tmp_path / "monitor.toml", state.path)
    checked("recovery", "export", "-c", config, tmp_path / "state.tar.zst")
    target = config_of(tmp_path / "other.toml", tmp_path / "other")
    taken = edgewatch("recovery", "import", "-c", target, tmp_path / "state.tar.zst")
    assert (taken.returncode, "that edgewatch did not write" in taken.stderr) == (1, True)
    assert not planted.exists()


def test_what_others_could_write_is_closed_to_them_and_what_is_theirs_is_refused(state, monkeypatch):
    for path in (state.path, state.recovery, state.plan, next(state.recovery.iterdir())):
        path.chmod(0o777)
    RunFolder(state.path)
    assert {stat.S_IMODE(each.stat().st_mode) & 0o077 for each in (state.path, *state.path.rglob("*"))} == {0}
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(SourceError, match=rf"{state.path} belongs to user {os.getuid()}, and this is user"):
        RunFolder(state.path)


def test_reset_asks_says_what_is_lost_and_goes_on_from_the_last_closed_window(config, state):
    asked = edgewatch("recovery", "reset", "-c", config)
    assert (asked.returncode, state.recovery.exists()) == (1, True)
    assert "judges windows from 2025-12-01T00:00:00Z on" in asked.stderr
    assert "2 open alerts are forgotten" in asked.stderr
    without = edgewatch("recovery", "reset", "-c", config, "--yes", "--keep-alerts")
    assert (without.returncode, "has no [clickhouse]" in without.stderr) == (2, True)
    config.write_text(config.read_text() + '[clickhouse]\nurl = "http://127.0.0.1:9"\n')
    said = msgspec.json.decode(checked("recovery", "reset", "-c", config, "--yes", "--keep-alerts", "--json").stdout)
    assert (said["judged_from"], said["alerts"]) == ("2025-12-01T00:00:00Z", True)
    assert msgspec.json.decode(state.restart.read_bytes()) == {"start": 1_764_547_200_000, "alerts": "clickhouse"}
    assert (state.recovery.exists(), state.plan.exists()) == (False, False)
    gone = edgewatch("recovery", "reset", "-c", config, "--yes")
    assert (gone.returncode, "there is no state of a run in" in gone.stderr) == (2, True)


def test_a_fresh_reset_leaves_nothing_to_go_on_from(config, state):
    state.restart.write_text('{"start": 1}')
    checked("recovery", "reset", "-c", config, "--yes", "--fresh")
    assert (state.restart.exists(), state.plan.exists()) == (False, False)


@pytest.mark.parametrize("command", [["reset", "--yes", "--fresh"], ["export"]])
def test_state_that_a_run_holds_is_left_alone(config, state, tmp_path, command):
    with state.locked():
        arguments = [*command, *([tmp_path / "state.tar.zst"] if command == ["export"] else [])]
        refused = edgewatch("recovery", arguments[0], "-c", config, *arguments[1:])
    assert (refused.returncode, "is in use by another run" in refused.stderr) == (1, True)
    assert (state.recovery.exists(), (tmp_path / "state.tar.zst").exists()) == (True, False)


def test_the_store_of_several_machines_is_brought_together_part_by_part_and_not_started_without_all(
    done, state, config, tmp_path
):
    file = tmp_path / "part.tar.zst"
    other = RunFolder(shutil.copytree(state.path, tmp_path / "other"))
    for folder, gone in ((state, (1, 3)), (other, (0, 2))):
        write_note(folder.machines, Run(run="a", begun=True))
        for part in gone:
            (folder.recovery / f"part-{part}.sqlite3").unlink()
    shown = checked("recovery", "show", "-c", config).stdout
    assert "files 0, 2 of 4 are here; the others are on other machines of the run" in shown
    out = tmp_path / "out"
    shutil.copytree(done / "out", out)
    shutil.rmtree(out / ".state")
    shutil.copytree(state.path, out / ".state")
    alone = edgewatch("replay", "-c", ACCEPTANCE / "monitor.toml", "--source", f"archive:{done / 'logs'}", "--out", out)
    assert (alone.returncode, "lacks parts 1, 3 of the recovery store" in alone.stderr) == (1, True)
    checked("recovery", "export", "-c", config_of(tmp_path / "other.toml", other.path), file)
    checked("recovery", "import", "-c", config, file)
    assert parts_in(state.recovery) == (0, 1, 2, 3)
    assert read_store(state.recovery) == read_store(done / "out" / ".state" / "recovery")
    again = edgewatch("recovery", "import", "-c", config, file)
    assert (again.returncode, "has recovery/part-1.sqlite3 already" in again.stderr) == (1, True)
    write_note(state.machines, Run(run="b", begun=True))
    foreign = edgewatch("recovery", "import", "-c", config, file)
    assert (foreign.returncode, "has state of its own" in foreign.stderr) == (1, True)


def test_state_is_moved_as_one_file_and_resumes_from_the_same_place(config, state, tmp_path):
    file = tmp_path / "state.tar.zst"
    written = msgspec.json.decode(checked("recovery", "export", "-c", config, file, "--json").stdout)
    assert written["bytes"] == file.stat().st_size
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    target = config_of(tmp_path / "other.toml", tmp_path / "other")
    taken = msgspec.json.decode(checked("recovery", "import", "-c", target, file, "--json").stdout)
    assert taken["files"] == written["files"] > 0
    shown = [checked("recovery", "show", "-c", each, "--json").stdout for each in (config, target)]
    assert shown[0] == shown[1]
    assert read_store(tmp_path / "other" / "recovery") == read_store(state.recovery)
    assert (stat.S_IMODE((tmp_path / "other").stat().st_mode), modes(tmp_path / "other")) == (0o700, {"0o600"})
    assert (tmp_path / "other" / "plan.json").read_bytes() == state.plan.read_bytes()
    again = edgewatch("recovery", "import", "-c", target, file)
    assert (again.returncode, "has state of its own" in again.stderr) == (1, True)


def repacked(source, path, *, add=(), change=None):
    """Write an export again with a part more, or with one changed."""
    data = zstandard.ZstdDecompressor().stream_reader(source.read_bytes()).read()
    raw = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(data)) as old, tarfile.open(fileobj=raw, mode="w") as new:
        for entry in old:
            held = old.extractfile(entry).read()
            if entry.name == change:
                held = held[:-1] + bytes([held[-1] ^ 1])
            new.addfile(entry, io.BytesIO(held))
        for name in add:
            new.addfile(tarfile.TarInfo(name), io.BytesIO())
    path.write_bytes(zstandard.ZstdCompressor().compress(raw.getvalue()))
    return path


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("added", "holds '../../outside', which its manifest does not have"),
        ("changed", "plan.json is not what was exported"),
        ("torn", "is not a whole export"),
        ("foreign", "is not a whole export"),
    ],
)
def test_a_file_that_was_changed_or_torn_is_refused_and_leaves_nothing(config, tmp_path, fault, words):
    file = tmp_path / "state.tar.zst"
    written = msgspec.json.decode(checked("recovery", "export", "-c", config, file, "--json").stdout)
    assert written["bytes"] == file.stat().st_size
    if fault == "added":
        repacked(file, file, add=["../../outside"])
    elif fault == "changed":
        repacked(file, file, change="plan.json")
    else:
        file.write_bytes(file.read_bytes()[:-200] if fault == "torn" else b"not an export")
    target = config_of(tmp_path / "other.toml", tmp_path / "other")
    refused = edgewatch("recovery", "import", "-c", target, file)
    assert (refused.returncode, "Traceback" in refused.stderr) == (1, False)
    assert words in refused.stderr
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["lock"]
