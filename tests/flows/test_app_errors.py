"""Errors of the platform's own code: from records to events in a local Sentry by the real SDK, and through a real broker."""

import json
import signal
import threading

import pytest

from connectors.app_error import errors_of, records_of
from connectors.dataset import DatasetOptions, build_dataset
from connectors.trace_context import trace_id_of, trace_in, trace_of
from flows.app_error_event import Found, event_of_error, frames_of
from flows.app_errors import Alike, Reporter
from flows.config import loads
from flows.transition import fingerprint_of
from tests import runs
from tests.fakes.scripted import Answer
from tests.fakes.sentry import FakeSentry
from tests.kafka import topics
from tests.kafka.topics import Sent

TRACE, SPAN = "ab" * 16, "cd" * 8
START = 1_764_547_200_000
STACK = "TypeError: x\n    at pay (worker.js:12:7)\n    at async Object.fetch (https://a.example/index.js:3)\n    odd line"
BUILT_IN = {kind: build_dataset(DatasetOptions(name=kind, kind=kind)) for kind in ("workers_trace_events", "app_logs")}
EXCEPTION = {"Name": "TypeError", "Message": "order 17 of a@b.example failed", "Stack": STACK}
WORKER = {
    "EventTimestampMs": START,
    "EventType": "fetch",
    "Outcome": "exception",
    "ScriptName": "shop",
    "ScriptVersion": {"ID": "v7"},
    "Event": {
        "RayID": "8f00",
        "Request": {
            "URL": "https://a.example/pay?card=4111",
            "Method": "POST",
            "Headers": {"traceparent": f"00-{TRACE}-{SPAN}-01", "cookie": "sid=planted-cookie"},
            "CF": {"colo": "FRA", "country": "DE"},
        },
    },
    "Exceptions": [EXCEPTION],
}
LOG = {
    "timestamp": "2025-12-01T00:00:01Z",
    "level": "error",
    "levelValue": 40,
    "message": "no",
    "service": "api",
    "environment": "staging",
    "version": "1.2",
    "error": {"name": "DbError", "message": "password=planted-word, Bearer planted-token"},
    "cf": {"ray": "8f01", "colo": "CDG"},
    "sentry-trace": f"{TRACE}-{SPAN}-1",
}
CONFIG = """
environment = "production"
[input.kafka]
brokers = ["{brokers}"]
topics = {{ {topics} }}
start = "earliest"
[engine]
directory = "{folder}"
[app_errors]
dsn = "{dsn}"
"""


def configured(folder, dsn, brokers="127.0.0.1:9", names='"w" = "workers_trace_events"', extra=""):
    path = folder / "monitor.toml"
    path.write_text(CONFIG.format(brokers=brokers, topics=names, folder=folder, dsn=dsn) + extra)
    return path


def found(record, dataset, *, alike=0, offset=5):
    (error,) = errors_of(BUILT_IN[dataset], record)
    return Found(error, "t", 1, offset, 0, START, alike)


@pytest.fixture
def sentry():
    with FakeSentry() as server:
        yield server


@pytest.fixture
def reporter(sentry, tmp_path):
    path = configured(tmp_path, sentry.dsn, extra="per_minute = 3\n")
    config = loads(path.read_text(), path)
    return Reporter(config.app_errors, config, threading.Event())


def test_an_exception_of_a_worker_becomes_an_event_with_its_ray_script_and_trace(sentry, reporter):
    assert reporter.report(found(WORKER, "workers_trace_events", alike=4))
    (event,) = sentry.events.values()
    (exception,) = event["exception"]["values"]
    assert (exception["type"], exception["value"]) == ("TypeError", "order 17 of a@b.example failed")
    assert [(each["function"], each["lineno"]) for each in exception["stacktrace"]["frames"]] == [
        ("async Object.fetch", 3),
        ("pay", 12),
    ]
    assert event["fingerprint"] == ["workers_trace_events", "shop", "TypeError", "order :n of :mail failed"]
    assert {name: event["tags"][name] for name in ("ray", "script", "colo", "outcome")} == {
        "ray": "8f00",
        "script": "shop",
        "colo": "FRA",
        "outcome": "exception",
    }
    assert event["contexts"]["cloudflare"] == {"ray": "8f00", "colo": "FRA", "country": "DE"}
    assert {name: event["contexts"]["trace"][name] for name in ("trace_id", "span_id")} == {"trace_id": TRACE, "span_id": SPAN}
    assert (event["environment"], event["release"], event["level"], event["platform"]) == (
        "production",
        "v7",
        "error",
        "javascript",
    )
    assert event["request"]["url"] == "https://a.example/pay"
    place = {"topic": "t", "partition": 1, "offset": 5, "index": 0, "alike_not_sent": 4}
    assert event["contexts"]["edgewatch"] == place
    assert "planted" not in json.dumps(event)


