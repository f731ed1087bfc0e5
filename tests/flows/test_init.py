"""Init: what it writes is valid, tested by its own test, holds no secret, and runs; it asks on a terminal."""

import json
import os
import pty
import re
import signal
import subprocess
import sys

import pytest

from flows.config import BUILT_IN_DATASETS, load
from flows.starter import CHANNELS
from sinks.channels import CHANNELS as KINDS
from sinks.clickhouse import ClickHouse, ClickHouseOptions
from sinks.embedded import Embedded
from tests.runs import ROOT, checked, edgewatch, start, wait_until

pytestmark = pytest.mark.slow

MAIL = ["--smtp", "smtp.example.com", "--smtp-user", "edge", "--mail-from", "a@example.com", "--mail-to", "b@example.com"]
EVERY = [*(each for name in CHANNELS for each in ("--channel", name)), *MAIL, "--alertmanager", "http://127.0.0.1:9093"]


def test_every_channel_it_offers_is_valid_and_its_secrets_are_where_the_file_says(tmp_path, monkeypatch):
    path = tmp_path / "monitor.toml"
    arguments = ["init", path, "--yes", *EVERY, "--clickhouse-user", "edge", "--secret-files", tmp_path / "secrets", "--json"]
    report = json.loads(checked(*arguments).stdout)
    assert (list(load(path, secrets=False).channels), set(CHANNELS) <= set(KINDS)) == (list(CHANNELS), True)
    (tmp_path / "secrets").mkdir()
    for each in report["secrets"]:
        value = "0" * 32 if each.endswith("routing_key") else "http://key@127.0.0.1/1"
        (tmp_path / "secrets" / each.rpartition("/")[2]).write_text(value)
    assert len(report["secrets"]) == 8
    assert load(path).clickhouse.password == "http://key@127.0.0.1/1"
    checked("test", "-c", path, tmp_path / "tests.toml")
    assert "pagerduty" in (tmp_path / "tests.toml").read_text()


@pytest.mark.parametrize("dataset", BUILT_IN_DATASETS)
def test_a_topic_of_any_dataset_is_valid_with_the_rules_copied_and_its_test_passes(dataset, tmp_path):
    path = tmp_path / "monitor.toml"
    done = checked("init", path, "--yes", "--topic", f"some.topic={dataset}", "--copy-rules", "--clickhouse", "none")
    rules = {rule.name for rule in load(path).rules}
    text = re.sub(r"^\[\[(metric|rule)\]\].*", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    path.write_text(text)
    assert rules == {rule.name for rule in load(path).rules} != set()  # the pack's, without the copy
    if (tmp_path / "tests.toml").exists():
        assert "1 test, 0 failed" in checked("test", "-c", path, tmp_path / "tests.toml").stdout
        wrong = (tmp_path / "tests.toml").read_text().replace('reason = "first"', 'reason = "escalated"')
        (tmp_path / "tests.toml").write_text(wrong)
        assert edgewatch("test", "-c", path, tmp_path / "tests.toml").returncode == 1
    else:
        assert (dataset, "tests.toml" in done.stdout) in {("business", False), ("errors", False)}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--channel", "emial"], "did you mean 'email'?"),
        (["--topic", "a=http_request"], "did you mean 'http_requests'?"),
        (["--channel", "email"], "--smtp is missing: it has no default"),
        (["--brokers", "kafka"], "input.kafka.brokers: 'kafka' is not host:port"),
        (["--clickhouse", "http://me:planted@127.0.0.1:8123"], "give --clickhouse-user"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(arguments, words, tmp_path):
    done = edgewatch("init", tmp_path / "monitor.toml", "--yes", *arguments)
    assert (done.returncode, words in done.stderr, "planted" in done.stderr) == (2, True, False), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_there_are_overwritten_by_force_alone(tmp_path):
    path = tmp_path / "monitor.toml"
    (tmp_path / "tests.toml").write_text("mine")
    done = edgewatch("init", path, "--yes")
    assert (done.returncode, path.exists(), "--force overwrites" in done.stderr) == (2, False, True)
    checked("init", path, "--yes", "--no-tests")
    assert (tmp_path / "tests.toml").read_text() == "mine"
    checked("init", path, "--yes", "--force", "--environment", 'a "b"')
    assert load(path).environment == 'a "b"'
    assert (tmp_path / "tests.toml").read_text() != "mine"


def asked(tmp_path, typed):
    """Run it with a terminal as standard input, where `typed` is typed; gives the exit code and standard error."""
    ours, theirs = pty.openpty()
    try:
        os.write(ours, typed)
        command = [sys.executable, "-m", "flows.cli", "init", str(tmp_path / "monitor.toml")]
        done = subprocess.run(command, cwd=ROOT, stdin=theirs, capture_output=True, text=True, timeout=60, check=False)
    finally:
        os.close(ours)
        os.close(theirs)
    return done.returncode, done.stderr


def test_on_a_terminal_it_asks_and_takes_an_empty_line_for_the_default(tmp_path):
    code, said = asked(tmp_path, b"staging\nkafka-1:9092, kafka-2:9092\n\nslack, pagerduty\nnone\n")
    assert code == 0, said
    assert "Environment [production]" in said
    config = load(tmp_path / "monitor.toml", secrets=False)
    assert (config.environment, config.kafka.brokers) == ("staging", ("kafka-1:9092", "kafka-2:9092"))
    assert (list(config.channels), config.clickhouse) == (["slack", "pagerduty"], None)
    assert config.topic_datasets() == {"logpush.http_requests": "http_requests", "app.performance": "performance"}


def test_a_question_without_an_answer_leaves_nothing_behind(tmp_path):
    code, said = asked(tmp_path, b"staging\n\x04")
    assert (code, "Traceback" in said, list(tmp_path.iterdir())) == (1, False, [])


@pytest.mark.kafka
def test_what_it_writes_runs_on_generated_traffic_to_windows_and_an_alert(brokers, topic, tmp_path):
    pytest.importorskip("chdb", reason="missing service: chdb (pip install 'edgewatch[embedded]')")
    path, log = tmp_path / "monitor.toml", tmp_path / "log"
    topics = [f"{topic(2)}=http_requests", f"{topic(1)}=performance"]
    with Embedded(tmp_path / "clickhouse") as server:
        given = ["--brokers", brokers, "--start", "earliest", "--clickhouse", server.url]
        checked("init", path, *given, *(each for name in topics for each in ("--topic", name)))
        text = path.read_text()
        text = text.replace(
            '"state"', f'"{tmp_path / "state"}"\nstale_after = "0s"'
        )  # this is last year's: say it all the same
        path.write_text(text + '\n[observe]\nlisten = "off"\n')
        sent = checked("generate", "--to", "kafka", "-c", path, "--records", "40000", "--batch", "50")
        assert "40,000 records" in sent.stdout
        process = start("run", "-c", path, log=log)
        client = ClickHouse(ClickHouseOptions(url=server.url))
        wait_until(lambda: "slow_database" in log.read_text() or process.poll() is not None, what="the alert on the console")
        fired = "SELECT DISTINCT rule FROM transitions FINAL WHERE reason = 'firing' AND rule = 'slow_database'"
        wait_until(lambda: client.query(fired) or process.poll() is not None, what="its row in ClickHouse")
        process.send_signal(signal.SIGTERM)
        assert process.wait(240) == 0, log.read_text()
        assert client.query(fired)
        assert (
            client.query("SELECT count() AS n FROM window_metrics FINAL WHERE metric = 'error_rate' AND key != '{}'")[0]["n"]
            > 0
        )
    assert "Traceback" not in log.read_text()
