"""Policy through the whole line: the same bytes with several processes, after kill -9, and with a silence in the folder."""

import json
import os
import signal

import pytest

from tests.runs import ACCEPTANCE, checked, config_for, hurry, make_logs, outputs, produce_archive, start, wait_until

pytestmark = pytest.mark.slow

START = 1_764_547_200_000
BLIND = (("on", 15), ("off", 18))  # from which window on
MONITOR = ACCEPTANCE / "monitor.toml"
POLICY = """
[[inhibit]]
source = { rule = "high_error_rate", severity = "critical" }
target = { rule = "slow_responses" }
equal = ["ClientRequestHost"]

[[inhibit]]                           # of another dataset: both are judged in step
source = { rule = "slow_database" }
target = { rule = "low_cache_hit_rate" }

[[rule]]
name = "database_behind_errors"
kind = "composite"
all = ["slow_database", "high_error_rate"]

[[mute]]
name = "first half hour"
times = ["00:00-00:30"]
match = { rule = "low_cache_hit_rate" }
"""


def with_policy(path):
    """Add policy to a configuration: routes by label, groups, a mute, an inhibition, an override, and flapping."""
    text = path.read_text().replace('channels = ["console"]', 'channels = ["console"]\ngroup_by = ["rule"]')
    text = text.replace('[[route]]\nseverity = ["critical"]', '[[route]]\nmatch = ["rule!~slow.*"]\nseverity = ["critical"]')
    text = text.replace(
        "min_count = 300", 'min_count = 300\nflap = {}\noverrides = [{ match = ["ClientRequestHost=~a.*"], recover = 500 }]'
    )
    path.write_text(text + POLICY)
    return path


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return make_logs(tmp_path_factory.mktemp("archive") / "logs", records=60_000)


def silence(state):
    """Put the same silence and the same blindness into every state folder."""
    state.mkdir(parents=True)
    event = {"kind": "silence", "id": "s", "match": ["rule=slow_database"], "author": "me", "reason": "x"}
    times = {"start": 0, "end": 2_000_000_000_000, "at": 0}
    stamps = [{"kind": "stamp", "of": name, "dataset": "http_requests", "end": START + n * 300_000} for name, n in BLIND]
    blind = [{"kind": "blind", "id": name, "on": name == "on", "causes": [], "text": "", "at": 0} for name, _ in BLIND]
    events = [event | times, *(each | {"datasets": ["http_requests"]} for each in blind), *stamps]
    (state / "controls.ndjson").write_text("".join(json.dumps(each) + "\n" for each in events))


@pytest.fixture(scope="module")
def replayed(archive, tmp_path_factory):
    folder = tmp_path_factory.mktemp("replayed")
    (folder / "monitor.toml").write_text(MONITOR.read_text())
    silence(folder / "out" / ".state")
    config = with_policy(folder / "monitor.toml")
    checked("replay", "-c", config, "--source", f"archive:{archive}", "--out", folder / "out")
    return folder / "out"


def test_everything_that_keeps_alerts_quiet_happens(replayed):
    rows = [json.loads(line) for line in (replayed / "evaluations.ndjson").read_bytes().splitlines()]
    assert {row["suppressed_by"] for row in rows} >= {None, "silence", "inhibit"}
    blind = [f"2025-12-01T{moment}:00Z" for moment in ("01:15", "01:20", "01:25")]
    unseen = {row["suppressed_by"] for row in rows if row["window_end"] in blind and row["state_after"] == "firing"}
    assert unseen - {"silence"} == {"inhibit"}
    said = [json.loads(line) for line in (replayed / "notifications.ndjson").read_bytes().splitlines()]
    assert not {row["reason"] for row in said if row["at"] in blind} - {"resolved"}
    assert {row["rule"] for row in said if row["group"]} != set()
    assert "slow_database" not in {row["rule"] for row in said}


def test_an_alert_of_one_dataset_decides_about_one_of_another_by_the_same_window(replayed):
    rows = [json.loads(line) for line in (replayed / "evaluations.ndjson").read_bytes().splitlines()]
    firing = {"firing", "recovering"}
    slow = {row["window_end"] for row in rows if row["rule"] == "slow_database" and row["state_after"] in firing}
    caches = [row for row in rows if row["rule"] == "low_cache_hit_rate" and row["state_after"] in firing]
    assert {row["suppressed_by"] for row in caches if row["window_end"] in slow} == {"inhibit"}
    assert "inhibit" not in {row["suppressed_by"] for row in caches if row["window_end"] not in slow}
    both = [row for row in rows if row["rule"] == "database_behind_errors"]
    assert {row["value"] for row in both if row["window_end"] in slow} == {1, 2}
    assert {row["level"] for row in both if row["value"] == 2} <= {"warning", "critical"}


def test_two_processes_give_the_same_bytes(archive, replayed, tmp_path):
    (tmp_path / "monitor.toml").write_text(MONITOR.read_text())
    silence(tmp_path / "out" / ".state")
    config = with_policy(tmp_path / "monitor.toml")
    checked("replay", "-c", config, "--source", f"archive:{archive}", "--out", tmp_path / "out", "--processes", 2)
    assert outputs(tmp_path / "out") == outputs(replayed)


def test_kill_9_and_resume_equals_the_unbroken_run(archive, replayed, tmp_path, brokers, topic):
    names = {"http_requests": topic(4), "performance": topic(3)}
    produce_archive(brokers, archive, names)
    config = with_policy(config_for(tmp_path / "monitor.toml", brokers, names, start='"earliest"\npoll_records = 60'))
    config.write_text(config.read_text() + '\n[engine]\nsnapshot_interval = "200ms"\n')
    out = tmp_path / "out"
    silence(out / ".state")
    process = start("run", "-c", config, "--until-end", "--out", out, log=tmp_path / "log")
    firing = out / ".state" / "firing.json"
    wait_until(lambda: process.poll() is not None or firing.exists(), what="the first barrier")
    assert process.poll() is None, (tmp_path / "log").read_text()
    os.kill(process.pid, signal.SIGKILL)
    process.wait(240)
    hurry(config)
    checked("run", "-c", config, "--until-end", "--out", out)
    assert outputs(out) == outputs(replayed)
