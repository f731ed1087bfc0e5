"""The static status page: days and uptime from what alerts did, and the files from a real ClickHouse."""

import datetime
import itertools
import json
import time
from zoneinfo import ZoneInfo

import numpy as np
import orjson
import pytest

from flows.config import loads
from flows.report_alerts import Stay
from flows.status_days import Calendar, component, coverage, uptime
from flows.status_options import StatusPageOptions
from flows.status_page import Status, as_json, day_edges, page_of, status_of
from sinks.clickhouse import ClickHouse, ClickHouseOptions
from sinks.embedded import Embedded
from sinks.page import DayBars
from tests import runs

HOUR, DAY = 3_600_000, 86_400_000
DAYS = Calendar([0, DAY, 2 * DAY, 3 * DAY], [DAY, DAY // 2, 0])


def stay(start, end, *, rule="failing", key="{}", severity="critical", state="firing"):
    return Stay(rule, key, state, "e:1", severity, start, end)


def seen(*stays, keys=0, calendar=DAYS, **options):
    found = component("api", stays, StatusPageOptions(**options), lambda rule, at: keys, calendar)
    return found, [(day.status, {name: ms // HOUR for name, ms in day.lasted.items()}) for day in found.days]


def test_a_day_shows_the_worst_of_it_and_one_without_data_says_so():
    found, days = seen(stay(2 * HOUR, 3 * HOUR), stay(23 * HOUR, 26 * HOUR, state="recovering"), stay(0, HOUR, state="pending"))
    assert days == [("major_outage", {"major_outage": 2}), ("major_outage", {"major_outage": 2}), ("no_data", {})]
    assert (found.status, found.uptime) == ("operational", 1 - 4 / 36)
    assert [(each.start // HOUR, each.end // HOUR) for each in found.outages] == [(23, 26), (2, 3)]


def test_a_warning_shows_only_where_the_platform_calls_itself_degraded_and_costs_no_uptime():
    quiet, _ = seen(stay(0, HOUR, severity="warning"))
    assert [day.status for day in quiet.days] == ["operational", "operational", "no_data"]
    found, days = seen(stay(0, HOUR, rule="degraded_database", severity="warning"))
    assert (days[0], found.uptime) == (("degraded_performance", {"degraded_performance": 1}), 1)


def test_part_of_the_keys_is_a_partial_outage_by_its_weight_until_half_of_them_are_out():
    found, days = seen(stay(0, 4 * HOUR, key='{"h":"a"}'), stay(HOUR, 2 * HOUR, key='{"h":"b"}'), keys=4)
    assert days[0] == ("major_outage", {"partial_outage": 3, "major_outage": 1})
    assert found.uptime == pytest.approx(1 - (3 * 0.3 + 1) / 36)
    assert [each.status for each in found.outages] == ["major_outage"]
    assert seen(stay(0, HOUR), keys=9)[1][0] == ("major_outage", {"major_outage": 1})


def test_an_alert_that_fires_until_now_is_the_present_status_and_counts_through_silence():
    found, days = seen(stay(2 * DAY + HOUR, 3 * DAY), statuses={"failing": "partial_outage"})
    assert (found.status, days[2]) == ("partial_outage", ("partial_outage", {"partial_outage": 23}))
    assert uptime(found.days[2:]) == pytest.approx(0.7)


def test_coverage_counts_the_windows_of_a_day_and_days_are_those_of_the_zone():
    starts = np.arange(0, DAY + HOUR, 300_000)
    assert coverage(starts, 300_000, [0, DAY, 2 * DAY]) == [DAY, HOUR]
    now = int(datetime.datetime(2026, 3, 30, 12, tzinfo=datetime.UTC).timestamp() * 1000)
    edges = day_edges(now, 3, ZoneInfo("Europe/Berlin"))
    assert [(b - a) // HOUR for a, b in itertools.pairwise(edges)] == [24, 23, 14]


def status(*components, stale=False):
    return Status(title="Status", made=3 * DAY, heard=3 * DAY, stale=stale, zone="UTC", components=components)


def test_a_page_names_components_and_times_and_nothing_of_the_alerts():
    found, _ = seen(stay(0, HOUR, rule="secret_rule", key='{"host":"secret.internal"}'))
    text = as_json(status(found)).decode() + repr(page_of(status(found)))
    assert [each for each in ("secret", "e:1") if each in text] == []
    bars = [block for section in page_of(status(found)).sections for block in section.blocks if isinstance(block, DayBars)]
    assert [day.text for day in bars[0].days] == [
        "1970-01-01: major outage 1 h",
        "1970-01-02: operational",
        "1970-01-03: no data",
    ]
    assert bars[0].note == "97.22 % up"


def test_what_hears_nothing_does_not_say_that_all_is_well():
    found, _ = seen()
    assert json.loads(as_json(status(found)))["status"] == "operational"
    assert json.loads(as_json(status(found, stale=True)))["status"] == "no_data"
    assert "Nothing is heard at present" in repr(page_of(status(found, stale=True)))


CONFIG = """
environment = "production"
[input.kafka]
brokers = ["127.0.0.1:9"]
topics = {{ r = "http_requests", h = "health" }}
[clickhouse]
url = "{url}"
[status_page]
title = "Pitches"
"""


def rows(now_s):
    """Give windows of 80 days without one day, and transitions of two alerts: one fires now, on one of four hosts."""
    start = now_s - 80 * 86_400
    metric = {"metric": "requests", "key": {}, "statistic": "count", "value": 1, "count": 1, "method": "exact", "labels": {}}
    heard = [at for at in range(start, now_s - 600, 300) if (at - start) // 86_400 != 40]
    hosts = [{"ClientRequestHost": f"h{n}"} for n in range(4)]
    moves = [
        ("unhealthy_database", {}, "inactive", "firing", now_s - 5 * 86_400),
        ("unhealthy_database", {}, "firing", "inactive", now_s - 5 * 86_400 + 7200),
        ("high_error_rate", hosts[0], "inactive", "firing", now_s - 1800),
    ]
    names, rest = ("rule", "key", "from", "to", "at"), {"fingerprint": "f", "reason": "", "severity": "critical"}
    judged = {"rule": "high_error_rate", "metric": "m", "statistic": "ratio", "count": 1, "level": "ok"}
    return {
        "window_metrics": [{"window_start": at, "window_end": at + 300} | metric for at in heard],
        "transitions": [dict(zip(names, each, strict=True)) | rest | {"episode": f"{each[0]}:1"} for each in moves],
        "evaluations": [judged | {"key": key, "window_end": now_s - 900} for key in hosts],
    }


@pytest.mark.slow
def test_the_files_say_what_the_tables_hold(tmp_path):
    pytest.importorskip("chdb", reason="missing service: chdb (pip install 'edgewatch[embedded]')")
    now_s = int(time.time()) // 300 * 300
    with Embedded(tmp_path / "clickhouse") as server:
        client = ClickHouse(ClickHouseOptions(url=server.url))
        client.migrate()
        for table, lines in rows(now_s).items():
            client.insert(table, b"\n".join(orjson.dumps(line) for line in lines))
        config = tmp_path / "monitor.toml"
        config.write_text(CONFIG.format(url=server.url))
        found = status_of(loads(config.read_text(), config), client, now_ms=now_s * 1000, days=90, zone=ZoneInfo("UTC"))
        client.close()
        said = json.loads(runs.checked("status-page", "-c", config, "--out", tmp_path / "public", "--json").stdout)
    by_name = {each.name: each for each in found.components}
    assert {name: each.status for name, each in by_name.items()} == {
        **dict.fromkeys(("database", "cache", "websocket"), "operational"),
        "api": "partial_outage",  # one of the four hosts that its rule judges
    }
    assert sum(day.lasted.get("major_outage", 0) for day in by_name["database"].days) == 2 * HOUR
    assert [day.status for day in by_name["cache"].days][:9] == ["no_data"] * 9
    assert by_name["cache"].uptime == 1
    assert not found.stale
    assert json.loads((tmp_path / "public" / "status.json").read_text())["status"] == "partial_outage" == said["status"]
    assert (tmp_path / "public" / "index.html").read_text().startswith("<!doctype html>")
    assert sorted(each.name for each in (tmp_path / "public").iterdir()) == ["index.html", "status.json"]
