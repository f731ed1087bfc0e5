"""The dashboard's answers against the raw records, its door against those who should not come in, and its writes."""

import gzip
import json
import re
import signal

import httpx
import numpy as np
import orjson
import pytest

from flows.controls import Controls
from flows.dashboard_options import DashboardOptions
from flows.dashboard_overview import overview
from flows.dashboard_queries import Remembered
from flows.dashboard_spread import edges_of
from flows.report_source import Range
from flows.run_folder import RunFolder
from sinks.clickhouse import ClickHouse, ClickHouseOptions
from tests.runs import edgewatch, start, wait_until
from tests.watched import END, HOUR, MINUTE, START, Watched, served, watched

pytestmark = pytest.mark.slow

API = '{"ClientRequestHost":"api.example.com"}'
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TOKEN = "0123456789abcdef0123"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with watched(tmp_path_factory.mktemp("dashboard")) as found:
        yield found


@pytest.fixture(scope="module")
def http(place):
    with served(place) as address, httpx.Client(base_url=address, trust_env=False, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def users(place):
    """Give the raw requests of users."""
    paths = sorted((place.folder / "logs" / "http_requests").rglob("*.gz"))
    records = [orjson.loads(line) for path in paths for line in gzip.decompress(path.read_bytes()).splitlines()]
    return [each for each in records if each["ClientRequestSource"] == "eyeball"]


def asked(http, path, **words):
    answer = http.get(f"/api/{path}", params=words)
    assert answer.status_code == 200, answer.text
    return answer.json()


def times(users):
    return np.array([each["EdgeTimeToFirstByteMs"] for each in users], float)


def in_hour(users, hour):
    first = (START + hour * HOUR) * 1_000_000
    return [each for each in users if first <= each["EdgeEndTimestamp"] < first + HOUR * 1_000_000]


def test_percentiles_of_hours_come_from_histograms_and_agree_with_the_records(http, users):
    found = asked(http, "series", metric="response_time", statistic="p50,p99", step="1h", **{"from": START, "to": END})
    by_name = {line["name"]: line["y"] for line in found["chart"]["lines"]}
    for name, q in (("p50", 50), ("p99", 99)):
        want = [np.percentile(times(in_hour(users, hour)), q, method="inverted_cdf") for hour in (0, 1)]
        assert by_name[name] == pytest.approx(want, rel=0.01)
    assert "merged histograms" in found["how"]


@pytest.mark.parametrize("key", ["", API])
def test_a_ratio_of_hours_is_that_of_their_sums_for_the_total_and_a_key(http, users, key):
    own = [each for each in users if not key or each["ClientRequestHost"] == "api.example.com"]
    found = asked(http, "series", metric="error_rate", statistic="ratio", key=key, step="1h", **{"from": START, "to": END})
    want = [100 * np.mean([each["EdgeResponseStatus"] >= 400 for each in in_hour(own, hour)]) for hour in (0, 1)]
    assert found["chart"]["lines"][0]["y"] == pytest.approx(want, rel=1e-4)
    assert found["chart"]["unit"] == "%"


def test_the_sql_behind_a_chart_gives_what_the_chart_shows(http, place):
    found = asked(http, "series", metric="response_time", statistic="mean", step="30m", **{"from": START, "to": END})
    rows = place.client.query(found["sql"])
    assert [row["value"] for row in rows] == pytest.approx(found["chart"]["lines"][0]["y"], rel=1e-5)
    assert len(rows) == 4


def test_csv_has_the_values_as_they_are_stored(http, users):
    words = {"metric": "requests", "statistic": "count", "step": "1h", "from": START, "to": END}
    answer = http.get("/api/series.csv", params=words)
    lines = answer.text.splitlines()
    assert (lines[0], answer.headers["content-type"]) == ("time,count", "text/csv; charset=utf-8")
    assert lines[1:] == [f"2025-12-01T{8 + hour:02d}:00:00Z,{float(len(in_hour(users, hour)))}" for hour in (0, 1)]


def test_a_comparison_lies_over_the_range_that_it_is_compared_with(http):
    words = {"metric": "requests", "statistic": "count", "from": START + HOUR, "to": END, "compare": "1h"}
    now, before = asked(http, "series", **words)["chart"]["lines"]
    alone = asked(http, "series", metric="requests", statistic="count", **{"from": START, "to": START + HOUR})
    assert (before["name"], before["y"]) == ("count, 1h before", alone["chart"]["lines"][0]["y"])
    assert now["y"] != before["y"]


def test_the_heat_map_holds_every_record_in_a_band_of_its_value(http, users):
    found = asked(http, "heatmap", metric="response_time", **{"from": START, "to": END})
    assert sum(count for _, _, count in found["cells"]) == len(users)
    for band, (low, high) in found["bands"].items():
        held = sum(count for _, number, count in found["cells"] if number == int(band))
        assert (
            held == np.sum((times(users) >= low) & (times(users) < high))
            if int(band) >= 0
            else held == np.sum(times(users) <= 0)
        )


def test_a_band_is_a_fourth_of_a_doubling():
    low, high = edges_of(32 * 128 // 32 * 4)
    assert high / low == pytest.approx(1.25, rel=0.01)
    assert edges_of(-1) == (0.0, 0.0)


def test_the_overview_counts_what_the_records_are(http, users):
    found = asked(http, "overview", **{"from": START, "to": END})
    tiles = {tile["name"]: tile for group in found["groups"] for tile in group["tiles"]}
    errors = sum(each["EdgeResponseStatus"] >= 400 for each in users)
    assert (tiles["Requests"]["value"], tiles["Errors"]["value"]) == (len(users), errors)
    assert tiles["Error rate"]["value"] == pytest.approx(100 * errors / len(users))
    assert tiles["Average response"]["value"] == pytest.approx(times(users).mean())
    assert tiles["p99 response"]["value"] == pytest.approx(np.percentile(times(users), 99, method="inverted_cdf"), rel=0.01)
    assert tiles["Requests"]["before"] is None
    assert [limit["value"] for limit in tiles["Error rate"]["limits"]] == [5.0, 1.0]
    assert len(tiles["Requests"]["course"]) == 24
    assert found["left_out"] == []


def test_the_overview_names_what_has_no_rows(place):
    found = overview(place.config, Remembered(place.client, database="edgewatch"), Range(START, END), frozenset({"requests"}))
    assert [tile["name"] for group in found["groups"] for tile in group["tiles"]] == ["Requests", "Throughput"]
    assert {"tile": "Size", "group": "Cache", "why": "no rows of runtime_cache_size"} in found["left_out"]


def test_the_overview_has_the_cache_and_the_pool_as_the_runtime_reports_them(http):
    found = asked(http, "overview", **{"from": START, "to": END})
    values = {group["name"]: {tile["name"]: tile["value"] for tile in group["tiles"]} for group in found["groups"]}
    hits, misses = values["Cache"]["Hits"], values["Cache"]["Misses"]
    assert values["Cache"]["Hit rate"] == pytest.approx(100 * hits / (hits + misses))
    assert (values["Cache"]["Size"], values["Cache"]["Evictions"]) == (1000 + 10 * 119, 2 * 119)
    assert (values["Database pool"]["Idle"], values["Database pool"]["Waiting"]) == (10, 0)
    assert (values["Database pool"]["Active"], values["Database pool"]["p99 wait"]) == (5 + 119 % 3, pytest.approx(8, rel=0.01))
    assert values["Performance"]["Database time"] > 0 < values["Performance"]["Cache time"]


def test_what_a_range_is_compared_with_is_that_of_the_day_before(place, http):
    rows = place.client.query(
        "SELECT formatDateTime(window_start - 86400, '%Y-%m-%dT%H:%i:%SZ', 'UTC') AS window_start,"
        " formatDateTime(window_end - 86400, '%Y-%m-%dT%H:%i:%SZ', 'UTC') AS window_end,"
        " metric, key, statistic, value * 2 AS value,"
        " count, method FROM window_metrics FINAL WHERE run = '' AND metric = 'requests' AND empty(key)"
    )
    place.client.insert("window_metrics", b"".join(orjson.dumps(row) + b"\n" for row in rows))
    words = {"from": START + HOUR, "to": END}
    found = asked(http, "overview", **words)
    tile = found["groups"][0]["tiles"][0]
    assert (tile["before"], found["compared"]) == (2 * tile["value"], "yesterday")
    half = asked(http, "overview", **{"from": START - HOUR, "to": END})["groups"][0]["tiles"][0]
    assert half["before"] == 2 * half["value"]


def test_alerts_say_what_fired_and_why(http, place):
    place.client.execute(f"ALTER TABLE exemplars UPDATE trace_id = '{TRACE}' WHERE reason = 'error'")
    found = asked(http, "alerts", **{"from": START, "to": END})
    (row,) = [each for each in found["rows"] if each["rule"] == "high_error_rate" and each["key"] == json.loads(API)]
    assert "firing" in {state for _, _, state, _ in row["states"]}
    told = next(each for each in reversed(found["said"]) if each["rule"] == "high_error_rate")
    why = asked(http, "alert", rule="high_error_rate", key=API, at=told["at"])
    assert why["verdict"].startswith("Said at")
    assert (why["record"]["level"], why["end"]) == (told["severity"], told["at"])
    rays = {each["ray_id"] for each in why["exemplars"]}
    assert {line.rpartition("ray ")[2] for line in why["evidence"]["lines"] if "ray" in line} == rays
    assert {each["reason"] for each in why["exemplars"]} == {"error"}
    assert {each["trace"] for each in why["exemplars"]} == {f"https://traces.example.com/{TRACE}"}
    records = asked(http, "records", rule="high_error_rate", key=API, **{"from": told["at"] - HOUR, "to": told["at"]})
    assert records["records"][-1]["level"] == told["severity"]
    lines = http.get("/api/alerts.csv", params={"from": START, "to": END}).text.splitlines()
    assert lines[0] == "rule,key,from,to,state,severity"
    assert len(lines) - 1 == sum(len(each["states"]) for each in found["rows"])
    assert {each["rule"] for each in place.client.query(found["sql"])} >= {"high_error_rate"}
    nothing = asked(http, "alert", rule="high_error_rate", key='{"ClientRequestHost":"nowhere"}', at=told["at"])
    assert "has no record of this key" in nothing["problem"]


def test_objectives_pipeline_and_runs_answer(http, users):
    (slo,) = asked(http, "slos")["slos"]
    errors = sum(each["EdgeResponseStatus"] >= 400 for each in users)
    assert slo["period"]["bad"] == errors
    left = [each for each in slo["left"]["values"] if each is not None]
    lines = http.get("/api/slos.csv", params={"slo": "availability"}).text.splitlines()
    assert (lines[0], len(lines) - 1) == ("time,budget_left_percent", len(slo["left"]["values"]))
    assert float(lines[-1].rpartition(",")[2]) == pytest.approx(left[-1])
    assert http.get("/api/slos.csv", params={"slo": "latency"}).status_code == 400
    assert left[-1] == pytest.approx(100 * (1 - errors / (0.01 * len(users))), rel=1e-4)
    found = asked(http, "pipeline", **{"from": START, "to": END})
    read = sum(value for part in found["partitions"] if part["dataset"] == "http_requests" for _, value in part["records"])
    assert read >= len(users)
    lags = {each["partition"]: (each["lag"], each["lag_at"]) for each in found["now"]["partitions"] if each["lag_at"]}
    assert set(lags.values()) == {(119 % 13, START + 119 * MINUTE)}
    assert {each["lag"] for each in found["now"]["partitions"] if each["dataset"] != "http_requests"} == {None}
    assert asked(http, "runs") == {"runs": []}


def test_business_events_add_up_by_key_and_in_all(http):
    found = asked(http, "business", **{"from": START, "to": END})
    events, amounts = ({json.dumps(row["key"]): row for row in metric["rows"]} for metric in found["metrics"])
    assert (events["{}"]["value"], events["{}"]["before"]) == (120, None)
    assert amounts["{}"]["value"] == sum(1000 + minute for minute in range(2, 120, 3))
    assert amounts['{"event": "nda_signed", "portal": "creator"}']["value"] == 0
    assert sum(row["value"] for key, row in events.items() if key != "{}") == 120
    assert sum(filter(None, events["{}"]["course"])) == 120


def test_health_shows_the_components_of_the_status_page_and_what_checks_found(http):
    found = asked(http, "health", **{"from": START, "to": END})
    (database,) = [each for each in found["components"] if each["name"] == "database"]
    assert database["status"] == "degraded_performance"
    values = {each["metric"]: each["rows"][0]["value"] for each in found["metrics"]}
    assert values["health_degradations"] == pytest.approx(100 * 15 / 120)
    assert values["database_check_latency"] == pytest.approx((15 * 900 + sum(20 + each % 7 for each in range(105))) / 120)
    assert {each["rule"] for each in found["open"]} >= {"degraded", "degraded_database"}


def test_a_budget_counts_the_windows_that_were_over_it(http, users):
    (rule,) = asked(http, "budgets", **{"from": START, "to": END})["rules"]
    found = {row["key"]["ClientRequestPath"]: row for row in rule["rows"]}
    assert (found["/api/search"]["budget"], found["/api/pitches"]["budget"]) == (600, 500)
    own = [each for each in users if each["ClientRequestPath"] == "/api/search"]
    windows = [[each for each in own if (each["EdgeEndTimestamp"] // 300_000_000_000) % 24 == place] for place in range(24)]
    assert found["/api/search"]["windows"] == sum(map(bool, windows))
    assert found["/api/search"]["beyond"] == sum(np.percentile(times(each), 99) > 600 for each in windows if each)


def test_how_reading_goes_is_a_chart_by_partition_and_its_csv(http, users):
    words = {"event": "records", "from": START, "to": END}
    found = asked(http, "flow", **words)
    read = {line["name"]: sum(filter(None, line["y"])) for line in found["chart"]["lines"]}
    assert sum(count for name, count in read.items() if name.startswith("http_requests")) >= len(users)
    assert (read["health/p0"], read["business/p0"]) == (120, 120)
    lines = http.get("/api/flow.csv", params=words).text.splitlines()
    assert len(lines) == 25
    assert lines[0].split(",")[0] == "time"
    lag = asked(http, "flow", event="lag", step="5m", **{"from": START, "to": END})["chart"]["lines"]
    assert {max(filter(None, line["y"])) for line in lag} == {12}
    heat = http.get("/api/heatmap.csv", params={"metric": "response_time", "from": START, "to": END}).text.splitlines()
    assert sum(float(line.rpartition(",")[2]) for line in heat[1:]) == len(users)


@pytest.mark.parametrize(
    ("path", "words", "said"),
    [
        ("series", {"metric": "reqests"}, "did you mean"),
        ("series", {"metric": "requests", "statistic": "p99"}, "statistic: requests has count, rate"),
        ("series", {"metric": "requests", "from": "noon"}, "from: give a time"),
        ("series", {"metric": "requests", "from": END, "to": START}, "from must be before to"),
        ("series", {"metric": "requests", "key": "[1]"}, "key: give an object of strings"),
        ("series", {"metric": "requests", "span": "1 year"}, "span: give a duration"),
        ("series", {"lines": "requests:p50"}, "lines: no metric"),
        ("heatmap", {"metric": "requests"}, "a heat map needs a distribution"),
    ],
)
def test_a_question_that_cannot_be_meant_is_refused_by_name(http, path, words, said):
    answer = http.get(f"/api/{path}", params=words)
    assert (answer.status_code, said in answer.json()["problem"]) == (400, True), answer.text


def test_text_of_a_request_stays_text_in_sql(http):
    key = json.dumps({"ClientRequestHost": "' OR 1 = 1 -- \\"})
    assert asked(http, "series", metric="requests", key=key)["rows"] == 0
    assert asked(http, "records", rule="x' OR '1' = '1")["records"] == []


def test_every_answer_keeps_the_page_to_itself(http):
    for path in ("/", "/alerts", "/app/app.js", "/api/meta", "/livez", "/nowhere"):
        answer = http.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert http.get("/nowhere").status_code == 404
    assert http.get("/app/app.js").headers["content-type"] == "text/javascript; charset=utf-8"


def test_where_nobody_is_asked_only_names_of_this_machine_are_answered(http):
    assert http.get("/api/meta", headers={"Host": "evil.example.com"}).status_code == 403
    assert http.get("/api/meta", headers={"Host": "localhost:8710"}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({}, "load it again"),
        ({"X-Edgewatch-Page": "guess"}, "load it again"),
        ({"X-Edgewatch-Page": "{page}", "Origin": "http://evil.example.com"}, "own page only"),
        ({"X-Edgewatch-Page": "{page}", "Sec-Fetch-Site": "cross-site"}, "own page only"),
    ],
)
def test_a_write_that_another_site_could_send_is_refused(http, headers, said, place):
    page = asked(http, "meta")["page"]
    given = {name: value.replace("{page}", page) for name, value in headers.items()}
    answer = http.post("/api/silences", headers=given, json={"match": ["rule=x"], "for": "1h", "reason": "x", "author": "me"})
    assert (answer.status_code, said in answer.json()["problem"]) == (403, True)
    assert Controls(RunFolder.at(place.state).controls).silences() == []


def test_a_silence_is_added_listed_and_expired(http, place):
    write = {"X-Edgewatch-Page": asked(http, "meta")["page"]}
    body = {"match": ["rule=slow_responses"], "for": "1h", "reason": "deployment", "author": "ann"}
    tried = http.post("/api/silences", headers=write, json=body | {"try": True}).json()
    assert asked(http, "silences")["silences"] == []
    added = http.post("/api/silences", headers=write, json=body).json()
    assert (tried["matches"], added["matches"], added["warnings"]) == (0, 0, [])
    (listed,) = asked(http, "silences")["silences"]
    assert (listed["id"], listed["author"], listed["reason"], listed["state"]) == (added["id"], "ann", "deployment", "holds")
    assert [each.id for each in Controls(RunFolder.at(place.state).controls).silences()] == [added["id"]]
    assert http.post("/api/silences/expire", headers=write, json={"id": added["id"]}).status_code == 200
    assert http.post("/api/silences/expire", headers=write, json={"id": "nobody"}).status_code == 400


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"match": [], "for": "1h", "reason": "x"}, "match: give at least one matcher"),
        ({"match": ["rule=~("], "for": "1h", "reason": "x"}, "match:"),
        ({"match": ["rule=x"], "reason": "x"}, "needs an end"),
        ({"match": ["rule=x"], "for": "9d", "reason": "x"}, "7d at most"),
        ({"match": ["rule=x"], "for": "1h"}, "reason: is empty"),
        ([1], "send a JSON object"),
    ],
)
def test_a_silence_that_cannot_be_meant_is_refused(http, body, said):
    answer = http.post("/api/silences", headers={"X-Edgewatch-Page": asked(http, "meta")["page"]}, json=body)
    assert (answer.status_code, said in answer.json()["problem"]) == (400, True), answer.text