def test_an_error_in_a_log_keeps_its_own_environment_and_loses_what_looks_like_a_secret(sentry, reporter):
    assert reporter.report(found(LOG, "app_logs"))
    assert reporter.report(found(LOG | {"level": "critical", "levelValue": 50}, "app_logs", offset=6))
    error, critical = sentry.events.values()
    assert (error["environment"], error["release"], error["tags"]["service"], error["level"]) == (
        "staging",
        "1.2",
        "api",
        "error",
    )
    assert (error["contexts"]["trace"]["trace_id"], critical["level"]) == (TRACE, "fatal")
    assert "user" not in error
    assert "planted-token" not in json.dumps(error)


@pytest.mark.parametrize("named", [{"userId": 71}, {"user": {"id": "71", "email": "planted"}}, {"context": {"userId": "71"}}])
def test_of_the_user_that_a_record_names_the_id_goes_along_and_nothing_else(sentry, reporter, named):
    assert reporter.report(found(LOG | named, "app_logs"))
    (event,) = sentry.events.values()
    assert (event["user"], "planted" in json.dumps(event["user"])) == ({"id": "71"}, False)


@pytest.mark.parametrize(
    ("dataset", "change"),
    [
        ("workers_trace_events", {"Exceptions": []}),
        ("workers_trace_events", {"Exceptions": "x"}),
        ("app_logs", {"level": "warn", "levelValue": 30}),
        ("app_logs", {"service": "edgewatch"}),
    ],
)
def test_what_tells_of_no_error_of_the_platform_is_left_out(dataset, change):
    assert errors_of(BUILT_IN[dataset], (WORKER if dataset == "workers_trace_events" else LOG) | change) == []


def test_an_error_without_a_place_for_anything_is_still_one():
    (error,) = errors_of(BUILT_IN["app_logs"], {"level": "error", "message": ["no", 17]})
    assert error is not None
    assert (error.name, error.message, error.fingerprint, error.trace) == ("Error", "no 17", "no :n", None)
    event = event_of_error(Found(error, "t", 0, 0, 0, START, 0), "production", None)
    assert ("cloudflare" in event["contexts"], "release" in event, event["exception"]["values"][0]["value"]) == (
        False,
        False,
        "no 17",
    )


def test_of_errors_alike_one_is_sent_in_a_stretch_and_the_next_says_how_many_were_not():
    alike, (error,) = Alike(300_000), errors_of(BUILT_IN["app_logs"], LOG)
    (other,) = errors_of(BUILT_IN["app_logs"], LOG | {"error": {"name": "Other", "message": "x"}})
    assert error is not None
    assert other is not None
    steps = [(error, 0), (error, 1), (other, 2), (error, 299_999), (error, 300_000), (other, 900_000), (error, 900_001)]
    assert [alike.first(each, START + at) for each, at in steps] == [0, None, 0, None, 2, 0, 0]


def test_an_alert_that_is_open_on_the_same_script_is_named_in_the_event(sentry, reporter, tmp_path):
    alerts = [
        {"rule": rule, "key": key, "start": START, "labels": {"ScriptName": script, "severity": severity}}
        for rule, key, script, severity in (
            ("slow", '{"ScriptName":"shop"}', "shop", "warning"),
            ("high_worker_failure_rate", '{"ScriptName":"shop"}', "shop", "critical"),
            ("other", '{"ScriptName":"cron"}', "cron", "critical"),
        )
    ]
    reporter._firing.parent.mkdir(parents=True, exist_ok=True)
    reporter._firing.write_text(json.dumps({"workers_trace_events": {"at": START, "alerts": alerts}}))
    reporter.report(found(WORKER, "workers_trace_events"))
    (event,) = sentry.events.values()
    fingerprint = fingerprint_of("production", '{"ScriptName":"shop"}', "high_worker_failure_rate")
    named = {"rule": "high_worker_failure_rate", "episode": f"{fingerprint}:{START // 1000}"}
    assert {name: event["tags"][name] for name in named} == named


@pytest.mark.slow
def test_a_sentry_that_is_away_is_waited_for_one_that_refuses_is_not_and_a_flood_is_cut(sentry, reporter, caplog):
    sentry.script = [Answer(503), Answer(429, headers={"Retry-After": "0"}), None]
    assert reporter.report(found(WORKER, "workers_trace_events"))
    assert (len(sentry.seen), len(sentry.events)) == (3, 1)
    sentry.script = [Answer(413)]
    assert reporter.report(found(WORKER, "workers_trace_events", offset=6))
    assert all(reporter.report(found(WORKER, "workers_trace_events", offset=n)) for n in range(7, 12))
    assert (reporter.sent, reporter.dropped, len(sentry.events)) == (2, 5, 2)
    assert "errors of the platform were not sent" in caplog.text


def test_a_reporter_that_is_told_to_stop_does_not_claim_to_have_sent(sentry, tmp_path):
    path = configured(tmp_path, sentry.dsn)
    config, stop = loads(path.read_text(), path), threading.Event()
    stop.set()
    assert Reporter(config.app_errors, config, stop).report(found(WORKER, "workers_trace_events")) is False


