"""The other datasets: records of each, published or as their writers make them, become the columns that rules name."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.dataset import DATASETS, DatasetOptions, build_dataset
from connectors.decoder import Decoder
from connectors.error_text import fingerprint_of
from connectors.progress import NO_LIMIT, Chunk, Progress, Timing, read_batch
from connectors.record_path import RecordPath
from flows.expression import Expression

DATA = Path(__file__).parents[1] / "data" / "logpush"
SECOND = 1_764_547_200


def decoded(text, **options):
    made = DatasetOptions(name="d", **options)
    assert list(made.problems()) == []
    dataset = build_dataset(made)
    return Decoder(dataset, frozenset(dataset.fields)).decode([text if isinstance(text, bytes) else json.dumps(text).encode()])


def values(read):
    """Give the present values of the first record."""
    found = {name: float(column[0]) for name, column in read.numbers.items() if not np.isnan(column[0])}
    found |= {name: column.vocabulary[column.codes[0]] for name, column in read.strings.items() if column.codes[0] >= 0}
    return found | {name: bool(column[0]) for name, column in read.flags.items() if column[0] >= 0}


def told(predicate, record, kind):
    """Tell whether a predicate of a kind of records is true of a record."""
    dataset = build_dataset(DatasetOptions(name="d", kind=kind))
    decoder = Decoder(dataset, frozenset(dataset.fields))
    progress = Progress(topic="t", partition=0)
    timing = Timing(pane_ms=300_000, allowed_lateness_ms=0)
    chunk = Chunk(progress, timing, [json.dumps(record).encode()], np.zeros(1, np.int64), np.full(1, NO_LIMIT))
    return bool(Expression.parse(predicate, dataset.predicates).mask(read_batch(decoder, [chunk]))[0])


def test_an_event_of_a_worker_gives_its_request_outcome_and_exception():
    event = {
        "Event": {"RayID": "7e9a", "Request": {"URL": "https://api.example.com/v2/items/17?x=1", "Method": "GET"}},
        "EventTimestampMs": SECOND * 1000 + 804,
        "EventType": "fetch",
        "Outcome": "exception",
        "ScriptName": "api",
        "CPUTimeMs": 12,
        "WallTimeMs": 340,
        "ScriptVersion": {"ID": "v1"},
        "Exceptions": [{"message": "Uncaught TypeError: item 17 of user 8f2b1c9d0a3e4f56 is undefined", "stack": "TypeError"}],
        "Logs": [{"level": "info", "message": "one"}, {"level": "error", "message": "two"}],
    }
    read = decoded(event, kind="workers_trace_events")
    assert (read.times.tolist(), list(read.identity)) == ([SECOND * 1000 + 804], ["7e9a"])
    assert values(read) == {
        "EventType": "fetch",
        "Outcome": "exception",
        "ScriptName": "api",
        "CPUTimeMs": 12,
        "WallTimeMs": 340,
        "ScriptVersionID": "v1",
        "Method": "GET",
        "URL": "https://api.example.com/v2/items/17?x=1",
        "Path": "/v2/items/17",
        "Host": "api.example.com",
        "ExceptionName": "TypeError",
        "ExceptionMessage": "Uncaught TypeError: item 17 of user 8f2b1c9d0a3e4f56 is undefined",
        "ExceptionFingerprint": "Uncaught TypeError: item :n of user :id is undefined",
        "Exceptions": 1,
        "Logs": 2,
    }


def test_the_published_exceptions_are_read_in_their_own_spelling_and_want_a_time():
    text = (DATA / "cfdocs_workers_trace_logs_exceptions.ndjson").read_bytes()
    found = values(decoded(text, kind="workers_trace_events"))
    assert found == {
        "ExceptionName": "SampleError",
        "ExceptionMessage": "something went wrong",
        "ExceptionFingerprint": "something went wrong",
        "Exceptions": 2,
        "Logs": 2,
    }
    timed = text.replace(b'{"Exceptions"', b'{"EventTimestampMs":1764547200804,"Exceptions"', 1)
    assert decoded(timed, kind="workers_trace_events").times.tolist() == [1_764_547_200_804]


@pytest.mark.parametrize(
    ("event", "found"),
    [
        ({"Cron": "*/5 * * * *", "ScheduledTimeMs": 1}, {"Cron": "*/5 * * * *"}),
        ({"Queue": "jobs", "BatchSize": 10}, {"Queue": "jobs", "BatchSize": 10}),
        ({"Request": {"URL": "http://[broken"}}, {"URL": "http://[broken"}),
        ("nothing", {}),
        (None, {}),
    ],
)
def test_the_shape_of_an_event_depends_on_its_type(event, found):
    assert values(decoded({"EventTimestampMs": SECOND * 1000, "Event": event}, kind="workers_trace_events")) == found


@pytest.mark.parametrize(
    ("outcome", "failed"),
    [("ok", False), ("canceled", False), ("responseStreamDisconnected", False), ("exception", True), ("exceededCpu", True)],
)
def test_a_client_that_goes_away_is_no_failure_of_the_worker(outcome, failed):
    assert told("failed", {"EventTimestampMs": SECOND * 1000, "Outcome": outcome}, "workers_trace_events") is failed


def test_a_line_of_an_application_log_gives_level_service_error_and_ray():
    line = {
        "timestamp": "2025-12-01T00:00:00.123Z",
        "level": "ERROR",
        "levelValue": 40,
        "message": "payment failed",
        "service": "api",
        "version": "1.4.2",
        "environment": "production",
        "amount": 12,
        "error": {"name": "TypeError", "message": "invoice 4711 is closed"},
        "cf": {"ray": "8f2b", "colo": "FRA"},
    }
    read = decoded(line, kind="app_logs")
    assert (read.times.tolist(), list(read.identity)) == ([SECOND * 1000 + 123], ["8f2b"])
    assert values(read) == {
        "level": "error",
        "levelValue": 40,
        "message": "payment failed",
        "service": "api",
        "version": "1.4.2",
        "environment": "production",
        "colo": "FRA",
        "error_name": "TypeError",
        "error_message": "invoice 4711 is closed",
        "fingerprint": "invoice :n is closed",
    }


@pytest.mark.parametrize(
    ("line", "error", "critical"),
    [
        ({"levelValue": 30}, False, False),
        ({"levelValue": 40}, True, False),
        ({"level": "critical"}, True, True),
        ({"level": "info", "levelValue": 50}, True, True),
        ({}, False, False),
    ],
)
def test_the_level_is_a_number_or_a_word(line, error, critical):
    record = {"timestamp": SECOND} | line
    assert (told("is_error", record, "app_logs"), told("is_critical", record, "app_logs")) == (error, critical)


HEALTH = {
    "timestamp": SECOND,
    "overall": "degraded",
    "checks": {
        "database": {"status": "healthy", "latencyMs": 612},
        "worker": {"status": "healthy"},
        "integration": {"services": {"redis": True, "websocket": False}},
    },
}


def test_the_body_of_a_health_endpoint_gives_its_checks():
    assert values(decoded(HEALTH, kind="health")) == {
        "overall": "degraded",
        "database_status": "healthy",
        "database_latency_ms": 612,
        "worker_status": "healthy",
        "redis": True,
        "websocket": False,
    }


@pytest.mark.parametrize(
    ("change", "true"),
    [
        ({}, {"degraded", "websocket_down"}),
        ({"overall": "unhealthy"}, {"degraded", "unhealthy", "websocket_down"}),
        ({"overall": "healthy", "http_status": 200, "checks": {}}, set()),
        ({"overall": None, "http_status": 503, "checks": {}}, {"check_failed", "unhealthy"}),
        ({"overall": None, "http_status": 0, "checks": None}, {"check_failed", "unhealthy"}),
        ({"overall": "healthy", "checks": {"database": {"status": "unhealthy"}}}, {"database_unwell"}),
    ],
)
def test_what_is_unwell_is_what_the_answer_says(change, true):
    names = ("check_failed", "unhealthy", "degraded", "database_unwell", "worker_unwell", "redis_down", "websocket_down")
    assert {name for name in names if told(name, HEALTH | change, "health")} == true


@pytest.mark.parametrize(
    ("record", "found"),
    [
        ({"cache": {"hits": 9, "misses": 1, "hitRate": 0.9, "size": 7, "evictions": 2}}, (9, 1, 0.9, 7, 2)),
        ({"hits": 9, "misses": 1, "hitRate": 0.9, "size": 7, "evictions": 2}, (9, 1, 0.9, 7, 2)),
    ],
)
def test_statistics_of_a_cache_are_read_nested_or_alone(record, found):
    names = ("cache_hits", "cache_misses", "cache_hit_ratio", "cache_size", "cache_evictions")
    assert values(decoded({"timestamp": SECOND} | record, kind="runtime_stats")) == dict(zip(names, found, strict=True))


def test_statistics_of_a_pool_are_read_as_the_dashboard_or_the_health_endpoint_names_them():
    one = {"database": {"activeConnections": 5, "idleConnections": 6, "waitingRequests": 7, "latency": 8}}
    other = {"poolStats": {"active": 5, "idle": 6, "waiting": 7}, "latencyMs": 8}
    found = [values(decoded({"timestamp": SECOND} | each, kind="runtime_stats")) for each in (one, other)]
    assert found == [{"pool_active": 5, "pool_idle": 6, "pool_waiting": 7, "pool_latency_ms": 8}] * 2


def test_any_json_is_read_by_the_paths_that_the_configuration_names():
    options = {
        "kind": "json",
        "event_time": ("meta.time", "time"),
        "numbers": {"latency": "timing[1].ms", "items": "items[#]"},
        "strings": {"service": "service.name", "url": "url", "id": "id"},
        "flags": {"cached": "meta.cached"},
        "identity": "id",
        "paths": ("url",),
    }
    record = {
        "timing": [{"ms": 1}, {"ms": 2.5}],
        "items": [1, 2, 3],
        "service.name": "api",
        "url": "/a/1",
        "id": "x",
        "time": SECOND,
    }
    read = decoded(record | {"meta": {"cached": True}}, **options)
    assert (read.times.tolist(), list(read.identity)) == ([SECOND * 1000], ["x"])
    assert values(read) == {"latency": 2.5, "items": 3, "service": "api", "url": "/a/1", "cached": True}


def test_plain_keys_of_json_are_read_natively_where_that_is_built():
    from connectors.native import available

    options = DatasetOptions(name="d", kind="json", event_time=("t",), numbers={"v": "value"})
    assert Decoder(build_dataset(options), frozenset({"v"})).native is available()


def test_published_csv_is_read_by_the_columns_that_the_configuration_names():
    text = (DATA / "cfdocs_output_csv_noheader.csv").read_bytes()
    options = {"kind": "json", "csv": ("ip", "t", "ray"), "event_time": ("t",), "strings": {"ray": "ray", "ip": "ip"}}
    read = decoded(text, identity="ray", **options)
    assert read.times.tolist() == [1_506_702_504_433] * 3
    assert list(read.identity) == ["3a6050bcbe121a87", "3a6050bcbe121a88", "3a6050bcbe121a89"]
    assert read.strings["ip"].vocabulary == ["89.163.242.206", "89.163.242.207", "89.163.242.208"]


def test_lines_that_are_no_records_of_a_csv_file_say_why():
    text = b'timestamp,value,up\r\n2014-02-14 14:30:00,0.132,true\r\n\r\n2014-02-14 14:35:00,x,FALSE\r\n"open,1\r\n1\r\n'
    options = {"csv": ("timestamp", "value", "up"), "numbers": {"value": "value"}, "flags": {"up": "up"}}
    read = decoded(text, kind="json", event_time=("timestamp",), **options)
    assert read.times.tolist() == [1_392_388_200_000, 1_392_388_500_000]
    assert read.numbers["value"].tolist()[0] == 0.132
    assert np.isnan(read.numbers["value"][1])
    assert read.flags["up"].tolist() == [1, 0]
    assert [(each.index, each.reason) for each in read.refusals] == [
        (0, "the header of a CSV file"),
        (3, "not CSV"),
        (4, "CSV with 1 columns instead of 3"),
    ]


def test_renamed_fields_are_read_under_their_new_names():
    text = (DATA / "cfdocs_output_renamed_fields.ndjson").read_bytes()
    rename = {"client-ip": "ClientIP", "timestamp": "EdgeEndTimestamp", "ray-id": "RayID"}
    for native in (None, False):
        dataset = build_dataset(DatasetOptions(name="d", kind="http_requests", rename=rename))
        read = Decoder(dataset, frozenset({"ClientIP"}), native=native).decode([text])
        assert read.times.tolist() == [1_506_702_504_433] * 3
        assert read.identity[0] == "3a6050bcbe121a87"
        assert read.strings["ClientIP"].vocabulary[0] == "89.163.242.206"
    event = {"at": SECOND * 1000, "worker": {"script": "api"}}
    read = decoded(event, kind="workers_trace_events", rename={"at": "EventTimestampMs", "worker.script": "ScriptName"})
    assert (read.times.tolist(), values(read)) == ([SECOND * 1000], {"ScriptName": "api"})


@pytest.mark.parametrize(
    ("options", "key", "words"),
    [
        ({"kind": "json"}, "event_time", "is missing"),
        ({"kind": "json", "event_time": ("a..b",)}, "event_time", "'a..b' is no path"),
        ({"kind": "json", "event_time": ("t",), "numbers": {"a b": "x"}}, "numbers", "'a b' is no name of a column"),
        ({"kind": "json", "event_time": ("t",), "numbers": {"a": "x"}, "flags": {"a": "y"}}, "numbers", "one kind only"),
        ({"kind": "json", "event_time": ("t",), "csv": ("v",)}, "csv", "there is no column 't'"),
        ({"kind": "json", "event_time": ("t",), "identity": "ray"}, "identity", "'ray' is none of the strings"),
        ({"kind": "app_logs", "numbers": {"a": "x"}}, "numbers", "only json datasets name their columns"),
        ({"kind": "http_requests", "rename": {"x": "ClientIPs"}}, "rename", "http_requests has no field 'ClientIPs'"),
        ({"kind": "data_points", "rename": {"x": "y"}}, "rename", "name the columns"),
        ({"kind": "csv"}, "kind", "allowed: app_logs, data_points, health, http_requests, json, runtime_stats"),
    ],
)
def test_wrong_options_are_named(options, key, words):
    found = list(DatasetOptions(name="d", **options).problems())
    assert [(each, words in problem) for each, problem in found] == [(key, True)]


@pytest.mark.parametrize(
    ("message", "fingerprint"),
    [
        ("user 17 not found", "user :n not found"),
        (["GET", "https://a.example/x?y=1", "failed"], "GET :url failed"),
        ("no row 8f2b1c9d-0a3e-4f56-8f2b-1c9d0a3e4f56\n at x.js:12", "no row :id"),
        ("mail to ann@example.com bounced", "mail to :mail bounced"),
        ("", None),
        (None, None),
        ({"a": 1}, None),
    ],
)
def test_a_fingerprint_is_a_message_without_what_changes(message, fingerprint):
    assert fingerprint_of(message) == fingerprint


@pytest.mark.parametrize("text", ["", ".", "a.", "a[", "a[x]", "[0]", "a[-1]", "a]b"])
def test_what_is_no_path_is_refused(text):
    with pytest.raises(ValueError, match="no path such as"):
        RecordPath.parse(text)


LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
KEYS = ["timestamp", "EventTimestampMs", "Event", "Request", "URL", "Exceptions", "Message", "message", "cf", "ray", "error"]
KEYS += ["level", "checks", "database", "status", "latencyMs", "cache", "hits", "poolStats", "overall", "levelValue", "Logs"]
TREE = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4), max_leaves=12
)
RECORD = st.dictionaries(st.sampled_from(KEYS), TREE, max_size=6).map(lambda value: json.dumps(value).encode())
ODD = [b"", b"{", b"[{}]", b'{"timestamp":1764547200}', b"a,b", b'"x', b"1,2"]
LINE = st.one_of(RECORD, st.binary(max_size=30), st.sampled_from(ODD))
ALL = [DatasetOptions(name=kind, kind=kind) for kind in sorted(DATASETS) if kind not in ("json", "data_points")]
ALL += [DatasetOptions(name="points", kind="data_points", blobs=("url",), doubles=("ms",))]
ALL += [
    DatasetOptions(
        name="tree", kind="json", event_time=("timestamp",), numbers={"v": "cache.hits"}, strings={"e": "error[0].cf"}
    )
]
ALL += [DatasetOptions(name="csv", kind="json", event_time=("t",), csv=("t", "v"), numbers={"v": "v"})]


@pytest.mark.slow
@settings(max_examples=150)
@given(st.lists(LINE, min_size=1, max_size=6), st.booleans())
def test_no_bytes_stop_a_decoder_and_every_line_is_a_record_or_a_refusal(rows, lines):
    payload = b"\n".join(rows)
    for options in ALL:
        dataset = build_dataset(options)
        read = Decoder(dataset, frozenset(dataset.fields)).decode([payload], lines=lines)
        assert all(read.source(i) is not None for i in range(len(read.times)))
        filled = sum(bool(row.strip()) for row in payload.split(b"\n"))
        if lines and filled:
            assert len(read.times) + len(read.refusals) == filled