def test_a_drill_says_what_arrived(http):
    write = {"X-Edgewatch-Page": asked(http, "meta")["page"]}
    found = http.post("/api/drill", headers=write, json={"rule": "slow_responses"}).json()
    assert [(each["channel"], each["ok"]) for each in found["arrivals"]] == [("console", True)]
    assert http.post("/api/drill", headers=write, json={"rule": "slow"}).status_code == 400


def test_a_token_opens_the_door_as_a_bearer_and_as_a_cookie_that_scripts_do_not_see(place):
    with served(place, DashboardOptions(token=TOKEN)) as address, httpx.Client(base_url=address, trust_env=False) as client:
        assert client.get("/api/meta").status_code == 401
        assert [client.get(path).status_code for path in ("/livez", "/readyz")] == [200, 503]
        assert client.get("/api/meta", headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert client.get("/api/meta", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
        asked_for = client.get("/alerts?rule=x", headers={"Accept": "text/html"})
        assert (asked_for.status_code, asked_for.headers["location"]) == (303, "login?next=alerts%3Frule%3Dx")
        assert client.post("/login", data={"token": "wrong"}).status_code == 401
        opened = client.post("/login", data={"token": TOKEN, "next": "alerts?rule=x"})
        cookie = opened.headers["set-cookie"]
        assert (opened.headers["location"], TOKEN in cookie) == ("alerts?rule=x", False)
        assert {"HttpOnly", "SameSite=lax"} <= set(cookie.split("; "))
        assert client.get("/api/meta").status_code == 200
        away = client.post("/login", data={"token": TOKEN, "next": "//evil.example.com"})
        assert away.headers["location"] == "./"
        client.cookies.set("edgewatch", "99999999999.0000")
        assert client.get("/api/meta", headers={"Cookie": "edgewatch=99999999999.0000"}).status_code == 401


def test_a_proxy_names_the_user_and_nobody_else_may(place, tmp_path):
    trusted = DashboardOptions(user_header="X-User", proxies=("127.0.0.0/8",))
    with served(place, trusted, tmp_path) as address, httpx.Client(base_url=address, trust_env=False) as client:
        assert client.get("/api/meta").status_code == 403
        user = {"X-User": "ann"}
        page = {"X-Edgewatch-Page": client.get("/api/meta", headers=user).json()["page"]}
        body = {"match": ["rule=x"], "for": "1h", "reason": "x", "author": "somebody else"}
        assert client.post("/api/silences", headers=user | page, json=body).status_code == 200
        (listed,) = client.get("/api/silences", headers=user).json()["silences"]
        assert listed["author"] == "ann"
    elsewhere = DashboardOptions(user_header="X-User", proxies=("10.0.0.0/8",))
    with served(place, elsewhere) as address, httpx.Client(base_url=address, trust_env=False) as client:
        assert client.get("/api/meta", headers={"X-User": "ann"}).status_code == 403


def test_a_dashboard_that_is_read_only_takes_no_writes(place):
    with served(place, DashboardOptions(read_only=True)) as address, httpx.Client(base_url=address, trust_env=False) as client:
        meta = client.get("/api/meta").json()
        answer = client.post("/api/silences", headers={"X-Edgewatch-Page": meta["page"]}, json={})
        assert (meta["read_only"], answer.status_code) == (True, 403)


def test_without_the_state_folder_a_silence_says_where_to_add_it(place, tmp_path):
    with served(place, state=tmp_path / "no") as address, httpx.Client(base_url=address, trust_env=False) as client:
        page = {"X-Edgewatch-Page": client.get("/api/meta").json()["page"]}
        answer = client.post(
            "/api/silences", headers=page, json={"match": ["rule=x"], "for": "1h", "reason": "x", "author": "a"}
        )
        assert (answer.status_code, "is not on this machine" in answer.json()["problem"]) == (400, True)


class Counted(ClickHouse):
    """A client that notes what it is asked."""

    def __init__(self, options):
        super().__init__(options)
        self.asked = []

    def query(self, sql):
        self.asked.append(sql)
        return super().query(sql)


def test_once_it_is_ready_nobody_waits_for_the_past_to_be_read(place):
    client = Counted(place.config.clickhouse)
    shown = Watched(place.folder, place.config, client)
    with served(shown, warm=True) as address, httpx.Client(base_url=address, trust_env=False, timeout=60) as http:
        wait_until(lambda: http.get("/readyz").text == "ok\n", what="the past to be looked through")
        charts = asked(http, "overview", span="1h")["charts"]
        client.asked.clear()
        for chart in charts:
            asked(http, "series", lines=",".join(map(":".join, chart["lines"])), span="1h")
        parts = [re.findall(r"window_start >= toDateTime\((\d+).*? < toDateTime\((\d+)", sql) for sql in client.asked]
        looked_at = [sum(int(last) - int(first) for first, last in each) for each in parts]
        assert (len(charts), max(looked_at, default=0) <= 600) == (4, True)  # seconds: windows that may get rows yet
        asked(http, "series", metric="response_time", statistic="p50,p99", key=API, span="7d")
        assert len([sql for sql in client.asked if "buckets" in sql]) == 1
    client.close()


def test_a_clickhouse_that_is_away_is_one_sentence(place):
    gone = Watched(place.folder, place.config, ClickHouse(ClickHouseOptions(url="http://127.0.0.1:9")))
    with served(gone) as address, httpx.Client(base_url=address, trust_env=False) as client:
        answer = client.get("/api/overview")
        assert (answer.status_code, "cannot connect" in answer.json()["problem"]) == (503, True)


def test_the_command_says_where_it_is_and_ends_with_exit_0_though_somebody_listens(place, tmp_path):
    process = start("dashboard", "-c", place.folder / "monitor.toml", "--listen", "127.0.0.1:0", log=tmp_path / "log")
    wait_until(lambda: "dashboard on http" in (tmp_path / "log").read_text(), what="the dashboard")
    address = (tmp_path / "log").read_text().split("dashboard on ")[1].split("\n")[0]
    with httpx.Client(base_url=address, trust_env=False) as client, client.stream("GET", "api/events") as events:
        lines = events.iter_lines()
        assert json.loads(next(line for line in lines if line.startswith("data: "))[6:])["until"] == END
        port = address.rstrip("/").rpartition(":")[2]
        taken = edgewatch("dashboard", "-c", place.folder / "monitor.toml", "--listen", f"127.0.0.1:{port}")
        assert (taken.returncode, "give another --listen" in taken.stderr) == (1, True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_an_address_of_other_machines_is_refused_without_token_or_proxy(place):
    done = edgewatch("dashboard", "-c", place.folder / "monitor.toml", "--listen", "0.0.0.0:8710")
    assert (done.returncode, "give [dashboard].token or user_header" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("given", "key", "said"),
    [
        ({"listen": "0.0.0.0:8710"}, "listen", "can be reached from other machines"),
        ({"listen": "everywhere"}, "listen", "is not host:port"),
        ({"listen": "127.0.0.1:99999"}, "listen", "is not host:port"),
        ({"token": "short"}, "token", "at least 16 characters"),
        ({"user_header": "X-User"}, "proxies", "go together"),
        ({"proxies": ("10.0.0.0/8",)}, "proxies", "go together"),
        ({"user_header": "X User", "proxies": ("10.0.0.0/8",)}, "user_header", "no name of a header"),
        ({"user_header": "X-User", "proxies": ("ten",)}, "proxies", "no address or network"),
    ],
)
def test_options_that_would_leave_the_door_open_are_refused(given, key, said):
    found = list(DashboardOptions(**given).problems())
    assert any(name == key and said in problem for name, problem in found), found


def test_a_token_or_a_proxy_may_listen_everywhere_and_the_token_shows_nowhere():
    open_door = DashboardOptions(listen="0.0.0.0:8710", token=TOKEN)
    assert list(open_door.problems()) == []
    assert TOKEN not in repr(open_door)
    assert list(DashboardOptions(listen="[::]:80", user_header="X-User", proxies=("10.0.0.0/8",)).problems()) == []
