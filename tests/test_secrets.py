"""A live run of two processes with planted secrets, over SASL/SCRAM and TLS: where they may not appear, and wrong ones.

Looked at is what it leaves and says, and all that people and other programs see of it. And who may read what it leaves on the
disk: nobody else, whatever the umask it is started with.
"""

import contextlib
import gzip
import os
import signal
import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import zstandard

from sinks.clickhouse import ClickHouse, ClickHouseOptions
from sinks.embedded import Embedded
from sinks.notification import DeliveryError
from tests.fakes.authority import Authority
from tests.fakes.pagerduty import FakePagerDuty
from tests.fakes.scripted import Answer
from tests.fakes.sentry import FakeSentry
from tests.fakes.site import Site
from tests.fakes.slack import FakeSlack
from tests.fakes.webhook import SECRET, FakeWebhook
from tests.kafka import topics
from tests.kafka.broker import Login
from tests.ports import free_ports
from tests.runs import checked, edgewatch, start, wait_until
from tests.test_blind import CONFIG, Feed

pytestmark = pytest.mark.slow
PASSWORD, WRONG, STORE, KEY = "planted-kafka-word", "planted-wrong-word", "planted-clickhouse-word", "a11ce0" * 5 + "ab"
SEALED, PROBED, TOLD = "planted-key-word", "planted-probe-word", "planted-header-word"
SHOWN, MET, DOOR, HASHED = "planted-dashboard-word", "planted-machines-word", "planted-receive-word", "planted-hash-word"
BEATEN = "planted-beat-word"
CLIENT = """
[input.kafka.client]
"security.protocol" = "SASL_SSL"
"ssl.ca.location" = "{authority}"
"ssl.certificate.location" = "{certificate}"
"ssl.key.location" = "{key}"
"ssl.key.password" = "env:PLANTED_SEAL"
"sasl.mechanism" = "SCRAM-SHA-512"
"sasl.username" = "edgewatch"
"sasl.password" = "env:PLANTED_KAFKA"

[window]"""
MORE = """
[channel.hook]
kind = "webhook"
url = "env:PLANTED_HOOK"
secrets = ["env:PLANTED_SIGNATURE"]
headers = {{ Authorization = "env:PLANTED_HEADER" }}
allow_private = true

[[probe]]
name = "door"
url = "{site}/health?token=${{TOKEN}}"
headers = {{ Authorization = "env:PLANTED_PROBE" }}
variables = {{ TOKEN = "env:PLANTED_PROBE" }}
contains = ["well"]

[observe]
listen = "127.0.0.1:{port}"
sentry_dsn = "env:PLANTED_DSN"
log_level = "debug"

[dashboard]
token = "env:PLANTED_DASHBOARD"

[receive]
secrets = ["env:PLANTED_DOOR"]
hash = ["ClientIP"]
hash_key = "env:PLANTED_HASH"

[heartbeat]
url = "env:PLANTED_BEAT"
"""
VIEWS = ("overview", "series", "keys", "heatmap", "alerts", "records", "slos", "budgets", "health", "business")
PAGES = ("", "app/dashboard.js", "livez", *(f"api/{view}" for view in (*VIEWS, "meta", "silences", "pipeline", "flow", "runs")))


def configured(folder, broker, authority, topic, slack, pagerduty, sentry, hook, site, port, store):
    """Write a configuration that names every secret by environment or file; give it and the environment."""
    text = CONFIG.format(
        brokers=broker.sasl_tls_address,
        requests=topic,
        directory=folder / "state",
        slack="env:PLANTED_SLACK",
        pagerduty=pagerduty.enqueue_url,
        idle_after="1s",
    )
    (folder / "routing-key").write_text(f"{KEY}\n")
    mine = authority.issue("reader", password=SEALED)
    client = CLIENT.format(authority=authority.file, certificate=mine.file, key=mine.key)
    text = text.replace("\n[window]", client).replace("0123456789abcdef" * 2, f"file:{folder / 'routing-key'}")
    text = text.replace("http://127.0.0.1:9", f"http://127.0.0.1:{store}")
    text = text.replace("snapshot_interval", 'token = "env:PLANTED_MACHINES"\nsnapshot_interval')
    text += 'user = "edgewatch"\npassword = "env:PLANTED_STORE"\n'
    text += MORE.format(site=site.url, port=port)
    config = folder / "monitor.toml"
    config.write_text(text)
    given = {"PLANTED_KAFKA": PASSWORD, "PLANTED_STORE": STORE, "PLANTED_SLACK": slack.webhook_url, "PLANTED_DSN": sentry.dsn}
    given |= {"PLANTED_SEAL": SEALED, "PLANTED_PROBE": PROBED, "PLANTED_HEADER": f"Bearer {TOLD}"}
    given |= {"PLANTED_DASHBOARD": SHOWN, "PLANTED_MACHINES": MET, "PLANTED_DOOR": DOOR, "PLANTED_HASH": HASHED}
    given |= {"PLANTED_BEAT": f"{site.url}/{BEATEN}"}
    return config, given | {"PLANTED_HOOK": hook.hook_url, "PLANTED_SIGNATURE": SECRET}


