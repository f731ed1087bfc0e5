"""The other datasets through the whole line: files, the built-in pack, and alerts that say what happened."""

import gzip
import json

import pytest

from sinks.notification import evidence_lines
from tests import runs

pytestmark = pytest.mark.slow

CONFIG = """
[input.kafka]
brokers = ["127.0.0.1:9"]
topics = {{ t = {topic} }}
[window]
allowed_lateness = "0s"
"""
START = 1_764_547_200  # a window begins


def replayed(tmp_path, dataset, records, extra="", topic=None):
    """Replay records of a dataset; gives rows by (metric, key, statistic) of the first window, and what was notified."""
    folder = tmp_path / "logs" / dataset / "0"
    folder.mkdir(parents=True)
    (folder / "a.ndjson.gz").write_bytes(gzip.compress(b"\n".join(json.dumps(each).encode() for each in records)))
    config, out = tmp_path / "monitor.toml", tmp_path / "out"
    config.write_text(CONFIG.format(topic=topic or f'"{dataset}"') + extra)
    runs.checked("replay", "-c", config, "--source", f"archive:{tmp_path / 'logs'}", "--out", out)
    rows = [json.loads(row) for row in (out / "windows.ndjson").read_text().splitlines()]
    first = [row for row in rows if row["window_start"] == rows[0]["window_start"]]
    values = {(row["metric"], "/".join(row["key"].values()), row["statistic"]): row["value"] for row in first}
    said = [json.loads(row) for row in (out / "notifications.ndjson").read_text().splitlines()]
    return values, {(each["rule"], "/".join(each["key"].values()), each["severity"], each["status"]) for each in said}


