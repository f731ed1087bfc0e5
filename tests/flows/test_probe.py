"""The probe command: its configuration, one look at everything, and its results through a real broker to an alert."""

import json
import re
import signal
from collections import Counter

import pytest

from flows.config import ConfigErrors, loads
from flows.receive import topics_of
from tests import runs
from tests.fakes.scripted import ScriptedServer, of_json
from tests.fakes.site import Site
from tests.kafka import topics

STEPS = """
[[probe]]
name = "login"
url = "https://api.example.com/x"
variables = { password = "env:PROBE_PASSWORD" }
[[probe.step]]
name = "log in"
url = "/login"
method = "POST"
body = '{ "password": "${password}" }'
extract = { token = "json:token" }
[[probe.step]]
name = "list"
url = "/list"
headers = { Authorization = "Bearer ${token}" }
"""


def problems(text, tmp_path):
    with pytest.raises(ConfigErrors) as raised:
        loads(text, tmp_path / "monitor.toml")
    return [str(error) for error in raised.value.errors]


def test_secrets_are_read_where_they_are_told_to_be_and_show_nowhere(tmp_path, monkeypatch):
    monkeypatch.setenv("PROBE_PASSWORD", "planted-password")
    config = loads(STEPS, tmp_path / "monitor.toml")
    assert config.probes[0].variables == {"password": "planted-password"}
    assert "planted-password" not in repr(config)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('url = "https://api.example.com/x"', 'url = "ftp://api.example.com"', "is no address such as"),
        ('url = "https://api.example.com/x"', 'url = "https://u:p@api.example.com"', "holds a password"),
        ('url = "https://api.example.com/x"', 'url = "https://a.example/${token}"', "url: ${token} is neither"),
        ("${token}", "${tokn}", "step #2: ${tokn} is neither one of variables nor extracted by an earlier step"),
        ('name = "login"', 'name = "login"\nfailed = 4', "failed: must be from 1 to `of`"),
        ('name = "login"', 'name = "login"\ncontains = ["x"]', "contains: with steps, each step says this for itself"),
        ('name = "login"', 'name = "login"\ninterval = "10ms"', 'interval: must be at least "1s"'),
        ('method = "POST"', 'method = "FETCH"', "step #1.method: 'FETCH' is not one of GET"),
        ("json:token", "xml:token", "'xml:token' is not json:PATH"),
        ("json:token", "regex:(a)(b)", "a regular expression has one group here, not 2"),
        ('name = "list"', 'name = "list"\nstatus = [20]', "step #2.status: must be statuses from 100 to 599"),
        ('name = "list"', 'name = "list"\nequals = { "a..b" = 1 }', "step #2.equals: 'a..b' is no path"),
    ],
)
def test_what_cannot_be_probed_is_refused_with_its_key(old, new, problem, tmp_path, monkeypatch):
    monkeypatch.setenv("PROBE_PASSWORD", "x")
    found = problems(STEPS.replace(old, new, 1), tmp_path)
    assert any(problem in each and 'probe "login"' in each for each in found), found


def test_results_go_to_the_topic_that_holds_health_whatever_else_is_read(tmp_path):
    text = '[input.kafka]\nbrokers = ["127.0.0.1:9"]\ntopics = { h = "health", "^r.*" = "http_requests" }\n'
    assert topics_of(loads(text, tmp_path / "monitor.toml"), ("health", "runtime_stats")) == {"health": "h"}


@pytest.mark.slow
def test_a_look_at_everything_shows_each_and_fails_where_one_does(tmp_path):
    config = tmp_path / "monitor.toml"
    with Site() as site:
        tables = [f'[[probe]]\nname = "{name}"\nurl = "{site.url}/{name}"\n' for name in ("good", "bad")]
        config.write_text("".join(tables) + "status = [418]\n")
        done = runs.edgewatch("probe", "-c", config, "--once")
        assert (done.returncode, done.stderr) == (1, "")
        assert [re.sub(r" +\d+ ms", " N ms", line) for line in done.stdout.splitlines()] == [
            "ok   good  200 N ms",
            "FAIL bad   200 N ms  status - HTTP 200 where 418 is expected",
        ]
        done = runs.edgewatch("probe", "-c", config, "--once", "--json", "--location", "fra")
        assert [(each["probe"], each["location"], each["ok"]) for each in json.loads(done.stdout)] == [
            ("good", "fra", True),
            ("bad", "fra", False),
        ]
    config.write_text("")
    done = runs.edgewatch("probe", "-c", config)
    assert (done.returncode, "probe: is missing" in done.stderr) == (2, True)


LIVE = """
[input.kafka]
brokers = ["{brokers}"]
topics = {{ "{health}" = "health", "{runtime}" = "runtime_stats" }}
start = "earliest"
[engine]
directory = "{folder}/state"
[observe]
listen = "off"
[channel.webhook]
url = "{hook}"
secrets = ["whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="]
allow_private = true
[[probe]]
name = "api"
url = "{url}/health"
interval = "1s"
"""


