"""Traces of windows: a real run whose windows go to a Sentry and to a collector of OpenTelemetry, and what may not go along."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from connectors.batch import DONE
from flows.config import loads
from flows.otlp_options import OtlpOptions
from flows.output import Block, Closed
from flows.spool_ids import rows_id
from flows.trace_takers import window_trace
from flows.window_trace import WindowTrace
from sinks.notification import DeliveryError
from sinks.otlp import CollectorExporter, traces_to
from sinks.spool import Waiting
from tests.fakes.collector import AUTHORIZATION, FakeCollector
from tests.fakes.scripted import Answer
from tests.fakes.sentry import FakeSentry, envelope_in
from tests.fakes.webhook import SECRET, FakeWebhook
from tests.runs import ROOT

_CONFIG = """
environment = "test"
[input.kafka]
brokers = ["127.0.0.1:1"]
topics = {{ "t" = "http_requests" }}
[[metric]]
name = "errors"
kind = "ratio"
dataset = "http_requests"
bad = "EdgeResponseStatus >= 500"
[[rule]]
name = "failing"
metric = "errors"
statistic = "ratio"
above = {{ critical = 0.1 }}
[channel.hook]
kind = "webhook"
url = "{hook}"
secrets = ["{secret}"]
allow_private = true
[observe]
sentry_dsn = "{dsn}"
traces_sample_rate = {rate}
[observe.otlp]
endpoint = "{collector}"
headers = {{ Authorization = "{authorization}" }}
sample_rate = {rate}
"""
_RUN = """
import sys
from pathlib import Path
import sentry_sdk
from flows.config import load
from flows.engine import prepare_recovery
from flows.own_errors import report_own_errors
from flows.process import run_process
from flows.run_folder import RunFolder, RunSpec
folder = Path(sys.argv[1])
config = load(folder / "m.toml")
report_own_errors(config.observe, config.environment, config)
spec = RunSpec(
    mode="until_end", config=str(folder / "m.toml"), source=f"archive:{folder / 'logs'}", start=None, end=None,
    state=str(folder / "state"), out=str(folder / "out"),
)
prepare_recovery(RunFolder(folder / "state").recovery)
run_process(config, spec)
sentry_sdk.flush(20)
"""


def ran(folder, **filled):
    """Run over twenty minutes of requests that all fail."""
    logs = folder / "logs" / "http_requests" / "0"
    logs.mkdir(parents=True)
    lines = [
        json.dumps({"EdgeEndTimestamp": 1_764_547_200 + 4 * n, "EdgeResponseStatus": 500, "RayID": f"{n}"}) for n in range(300)
    ]
    (logs / "a.ndjson").write_text("\n".join(lines))
    (folder / "m.toml").write_text(_CONFIG.format(secret=SECRET, authorization=AUTHORIZATION, **filled))
    command = [sys.executable, "-c", _RUN, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.slow
def test_windows_and_the_delivery_of_what_they_led_to_are_one_trace_for_sentry_and_for_a_collector(tmp_path):
    with FakeSentry() as sentry, FakeCollector() as collector, FakeWebhook() as hook:
        hook.script = [Answer(503, b"busy")]
        ran(tmp_path, dsn=sentry.dsn, collector=collector.url, hook=hook.hook_url, rate=1.0)
        items = [item for seen in sentry.seen for item in envelope_in(seen)[1]]
    assert [kind for kind, _ in items if kind == "event"] == []
    made = [payload for kind, payload in items if kind == "transaction"]
    windows = [each for each in made if each["transaction"] == "window of http_requests"]
    for each in windows:
        assert each["tags"]["dataset"] == "http_requests"
        assert [span["op"] for span in each["spans"]][-3:] == ["window", "rules", "spool"]
        assert all(each["start_timestamp"] <= span["start_timestamp"] <= span["timestamp"] for span in each["spans"])
    assert {"decode", "metric"} <= {span["op"] for each in windows for span in each["spans"]}
    tries = [each for each in made if each["transaction"] == "delivery to hook"]
    assert [each["contexts"]["trace"]["status"] for each in tries] == ["unavailable"] + ["ok"] * len(hook.received)
    known = {(each["contexts"]["trace"]["trace_id"], each["contexts"]["trace"]["span_id"]) for each in windows}
    assert {(each["contexts"]["trace"]["trace_id"], each["contexts"]["trace"]["parent_span_id"]) for each in tries} <= known

    assert collector.resource["service.name"] == "edgewatch"
    assert collector.resource["deployment.environment.name"] == "test"
    roots = {span.span_id: span for span in collector.spans if not span.parent_span_id}
    assert [span.name for span in roots.values()] == ["window of http_requests"] * len(windows)
    inner = [span for span in collector.spans if span.parent_span_id]
    assert {span.name for span in inner} == {"decode", "metric", "window", "rules", "spool", "delivery"}
    assert all(roots[span.parent_span_id].trace_id == span.trace_id for span in inner)
    assert all(span.start_time_unix_nano <= span.end_time_unix_nano for span in collector.spans)
    deliveries = [span for span in inner if span.name == "delivery"]
    assert (deliveries[0].status.code, deliveries[0].status.message) == (2, "hook: HTTP 503: busy")
    assert [span.status.code for span in deliveries][1:] == [0] * len(hook.received)
    for span in deliveries:
        assert {pair.key for pair in span.attributes} == {"edgewatch.destination", "edgewatch.items"}


@pytest.mark.slow
def test_a_dead_collector_holds_nobody_up_and_its_header_shows_nowhere(tmp_path):
    with FakeSentry() as sentry, FakeCollector() as collector, FakeWebhook() as hook:
        collector.script = [Answer(fault="deaf")] * 20
        said = ran(tmp_path, dsn=sentry.dsn, collector=collector.url, hook=hook.hook_url, rate=1.0)
        assert hook.received
        assert (collector.spans, len(collector.script)) == ([], 19)  # it was asked once, and never answered
    assert "planted" not in said


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_only_the_share_of_traces_that_is_kept_is_sent(share):
    with FakeCollector() as collector:
        config = loads(_CONFIG.format(secret=SECRET, authorization=AUTHORIZATION, dsn="", collector=collector.url,
            hook="https://hook.example.com/x", rate=share), Path("m.toml"))  # fmt: skip
        trace = window_trace(config, ["windows"], mode="live")
        trace.add("window", "a", trace.now())
        trace.judged("a", [Closed("a", DONE)], trace.now())
        with trace.spooled():
            pass
        trace.close()
        assert {span.name for span in collector.spans} == ({"window of a", "window", "rules", "spool"} if share else set())
    assert not isinstance(window_trace(config, ["windows"], mode="replay"), WindowTrace)


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"endpoint": "planted:4318"}, "endpoint"),
        ({"endpoint": "https://c.example.com/?token=planted"}, "endpoint"),
        ({"headers": {"a b": "planted"}}, "headers"),
        ({"headers": {"Authorization": "planted\nmore"}}, "headers"),
        ({"service_name": ""}, "service_name"),
        ({"sample_rate": 1.5}, "sample_rate"),
    ],
)
def test_wrong_options_are_named_without_their_secrets(changed, key):
    options = OtlpOptions(**{"endpoint": "https://c.example.com", **changed})
    ((found, problem),) = options.problems()
    assert found == key
    assert "planted" not in problem
    assert "planted" not in repr(OtlpOptions(endpoint="https://c", headers={"Authorization": "planted"}))


def test_the_path_is_added_where_it_is_missing():
    given = ("http://c:4318", "http://c:4318/", "https://c/otlp", "https://c/v1/traces")
    assert [OtlpOptions(endpoint=each).address for each in given] == [
        "http://c:4318/v1/traces",
        "http://c:4318/v1/traces",
        "https://c/otlp/v1/traces",
        "https://c/v1/traces",
    ]


def spans(address, headers, names):
    """Send spans of some names by the real SDK, as a run does that ends."""
    provider, close = traces_to(address, headers, resource={"service.name": "mine"}, share=1.0)
    tracer = provider.get_tracer("t")
    made = [tracer.start_span(name) for name in names]
    for span in made:
        span.end()
    return made, close


def test_what_is_refused_for_now_is_tried_again_and_what_is_refused_for_good_is_dropped_and_said_once(caplog):
    with FakeCollector() as collector:
        collector.script = [Answer(503, b"", {"Retry-After": "0"}), None]
        made, close = spans(f"{collector.url}/v1/traces", {"Authorization": AUTHORIZATION}, ["a", "b"])
        ended = [each._readable_span() for each in made]
        exporter = CollectorExporter(f"{collector.url}/v1/traces", {"Authorization": AUTHORIZATION}, ())
        collector.script = [Answer(429, b"", {"Retry-After": "0"}), None]
        assert exporter.export(ended).name == "SUCCESS"
        assert [span.name for span in collector.spans] == ["a", "b"]
        assert collector.resource == {"service.name": "mine"}
        wrong = CollectorExporter(f"{collector.url}/v1/traces", {"Authorization": "Bearer planted-other-word"}, ())
        with caplog.at_level(logging.WARNING):
            assert [wrong.export(ended).name for _ in range(2)] == ["FAILURE"] * 2
        asked = len(collector.seen)
        redirected = CollectorExporter(f"{collector.url}/v1/traces", {"Authorization": AUTHORIZATION}, ())
        collector.script = [Answer(307, b"", {"Location": f"{collector.url}/elsewhere"})]
        assert redirected.export(ended).name == "FAILURE"
        assert len(collector.seen) == asked + 1  # it did not follow
        close()
    said = [each.message for each in caplog.records if each.name == "edgewatch.traces"]
    assert said[0] == "2 spans are lost, alerts are not: observe.otlp: HTTP 401: no reason given"
    assert "planted" not in caplog.text


class Notes:
    """Keeps what it is told."""

    def __init__(self):
        self.said = []

    def begin(self, dataset, began, closed_up_to):
        return [dataset, closed_up_to]

    def finish(self, window, stages, ended):
        self.said.append((window[0], tuple(each.name for each in stages)))

    def delivered(self, window, attempt, destination, items):
        self.said.append((window[0], attempt.name, destination, items, attempt.error))

    def close(self):
        self.said.append("closed")


def test_rows_of_several_windows_that_go_together_are_a_span_in_each_trace_until_they_are_taken():
    notes = Notes()
    trace = WindowTrace([notes], tables=["windows"])
    blocks = [Block("windows", at, "m", b"{}\n" * at) for at in (1, 2)]
    for dataset, block in zip(("a", "b"), blocks, strict=True):
        trace.add("window", dataset, trace.now())
        trace.judged(dataset, [block, Block("other", 1, "m", b""), Closed(dataset, DONE)], trace.now())
    with trace.spooled():
        pass
    items = [Waiting(rows_id(block), "rows", b"", 0, waited=False) for block in (*blocks, Block("other", 1, "m", b""))]
    with pytest.raises(DeliveryError), trace.delivering("clickhouse", items):
        raise DeliveryError("clickhouse: away", retryable=True)
    for _ in range(2):  # the second time nobody knows them any more
        with trace.delivering("clickhouse", items):
            pass
    trace.close()
    ended = [("a", ("window", "rules", "spool")), ("b", ("window", "rules", "spool"))]
    tries = [(name, "delivery", "clickhouse", 1, error) for error in ("clickhouse: away", "") for name in ("a", "b")]
    assert notes.said == [*ended, *tries, "closed"]