def open_to_others(folder):
    """Give what of a state folder anybody but its owner could read or write; drafts may be gone meanwhile."""
    out = []
    for path in (folder, *folder.rglob("*")):
        with contextlib.suppress(FileNotFoundError):
            out += [str(path.relative_to(folder.parent))] if stat.S_IMODE(path.stat().st_mode) & 0o077 else []
    return out


@pytest.fixture
def _open_hand():
    """Have what processes make be open to everybody, as far as they leave it to the umask."""
    before = os.umask(0)
    yield
    os.umask(before)


def plain(seen):
    return gzip.decompress(seen.body) if seen.headers.get("content-encoding") == "gzip" else seen.body


def children_of(pid):
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command_lines(pid):
    children = children_of(pid)
    assert len(children) == 2
    return b"".join(Path(f"/proc/{each}/cmdline").read_bytes() for each in [pid, *children]), children


def said_at_once(config, given, site):
    """Give what commands say that end by themselves: refused ones, a probe that fails, a check."""
    seen = {}
    refused = edgewatch("run", "-c", config, **given | {"PLANTED_KAFKA": WRONG})
    assert (refused.returncode, "refused this client" in refused.stderr) == (1, True)
    seen["a refused login"] = (refused.stdout + refused.stderr).encode()
    refused = edgewatch("run", "-c", config, **given | {"PLANTED_SEAL": WRONG})
    assert (refused.returncode, "ssl.key.location failed" in refused.stderr) == (1, True)
    seen["a key that stays locked"] = (refused.stdout + refused.stderr).encode()
    down = edgewatch("probe", "-c", config, "--once", **given)
    assert (down.returncode, site.seen[0].headers["authorization"]) == (1, PROBED)
    seen["a probe"] = (down.stdout + down.stderr).encode()
    seen["a check"] = checked("check", "-c", config, "--json", **given).stdout.encode()
    return seen


def answers(config, given, port):
    """Give what the dashboard answers, and its command line."""
    log, address = config.parent / "dashboard.log", f"http://127.0.0.1:{port}"
    process = start("dashboard", "-c", config, "--listen", f"127.0.0.1:{port}", log=log, **given)
    wait_until(lambda: address in log.read_text(), what="the dashboard")
    seen = {"the dashboard's command line": Path(f"/proc/{process.pid}/cmdline").read_bytes()}
    with httpx.Client(base_url=address, trust_env=False, timeout=60) as stranger:
        refused = stranger.get("/api/overview", headers={"authorization": f"Bearer {WRONG}"})
        assert refused.status_code == 401
        seen["the dashboard's refusal"] = refused.content
        for path in PAGES:
            answer = stranger.get(f"/{path}", headers={"authorization": f"Bearer {SHOWN}"})
            seen[f"dashboard /{path}"] = answer.content
            assert answer.status_code in (200, 400, 404), (path, answer.text)  # one that is asked for too little says so
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    return seen | {"the dashboard's log": log.read_bytes()}


def looked_at(config, given):
    """Give what people see of a run that goes on, and of what it has stored."""
    folder = config.parent
    asked = {
        "top": ["top", "--once"],
        "top as JSON": ["top", "--json"],
        "spool list": ["spool", "list", "--json"],
        "recovery show": ["recovery", "show", "--json"],
        "silences": ["silence", "list", "--json"],
        "routes": ["route", "test", "severity=critical", "--json"],
        "dead letters": ["dead-letters", "list", "--json"],
        "why": ["explain", "failing", "--at", "-1s"],
        "a drill": ["drill", "failing"],
        "the status page": ["status-page", "--out", folder / "public"],
        "a report": ["report", "--format", "html", "--from=-1h"],
        "a replay": ["replay", "--out", folder / "replayed"],
    }
    with ThreadPoolExecutor(3) as pool:
        done = dict(
            zip(
                asked,
                pool.map(lambda words: edgewatch(words[0], *words[1:], "-c", config, **given), asked.values()),
                strict=True,
            )
        )
    source = f"windows:{folder / 'replayed'}"
    done["a backtest"] = edgewatch("backtest", "-c", config, "--source", source, "--out", folder / "tested", **given)
    failed = {name: each.stderr for name, each in done.items() if each.returncode}
    assert failed.keys() <= {"why", "a drill"}, failed  # no record of that moment yet; a key that PagerDuty does not take
    seen = {name: (each.stdout + each.stderr).encode() for name, each in done.items()}
    pages = [path for name in ("public", "replayed", "tested") for path in (folder / name).rglob("*") if path.is_file()]
    return seen | {str(path.relative_to(folder)): path.read_bytes() for path in pages if path.stat().st_size}


