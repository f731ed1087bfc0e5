"""What is given for Grafana and Prometheus: every query runs on the tables, every metric named is one that a run gives."""

import itertools
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.config import built_in_text
from flows.exposition import exposed
from flows.self_report import DatasetReport, DestinationReport, PartitionReport, SelfReport
from sinks.clickhouse import ClickHouse, ClickHouseOptions

DEPLOY = Path(__file__).parents[1] / "deploy"
BOARDS = [json.loads(path.read_text()) for path in sorted((DEPLOY / "grafana" / "dashboards").iterdir())]
PANELS = [panel for board in BOARDS for panel in board["panels"]]
SOURCE = yaml.safe_load((DEPLOY / "grafana" / "provisioning" / "datasources" / "clickhouse.yml").read_text())["datasources"][0]
RULES = yaml.safe_load((DEPLOY / "prometheus" / "edgewatch-alerts.yml").read_text())["groups"][0]["rules"]
TIMES = {"window_start": "2025-12-01T08:00:00Z", "window_end": "2025-12-01T08:05:00Z"}
AT = {"at": "2025-12-01T08:05:00Z"}
VALUES = {
    ("requests", "count"): 300,
    ("error_rate", "bad"): 3,
    ("error_rate", "total"): 300,
    ("cache_hit_rate", "good"): 90,
    ("cache_hit_rate", "total"): 100,
    ("db_latency", "mean"): 25,
    ("unique_users", "distinct"): 40,
    ("health_failures", "bad"): 1,
    ("health_failures", "total"): 10,
    ("health_degradations", "bad"): 2,
    ("health_degradations", "total"): 10,
    ("business_events", "count"): 12,
    ("business_amount", "sum"): 4500,
    ("reported_errors", "count"): 99,
    ("worker_failure_rate", "bad"): 6,
    ("worker_failure_rate", "total"): 300,
    ("worker_exceptions", "count"): 6,
    ("log_error_rate", "bad"): 9,
    ("log_error_rate", "total"): 90,
    ("critical_logs", "count"): 2,
    ("runtime_cache_hit_ratio", "mean"): 0.8,
    ("runtime_cache_size", "max"): 512,
    ("runtime_cache_evictions", "max"): 4,
    ("pool_active", "mean"): 7,
    ("pool_idle", "mean"): 3,
    ("pool_waiting", "mean"): 0.5,
}
OF_KEYS = {  # rows of groups, beside the totals above
    ("business_events", "count"): ({"event": "nda_signed", "portal": "investor"}, 11),
    ("business_amount", "sum"): ({"event": "investment_made", "portal": "investor"}, 1500.5),
    ("reported_errors", "count"): ({"name": "TypeError"}, 8),
    ("probe_failures", "bad"): ({"probe": "api", "location": "fra"}, 2),
    ("probe_failures", "total"): ({"probe": "api", "location": "fra"}, 5),
    ("certificate_days_left", "min"): ({"probe": "api"}, 9.5),
    ("worker_exceptions", "count"): (
        {"ScriptName": "shop", "ExceptionName": "TypeError", "ExceptionFingerprint": "x is undefined"},
        4,
    ),
    ("logged_errors", "count"): ({"service": "billing", "fingerprint": "no key :n"}, 3),
}
TIMED = ("response_time", "worker_cpu_time", "worker_wall_time", "probe_latency", "database_check_latency", "pool_latency")
BUCKET = {"p50": 65.25, "p99": 65.25}
SHOWN: dict[str, dict[str, Any]] = {
    "Requests": {"requests": 300},
    "Error rate": {"error_rate": 0.01},
    "Response time": BUCKET,
    "Cache hit rate": {"hit_rate": 0.9},
    "Database time": {"mean": 25},
    "Unique users, the most in one window": {"users": 40},
    "Alerts that moved": {"fired": 1, "resolved": 0},
    "Late records and dead letters, since the first record": {"late": 7, "dead_letters": 3},
    "Watermark past the window's end": {"slowest": 130},
    "Health checks": {"failed": 0.1, "degraded": 0.2},
    "Business events": {"events": 12, "amount": 4500},
    "Delay of rows after the end of their window": {"delay": 95},
    "What was said": {"status": "firing", "severity": "critical", "title": "Bad", "reason": "first", "sent_to": "slack, pager"},
    "Worker failures": {"failures": 0.02},
    "Worker exceptions": {"exceptions": 6},
    "Worker CPU time": BUCKET,
    "Worker wall time": BUCKET,
    "Errors in the logs": {"errors": 0.1},
    "Critical log lines": {"lines": 2},
    "Failing health checks": {"failures": 0.1},
    "Probe latency": BUCKET,
    "Database latency, as health checks see it": BUCKET,
    "Runtime cache: hits": {"hit_ratio": 0.8},
    "Runtime cache: entries and evictions, the most in one window": {"size": 512, "evictions": 4},
    "Connection pool": {"active": 7, "idle": 3, "waiting": 0.5},
    "Connection pool: latency": BUCKET,
    "Business events by portal": {"series": "nda_signed investor", "events": 11},
    "Business amounts by portal": {"series": "investment_made investor", "amount": 1500.5},
    "Reported errors": {"series": "TypeError", "errors": 8},
    "Probe failures by location": {"series": "api fra", "failures": 0.4},
    "Certificates: days left": {"series": "api", "days_left": 9.5},
    "Worker exceptions by name": {"series": "shop TypeError", "exceptions": 4},
    "Logged errors by service": {"series": "billing", "errors": 3},
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    from sinks.embedded import Embedded

    with Embedded(tmp_path_factory.mktemp("grafana")) as server:
        client = ClickHouse(ClickHouseOptions(url=server.url))
        client.migrate()
        for (metric, statistic), value in VALUES.items():
            row = {"metric": metric, "statistic": statistic, "value": value, "key": {}, "count": 300, "method": "exact"}
            client.insert("window_metrics", json.dumps(row | TIMES).encode())
        for (metric, statistic), (key, value) in OF_KEYS.items():
            row = {"metric": metric, "statistic": statistic, "value": value, "key": key, "count": 9, "method": "exact"}
            client.insert("window_metrics", json.dumps(row | TIMES).encode())
        for metric in TIMED:
            histogram = {"metric": metric, "key": {}, "buckets": [131_715], "counts": [9]}
            client.insert("window_histograms", json.dumps(histogram | TIMES).encode())
        moved = {
            "rule": "r",
            "key": {},
            "fingerprint": "f",
            "episode": "e",
            "from": "pending",
            "to": "firing",
            "reason": "firing",
        }
        client.insert("transitions", json.dumps(moved | AT).encode())
        # Counters since the first record, of two partitions, at two windows of one step: the last of each counts.
        for event, partition, value in (
            ("late", "0", 7),
            ("dead_letters", "0", 2),
            ("dead_letters", "1", 1),
            ("watermark", "0", 130),
        ):
            row = {"event": event, "value": value, "dataset": "d", "partition": partition}
            client.insert("pipeline_events", json.dumps(row | AT).encode())
            if event == "late":
                client.insert("pipeline_events", json.dumps(row | {"at": "2025-12-01T08:06:00Z"}).encode())
        read = {"event": "records", "value": 300, "dataset": "d", "partition": "0", "inserted_at": "2025-12-01T08:06:35Z"}
        client.insert("pipeline_events", json.dumps(read | AT).encode())
        told = {
            "id": "1",
            "rule": "r",
            "key": {},
            "status": "firing",
            "severity": "critical",
            "reason": "first",
            "title": "Bad",
        }
        client.insert("notifications", json.dumps(told | AT | {"channels": ["slack", "pager"]}).encode())
        yield client
        client.close()


def expanded(sql):
    """Put in what the plugin's macros stand for."""
    first, last = ("toDateTime('2025-12-01 00:00:00', 'UTC')", "toDateTime('2025-12-02 00:00:00', 'UTC')")
    sql = re.sub(r"\$__timeFilter\((\w+)\)", rf"\1 >= {first} AND \1 <= {last}", sql)
    return sql.replace("$__interval_s", "60")


@pytest.mark.slow
@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_every_query_of_grafana_gives_what_the_tables_hold(tables, panel):
    (target,) = panel["targets"]
    sql = expanded(target["rawSql"])
    assert "$" not in sql
    (row,) = tables.query(sql)
    assert row.pop("time").startswith("2025-12-01 08:0")
    wanted = SHOWN[panel["title"]]
    assert row.keys() == wanted.keys()
    for name, value in wanted.items():
        assert row[name] == value if isinstance(value, str) else float(row[name]) == pytest.approx(value, rel=0.005), name


def test_every_metric_of_grafana_is_one_of_the_built_in_pack():
    built_in = {metric["name"] for metric in tomllib.loads(built_in_text())["metric"]}
    asked = {
        name
        for panel in PANELS
        for listed in re.findall(r"metric (?:=|IN) \(?((?:'\w+'(?:, )?)+)", panel["targets"][0]["rawSql"])
        for name in re.findall(r"\w+", listed)
    }
    assert len(asked) > len(PANELS) / 2
    assert asked <= built_in


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board["uid"])
def test_panels_have_places_of_their_own_and_ask_the_source_that_is_provisioned(board):
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        asked = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert asked == [{"type": SOURCE["type"], "uid": SOURCE["uid"]}] * 2
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    for one, other in itertools.combinations([panel["gridPos"] for panel in panels], 2):
        apart = (one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]) or (
            one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)
    assert SOURCE["secureJsonData"]["password"] == "${CLICKHOUSE_PASSWORD}"


def test_every_metric_and_label_of_the_prometheus_rules_is_one_that_a_run_gives():
    part = PartitionReport(topic="t", partition="0", dataset="d", position=1, end=2, watermark=3, records=4, late=5, dead=6)
    where = DestinationReport(
        destination="s", queued=1, oldest_s=1.0, attempts=1, delivered=1, dead=1, down_s=1.0, last_error=""
    )
    report = SelfReport(
        at=9, version="v", environment="e", uptime_s=1.0, idle_s=1.0, snapshot_s=1.0, blind=("b",), partitions=(part,),
        datasets=(DatasetReport(dataset="d", closed=1, firing={"critical": 1}),), alerts=(), destinations=(where,),
    )  # fmt: skip
    text = exposed(report).decode()
    for rule in RULES:
        assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("warning", "critical")
        names = set(re.findall(r"edgewatch_\w+", rule["expr"]))
        assert names, rule["alert"]
        for name in names:
            assert re.search(rf"^{name}[{{ ]", text, re.MULTILINE), name
        for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]):
            assert all(re.search(rf"^{name}{{[^}}]*{label}=", text, re.MULTILINE) for name in names), label
