"""A live run of two processes with planted secrets, over SASL/SCRAM: where they may not appear, and wrong ones."""

import contextlib
import gzip
import os
import signal
import socket
import sqlite3
from pathlib import Path

import httpx
import pytest
import zstandard

from tests.fakes.pagerduty import FakePagerDuty
from tests.fakes.sentry import FakeSentry
from tests.fakes.slack import FakeSlack
from tests.kafka import topics
from tests.kafka.broker import Login
from tests.runs import checked, edgewatch, start, wait_until
from tests.test_blind import CONFIG, Feed

pytestmark = pytest.mark.slow
PASSWORD, WRONG, STORE, KEY = "planted-kafka-word", "planted-wrong-word", "planted-clickhouse-word", "a11ce0" * 5 + "ab"
CLIENT = """
[input.kafka.client]
"security.protocol" = "SASL_PLAINTEXT"
"sasl.mechanism" = "SCRAM-SHA-512"
"sasl.username" = "edgewatch"
"sasl.password" = "env:PLANTED_KAFKA"

[window]"""


def configured(folder, broker, topic, slack, pagerduty, sentry, port):
    """Write a configuration that names every secret by environment or file; give it and the environment."""
    text = CONFIG.format(
        brokers=broker.sasl_address,
        requests=topic,
        directory=folder / "state",
        slack="env:PLANTED_SLACK",
        pagerduty=pagerduty.enqueue_url,
        idle_after="1s",
    )
    (folder / "routing-key").write_text(f"{KEY}\n")
    text = text.replace("\n[window]", CLIENT).replace("0123456789abcdef" * 2, f"file:{folder / 'routing-key'}")
    text += 'user = "edgewatch"\npassword = "env:PLANTED_STORE"\n'
    text += f'\n[observe]\nlisten = "127.0.0.1:{port}"\nsentry_dsn = "env:PLANTED_DSN"\nlog_level = "debug"\n'
    config = folder / "monitor.toml"
    config.write_text(text)
    given = {"PLANTED_KAFKA": PASSWORD, "PLANTED_STORE": STORE, "PLANTED_SLACK": slack.webhook_url, "PLANTED_DSN": sentry.dsn}
    return config, given


def plain(seen):
    return gzip.decompress(seen.body) if seen.headers.get("content-encoding") == "gzip" else seen.body


def command_lines(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    assert len(children) == 2
    return b"".join(Path(f"/proc/{each}/cmdline").read_bytes() for each in [pid, *children]), [int(each) for each in children]


def test_secrets_appear_in_no_process_list_log_metric_state_or_report_of_errors(own_broker, tmp_path):
    broker = own_broker(login=Login(user="edgewatch", password=PASSWORD))
    topics.create(broker.address, "t", 2, {"retention.ms": "-1"})
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    slack, pagerduty, sentry, feed = FakeSlack(), FakePagerDuty(), FakeSentry(), Feed(broker.address, "t")
    seen: dict[str, bytes] = {}
    with slack, pagerduty, sentry, feed:
        config, given = configured(tmp_path, broker, "t", slack, pagerduty, sentry, port)
        refused = edgewatch("run", "-c", config, **given | {"PLANTED_KAFKA": WRONG})
        assert (refused.returncode, "refused this client" in refused.stderr) == (1, True)
        seen["a refused login"] = (refused.stdout + refused.stderr).encode()
        log = tmp_path / "log"
        run = start("run", "-c", config, "--processes", 2, log=log, **given)
        feed.status = 503
        wait_until(lambda: pagerduty.seen and slack.posted, what="a page and a message")
        assert pagerduty.seen[0].json["routing_key"] == KEY
        for path in ("metrics", "status", "readyz"):
            seen[path] = httpx.get(f"http://127.0.0.1:{port}/{path}", timeout=30).content
        seen["process list"], children = command_lines(run.pid)
        for name in ("spool list", "recovery show"):
            seen[name] = checked(*name.split(), "-c", config, "--json", **given).stdout.encode()
        os.kill(children[1], signal.SIGKILL)
        wait_until(lambda: sentry.seen, what="an error at Sentry")
        run.send_signal(signal.SIGTERM)
        run.wait(240)
    seen["log"] = log.read_bytes()
    seen["Sentry"] = b"".join(map(plain, sentry.seen))
    state = {str(path.relative_to(tmp_path)): path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file()}
    assert any("recovery" in name for name in state)
    with contextlib.closing(sqlite3.connect(tmp_path / "state" / "spool" / "spool-0.db")) as spool:
        packed = [each for (each,) in spool.execute("SELECT payload FROM items WHERE destination = 'clickhouse'") if each]
    seen["rows that wait"] = b"".join(map(zstandard.decompress, packed))
    assert all(seen.values())
    secret_path = slack.webhook_url.partition("://")[2].partition("/")[2]
    planted = [*(each.encode() for each in (PASSWORD, WRONG, STORE, KEY, secret_path))]
    assert [(name, each) for name, data in (seen | state).items() for each in planted if each in data] == []
