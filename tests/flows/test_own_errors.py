"""Errors of edgewatch itself, by the real SDK to a local Sentry: what arrives, and what may not be in it."""

import json
import logging
import subprocess
import sys

import pytest

from flows.config import loads
from flows.observe_options import ObserveOptions
from flows.own_errors import Scrubber, loud, report_own_errors, sample_rate, secrets_of
from flows.run_folder import RunFolder
from tests.fakes.sentry import FakeSentry, envelope_in
from tests.runs import ROOT, edgewatch

SECRETS = ("xoxb-planted-slack-token", "planted-smtp-password", "planted-header-word", "planted-sasl-word", "planted-path")
_PROGRAM = """
import logging, sys, threading
import sentry_sdk
from flows.observe_options import ObserveOptions
from flows.own_errors import report_own_errors
from sinks.slack import SlackOptions
options = ObserveOptions(sentry_dsn=sys.argv[1])
report_own_errors(options, sys.argv[2], {"slack": SlackOptions(token="xoxb-planted-slack-token", channels={"critical": "#a"})})
log = logging.getLogger("edgewatch.test")
logging.basicConfig(level=logging.DEBUG)
"""


@pytest.fixture
def sentry():
    with FakeSentry() as server:
        yield server


def ran(sentry, body, environment="production"):
    """Run a program that reports its errors; gives the items that arrived, as (type, payload)."""
    command = [sys.executable, "-c", _PROGRAM + body, sentry.dsn, environment]
    subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    sent = [envelope_in(seen) for seen in sentry.seen]
    return [item for _, items in sent for item in items]


def events(items):
    return [payload for kind, payload in items if kind == "event"]


def test_what_is_logged_as_an_error_or_caught_by_nobody_arrives(sentry):
    items = ran(
        sentry,
        'log.warning("not this")\nlog.error("delivery broke")\n'
        'def work():\n    raise ValueError("in a thread")\n'
        't = threading.Thread(target=work); t.start(); t.join()\nraise KeyError("at the end")\n',
    )
    said = [each.get("logentry", {}).get("message") or each["exception"]["values"][-1]["value"] for each in events(items)]
    assert said == ["delivery broke", "in a thread", "'at the end'"]
    assert {each["environment"] for each in events(items)} == {"production"}
    assert {each["release"].partition("@")[0] for each in events(items)} == {"edgewatch"}


def test_no_secret_arrives_whatever_part_of_an_event_it_stands_in(sentry):
    (event,) = events(
        ran(
            sentry,
            'token = "xoxb-planted-slack-token"\n'
            'log.info("asking with %s", token)\n'
            "with sentry_sdk.new_scope() as scope:\n"
            '    scope.set_tag("where", f"at {token}"); scope.set_tag("api_key", "plain-words")\n'
            '    scope.set_context("call", {"deep": {"password": "plain-words", "list": [{"set-cookie": "plain-words"}],'
            ' "note": token}})\n'
            '    scope.set_extra("config", {"routing_key": "plain-words", "kept": "fine"})\n'
            '    try:\n        raise RuntimeError(f"refused {token}, Bearer abcdef")\n'
            '    except RuntimeError:\n        log.exception("failed with %s", token)\n',
        )
    )
    text = json.dumps(event)
    assert [secret for secret in (*SECRETS, "plain-words") if secret in text] == []
    assert event["contexts"]["call"] == {
        "deep": {"password": "[Filtered]", "list": [{"set-cookie": "[Filtered]"}], "note": "***"}
    }
    assert (event["tags"]["api_key"], event["tags"]["where"]) == ("[Filtered]", "at ***")
    assert event["extra"]["config"] == {"routing_key": "[Filtered]", "kept": "fine"}
    assert event["exception"]["values"][-1]["value"] == "refused ***, ***"
    assert [crumb["message"] for crumb in event["breadcrumbs"]["values"]] == ["asking with ***"]


@pytest.mark.slow
@pytest.mark.parametrize(("environment", "arrives"), [("production", ["low"]), ("staging", ["low", "high"])])
def test_production_keeps_a_tenth_of_the_traces_and_others_all(sentry, environment, arrives):
    items = ran(
        sentry,
        'for name, rand in (("low", "0.05"), ("high", "0.5")):\n'
        '    given = {"sentry-trace": "abababababababababababababababab-cdcdcdcdcdcdcdcd"}\n'
        '    given["baggage"] = f"sentry-sample_rand={rand}"\n'
        "    with sentry_sdk.start_transaction(sentry_sdk.continue_trace(given, name=name)):\n        pass\n",
        environment,
    )
    assert [payload["transaction"] for kind, payload in items if kind == "transaction"] == arrives
    assert (sample_rate("production"), sample_rate("test")) == (0.1, 1.0)


