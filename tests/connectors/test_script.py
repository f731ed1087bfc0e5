"""Incidents by a scenario: what a file may say, and that the built-in rules find each kind from the records alone."""

import gzip
import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from connectors.scenario import host_names
from connectors.script import ALL, KINDS, ScriptError, read_script
from connectors.traffic import PARTITIONS, Traffic, TrafficOptions, write_archive
from tests import runs

HOSTS = host_names(6)
HOUR_MS = 3_600_000
CONFIG = """
[input.kafka]
brokers = ["127.0.0.1:9"]
topics = { a = "http_requests", b = "performance", c = "health", d = "app_logs", e = "business" }
"""


def read(tmp_path, text):
    path = tmp_path / "scenario.toml"
    path.write_text(text)
    return read_script(path, start_ms=0, span_ms=2 * HOUR_MS, hosts=HOSTS)


def lines(folder, dataset):
    files = sorted((folder / dataset).rglob("*.gz"))
    return [json.loads(row) for path in files for row in gzip.decompress(path.read_bytes()).splitlines()]


def written(folder, **options):
    write_archive(Traffic(TrafficOptions(**{"hours": 0.5, "records_per_second": 6, "seed": 5} | options)), folder)
    return folder


def digest(folder):
    found = hashlib.sha256()
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        found.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return found.hexdigest()


def test_a_file_places_incidents_and_their_labels(tmp_path):
    found = read(
        tmp_path,
        '[[incident]]\nkind = "ddos"\nat = "1h10m"\nlength = "15m30s"\nhost = "www.example.com"\nshare = 3\n'
        '[[incident]]\nkind = "regional_outage"\nat = "30m"\ncolo = "FRA"\n'
        '[[incident]]\nkind = "silent_source"\nat = "1h26m"\nlength = "20m"\ndataset = "health"\n',
    )
    assert [(each.name, each.start_ms, each.end_ms, each.rule, each.key, each.place, each.share) for each in found] == [
        ("regional_outage", 1_800_000, 3_000_000, "high_error_rate", "", "FRA", 0.9),
        ("ddos", 4_200_000, 5_130_000, "high_error_rate", '{"ClientRequestHost":"www.example.com"}', "", 3.0),
        ("silent_source", 5_160_000, 6_360_000, "", "", "health", 1.0),
    ]


def test_incidents_of_one_kind_are_told_apart(tmp_path):
    found = read(tmp_path, "".join(f'[[incident]]\nkind = "ddos"\nat = "{at}m"\nlength = "5m"\n' for at in (10, 40)))
    assert [each.label for each in found] == ["ddos 1", "ddos 2"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[incident]]\nkind = "flood"', "incident #1: kind 'flood' is none of deploy_regression, database_slowdown"),
        ('[[incident]]\nkind = "ddos"\nwhen = 1', "incident #1: when is no key"),
        ('[[incident]]\nkind = "ddos"\nat = 12', "at = 12 is no time such as 1h30m or 90s"),
        ('[[incident]]\nkind = "ddos"\nat = ""', "at = '' is no time"),
        ('[[incident]]\nkind = "ddos"\nat = "1h50m"', "ddos does not lie within the span of 7200 s"),
        ('[[incident]]\nkind = "ddos"\nat = "0m"\nhost = "x"', "host 'x' is none of www.example.com, api.example.com"),
        ('[[incident]]\nkind = "ddos"\nat = "0m"\nshare = -1', "share -1 is out of range"),
        ('[[incident]]\nkind = "ddos"\nat = "0m"\nshare = []', "a value has the wrong type"),
        (
            '[[incident]]\nkind = "ddos"\nat = "0m"\n[[incident]]\nkind = "cache_purge"\nat = "10m"',
            "ddos and cache_purge overlap",
        ),
        ("incident = 1", "incidents are written [[incident]]"),
        ("=", "is not TOML"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_name(tmp_path, text, words):
    with pytest.raises(ScriptError) as refused:
        read(tmp_path, text)
    assert words in str(refused.value)
    assert "scenario.toml" in str(refused.value)


@pytest.mark.slow
def test_a_file_that_is_not_there_ends_the_command_with_one_line(tmp_path):
    done = runs.edgewatch("generate", "--to", tmp_path / "logs", "--scenario", tmp_path / "none.toml")
    assert (done.returncode, "Traceback" in done.stderr, "none.toml: cannot be read" in done.stderr) == (2, False, True)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_in_all_datasets_and_another_one_others(tmp_path):
    first, again, other = (digest(written(tmp_path / str(n), script=ALL, seed=seed)) for n, seed in enumerate((5, 5, 6)))
    assert first == again != other
    assert sorted(path.name for path in (tmp_path / "0").iterdir() if path.is_dir()) == sorted(PARTITIONS)


def test_datasets_agree_with_each_other(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text('[[incident]]\nkind = "deploy_regression"\nat = "10m"\nlength = "10m"\nshare = 0.5\n')
    folder = written(tmp_path / "logs", script=str(path))
    start, end = Traffic(TrafficOptions(script=str(path))).options.start_ms + 600_000, 0
    end = start + 600_000
    requests = {line["RayID"]: line for line in lines(folder, "http_requests")}
    errors = [line for line in lines(folder, "app_logs") if line["level"] == "error"]
    assert len(errors) > 20
    assert {requests[line["cf"]["ray"]]["EdgeResponseStatus"] // 100 for line in errors} == {5}
    assert {requests[line["cf"]["ray"]]["EdgeColoCode"] == line["cf"]["colo"] for line in errors} == {True}
    versions = Counter((line["version"], start <= line["timestamp"] < end) for line in errors if line["service"] == "api")
    assert (versions["2.4.1", False], versions["2.4.0", True], versions["2.4.1", True] > 10) == (0, 0, True)
    checks = lines(folder, "health")
    assert len(checks) == 60
    unwell = {line["timestamp"] for line in checks if line["checks"]["worker"]["status"] != "healthy"}
    assert (min(unwell), max(unwell)) == (start, end - 60_000)


def test_a_silent_source_is_silent_for_its_time_alone_and_crawlers_and_repeats_are_there(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text('[[incident]]\nkind = "silent_source"\nat = "10m"\nlength = "10m"\ndataset = "app_logs"\n')
    folder = written(tmp_path / "logs", script=str(path))
    start = TrafficOptions().start_ms
    minutes = np.array([line["timestamp"] - start for line in lines(folder, "app_logs")]) // 60_000
    assert not ((minutes >= 10) & (minutes < 20)).any()
    assert {minute // 10 for minute in minutes.tolist()} == {0, 2}
    asked = [line for line in lines(folder, "http_requests") if line["ClientRequestSource"] == "eyeball"]
    crawled = sum("bot/" in line["ClientRequestUserAgent"] for line in asked) / len(asked)
    assert 0.04 < crawled < 0.2


@pytest.mark.slow
def test_the_built_in_rules_find_every_kind_of_incident(tmp_path):
    config = tmp_path / "monitor.toml"
    config.write_text(CONFIG)
    logs: Path = tmp_path / "logs"
    runs.checked("generate", "--to", logs, "--hours", "8", "--records", "200000", "--seed", "3", "--scenario", ALL)
    out = tmp_path / "out"
    runs.checked(*("backtest", "-c", config, "--source", f"archive:{logs}", "--labels", logs / "incidents.csv", "--out", out))
    found = json.loads((out / "backtest.json").read_text())["labels"]["episodes"]
    assert [each["name"] for each in found] == list(KINDS)
    assert {each["name"]: each["told_after_ms"] is not None for each in found} == dict.fromkeys(KINDS, True)