def answering(port):
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"http://127.0.0.1:{port}/status", timeout=30).status_code == 200
    return False


def stored(client):
    """Tell whether a store has dead letters and decisions."""
    try:
        return all(
            client.query(f"SELECT 1 FROM {table} LIMIT 1") for table in ("dead_letters", "evaluations", "window_metrics")
        )
    except DeliveryError:  # no tables yet
        return False


def moved(config, given):
    """Export the state and import it into another folder; gives that one."""
    folder = config.parent
    exported = folder / "state.tar.zst"
    checked("recovery", "export", "-c", config, exported, **given)
    other = folder / "other.toml"
    other.write_text(config.read_text().replace(str(folder / "state"), str(folder / "taken")))
    checked("recovery", "import", "-c", other, exported, **given)
    assert open_to_others(exported) == []
    return folder / "taken"


@pytest.mark.usefixtures("_open_hand")
def test_secrets_appear_in_no_process_list_log_metric_state_row_or_report_of_errors(own_broker, tmp_path):
    authority = Authority(tmp_path / "authority")
    broker = own_broker(login=Login(user="edgewatch", password=PASSWORD), authority=authority)
    topics.create(broker.address, "t", 2, {"retention.ms": "-1"})
    port, store, shown = free_ports(3)
    slack, pagerduty, sentry, feed = FakeSlack(), FakePagerDuty(), FakeSentry(), Feed(broker.address, "t")
    hook, site = FakeWebhook(), Site()
    hook.script = [Answer(500, f"not with {TOLD}".encode())]
    site.script = [Answer(503, f"not with {PROBED}".encode())]
    seen: dict[str, bytes] = {}
    with contextlib.ExitStack() as stack:
        for each in (slack, pagerduty, sentry, feed, hook, site):
            stack.enter_context(each)
        config, given = configured(tmp_path, broker, authority, "t", slack, pagerduty, sentry, hook, site, port, store)
        seen |= said_at_once(config, given, site)
        log = tmp_path / "log"
        run = start("run", "-c", config, "--processes", 2, log=log, **given)
        feed.status, feed.garbage = 503, 1
        wait_until(lambda: pagerduty.seen and slack.posted and hook.received, what="a page and messages")
        assert hook.seen[-1].headers["authorization"] == f"Bearer {TOLD}"
        assert pagerduty.seen[0].json["routing_key"] == KEY
        for path in ("metrics", "status", "readyz"):
            seen[path] = httpx.get(f"http://127.0.0.1:{port}/{path}", timeout=30).content
        seen["process list"], children = command_lines(run.pid)
        assert open_to_others(tmp_path / "state") == []
        with contextlib.closing(sqlite3.connect(tmp_path / "state" / "spool" / "spool-0.db")) as spool:
            packed = [each for (each,) in spool.execute("SELECT payload FROM items WHERE destination = 'clickhouse'") if each]
        seen["rows that wait"] = b"".join(map(zstandard.decompress, packed))
        rows = stack.enter_context(Embedded(tmp_path / "clickhouse", port=store))
        os.kill(children[1], signal.SIGKILL)
        wait_until(lambda: sentry.seen, what="an error at Sentry")
        wait_until(lambda: len(children_of(run.pid)) == 2 and children[1] not in children_of(run.pid), what="a new start")
        assert open_to_others(tmp_path / "state") == []
        with contextlib.closing(ClickHouse(ClickHouseOptions(url=rows.url))) as client:
            wait_until(lambda: stored(client) and answering(port), what="rows in ClickHouse, and the status")
        seen |= looked_at(config, given) | answers(config, given, shown)
        run.send_signal(signal.SIGTERM)
        run.wait(240)
    assert open_to_others(tmp_path / "state") == open_to_others(moved(config, given)) == []
    seen["log"] = log.read_bytes()
    seen["Sentry"] = b"".join(map(plain, sentry.seen))
    state = {str(path.relative_to(tmp_path)): path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file()}
    assert any("recovery" in name for name in state)
    assert b"dead_letters" in seen["rows that wait"] or b"not JSON" in seen["rows that wait"]
    assert all(seen.values())
    secret_path = slack.webhook_url.partition("://")[2].partition("/")[2]
    hook_path, public_key = "planted-hook-token", sentry.dsn.partition("://")[2].partition("@")[0]
    planted = [
        *(
            each.encode()
            for each in (
                *(PASSWORD, WRONG, STORE, KEY, SEALED, PROBED, TOLD, SHOWN, MET, DOOR, HASHED, BEATEN),
                *(secret_path, hook_path, public_key, SECRET[6:]),
            )
        )
    ]
    assert [(name, each) for name, data in (seen | state).items() for each in planted if each in data] == []
