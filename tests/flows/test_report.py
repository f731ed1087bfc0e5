"""The report of a range, against a recomputation from the raw records, from ClickHouse and from a replay's folder."""

import dataclasses
import gzip
import itertools
import json
import sys
from collections import Counter, defaultdict
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import orjson
import pytest

from connectors.traffic import Traffic, TrafficOptions, write_archive
from flows.cli import main
from flows.config import load
from flows.moment import moment
from flows.monitor import replay, run_archive
from flows.output import rfc3339
from flows.replay_cli import spec_of
from flows.report import Asked, edges_of, report
from flows.report_alerts import stays
from flows.report_folder import ReportFolder
from flows.report_page import page_of
from flows.report_quality import gaps_of
from flows.report_source import Range, ReportError
from flows.report_tables import ReportTables
from sinks.clickhouse import ClickHouse, ClickHouseOptions
from sinks.embedded import Embedded
from sinks.page_text import markdown
from tests.runs import checked

pytestmark = pytest.mark.slow

START, MINUTE, HOUR = 1_764_576_000_000, 60_000, 3_600_000  # 2025-12-01T08:00:00Z
WINDOW = 5 * MINUTE
WHOLE = Range(START, START + 2 * HOUR)
SERVED = {"hit", "stream_hit", "streamhit", "stale", "updating", "revalidated"}
ASKED = SERVED | {"miss", "expired", "ignored"}
UTC = ZoneInfo("UTC")
EXTRA = """
[[slo]]
name = "availability"
metric = "error_rate"
objective = 0.99

[[slo]]
name = "fast"
metric = "response_time"
threshold_ms = 300
objective = 0.95
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two hours of traffic as files, through the line into ClickHouse, and as a replay's folder."""
    folder = tmp_path_factory.mktemp("report")
    write_archive(Traffic(TrafficOptions(seed=5, hours=2, records_per_second=8)), folder / "logs")
    text = (Path(__file__).parents[2] / "flows" / "builtin.toml").read_text()
    head = (Path(__file__).parents[2] / "flows" / "demo.toml").read_text().split("# What users get")[0]
    tail = '\n[[route]]\nchannels = ["console"]\n\n[channel.console]\n' + EXTRA
    with Embedded(folder / "clickhouse") as server:
        (folder / "monitor.toml").write_text(head + text + tail + f'\n[clickhouse]\nurl = "{server.url}"\n')
        config = load(folder / "monitor.toml")
        summary = run_archive(config, folder / "logs", folder / "out", on_notification=lambda _: None, report=lambda *_: None)
        assert summary["delivered"]
        spec = spec_of(folder / "monitor.toml", folder / "replay", source=f"archive:{folder / 'logs'}", start=None, end=None)
        replay(config, spec, folder / "replay", processes=1, report=lambda *_: None)
        yield folder, config, server.url


@pytest.fixture(scope="module")
def tables(place):
    client = ClickHouse(ClickHouseOptions(url=place[2]))
    yield ReportTables(client, "", WINDOW)
    client.close()


@pytest.fixture(scope="module")
def folder(place):
    source = ReportFolder(place[0] / "replay", WINDOW)
    yield source
    source.close()


