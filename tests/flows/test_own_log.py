"""What edgewatch says of itself: text for people, the platform's JSON of a service, and a topic that its own rules read."""

import io
import json
import logging
import subprocess
import sys

import pytest

from flows.config import load
from flows.own_log import LoopGuard, PlainFormatter, set_up_logging
from tests.kafka.topics import held
from tests.runs import ROOT

_CONFIG = """
environment = "{environment}"
[input.kafka]
brokers = ["{brokers}"]
topics = {{ "{topic}" = "app_logs" }}
[channel.console]
[channel.slack]
webhook_url = "https://hooks.slack.example.com/services/planted-word"
[observe]
{observe}
"""
_PROGRAM = """
import logging, sys
from pathlib import Path
from flows.config import load
from flows.own_log import set_up_logging
set_up_logging(load(Path(sys.argv[1])), service=True)
log = logging.getLogger("flows.test")
"""


def configured(tmp_path, **given):
    given = {"environment": "staging", "brokers": "127.0.0.1:1", "topic": "app.logs", "observe": ""} | given
    path = tmp_path / "monitor.toml"
    path.write_text(_CONFIG.format(**given))
    return path


@pytest.fixture
def said(tmp_path, monkeypatch):
    """Set up logging as a configuration says, log, and give the lines on standard error."""
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr("flows.own_log._LAST_S", 0.1)

    def run(log, *, service=True, **given):
        monkeypatch.setattr(sys, "stderr", io.StringIO())
        set_up_logging(load(configured(tmp_path, **given)), service=service)
        log(logging.getLogger("flows.test"))
        for handler in root.handlers:
            handler.flush()
        return sys.stderr.getvalue().splitlines()

    yield run
    root.setLevel(before[0])
    root.handlers[:] = before[1]


def test_a_service_whose_lines_go_to_no_terminal_writes_json_without_secrets(said):
    (line,) = said(lambda log: log.warning("asked %s", "https://hooks.slack.example.com/services/planted-word"))
    found = json.loads(line)
    assert (found["level"], found["levelValue"], found["service"], found["environment"]) == ("warn", 30, "edgewatch", "staging")
    assert "planted-word" not in line


@pytest.mark.parametrize(
    ("service", "observe", "as_json"),
    [(False, "", False), (True, 'log_format = "text"', False), (False, 'log_format = "json"', True)],
)
def test_a_command_writes_text_unless_it_is_told_otherwise(said, service, observe, as_json):
    (line,) = said(lambda log: log.warning("hello"), service=service, observe=observe)
    assert (line.startswith("{"), "hello" in line) == (as_json, True)


def test_debugging_is_off_in_production_and_that_is_said(said):
    def log_both(log):
        log.debug("quiet")
        log.info("kept")

    lines = said(log_both, environment="production", observe='log_level = "debug"')
    assert [json.loads(line)["message"] for line in lines] == [
        "observe.log_level = debug says nothing more in the environment production",
        "kept",
    ]


def test_text_shows_stacks_in_production_at_critical_alone():
    record = logging.makeLogRecord({"msg": "broke", "levelno": logging.ERROR, "levelname": "ERROR", "name": "n"})
    record.exc_info = (ValueError, ValueError("of a kind"), None)
    assert PlainFormatter("production").format(record).endswith("ERROR n: broke (ValueError: of a kind)")
    assert "\nValueError: of a kind" in PlainFormatter("staging").format(record)
    record.levelno = logging.CRITICAL
    record.exc_text = None
    assert "\nValueError: of a kind" in PlainFormatter("production").format(record)


def test_the_guard_lets_a_line_come_back_once_a_minute_and_a_critical_one_once_an_hour():
    guard = LoopGuard()

    def allowed(level, text, at):
        return guard.allows(logging.makeLogRecord({"name": "n", "levelno": level, "msg": text}), at)

    assert [allowed(40, "the same %s", at) for at in (0, 1, 59, 60, 61)] == [True, False, False, True, False]
    assert [allowed(50, "the same %s", at) for at in (100, 160, 3699, 3700)] == [True, False, False, True]
    assert allowed(40, "another", 3700.0)


def test_the_guard_lets_few_lines_go_in_all_and_remembers_few():
    guard = LoopGuard()
    got = [guard.allows(logging.makeLogRecord({"name": "n", "levelno": 40, "msg": f"kind {n}"}), n / 100) for n in range(500)]
    assert sum(got) == 120
    later = [
        guard.allows(logging.makeLogRecord({"name": "n", "levelno": 40, "msg": f"kind {n}"}), 9000.0 + n) for n in range(5)
    ]
    assert (later, len(guard._last) < 130) == ([True] * 5, True)


def test_a_broker_that_is_away_stops_nothing(said):
    lines = said(lambda log: log.warning("on"), observe='log_topic = "app.logs"')
    assert [json.loads(line)["message"] for line in lines] == ["on"]


@pytest.mark.kafka
def test_a_service_that_ends_on_a_defect_says_so_on_the_topic_of_its_own_rules(brokers, topic, tmp_path):
    name = topic(1)
    body = 'log.error("again %d", 1)\nlog.error("again %d", 2)\nraise KeyError("a defect")'
    path = configured(tmp_path, brokers=brokers, topic=name, observe=f'log_topic = "{name}"', environment="production")
    command = [sys.executable, "-c", _PROGRAM + body, str(path)]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stderr.splitlines()
    assert [json.loads(line)["level"] for line in lines if line.startswith("{")] == ["error", "error", "critical"]
    found = [json.loads(message.value()) for message in held(brokers, name)]
    assert [(line["level"], line["message"]) for line in found] == [
        ("error", "again 1"),
        ("critical", "edgewatch ended on a defect: KeyError"),
    ]
    assert "Traceback" in found[1]["error"]["stack"]