def test_a_check_in_goes_through_the_scrubbing(sentry):
    items = ran(
        sentry, 'from sentry_sdk.crons import capture_checkin\ncapture_checkin(monitor_slug="edgewatch", status="ok")\n'
    )
    assert [(kind, each["status"], each["monitor_slug"]) for kind, each in items] == [("check_in", "ok", "edgewatch")]


def test_where_at_cloudflare_it_happened_is_a_context(sentry):
    (event,) = events(
        ran(sentry, 'log.error("bad record", extra={"cf": {"colo": "FRA", "ray": "8f1a", "country": "DE", "other": "x"}})\n')
    )
    assert event["contexts"]["cloudflare"] == {"colo": "FRA", "ray": "8f1a", "country": "DE"}


def test_a_run_that_cannot_go_on_is_reported(sentry, tmp_path):
    path = tmp_path / "monitor.toml"
    path.write_text(
        '[input.kafka]\nbrokers = ["127.0.0.1:1"]\ntopics = { "t" = "http_requests" }\n[channel.console]\n'
        f'[engine]\ndirectory = "{tmp_path / "state"}"\n[observe]\nsentry_dsn = "{sentry.dsn}"\n'
    )
    with RunFolder(tmp_path / "state").locked():
        done = edgewatch("run", "-c", path)
    assert done.returncode == 1
    items = [item for seen in sentry.seen for item in envelope_in(seen)[1]]
    (event,) = events(items)
    assert event["exception"]["values"][-1]["value"] in done.stderr
    assert sentry.dsn not in json.dumps(event)


def test_cookies_and_authorization_of_a_request_are_taken_out():
    request = {"cookies": {"a": "b"}, "headers": {"Authorization": "x", "Cookie": "y", "Accept": "*/*"}, "url": "http://u:p@h/"}
    clean = Scrubber(()).event({"request": request}, {})
    assert clean["request"] == {"headers": {"Accept": "*/*"}, "url": "http://***h/"}


def test_an_event_that_cannot_be_scrubbed_leaves_without_its_content():
    class Hostile(dict):
        def items(self):
            raise RuntimeError("planted")

    clean = Scrubber(()).event({"level": "error", "extra": Hostile(a="planted")}, {})
    assert clean == {"level": "error", "message": "an error could not be scrubbed (RuntimeError), so it is left out"}


def test_crumbs_of_debugging_are_dropped():
    kept = {"category": "console", "level": "info"}
    assert (loud({"category": "console", "level": "debug"}, {}), loud(kept, {})) == (None, kept)


def test_the_secrets_of_a_configuration_are_known_wherever_they_are(tmp_path):
    text = """
[input.kafka]
brokers = ["127.0.0.1:1"]
topics = { "t" = "http_requests" }
client = { "sasl.username" = "edgewatch", "sasl.password" = "planted-sasl-word", "security.protocol" = "SASL_SSL" }
[channel.slack]
token = "xoxb-planted-slack-token"
channels = { critical = "#a" }
[channel.email]
host = "h"
user = "u"
password = "planted-smtp-password"
from = "a@example.com"
to = ["b@example.com"]
[channel.webhook]
url = "https://hook.example.com/planted-path"
headers = { Authorization = "Basic planted-header-word" }
"""
    found = secrets_of(loads(text, tmp_path / "m.toml"))
    assert set(SECRETS) <= set(found)
    assert [len(each) for each in found] == sorted(map(len, found), reverse=True)
    assert [each for each in found if each in ("#a", "example.com", "slack", "edgewatch", "SASL_SSL")] == []


def test_wrong_options_are_named_and_nothing_is_sent_without_a_project():
    wrong = ObserveOptions(sentry_dsn="planted", traces_sample_rate=2.0, log_level="loud", trace_url="https://x")
    found = dict(wrong.problems())
    assert set(found) == {"sentry_dsn", "traces_sample_rate", "log_level", "trace_url"}
    assert "planted" not in f"{found}{wrong!r}"
    assert report_own_errors(ObserveOptions(), "production", None) is False
    assert logging.getLogger("edgewatch").handlers == []
