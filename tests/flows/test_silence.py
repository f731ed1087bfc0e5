"""Silences: control events that hold from the first window that closes after them, whatever is started again or replayed."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.alert import Alerting
from flows.controls import Controls, ControlsBroken, ExpireEvent, SilenceEvent, append
from flows.firing import FiringFile, closed_of, read_firing
from flows.matcher import parse_match
from flows.output import Block
from flows.policy import NO_POLICY
from flows.run_folder import RunFolder
from tests.flows.history import LENGTH, START, Settings, play, rates, rule
from tests.runs import ACCEPTANCE, checked, edgewatch, make_logs

NEVER_OVER = START + 10**12
MONITOR = ACCEPTANCE / "monitor.toml"


def end_of(n):
    return START + (n + 1) * LENGTH


def silence(name="s1", *, match=("rule=high_error_rate",), start=0, end=NEVER_OVER):
    return SilenceEvent(id=name, match=match, author="me", reason="work", start=start, end=end, at=0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "controls.ndjson"


def ids(controls, n, dataset="d"):
    return [each.id for each in controls.at(dataset, end_of(n))]


def stamps(path):
    found = [json.loads(line) for line in path.read_bytes().splitlines()]
    return [(each["of"], each["dataset"], each["end"]) for each in found if each["kind"] == "stamp"]


def test_without_a_file_nothing_is_silenced_and_none_is_made(path):
    assert ids(Controls(path), 0) == []
    assert not path.exists()


def test_a_silence_holds_from_the_next_window_and_its_stamp_is_on_the_disk_by_then(path):
    controls = Controls(path)
    assert ids(controls, 0) == []
    append(path, [silence()])
    assert ids(controls, 1) == ["s1"]
    assert stamps(path) == [("s1", "d", end_of(1))]
    assert ids(controls, 2) == ["s1"]
    assert stamps(path) == [("s1", "d", end_of(1))]


def test_another_process_and_a_later_start_see_the_stamp(path):
    append(path, [silence()])
    assert ids(Controls(path), 5) == ["s1"]
    again = Controls(path)
    assert [ids(again, n) for n in (3, 4, 5, 6)] == [[], [], ["s1"], ["s1"]]


def test_each_dataset_has_a_stamp_of_its_own(path):
    append(path, [silence()])
    controls = Controls(path)
    assert ids(controls, 9, "fast") == ["s1"]
    assert ids(controls, 2, "slow") == ["s1"]
    assert ids(Controls(path), 8, "fast") == []
    assert ids(Controls(path), 2, "slow") == ["s1"]


def test_what_was_judged_before_a_restart_is_not_changed_by_what_came_since(path):
    append(path, [silence()])
    controls = Controls(path, {"d": end_of(4)})
    assert [ids(controls, n) for n in range(2, 7)] == [[], [], [], ["s1"], ["s1"]]


def test_a_silence_has_a_span_and_may_be_ended_early(path):
    append(path, [silence(start=end_of(1), end=end_of(4)), silence("s2")])
    controls = Controls(path)
    assert [ids(controls, n) for n in range(3)] == [["s2"], ["s1", "s2"], ["s1", "s2"]]
    append(path, [ExpireEvent(id="e", silence="s2", at=0)])
    assert [ids(controls, n) for n in (3, 4)] == [["s1"], []]
    again = Controls(path)
    assert [ids(again, n) for n in range(5)] == [["s2"], ["s1", "s2"], ["s1", "s2"], ["s1"], []]
    assert [each.id for each in again.silences()] == ["s1"]
    assert [each.id for each in again.expired()] == ["s2"]


def test_a_silence_that_was_over_before_it_was_seen_is_not_stamped(path):
    append(path, [silence(end=end_of(2))])
    assert ids(Controls(path), 2) == []
    assert stamps(path) == []


def test_a_torn_line_never_took_effect_and_is_cut_off_by_the_next_event(path):
    append(path, [silence()])
    with path.open("ab") as file:
        file.write(b'{"kind":"silence","id":"torn"')
    controls = Controls(path)
    assert ids(controls, 0) == ["s1"]
    append(path, [silence("s2")])
    assert ids(controls, 1) == ["s1", "s2"]
    assert b"torn" not in path.read_bytes()


@pytest.mark.parametrize("line", ["nonsense", '{"kind":"silence","id":"x"}', '{"kind":"fly"}'])
def test_a_line_that_is_no_event_stops_the_run_and_is_named(path, line):
    append(path, [silence()])
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ControlsBroken, match="line 2: not a control event"):
        Controls(path)


def alerting(path, closed=None):
    return Alerting(Settings((rule(),)), NO_POLICY, Controls(path, closed))


def test_a_silence_added_while_it_runs_is_replayed_to_the_same_bytes(path):
    results = rates(*[0.4] * 30, 0.0, 0.0)
    live = alerting(path)
    before: tuple[list, list, list] = ([], [], [])
    for n, result in enumerate(results):
        if n == 10:
            append(path, [silence()])
        if n == 20:
            append(path, [ExpireEvent(id="e", silence="s1", at=0)])
        for lines, more in zip(before, play(live, [result]), strict=True):
            lines.extend(more)
    said = [(json.loads(line)["reason"], (json.loads(line)["at"])) for line in before[2]]
    assert [reason for reason, _ in said] == ["first", "repeat", "resolved"]
    assert said[1][1] == "2025-12-01T01:45:00Z"
    assert play(alerting(path), results) == before


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 0.02, 0.4]), min_size=8, max_size=20),
    *[st.integers(0, 19)] * 4,
)
def test_a_restart_after_a_silence_was_added_decides_as_before(tmp_path_factory, values, added, ended, saved, killed):
    folder = tmp_path_factory.mktemp("state")
    path, results = folder / "controls.ndjson", rates(*values)
    saved, killed = sorted((saved, killed))
    whole, firing = alerting(path), FiringFile(folder / "firing.json")
    before: list[tuple[list, list, list]] = []
    snapshot = whole.snapshot()
    for n, result in enumerate(results):
        if n == added:
            append(path, [silence()])
        if n == ended:
            append(path, [ExpireEvent(id="e", silence="s1", at=0)])
        if n == saved:
            snapshot = whole.snapshot()
        if n == killed:
            # What comes while it is down must not change the windows that are judged again.
            append(path, [silence("late", match=("host=a",))])
            whole = alerting(path, closed_of(folder / "firing.json"))
            whole.restore(snapshot)
            assert [play(whole, [each]) for each in results[min(saved, n) : n]] == before[min(saved, n) :]
        before.append(play(whole, [result]))
        firing.take([Block("firing", result.end, "d", b"")])
    replayed = alerting(path)
    assert [play(replayed, [each]) for each in results] == before


def test_what_is_open_is_written_with_the_labels_that_matchers_see(tmp_path):
    folder, live = RunFolder(tmp_path), Alerting(Settings((rule(labels={"tier": "1"}),)))
    live.evaluate(rates(0.4)[0])
    lines = b"".join(json.dumps(alert).encode() + b"\n" for alert in live.firing("d"))
    FiringFile(folder.firing).take([Block("firing", end_of(0), "d", lines), Block("windows", 0, "d", b"x\n")])
    found = read_firing(folder.firing)
    assert list(live.firing("other")) == []
    assert (list(found), found["d"]["at"]) == (["d"], end_of(0))
    (alert,) = found["d"]["alerts"]
    assert parse_match(("severity=critical", "tier=1", "team=edge", "host=a", "environment=test")).matches(alert["labels"])
    assert (alert["rule"], alert["state"], alert["start"]) == ("high_error_rate", "firing", end_of(0))
    FiringFile(folder.firing).take([Block("firing", end_of(-2), "d", b"")])
    assert read_firing(folder.firing) == {"d": {"at": end_of(0), "alerts": []}}


@pytest.fixture
def state(tmp_path):
    """Give a state folder with one open alert."""
    live = Alerting(Settings((rule(),)))
    live.evaluate(rates(0.4)[0])
    lines = b"".join(json.dumps(alert).encode() + b"\n" for alert in live.firing("d"))
    FiringFile(RunFolder(tmp_path / "state").firing).take([Block("firing", end_of(0), "d", lines)])
    return tmp_path / "state"


def command(name, state, *arguments):
    return edgewatch("silence", name, "-c", MONITOR, "--state", state, *arguments)


@pytest.mark.slow
def test_a_dry_run_shows_what_would_match_and_writes_nothing(state):
    done = command("add", state, 'host=~"a|b"', "--for", "2h", "--dry-run")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "matches 1 of 1 open alerts")
    assert "high_error_rate  firing since 2025-12-01T00:05:00Z" in done.stdout
    assert not (state / "controls.ndjson").exists()
    done = command("add", state, "host=c", "rule=high_error_rat", "--for", "2h", "--dry-run")
    assert "matches 0 of 1" in done.stdout
    assert "no rule 'high_error_rat'; did you mean 'high_error_rate'?" in done.stderr


@pytest.mark.slow
def test_silences_are_added_listed_and_ended(state):
    done = command("add", state, "rule=high_error_rate", "--for", "2h", "--reason", "a deployment", "--author", "ann")
    assert done.returncode == 0, done.stderr
    (listed,) = json.loads(command("list", state, "--json").stdout)
    assert listed["match"] == ['rule="high_error_rate"']
    assert [listed[name] for name in ("state", "author", "reason", "start")] == ["holds", "ann", "a deployment", None]
    assert [each.id for each in Controls(state / "controls.ndjson").at("d", int(time.time() * 1000))] == [listed["id"]]
    assert "1 in force, 0 to come" in command("list", state).stdout
    assert command("expire", state, listed["id"]).returncode == 0
    assert json.loads(command("list", state, "--json").stdout) == []
    assert [each["state"] for each in json.loads(command("list", state, "--all", "--json").stdout)] == ["expired"]
    assert command("expire", state, listed["id"]).returncode == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rule=a", "--reason", "x"], "a silence needs an end"),
        (["rule=a", "--reason", "x", "--for", "2h", "--end", "2030-01-01T00:00:00Z"], "either --for or --end"),
        (["rule=a", "--reason", "x", "--for", "8d"], "7d at most"),
        (["rule=a", "--reason", "x", "--for", "soon"], "give a length such as"),
        (["rule=a", "--reason", "x", "--end", "2020-01-01T00:00:00Z"], "over already"),
        (["rule=a", "--reason", "x", "--end", "2020-01-01T00:00:00"], "say the zone"),
        (["rule=a", "--for", "1h"], "--reason is empty"),
        (["rule", "--reason", "x", "--for", "1h"], "is not a matcher"),
    ],
)
def test_a_silence_that_cannot_be_meant_is_refused(state, arguments, words):
    done = command("add", state, *arguments)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert words in done.stderr
    assert done.stdout == ""
    assert not (state / "controls.ndjson").exists()


@pytest.mark.slow
def test_a_replay_applies_the_events_of_its_folder(tmp_path):
    logs = make_logs(tmp_path / "logs", records=20_000)
    state = tmp_path / "out" / ".state"
    state.mkdir(parents=True)
    checked("silence", "add", "-c", MONITOR, "--state", state, "rule=~high.*", "--for", "1h", "--reason", "x", "--author", "me")
    checked("replay", "-c", MONITOR, "--source", f"archive:{logs}", "--out", tmp_path / "out")
    rows = [json.loads(line) for line in (tmp_path / "out" / "notifications.ndjson").read_bytes().splitlines()]
    records = [json.loads(line) for line in (tmp_path / "out" / "evaluations.ndjson").read_bytes().splitlines()]
    assert rows
    assert "high_error_rate" not in {row["rule"] for row in rows}
    kept = {row["rule"] for row in records if row["suppressed_by"] == "silence"}
    assert kept == {"high_error_rate"}
    assert not (state / "firing.json").exists()