def test_failing_workers_page_by_script_and_are_counted_by_fingerprint(tmp_path):
    records = []
    for n in range(400):
        script, bad = ("api", n % 8 == 0) if n % 2 == 0 else ("cron", False)
        records.append(
            {
                "EventTimestampMs": (START + n // 2) * 1000,
                "EventType": "fetch",
                "Outcome": "exception" if bad else "canceled" if n % 3 == 0 else "ok",
                "ScriptName": script,
                "CPUTimeMs": 10,
                "WallTimeMs": 10 + n % 5,
                "Event": {"RayID": f"{n:016x}"},
                "Exceptions": [{"Name": "TypeError", "Message": f"item {n} is undefined"}] if bad else [],
            }
        )
    values, said = replayed(tmp_path, "workers_trace_events", records)
    assert values["worker_failure_rate", "api", "ratio"] == 0.25
    assert values["worker_failure_rate", "cron", "ratio"] == 0
    assert values["worker_exceptions", "item :n is undefined/TypeError/api", "count"] == 50
    assert values["worker_cpu_time", "", "p99"] == 10
    assert said == {("high_worker_failure_rate", "api", "critical", "firing")}


def test_one_critical_log_line_pages(tmp_path):
    records = [
        {"timestamp": START + n, "level": "info", "levelValue": 20, "service": "api", "message": "well"} for n in range(100)
    ]
    records[40] |= {"level": "critical", "levelValue": 50, "error": {"name": "E", "message": "no key 17"}, "cf": {"ray": "r40"}}
    values, said = replayed(tmp_path, "app_logs", records)
    assert values["logged_errors", "no key :n/api", "count"] == 1
    assert values["log_error_rate", "api", "ratio"] == 0.01
    assert said == {("critical_log", "api", "critical", "firing")}


TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
OBSERVE = '[observe]\ntrace_url = "https://traces.example.com/t/{trace_id}?from=alert"\n'


@pytest.mark.parametrize(
    ("dataset", "extra", "bad", "where"),
    [
        (
            "app_logs",
            "",
            {"level": "critical", "error": {"name": "E", "message": "no key"}},
            {"traceparent": f"00-{TRACE}-{SPAN}-01"},
        ),
        (
            "workers_trace_events",
            "",
            {"Outcome": "exception"},
            {"Event": {"Request": {"Headers": {"Sentry-Trace": f"{TRACE}-{SPAN}-1"}}}},
        ),
        (
            "http_requests",
            '[[dataset]]\nname = "http_requests"\nkind = "http_requests"\ntraces = true\n',
            {"EdgeResponseStatus": 503},
            {"RequestHeaders": {"traceparent": f"00-{TRACE.upper()}-{SPAN}-00"}},
        ),
        ("http_requests", "", {"EdgeResponseStatus": 503}, None),
    ],
    ids=["log", "worker", "request", "not asked for"],
)
def test_an_alert_names_and_links_the_trace_that_its_records_are_of(tmp_path, dataset, extra, bad, where):
    time = {"app_logs": "timestamp", "http_requests": "EdgeEndTimestamp"}.get(dataset, "EventTimestampMs")
    usual = {"service": "api", "ScriptName": "api", "ClientRequestHost": "a", "Outcome": "ok", "EdgeResponseStatus": 200}
    records = [{time: (START + n // 4) * 1000, **usual} for n in range(2400)]
    for n in (200, 1400):
        for each in records[n : n + 300]:
            each.update(bad | (where or {"RequestHeaders": {"traceparent": f"00-{TRACE}-{SPAN}-00"}}))
    replayed(tmp_path, dataset, records, extra + OBSERVE)
    said = [json.loads(row) for row in (tmp_path / "out" / "notifications.ndjson").read_text().splitlines()]
    shown = [each for row in said if row["status"] == "firing" for each in row["evidence"]["exemplars"]]
    link = f"https://traces.example.com/t/{TRACE}?from=alert"
    assert shown
    assert {(each.get("trace_id"), each.get("trace")) for each in shown} == {(TRACE, link) if where else (None, None)}
    assert any(line.endswith(f"trace {link}") for row in said for line in evidence_lines(row["evidence"])) == bool(where)


def test_failing_health_checks_warn_and_then_page(tmp_path):
    records = []
    for minute in range(15):
        bad = minute == 2 or minute >= 10
        body = {"overall": "unhealthy" if bad else "healthy", "checks": {"database": {"status": "healthy", "latencyMs": 700}}}
        records.append({"timestamp": START + 60 * minute + 1} | body)
    values, said = replayed(tmp_path, "health", records)
    assert values["health_failures", "", "ratio"] == 0.2
    assert values["database_check_latency", "", "mean"] == 700
    assert {("unhealthy", "", "warning", "firing"), ("unhealthy", "", "critical", "firing")} <= said
    assert ("slow_database_check", "", "warning", "firing") in said


def test_a_probe_that_is_down_pages_one_that_fails_warns_and_a_certificate_that_ends_is_said(tmp_path):
    records = []
    for minute in range(15):
        for name, bad in (("api", minute >= 10), ("login", minute % 5 == 2)):
            seen = {
                "http_status": 500 if bad else 200,
                "ok": not bad,
                "down": bad and name == "api",
                "certificate_days_left": 9.5,
            }
            records.append({"timestamp": START + 60 * minute + 1, "probe": name, "location": "fra"} | seen)
    values, said = replayed(tmp_path, "health", records)
    assert (values["probe_failures", "fra/api", "ratio"], values["probe_failures", "fra/login", "ratio"]) == (0, 0.2)
    assert said == {
        ("probe_down", "fra/api", "critical", "firing"),
        ("probe_failing", "fra/login", "warning", "firing"),
        ("certificate_expiring", "api", "warning", "firing"),
        ("certificate_expiring", "login", "warning", "firing"),
    }


def test_a_pool_that_makes_requests_wait_and_a_cold_cache_are_said(tmp_path):
    records = []
    for minute in range(15):
        cache = {"hits": 10, "misses": 30, "hitRate": 0.25, "size": 9, "evictions": 4}
        database = {"activeConnections": 20, "idleConnections": 0, "waitingRequests": 12, "latency": 8}
        records.append({"timestamp": START + 60 * minute + 1, "cache": cache, "database": database})
    values, said = replayed(tmp_path, "runtime_stats", records)
    assert values["pool_waiting", "", "mean"] == 12
    assert values["runtime_cache_evictions", "", "last"] == 4
    assert said == {
        ("pool_exhausted", "", "critical", "firing"),
        ("low_runtime_cache_hit_ratio", "", "critical", "firing"),
    }


def test_business_events_are_counted_and_added_up_by_portal(tmp_path):
    records = [
        {"timestamp": START + n, "blobs": [event, f"u{n}", portal], "doubles": [amount, 1], "indexes": ["", "production"]}
        for n, (event, portal, amount) in enumerate(
            [("pitch_created", "creator", 0), ("investment_made", "investor", 500.5), ("investment_made", "investor", 1000)]
        )
    ]
    values, said = replayed(tmp_path, "business", records)
    assert values["business_events", "investment_made/investor", "count"] == 2
    assert values["business_amount", "investment_made/investor", "sum"] == 1500.5
    assert values["business_events", "pitch_created/creator", "count"] == 1
    assert said == set()


def test_counts_and_sums_of_a_sampled_topic_are_those_of_all_records_and_nothing_else_changes(tmp_path):
    points = [("investment_made", "investor", 500.5), ("investment_made", "investor", 1000), ("pitch_created", "creator", 0)]
    records = [
        {"timestamp": START + n, "blobs": [event, f"u{n}", portal], "doubles": [amount, 1], "indexes": ["", "production"]}
        for n, (event, portal, amount) in enumerate(points)
    ]
    extra = """
    [[metric]]
    name = "events"
    kind = "count"
    dataset = "business"
    [[metric]]
    name = "amount"
    kind = "sum"
    dataset = "business"
    value = "amount"
    [[metric]]
    name = "invested"
    kind = "ratio"
    dataset = "business"
    good = 'event == "investment_made"'
    """
    sampled = '{ dataset = "business", sample_rate = 0.25 }'
    values, _ = replayed(tmp_path, "business", records, extra, topic=sampled)
    assert {(metric, name): value for (metric, _, name), value in values.items()} == {
        ("events", "count"): 12,
        ("events", "rate"): 12 / 300,
        ("amount", "sum"): 6002,
        ("invested", "total"): 3,
        ("invested", "good"): 2,
        ("invested", "ratio"): 2 / 3,
    }


def test_points_that_stand_for_several_are_counted_added_up_and_ranked_as_so_many(tmp_path):
    points = [("a", 10, 4), ("a", 30, 1), ("b", 20, None), ("b", 40, 100), ("a", 50, 0), ("a", 60, 2.5), ("a", 70, "x")]
    records = [
        {"timestamp": START + n, "blobs": [name], "doubles": [ms], **({} if weight is None else {"_sample_interval": weight})}
        for n, (name, ms, weight) in enumerate(points)
    ]
    extra = """
    [[dataset]]
    name = "points"
    kind = "data_points"
    blobs = ["name"]
    doubles = ["ms"]
    """
    for name, kind, asked in (
        ("points", "count", ""),
        ("fast", "ratio", 'good = "ms < 35"'),
        ("sum", "sum", 'value = "ms"'),
        ("ms", "distribution", 'value = "ms"'),
        ("last", "gauge", 'value = "ms"'),
    ):
        extra += f'[[metric]]\nname = "{name}"\nkind = "{kind}"\ndataset = "points"\n{asked}\ngroup_by = ["name"]\n'
    values, _ = replayed(tmp_path, "points", records, extra)
    # A weight that is no whole number from 1 on counts once.
    assert (values["points", "a", "count"], values["points", "b", "count"], values["points", "", "count"]) == (8, 101, 109)
    assert (values["fast", "", "good"], values["fast", "", "ratio"]) == (6, 6 / 109)
    assert values["sum", "b", "sum"] == 4020
    assert (values["ms", "b", "mean"], values["ms", "a", "p50"], values["ms", "b", "p50"]) == (4020 / 101, 10, 40)
    assert values["last", "b", "mean"] == 30
    rows = [json.loads(row) for row in (tmp_path / "out" / "windows.ndjson").read_text().splitlines()]
    assert {(row["method"], row["count"]) for row in rows if row["metric"] == "points"} == {
        ("weighted", 5), ("weighted", 2), ("weighted", 7)
    }  # fmt: skip
    assert {row["method"] for row in rows if row["metric"] == "last"} == {"exact"}


def test_a_repeated_upload_counts_once_where_repeats_are_dropped(tmp_path):
    records = [
        {"EdgeEndTimestamp": START + n, "RayID": f"{n:x}", "EdgeResponseStatus": 200, "ClientRequestSource": "eyeball"}
        for n in range(200)
    ]
    extra = """
    [[dataset]]
    name = "http_requests"
    kind = "http_requests"
    dedup = ["RayID"]
    """
    values, _ = replayed(tmp_path, "http_requests", records + records[50:150], extra)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (values["requests", "", "count"], summary["records"], summary["repeats"], summary["late"]) == (200, 300, 100, 0)


def test_a_labelled_series_in_csv_is_replayed_by_a_rule_of_ones_own(tmp_path):
    folder = tmp_path / "logs" / "series" / "0"
    folder.mkdir(parents=True)
    rows = [f"2025-12-01 00:{minute:02}:00,{900 if minute >= 30 else 10}" for minute in range(60)]
    (folder / "series.csv").write_text("timestamp,value\n" + "\n".join(rows))
    config, out = tmp_path / "monitor.toml", tmp_path / "out"
    config.write_text(
        CONFIG.format(topic='"series"')
        + """
        [[dataset]]
        name = "series"
        kind = "json"
        csv = ["timestamp", "value"]
        event_time = ["timestamp"]
        numbers = { value = "value" }
        [[metric]]
        name = "level"
        kind = "gauge"
        dataset = "series"
        value = "value"
        [[rule]]
        name = "high"
        metric = "level"
        statistic = "mean"
        above = { critical = 100 }
        """
    )
    runs.checked("replay", "-c", config, "--source", f"archive:{tmp_path / 'logs'}", "--out", out)
    summary = json.loads((out / "summary.json").read_text())
    said = [json.loads(row)["at"] for row in (out / "notifications.ndjson").read_text().splitlines()]
    assert (summary["records"], summary["dead_letters"], said[:1]) == (61, 1, ["2025-12-01T00:35:00Z"])


def test_more_reported_errors_than_before_are_said_and_usual_ones_are_not(tmp_path):
    usual = [30 + n % 4 for n in range(26)]
    records = [
        {"timestamp": (START + window * 300 + n) * 1000, "blobs": ["TypeError", "x", "/a", "GET"], "doubles": [1]}
        for window, count in enumerate([*usual, 90, 31])
        for n in range(count)
    ]
    values, told = replayed(tmp_path, "errors", records)
    assert values["reported_errors", "TypeError", "count"] == 30
    assert {each for each in told if each[3] == "firing"} == {("more_reported_errors", "", "critical", "firing")}


def test_workers_that_throw_more_or_take_longer_than_before_are_said(tmp_path):
    records = []
    for window in range(30):
        bad, slow = (110, 3) if window > 26 else (22 + window % 3, 1)
        records += [
            {
                "EventTimestampMs": (START + window * 300 + n) * 1000,
                "Outcome": "exception" if n < bad else "ok",
                "ScriptName": "api",
                "CPUTimeMs": 4 * slow,
                "WallTimeMs": 50 * slow,
                "Exceptions": [{"Name": "TypeError", "Message": "x is undefined"}] if n < bad else [],
            }
            for n in range(120)
        ]
    _, said = replayed(tmp_path, "workers_trace_events", records)
    assert said == {
        ("high_worker_failure_rate", "api", "critical", "firing"),
        ("more_worker_exceptions", "", "critical", "firing"),
        ("more_worker_cpu_time", "api", "warning", "firing"),
        ("slower_workers", "api", "warning", "firing"),
    }


def test_a_pool_that_measures_a_slow_database_warns(tmp_path):
    records = [{"timestamp": START + 60 * n, "poolStats": {"active": 3, "waiting": 0}, "latencyMs": 150} for n in range(15)]
    assert replayed(tmp_path, "runtime_stats", records)[1] == {("slow_pool", "", "warning", "firing")}


def test_business_events_that_become_fewer_go_silent_or_grow_beyond_measure_are_said_of_their_portal(tmp_path):
    records = []
    for window in range(320):
        few = window in (30, 31)
        events = [("nda_signed", "investor", 1)] * (8 if few else 40 + window % 5)
        events += [("pitch_created", "creator", 1)] * (window < 20)
        events += [("investment_made", "investor", 1_000_000 if window == 50 else 500 + window % 7)] * 2
        for n, (event, portal, amount) in enumerate(events):
            point = {"timestamp": START + window * 300 + n, "blobs": [event, "u", portal], "doubles": [amount, 1]}
            records.append(point)
    _, said = replayed(tmp_path, "business", records)
    assert {each for each in said if each[3] == "firing"} == {
        ("fewer_business_events", "nda_signed/investor", "warning", "firing"),
        ("silent_portal", "pitch_created/creator", "warning", "firing"),
        ("more_business_amount", "investment_made/investor", "warning", "firing"),
    }
