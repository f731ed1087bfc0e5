"""Explanations of events: what was said before the window closed, and what became of it."""

import pytest

from flows.alert import Alerting
from flows.config import load
from flows.early_log import EarlyLog
from flows.matcher import parse_match
from flows.silence import Silence
from tests.flows.test_event import STEP, A, Held, event, window
from tests.runs import checked

CONFIG = """
environment = "test"

[[dataset]]
name = "d"
kind = "data_points"
blobs = ["level", "service"]

[[metric]]
name = "critical_logs"
kind = "count"
dataset = "d"
where = 'level == "critical"'
group_by = ["service"]

[[rule]]
name = "critical_log"
kind = "event"
metric = "critical_logs"

[channel.console]
"""


@pytest.mark.parametrize("silenced", [False, True])
def test_an_explanation_says_what_was_said_before_the_window_closed_and_what_became_of_it(tmp_path, silenced):
    path, state, held = tmp_path / "monitor.toml", tmp_path / "state", Held()
    path.write_text(CONFIG)
    state.mkdir()
    config = load(path)
    judge = Alerting(config, config.policy, held, EarlyLog(state / "early.ndjson", {}))
    (early,) = judge.early(event(0))
    if silenced:
        held.found.append(Silence(id="s", matchers=parse_match({"service": "a"}), author="me", reason="x", start=0, end=2**62))
    decided = judge.evaluate(window(0, {A: 1}))
    (tmp_path / "evaluations.ndjson").write_bytes(b"".join(each.lines() for each in decided.evaluations))
    (tmp_path / "transitions.ndjson").write_bytes(b"".join(each.line() for each in decided.transitions))
    (tmp_path / "notifications.ndjson").write_bytes(b"".join(each.line() for each in decided.notifications))
    command = ["explain", "-c", path, "critical_log", "--from-dir", tmp_path, "--state", state, "--key", "service=a"]
    text = checked(*command, "--at", "2025-12-01T00:01:00Z").stdout
    ahead = "Said before the window closed, by one record at 2025-12-01T00:00:01Z, to console; "
    became = "they were told at its end that this message is over." if silenced else "the window says the same."
    assert f"at once  {ahead}{became}" in text
    assert ("Nothing was said when the window closed" in text) is silenced
    assert (early.at, early.channels) == (event(0).end - STEP + 1000, ("console",))