@pytest.fixture(scope="module", params=["tables", "folder"])
def source(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def records(place):
    """Give the raw records of both datasets, as they were written."""
    found = {}
    for dataset in ("http_requests", "performance"):
        paths = sorted((place[0] / "logs" / dataset).rglob("*.gz"))
        found[dataset] = [orjson.loads(line) for path in paths for line in gzip.decompress(path.read_bytes()).splitlines()]
    return found


@pytest.fixture
def command(monkeypatch, capsys):
    """Run `edgewatch report` in this process; gives its exit code, output and errors."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["edgewatch", "report", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return (end.value.code, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def users(records):
    return [row for row in records["http_requests"] if row["ClientRequestSource"] == "eyeball"]


def at(row):
    return row["EdgeEndTimestamp"] // 1_000_000


def asked(over=WHOLE, zone=UTC):
    return Asked(over=over, zone=zone, length_ms=WINDOW)


@pytest.fixture(scope="module")
def content(place, source):
    return report(place[1], source, asked())


def test_requests_and_errors_are_those_of_the_records(content, users):
    by_window = Counter(at(row) // WINDOW for row in users)
    busiest = max(by_window.values())
    found = content["requests"]
    assert found["total"] == len(users)
    assert found["errors"] == sum(row["EdgeResponseStatus"] >= 400 for row in users)
    assert found["server_errors"] == sum(row["EdgeResponseStatus"] >= 500 for row in users)
    assert found["error_rate"] == found["errors"] / len(users)
    assert found["per_second"] == pytest.approx(len(users) / (len(by_window) * 300))
    assert found["busiest"]["per_second"] == pytest.approx(busiest / 300)
    assert by_window[found["busiest"]["at"] // WINDOW] == busiest


def test_means_and_extremes_are_those_of_the_records(content, records, users):
    times = np.array([row["EdgeTimeToFirstByteMs"] for row in users], float)
    database = np.array([row["doubles"][1] for row in records["performance"] if row["doubles"][1] > 0])
    for found, values in ((content["performance"]["response_time"], times), (content["database"]["latency"], database)):
        assert found["count"] == len(values)
        assert found["mean"] == pytest.approx(values.mean(), rel=1e-9)
        assert (found["min"], found["max"]) == (values.min(), values.max())


def test_percentiles_of_the_range_are_within_half_a_per_cent_of_the_records(place, tables, users):
    found = report(place[1], tables, asked())["performance"]["response_time"]
    times = np.array([row["EdgeTimeToFirstByteMs"] for row in users], float)
    assert found["percentiles"] == "range"
    for name, q in (("p50", 50), ("p90", 90), ("p95", 95), ("p99", 99), ("p999", 99.9)):
        assert found[name] == pytest.approx(np.percentile(times, q), rel=0.005)


def test_without_histograms_percentiles_are_by_window_and_say_so(place, folder, users):
    content = report(place[1], folder, asked())
    found = content["performance"]["response_time"]
    by_window = defaultdict(list)
    for row in users:
        by_window[at(row) // WINDOW].append(row["EdgeTimeToFirstByteMs"])
    assert found["percentiles"] == "by window"
    assert found["p99"] == pytest.approx(np.median([np.percentile(each, 99) for each in by_window.values()]))
    assert "not percentiles of the range" in markdown(page_of(content))


def test_the_cache_is_that_of_all_lines_that_asked_it(content, records):
    asked_cache = [row for row in records["http_requests"] if row.get("CacheCacheStatus") in ASKED]
    served = sum(row["CacheCacheStatus"] in SERVED for row in asked_cache)
    found = content["cache"]
    assert (found["asked"], found["hits"], found["misses"]) == (len(asked_cache), served, len(asked_cache) - served)
    assert found["hit_rate"] == served / len(asked_cache)


def test_users_are_the_most_in_one_window(content, users):
    by_window = defaultdict(set)
    for row in users:
        by_window[at(row) // WINDOW].add(row["ClientIP"])
    counts = {number: len(each) for number, each in by_window.items()}
    found = content["users"]
    assert found["most"]["value"] == max(counts.values()) == counts[found["most"]["at"] // WINDOW]
    assert found["mean_by_window"] == pytest.approx(sum(counts.values()) / len(counts))


def test_worst_hosts_come_by_what_they_have_beyond_the_share_of_all(content, users):
    total = Counter(row["ClientRequestHost"] for row in users)
    bad = Counter(row["ClientRequestHost"] for row in users if row["EdgeResponseStatus"] >= 500)
    whole = bad.total() / total.total()
    (found,) = [each for each in content["worst"] if each["metric"] == "server_error_rate"]
    excess = {host: max(bad[host] - whole * total[host], 0) for host in bad}
    want = sorted(excess, key=lambda host: (-excess[host], -bad[host], host))
    assert [row["key"]["ClientRequestHost"] for row in found["rows"]] == want
    for row in found["rows"]:
        host = row["key"]["ClientRequestHost"]
        assert (row["total"], row["bad"]) == (total[host], bad[host])
        assert row["excess"] == pytest.approx(excess[host])


def test_each_hour_is_that_of_its_records(content, users):
    by_hour = Counter(at(row) // HOUR for row in users)
    assert [(row["start"] // HOUR, row["requests"]) for row in content["stretches"]] == sorted(by_hour.items())
    for row in content["stretches"]:
        own = [each for each in users if at(each) // HOUR == row["start"] // HOUR]
        assert row["error_rate"] == sum(each["EdgeResponseStatus"] >= 400 for each in own) / len(own)


def test_objectives_are_shares_of_the_records_and_leave_a_budget(content, users):
    errors = sum(row["EdgeResponseStatus"] >= 400 for row in users)
    slow = sum(row["EdgeTimeToFirstByteMs"] > 300 for row in users)
    available, fast = content["objectives"]
    assert (available["range"]["bad"], fast["range"]["bad"]) == (errors, slow)
    assert available["range"]["attained"] == pytest.approx(1 - errors / len(users))
    assert available["period"]["budget_left"] == pytest.approx(1 - errors / (0.01 * len(users)))
    assert fast["range"]["met"] == (slow <= 0.05 * len(users))


def test_alerts_are_those_of_the_decisions(content, place):
    lines = [json.loads(line) for line in (place[0] / "replay" / "notifications.ndjson").read_text().splitlines()]
    firing = [line for line in lines if line["status"] == "firing"]
    found = content["alerts"]
    assert found["notifications"] == len(lines)
    assert found["pages"] == len({line["episode"] for line in firing if line["severity"] == "critical"})
    assert found["episodes"] == len({line["episode"] for line in lines})
    assert found["channels"] == [{"channel": "console", "firing": len(firing), "resolved": len(lines) - len(firing)}]
    assert sum(row["firing_ms"] for row in found["rules"]) == time_firing(place[0] / "replay")
    assert found["episodes"] >= 3


def time_firing(folder):
    """Count the windows after which an alert was firing or recovering."""
    lines = (json.loads(line) for line in (folder / "evaluations.ndjson").read_text().splitlines())
    end = "2025-12-01T10:00:00Z"  # what begins with the last window is not part of the range
    return WINDOW * sum(line["state_after"] in ("firing", "recovering") and line["window_end"] < end for line in lines)


def test_both_sources_say_the_same(place, tables, folder):
    first, second = (report(place[1], each, asked()) for each in (tables, folder))
    for name in ("requests", "users", "alerts", "objectives", "courses", "edges"):
        assert first[name] == second[name], name
    assert {**first["cache"], "latency": None} == {**second["cache"], "latency": None}
    assert first["quality"]["datasets"] == second["quality"]["datasets"]
    assert [row["records"] for row in first["quality"]["partitions"]] == [
        row["records"] for row in second["quality"]["partitions"]
    ]


def test_a_part_is_compared_with_the_one_before(place, source, users):
    half = Range(START + HOUR, START + 2 * HOUR)
    content = report(place[1], source, asked(half))
    first = sum(at(row) < START + HOUR for row in users)
    assert content["before"]["requests"]["total"] == first
    assert content["requests"]["total"] == len(users) - first
    now = content["requests"]["total"]
    shown = f"Requests: **{now:,}** ({first:,} before".replace(",", " ")
    assert f"{shown}, {'up' if now > first else 'down'} {abs(now / first - 1) * 100:.1f} %)" in markdown(page_of(content))


def test_an_alert_that_fired_before_the_range_is_held_at_its_start(place, source):
    rows = [json.loads(line) for line in (place[0] / "replay" / "transitions.ndjson").read_text().splitlines()]
    fired = next(row for row in rows if row["to"] == "firing")
    cut = moment(fired["at"], 0) + WINDOW
    content = report(place[1], source, asked(Range(cut, START + 2 * HOUR)))
    (episode,) = [each for each in content["alerts"]["list"] if each["start"] < cut]
    assert (episode["rule"], episode["key"]) == (fired["rule"], fired["key"])
    assert episode["firing_ms"] == (episode["end"] or START + 2 * HOUR) - cut


def test_a_range_without_windows_says_which_there_are(place, source):
    with pytest.raises(ReportError, match="windows from 2025-12-01T08:00:00Z to 2025-12-01T10:00:00Z"):
        report(place[1], source, asked(Range(START - 5 * HOUR, START - 4 * HOUR)))


def test_what_is_not_measured_is_left_out_with_a_word(place, source):
    kept = tuple(metric for metric in place[1].metrics if metric.name == "cache_hit_rate")
    content = report(dataclasses.replace(place[1], metrics=kept, rules=(), slos=()), source, asked())
    text = markdown(page_of(content))
    assert "Left out: no rows of the metrics requests, error\\_rate or server\\_error\\_rate." in text
    assert "No objectives are configured" in text
    assert content["cache"]["hits"] > 0
    with pytest.raises(ReportError, match="no rows of the configured metrics"):
        report(dataclasses.replace(place[1], metrics=(), rules=(), slos=()), source, asked())


def test_a_run_that_is_not_there_is_refused_with_those_that_are(place):
    client = ClickHouse(ClickHouseOptions(url=place[2]))
    with pytest.raises(ReportError, match="no run 'last-week' in ClickHouse; there is none"):
        ReportTables(client, "last-week", WINDOW)
    client.close()


def test_a_run_is_read_apart_from_the_live_rows(place, users):
    half = START + HOUR
    lines = (place[0] / "replay" / "windows.ndjson").read_bytes().splitlines()
    kept = [line for line in lines if json.loads(line)["window_start"] < "2025-12-01T09:00:00Z"]
    client = ClickHouse(ClickHouseOptions(url=place[2]))
    client.insert("window_metrics", b"".join(b'{"run":"again",' + line[1:] + b"\n" for line in kept))
    source = ReportTables(client, "again", WINDOW)
    assert (source.name, source.span()) == ("ClickHouse, run again", (START, half))
    content = report(place[1], source, asked())
    client.close()
    assert content["requests"]["total"] == sum(at(row) < half for row in users)
    (found,) = [each for each in content["quality"]["datasets"] if each["dataset"] == "http_requests"]
    assert (found["windows"], found["expected"], found["gaps"]) == (12, 24, [{"from": half, "to": WHOLE.end}])


@pytest.mark.parametrize(
    ("run", "values", "low", "high"),
    [
        ("mixed", [2.0, -3.5, 7.25, -1e300, 7.25, -1e300, 1e-300], 3, 4),
        ("below", [-2.0, -0.5, -7.0, -7.0, -0.5, -1.0], 2, 4),
        ("zeros", [0.0, -0.0, 0.0, -0.0], 0, 3),
    ],
)
def test_the_least_value_is_in_its_first_window_and_the_greatest_in_its_last(place, run, values, low, high):
    client = ClickHouse(ClickHouseOptions(url=place[2]))
    row = {"run": run, "metric": "m", "key": {}, "statistic": "sum", "count": 1, "method": "exact"}
    times = [START + n * WINDOW for n in range(len(values))]
    rows = [
        row | {"window_start": rfc3339(at), "window_end": rfc3339(at + WINDOW), "value": value}
        for at, value in zip(times, values, strict=True)
    ]
    client.insert("window_metrics", b"".join(json.dumps(each).encode() + b"\n" for each in rows))
    found = ReportTables(client, run, WINDOW).tally("m", ["sum"], Range(START, START + HOUR))["sum"]
    client.close()
    assert (found.low.tolist(), found.high.tolist()) == ([min(values)], [max(values)])
    assert (found.low_at.tolist(), found.high_at.tolist()) == ([times[low]], [times[high]])


def test_days_are_those_of_a_zone_over_the_change_of_its_clock():
    zone = ZoneInfo("Europe/Berlin")
    start = 1_761_346_800_000  # 2025-10-25T01:00:00+02:00; the clock goes back on the 26th
    edges = edges_of(Range(start, start + 4 * 24 * HOUR), zone)
    assert [(b - a) // HOUR for a, b in itertools.pairwise(edges)] == [23, 25, 24, 24]


def test_gaps_are_the_windows_that_are_missing():
    starts = np.array([0, 1, 4, 5], np.int64) * WINDOW
    assert gaps_of(starts, Range(-WINDOW, 8 * WINDOW), WINDOW) == [
        (2 * WINDOW, 4 * WINDOW),
        (6 * WINDOW, 8 * WINDOW),
        (-WINDOW, 0),
    ]
    assert gaps_of(np.zeros(0, np.int64), Range(0, WINDOW), WINDOW) == [(0, WINDOW)]


def test_states_last_from_one_transition_to_the_next():
    rows = [
        {"at": 10, "rule": "r", "key": "{}", "to": "firing", "episode": "e:1", "severity": "warning"},
        {"at": 30, "rule": "r", "key": "{}", "to": "inactive", "episode": "e:1", "severity": None},
        {"at": 70, "rule": "r", "key": "{}", "to": "pending", "episode": "e:2", "severity": None},
    ]
    held = [{"at": 0, "rule": "s", "key": "{}", "to": "firing", "episode": "f:0", "severity": "critical"}]
    found = [(each.rule, each.state, each.start, each.end) for each in stays(held, rows, Range(0, 100))]
    assert found == [("r", "firing", 10, 30), ("r", "pending", 70, 100), ("s", "firing", 0, 100)]


def test_the_command_writes_html_markdown_and_json_of_the_same(place, command):
    folder = place[0]
    given = ["-c", folder / "monitor.toml", "--from", "2025-12-01T08:00:00Z", "--to", "2025-12-01T10:00:00Z"]
    given += ["--source", f"windows:{folder / 'replay'}"]
    assert command(*given, "--out", folder / "r.html")[0] == 0
    assert command(*given, "--out", folder / "sub" / "r.json")[0] == 0
    code, text, _ = command(*given)
    content = json.loads((folder / "sub" / "r.json").read_text())
    total = f"{content['requests']['total']:,}".replace(",", " ")
    assert (code, content["from"]) == (0, "2025-12-01T08:00:00Z")
    assert f"- Total requests: **{total}**" in text
    page = (folder / "r.html").read_text()
    assert f'<dt>Total requests</dt><dd class="value">{total}</dd>' in page
    assert command(*given, "--json")[1] == (folder / "sub" / "r.json").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--from", "noon"], 2, "--from noon: give a time such as"),
        (["--from", "-1h", "--to", "-2h"], 2, "--from must be before --to"),
        (["--from", "2025-12-01T08:01:00Z", "--to", "2025-12-01T08:02:00Z"], 2, "no window of 300 s starts between"),
        (["--zone", "Mars/Olympus"], 2, "--zone Mars/Olympus: give the name of a time zone"),
        (["--format", "pdf"], 2, "--format pdf: give html, markdown, json"),
        (["--source", "kafka"], 2, "--source kafka: give clickhouse, clickhouse:RUN or windows:DIR"),
        (["--source", "clickhouse:"], 2, "--source clickhouse:: give"),
        (["--source", "clickhouse:nothing"], 1, "no run 'nothing' in ClickHouse"),
        (["--source", "windows:nowhere"], 1, "nowhere has no windows.ndjson"),
        (["--from", "-2h"], 1, "has windows from 2025-12-01T08:00:00Z to 2025-12-01T10:00:00Z"),
    ],
)
def test_bad_use_is_one_clear_line(place, command, arguments, code, words):
    got, out, errors = command("-c", place[0] / "monitor.toml", *arguments)
    assert (got, out, errors.count("\n")) == (code, "", 1)
    assert words in errors


def test_a_server_that_is_away_and_tables_that_are_missing_are_one_clear_line(place, command, tmp_path):
    text = (place[0] / "monitor.toml").read_text()
    (tmp_path / "away.toml").write_text(text.replace(place[2], "http://127.0.0.1:9"))
    (tmp_path / "empty.toml").write_text(text.replace("[clickhouse]\n", '[clickhouse]\ndatabase = "other"\n'))
    (tmp_path / "none.toml").write_text(text.split("[clickhouse]")[0])
    for name, code, words in (
        ("away", 1, "cannot connect, http://127.0.0.1:9"),
        ("empty", 1, "make the tables with `edgewatch check --online`"),
        ("none", 2, "has no [clickhouse] to ask; give --source windows:OUT of a replay"),
    ):
        got, out, errors = command("-c", tmp_path / f"{name}.toml")
        assert (got, out, errors.count("\n")) == (code, "", 1)
        assert words in errors


def test_the_pool_and_the_size_of_the_cache_are_those_of_runtime_stats(tmp_path):
    config, logs = tmp_path / "monitor.toml", tmp_path / "logs" / "runtime_stats"
    logs.mkdir(parents=True)
    config.write_text(
        '[input.kafka]\nbrokers = ["127.0.0.1:9"]\ntopics = { "stats" = "runtime_stats" }\n'
        '[channel.console]\n[[route]]\nchannels = ["console"]\n'
    )
    pool = {"activeConnections": 7, "idleConnections": 3, "waitingRequests": 1}
    row = {"timestamp": "2025-12-01T00:01:00Z", "cache": {"size": 1000, "evictions": 2}, "database": pool}
    (logs / "a.ndjson").write_text(json.dumps(row))
    checked("replay", "-c", config, "--source", f"archive:{logs.parent}", "--out", tmp_path / "out")
    ranged = ("--from", "2025-12-01T00:00:00Z", "--to", "2025-12-01T01:00:00Z")
    text = checked("report", "-c", config, "--source", f"windows:{tmp_path / 'out'}", *ranged).stdout
    for line in ("Size | 1 000", "Evictions | 2", "Active connections | 7", "Idle connections | 3", "Waiting requests | 1"):
        assert f"| {line} |" in text.replace("\u202f", " ").replace("\u00a0", " ")