@pytest.mark.kafka
@pytest.mark.slow
def test_a_site_that_goes_down_pages_before_its_window_is_over(brokers, topic, tmp_path):
    names = {"health": topic(1), "runtime": topic(1)}
    config, log = tmp_path / "monitor.toml", tmp_path / "probe.log"
    body = {"overall": "healthy", "poolStats": {"active": 1, "idle": 2, "waiting": 0}}
    with Site() as site, ScriptedServer() as hook:
        site.script = [of_json(200, body), *(of_json(503, body) for _ in range(500))]
        config.write_text(LIVE.format(brokers=brokers, folder=tmp_path, hook=hook.url, url=site.url, **names))
        probing = runs.start("probe", "-c", config, log=log)
        running = runs.start("run", "-c", config, log=tmp_path / "run.log")

        def paged():
            assert running.poll() is None, (tmp_path / "run.log").read_text()
            return [each for each in hook.seen if b"probe_down" in each.body]

        runs.wait_until(paged, what="a page")
        for process in (probing, running):
            process.send_signal(signal.SIGTERM)
        assert (probing.wait(240), running.wait(240)) == (0, 0)
    records = [json.loads(each.value()) for each in topics.held(brokers, names["health"])]
    assert [each["http_status"] for each in records[:3]] == [200, 503, 503]
    assert [each["down"] for each in records[:3]] == [False, False, True]
    assert {each.key() for each in topics.held(brokers, names["health"])} == {b"api"}
    assert json.loads(topics.held(brokers, names["runtime"])[0].value())["database"] == {
        "activeConnections": 1,
        "idleConnections": 2,
        "waitingRequests": 0,
    }
    assert "api from local: status: HTTP 503 where 200 is expected; it is down" in log.read_text()


class FarSite(Site):
    """A site that is down for those who come from one place."""

    def reply(self, seen):
        """Answer by the header that says where a request comes from."""
        down = seen.headers["x-from"] == "iad"
        return of_json(503 if down else 200, {"overall": "healthy"})


@pytest.mark.kafka
@pytest.mark.slow
def test_of_two_locations_that_ask_the_same_site_the_one_that_sees_the_failure_is_said(brokers, topic, tmp_path):
    names = {"health": topic(1), "runtime": topic(1)}
    config, out = tmp_path / "monitor.toml", tmp_path / "out"
    with FarSite() as site, ScriptedServer() as hook:
        text = LIVE.format(brokers=brokers, folder=tmp_path, hook=hook.url, url=site.url, **names)
        config.write_text(
            f'{text}headers = {{ X-From = "env:ASKED_FROM" }}\n[window]\nlength = "2s"\nallowed_lateness = "0s"\n'
        )
        running = runs.start("run", "-c", config, log=tmp_path / "run.log", ASKED_FROM="nowhere")
        probing = [
            runs.start("probe", "-c", config, "--location", place, log=tmp_path / f"{place}.log", ASKED_FROM=place)
            for place in ("fra", "iad")
        ]

        def said():
            found = [each.json["x_edgewatch"] for each in hook.seen]
            return {(each["rule"], each["key"].get("location")) for each in found}

        def both():
            assert running.poll() is None, (tmp_path / "run.log").read_text()
            return said() >= {("probe_down", "iad"), ("probe_failing", "iad")}

        def asked():
            return Counter(json.loads(each.value())["location"] for each in topics.held(brokers, names["health"]))

        runs.wait_until(both, what="both alerts")
        runs.wait_until(lambda: asked()["fra"] >= 5, what="checks of the place that sees no failure")
        for process in (*probing, running):
            process.send_signal(signal.SIGTERM)
        assert [process.wait(240) for process in (*probing, running)] == [0, 0, 0]
        assert {place for _, place in said()} == {"iad"}
    runs.checked("replay", "-c", config, "--source", "kafka", "--out", out, ASKED_FROM="nowhere")
    rows = [json.loads(row) for row in (out / "windows.ndjson").read_text().splitlines()]
    seen: dict = {}
    for row in rows:
        if row["metric"] == "probe_failures" and row["statistic"] == "ratio" and row["key"]:
            seen.setdefault((row["key"]["probe"], row["key"]["location"]), []).append(row)
    assert {key: {row["value"] for row in found} for key, found in seen.items()} == {("api", "fra"): {0}, ("api", "iad"): {1}}
    assert {key[1]: sum(row["count"] for row in found) for key, found in seen.items()} == asked()
    said_again = [json.loads(row) for row in (out / "notifications.ndjson").read_text().splitlines()]
    assert {each["key"].get("location") for each in said_again} == {"iad"}
