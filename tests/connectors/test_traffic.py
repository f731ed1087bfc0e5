"""Synthetic traffic: the same for one seed, honest in its file names, and with the incidents that its labels name."""

import csv
import gzip
import itertools
import json
import re
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from connectors.http_requests import FIELDS
from connectors.incident import MINUTE_MS
from connectors.traffic import LABELS, PARTITIONS, START_MS, Traffic, TrafficOptions, write_archive
from connectors.visit import LATEST_MS

pytestmark = pytest.mark.slow

OPTIONS = TrafficOptions(seed=5, hours=1.0, records_per_second=20)
NAME = re.compile(r"(\d{8}T\d{6}Z)_(\d{8}T\d{6}Z)_[0-9a-f]{6}\.ndjson\.gz")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("logs")
    write_archive(Traffic(OPTIONS), directory)
    return directory


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def records(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def all_records(directory: Path, dataset: str) -> list[dict[str, Any]]:
    return [record for path in sorted((directory / dataset).rglob("*.gz")) for record in records(path)]


def milliseconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def event_ms(record: dict[str, Any]) -> int:
    if "timestamp" in record:
        return milliseconds(record["timestamp"])
    return int(record["EdgeEndTimestamp"] // 1_000_000)


def test_the_same_seed_writes_the_same_bytes(archive: Path, tmp_path: Path) -> None:
    write_archive(Traffic(OPTIONS), tmp_path)
    assert contents(tmp_path) == contents(archive)


def test_another_seed_writes_other_records(archive: Path, tmp_path: Path) -> None:
    write_archive(Traffic(TrafficOptions(seed=6, hours=1.0, records_per_second=20)), tmp_path)
    got = {record["RayID"] for record in all_records(tmp_path, "http_requests")}
    assert not got & {record["RayID"] for record in all_records(archive, "http_requests")}


@pytest.mark.parametrize(
    ("hours", "rate", "hosts"),
    [
        (0.01, 0.2, 1),
        (0.5, 3, 2),
        (0.05, 90, 40),
        (0.0343, 200, 6),
        pytest.param(30.0, 0.5, 3, marks=pytest.mark.slow),
        pytest.param(0.05, 900, 40, marks=pytest.mark.slow),
        pytest.param(0.0343, 2000, 6, marks=pytest.mark.slow),
    ],
)
def test_the_number_of_records_is_what_was_asked_for(hours: float, rate: float, hosts: int) -> None:
    traffic = Traffic(TrafficOptions(hours=hours, records_per_second=rate, hosts=hosts))
    got = sum(minute.records for minute in traffic.minutes())
    assert got == traffic.total == max(round(traffic.span_ms * rate / 1000), 1)


def test_files_are_named_after_the_time_in_which_their_records_were_produced(archive: Path) -> None:
    assert sorted(path.name for path in archive.iterdir() if path.is_dir()) == ["http_requests", "performance"]
    for dataset in Traffic(OPTIONS).datasets:
        partitions = PARTITIONS[dataset]
        assert sorted(path.name for path in (archive / dataset).iterdir()) == [f"p{n}" for n in range(partitions)]
        for path in (archive / dataset).rglob("*.gz"):
            found = NAME.fullmatch(path.name)
            assert found, path
            start, end = (milliseconds(text) for text in found.groups())
            times = [event_ms(record) for record in records(path)]
            assert max(times) <= end
            assert min(times) >= max(start - LATEST_MS - 10_000, START_MS)


def test_some_records_come_late_and_none_later_than_a_minute() -> None:
    lines = [minute.datasets["http_requests"] for minute in Traffic(OPTIONS).minutes()]
    delays = np.concatenate([each.produced - each.events for each in lines])
    assert delays.min() >= 0
    assert 0.005 < np.mean(delays > 8_000) < 0.03
    visits = [each for each in lines if len(each.texts)]
    assert all((np.diff(each.produced) >= 0).all() for each in visits)


def test_every_line_is_a_record_of_known_fields(archive: Path) -> None:
    times = {"EdgeStartTimestamp", "EdgeEndTimestamp"}
    for record in all_records(archive, "http_requests"):
        assert set(record) <= set(FIELDS) | times
        assert re.fullmatch("[0-9a-f]{16}", record["RayID"])
        assert re.match(r"198\.51\.100\.|203\.0\.113\.|192\.0\.2\.|2001:db8:", record["ClientIP"])


def test_a_monitor_that_counts_more_than_user_requests_would_page(archive: Path) -> None:
    got = Counter(
        (record["ClientRequestSource"], record["EdgeResponseStatus"] == 504) for record in all_records(archive, "http_requests")
    )
    assert {source for source, _ in got} == {
        "eyeball",
        "edgeWorkerFetch",
        "edgeWorkerCacheAPI",
        "healthcheck",
    }
    assert {source for source, failed in got if failed} == {"edgeWorkerCacheAPI"}
    assert got["edgeWorkerCacheAPI", True] > 0.05 * got["eyeball", False]


def test_subrequests_name_a_user_request_as_their_parent(archive: Path) -> None:
    lines = all_records(archive, "http_requests")
    rays = {line["RayID"] for line in lines if line["ClientRequestSource"] == "eyeball"}
    parents = {line["ParentRayID"] for line in lines if line["WorkerSubrequest"]}
    assert parents <= rays
    assert {line["ParentRayID"] for line in lines if not line["WorkerSubrequest"]} == {"00"}


def test_data_points_belong_to_requests_and_say_how_long_they_took(archive: Path) -> None:
    requests = {line["RayID"]: line for line in all_records(archive, "http_requests")}
    points = all_records(archive, "performance")
    assert len(points) == pytest.approx(0.12 * Traffic(OPTIONS).total, rel=0.02)
    for point in points:
        url, method, status, ray = point["blobs"]
        request = requests[ray]
        assert url == f"https://{request['ClientRequestHost']}{request['ClientRequestPath']}"
        assert (method, int(status)) == (request["ClientRequestMethod"], request["EdgeResponseStatus"])
        assert point["doubles"][0] == request["EdgeTimeToFirstByteMs"] >= point["doubles"][1]


def test_hosts_have_zipf_like_shares(archive: Path) -> None:
    users = [r for r in all_records(archive, "http_requests") if r["ClientRequestSource"] == "eyeball"]
    shares = Counter(record["ClientRequestHost"].split(".")[0] for record in users)
    assert [host for host, _ in shares.most_common()][:3] == ["www", "api", "static"]
    assert shares["www"] == pytest.approx(6**0.8 * shares["auth"], rel=0.15)


def test_the_afternoon_has_more_traffic_than_the_night() -> None:
    traffic = Traffic(TrafficOptions(hours=24, records_per_second=1))
    hours = Counter[int]()
    for minute in traffic.minutes():
        hours[minute.start_ms // 3_600_000 % 24] += minute.records
    assert max(hours, key=hours.__getitem__) in {14, 15}
    assert hours[15] == pytest.approx(2.6 * hours[3], rel=0.15)


def labels(directory: Path) -> list[dict[str, str]]:
    with (directory / LABELS).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four hours, as the demonstration has them."""
    directory = tmp_path_factory.mktemp("hours")
    write_archive(Traffic(TrafficOptions(seed=2)), directory)
    return directory


def test_three_incidents_are_labelled_and_do_not_overlap(day: Path) -> None:
    found = labels(day)
    assert list(found[0]) == ["start", "end", "name", "rule", "key"]
    assert [each["name"] for each in found] == ["error-surge", "slow-answers", "cold-cache"]
    spans = [(milliseconds(each["start"]), milliseconds(each["end"])) for each in found]
    assert all(10 * MINUTE_MS <= end - start <= 20 * MINUTE_MS for start, end in spans)
    assert all(before[1] + 15 * MINUTE_MS < after[0] for before, after in itertools.pairwise(spans))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("hours", [0.3, 1.0, 4.0, 24.0])
def test_incidents_lie_apart_and_inside_whatever_the_span(seed: int, hours: float) -> None:
    traffic = Traffic(TrafficOptions(seed=seed, hours=hours, records_per_second=1))
    edges = [edge for each in traffic.incidents for edge in (each.start_ms, each.end_ms)]
    assert edges == sorted(edges)
    assert traffic.options.start_ms < edges[0]
    assert edges[-1] < traffic.options.start_ms + traffic.span_ms


def measures(lines: list[dict[str, Any]]) -> tuple[float, float, float]:
    """Give error rate, p99 and cache hit rate of one host's lines, as the built-in metrics define them."""
    users = [line for line in lines if line["ClientRequestSource"] == "eyeball"]
    errors = sum(line["EdgeResponseStatus"] >= 400 for line in users) / len(users)
    slowest = float(np.percentile([line["EdgeTimeToFirstByteMs"] for line in users], 99))
    served = [line["CacheCacheStatus"] in {"hit", "stale", "updating", "revalidated"} for line in lines]
    asked = [line["CacheCacheStatus"] in {"miss", "expired"} for line in lines]
    return errors, slowest, sum(served) / (sum(served) + sum(asked))


def test_incidents_are_critical_and_everything_else_is_healthy(day: Path) -> None:
    lines = all_records(day, "http_requests")
    found = labels(day)
    per_window: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for line in lines:
        per_window.setdefault((line["ClientRequestHost"], event_ms(line) // (5 * MINUTE_MS)), []).append(line)
    broken: dict[str, set[int]] = {each["name"]: set() for each in found}
    for (host, window), its in per_window.items():
        errors, slowest, hits = measures(its)
        states = {"error-surge": errors > 0.05, "slow-answers": slowest > 3000, "cold-cache": hits < 0.5}
        for each in found:
            start, end = milliseconds(each["start"]), milliseconds(each["end"])
            low, high = window * 5 * MINUTE_MS, (window + 1) * 5 * MINUTE_MS
            if json.loads(each["key"])["ClientRequestHost"] == host and start <= low and high <= end:
                assert states[each["name"]], each
            if json.loads(each["key"])["ClientRequestHost"] != host or end <= low or high <= start:
                assert not states[each["name"]], (host, window)
            elif states[each["name"]]:
                broken[each["name"]].add(window)
    assert all(len(windows) >= 2 for windows in broken.values())


def test_without_incidents_there_are_no_labels(tmp_path: Path) -> None:
    got = write_archive(Traffic(TrafficOptions(hours=0.05, incidents=False)), tmp_path)
    assert got == []
    assert (tmp_path / LABELS).read_text() == "start,end,name,rule,key\n"


def test_two_runs_do_not_mix_in_one_folder(archive: Path) -> None:
    with pytest.raises(FileExistsError, match="http_requests exists already; remove it or choose another folder"):
        write_archive(Traffic(OPTIONS), archive)


def test_progress_ends_at_the_number_of_records(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write_archive(Traffic(TrafficOptions(hours=0.1)), tmp_path, lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (14_400, 14_400)


@pytest.mark.parametrize(
    ("name", "value"),
    [("hours", 0.0), ("hours", float("nan")), ("records_per_second", -1.0), ("hosts", 0), ("seed", -1)],
)
def test_options_that_make_no_traffic_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        TrafficOptions(**{name: value})  # type: ignore[arg-type]


def test_incidents_come_in_rounds_each_at_its_own_time_and_all_take_effect():
    traffic = Traffic(TrafficOptions(seed=5, hours=6, rounds=2, records_per_second=8.0))
    assert [each.label for each in traffic.incidents] == [
        *("error-surge 1", "slow-answers 1", "cold-cache 1"),
        *("error-surge 2", "slow-answers 2", "cold-cache 2"),
    ]
    middle = traffic.options.start_ms + 3 * 3_600_000
    assert [each.start_ms >= middle for each in traffic.incidents] == [False] * 3 + [True] * 3
    for surge in (traffic.incidents[0], traffic.incidents[3]):
        texts = [
            text
            for minute in traffic.minutes()
            if surge.start_ms <= minute.start_ms and minute.end_ms <= surge.end_ms
            for text in minute.datasets["http_requests"].texts
            if json.loads(surge.key)["ClientRequestHost"] in text
        ]
        failed = sum('"EdgeResponseStatus":5' in text for text in texts)
        assert failed > 0.05 * len(texts) > 0
    alone = Traffic(TrafficOptions(seed=5, hours=6))
    assert [each.label for each in alone.incidents] == ["error-surge", "slow-answers", "cold-cache"]


def test_no_round_at_all_is_refused():
    with pytest.raises(ValueError, match="rounds must be at least 1, not 0"):
        TrafficOptions(rounds=0)