@pytest.mark.parametrize(
    ("text", "trace"),
    [
        (f"00-{TRACE}-{SPAN}-01", (TRACE, SPAN)),
        (f"{TRACE}-{SPAN}", (TRACE, SPAN)),
        (f"{TRACE}-{SPAN}-0", (TRACE, SPAN)),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like".upper(), (TRACE, SPAN)),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE}", None),
        ("", None),
        (17, None),
    ],
)
def test_trace_headers_are_read_in_both_spellings(text, trace):
    assert trace_of(text) == trace


def test_the_first_valid_header_anywhere_in_a_record_names_its_trace_and_text_that_quotes_one_does_not():
    def nested(value):
        return json.dumps({"message": json.dumps({"traceparent": f"00-{'a' * 32}-{SPAN}-01"}), "request": value}).encode()

    assert trace_in(nested({"headers": [{"Traceparent": f"00-{TRACE}-{SPAN}-01"}]})) == TRACE
    assert trace_in(nested({"traceparent": f"00-{'0' * 32}-{SPAN}-01", "sentry_trace": f"{TRACE}-{SPAN}"})) == TRACE
    assert trace_in(nested({"traceparent": [f"00-{TRACE}-{SPAN}-01"]})) is None


def test_a_trace_id_may_stand_alone():
    assert [trace_id_of(each) for each in (TRACE, f"00-{TRACE}-{SPAN}-01", "0" * 32, "x", None)] == [
        TRACE,
        TRACE,
        None,
        None,
        None,
    ]


def test_messages_are_read_as_the_line_reads_them():
    assert records_of(b'{"a":1}\n{"b":2}\nnot json\n') == [{"a": 1}, {"b": 2}]
    assert records_of(b'[{"a":1},2]') == [{"a": 1}, 2]
    assert records_of(b"\x1f\x8bbroken") == []
    assert frames_of("no stack at all") == []


def test_renamed_fields_are_read_under_their_new_names():
    names = {"script": "ScriptName", "at": "EventTimestampMs", "ray": "RayID"}
    workers = build_dataset(DatasetOptions(name="w", kind="workers_trace_events", rename=names))
    record = {key: WORKER[name] for key, name in (("script", "ScriptName"), ("at", "EventTimestampMs"))}
    (error,) = errors_of(workers, record | {"ray": "8f01", "Exceptions": [EXCEPTION]})
    assert (error.source, error.time, error.ray, error.name) == ("shop", WORKER["EventTimestampMs"], "8f01", "TypeError")
    logs = build_dataset(DatasetOptions(name="l", kind="app_logs", rename={"sev": "levelValue", "err.text": "error_message"}))
    (error,) = errors_of(logs, {"sev": 50, "service": "api", "err": {"text": "no card 17"}})
    assert (error.critical, error.source, error.message) == (True, "api", "no card 17")


@pytest.mark.kafka
@pytest.mark.slow
def test_each_exception_of_an_invocation_is_an_event_of_its_own(brokers, topic, sentry, tmp_path):
    workers = topic(1)
    config = configured(tmp_path, sentry.dsn, brokers, f'"{workers}" = "workers_trace_events"')
    second, odd = {"name": "RangeError", "message": "page 9 is none", "stack": "RangeError\n    at list (b.js:4:2)"}, "odd"
    record = WORKER | {"Exceptions": [EXCEPTION, odd, second, second]}
    topics.send(brokers, workers, [Sent(None, json.dumps(record).encode(), START, 0)])
    running = runs.start("errors", "-c", config, log=tmp_path / "errors.log")
    runs.wait_until(lambda: len(sentry.events) == 2, what="both events")
    running.send_signal(signal.SIGTERM)
    assert running.wait(30) == 0, (tmp_path / "errors.log").read_text()
    told = {event["exception"]["values"][0]["type"]: event for event in sentry.events.values()}
    assert {name: event["fingerprint"][3] for name, event in told.items()} == {
        "TypeError": "order :n of :mail failed",
        "RangeError": "page :n is none",
    }
    assert [each["function"] for each in told["RangeError"]["exception"]["values"][0]["stacktrace"]["frames"]] == ["list"]
    assert {event["tags"]["ray"] for event in told.values()} == {"8f00"}


@pytest.mark.kafka
@pytest.mark.slow
def test_errors_on_a_topic_reach_sentry_once_also_after_a_restart(brokers, topic, sentry, tmp_path):
    workers, logs = topic(1), topic(1)
    config = configured(tmp_path, sentry.dsn, brokers, f'"{workers}" = "workers_trace_events", "{logs}" = "app_logs"')
    batch = b"\n".join(json.dumps(WORKER | {"EventTimestampMs": START + n}).encode() for n in range(50))
    for name, value in ((workers, batch), (logs, json.dumps(LOG).encode()), (logs, b"not json")):
        topics.send(brokers, name, [Sent(None, value, START, 0)])
    for expected in (2, 3):
        running = runs.start("errors", "-c", config, log=tmp_path / "errors.log")
        runs.wait_until(lambda n=expected: len(sentry.events) == n, what=f"{expected} events")
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 0, (tmp_path / "errors.log").read_text()
        topics.send(brokers, logs, [Sent(None, json.dumps(LOG | {"service": f"s{expected}"}).encode(), START, 0)])
    assert (len(sentry.seen), sentry.wrong) == (3, [])
