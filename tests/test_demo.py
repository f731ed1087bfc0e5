"""The demonstration: from nothing to alerts and tables, and what it shows agrees with the files it wrote."""

import fcntl
import gzip
import json
import signal
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from rich.console import Console

from connectors.incident import MINUTE_MS, Incident
from connectors.traffic import START_MS
from flows.bar import Bar
from flows.demo import DemoError, demo, prepare, traffic_options
from flows.demo_report import find, others
from tests import runs

pytestmark = pytest.mark.slow

KEY = '{"ClientRequestHost":"api.example.com"}'
INCIDENT = Incident(START_MS, START_MS + 15 * MINUTE_MS, "error-surge", "high_error_rate", KEY, 1)
HOURS = 1.0


def alert(minute: int, *, episode: str = "e1", rule: str = "high_error_rate", **more: str) -> dict[str, Any]:
    row = {"at": (START_MS + minute * MINUTE_MS) // 1000, "rule": rule, "key": KEY, "episode": episode}
    return {**row, "status": "firing", "severity": "warning", **more}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run it once: the folder and what it printed."""
    directory = tmp_path_factory.mktemp("demo")
    with (
        pytest.MonkeyPatch.context() as patch,
        (directory / "printed").open("w+", encoding="utf-8") as printed,
    ):
        patch.setattr("sys.stdout", printed)
        patch.setenv("COLUMNS", "100")
        assert demo(directory / "it", hours=HOURS, seed=2) == 0
        printed.seek(0)
        return directory / "it", printed.read()


def test_every_labelled_incident_is_found(ran: tuple[Path, str]) -> None:
    _, printed = ran
    assert printed.count("found after") == 3, printed
    assert "missed" not in printed


def test_alerts_fire_and_resolve_in_event_time(ran: tuple[Path, str]) -> None:
    _, printed = ran
    lines = [line for line in printed.splitlines() if line.startswith("2025-12-01 ")]
    assert [line[:20] for line in lines] == sorted(line[:20] for line in lines)
    for rule in ("high_error_rate", "slow_responses", "low_cache_hit_rate"):
        own = [line for line in lines if f"{rule} [" in line]
        assert "FIRING" in own[0]
        assert "critical" in own[0]


def test_the_table_of_hosts_agrees_with_the_files(ran: tuple[Path, str]) -> None:
    directory, printed = ran
    lines = printed.splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("Host ")) + 1
    table = {cells[0]: cells[1:] for cells in (line.replace(" %", "").split("  ") for line in lines[first : first + 6])}
    got = {host: [cell.strip() for cell in cells if cell.strip()] for host, cells in table.items()}
    by_host: dict[str, list[dict[str, Any]]] = {}
    for path in sorted((directory / "logs" / "http_requests").rglob("*.gz")):
        for record in map(orjson.loads, gzip.decompress(path.read_bytes()).splitlines()):
            by_host.setdefault(record["ClientRequestHost"], []).append(record)
    assert got.keys() == by_host.keys()
    for host, (requests, errors, p50, p99, hits, _) in got.items():
        want = recomputed(by_host[host])
        assert (requests, errors, hits) == want[:3]
        assert float(p50) == pytest.approx(want[3], rel=0.01)
        assert float(p99.replace(" ", "")) == pytest.approx(want[4], rel=0.01)


def recomputed(lines: list[dict[str, Any]]) -> tuple[str, str, str, float, float]:
    users = [line for line in lines if line["ClientRequestSource"] == "eyeball"]
    errors = sum(line["EdgeResponseStatus"] >= 400 for line in users)
    served = sum(line["CacheCacheStatus"] in {"hit", "stale", "updating", "revalidated"} for line in lines)
    asked = served + sum(line["CacheCacheStatus"] in {"miss", "expired"} for line in lines)
    times = [line["EdgeTimeToFirstByteMs"] for line in users]
    p50, p99 = np.percentile(times, [50, 99], method="inverted_cdf")
    requests = f"{len(users):,}".replace(",", " ")
    shares = (f"{100 * errors / len(users):.2f}", f"{100 * served / asked:.2f}")
    return requests, *shares, float(p50), float(p99)


def test_it_says_how_fast_it_was_and_where_to_look_further(ran: tuple[Path, str]) -> None:
    directory, printed = ran
    assert "144 000 records in " in printed
    assert f"edgewatch clickhouse --dir {directory / 'clickhouse'}" in printed
    assert "FORMAT PrettyCompact" in printed
    assert "edgewatch demo --serve" in printed


def test_a_file_gets_plain_text_of_the_width_asked_for(ran: tuple[Path, str]) -> None:
    _, printed = ran
    assert "\x1b" not in printed
    first = printed.index("Hosts (user requests")
    assert max(len(line) for line in printed[first : printed.index("Look further")].splitlines()) <= 100


def test_the_folder_can_be_replayed_with_the_configuration_in_it(ran: tuple[Path, str]) -> None:
    directory, _ = ran
    assert {path.name for path in directory.iterdir()} >= {"logs", "clickhouse", "monitor.toml"}
    assert len((directory / "logs" / "incidents.csv").read_text().splitlines()) == 4


def test_an_earlier_demonstration_is_replaced(tmp_path: Path) -> None:
    prepare(tmp_path / "demo")
    (tmp_path / "demo" / "logs").mkdir()
    (tmp_path / "demo" / "logs" / "old").touch()
    (tmp_path / "demo" / "notes.txt").touch()
    prepare(tmp_path / "demo")
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == [".edgewatch-demo", "notes.txt"]


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    assert demo(tmp_path) == 2
    assert capsys.readouterr().err == (
        f"edgewatch demo: {tmp_path} holds something else already; choose another folder with --dir\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_that_is_still_served_is_left_alone(tmp_path: Path) -> None:
    prepare(tmp_path)
    (tmp_path / "clickhouse").mkdir()
    with (tmp_path / "clickhouse" / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DemoError, match="still serves"):
            prepare(tmp_path)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "demo").touch()
    with pytest.raises(DemoError, match="is not a folder"):
        prepare(tmp_path / "demo")


def test_a_dashboard_for_other_machines_is_refused_before_anything_is_done(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert demo(tmp_path / "demo", listen="0.0.0.0:8710") == 2
    assert "--listen: 0.0.0.0:8710 can be reached from other machines" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()


def test_with_serve_what_was_stored_is_shown_until_it_is_told_to_stop(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = runs.start("demo", "--serve", "--listen", "127.0.0.1:0", "--hours", 0.5, "--dir", tmp_path / "demo", log=log)
    runs.wait_until(lambda: "Dashboard: http" in log.read_text(), what="the dashboard")
    address = log.read_text().split("Dashboard: ")[1].split(" ")[0]
    found = httpx.get(f"{address}api/overview", params={"span": "1h"}, trust_env=False, timeout=60).json()
    assert found["groups"][0]["tiles"][0]["name"] == "Requests"
    assert found["groups"][0]["tiles"][0]["value"] > 10_000
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


@pytest.mark.parametrize(("hours", "seed"), [(0.0, 1), (-1.0, 1), (float("nan"), 1), (1e9, 1), (1.0, -1)])
def test_a_span_that_makes_no_sense_is_refused(hours: float, seed: int) -> None:
    with pytest.raises(DemoError):
        traffic_options(hours, seed)


def test_a_long_span_has_fewer_records_a_second() -> None:
    assert traffic_options(4, 1).records_per_second == 40
    assert traffic_options(24, 3).records_per_second == 40
    assert traffic_options(240, 1).records_per_second == pytest.approx(6_000_000 / 864_000)


def test_the_time_to_detect_counts_from_the_start_of_the_incident() -> None:
    rows = [
        alert(-5, episode="e0"),
        alert(10),
        alert(15, severity="critical"),
        alert(30, status="resolved", severity="critical"),
    ]
    got = find(INCIDENT, rows, [])
    assert (got.after_ms, got.severity) == (10 * MINUTE_MS, "critical")
    assert got.resolved_ms == START_MS + 30 * MINUTE_MS


@pytest.mark.parametrize(
    ("levels", "want"),
    [
        (["ok", "ok"], "never over the threshold: too short for a window"),
        (["ok", "warning"], "over the threshold, but not for long enough"),
        (["insufficient"], "too few records in a window to judge"),
        ([], "no window with records"),
    ],
)
def test_a_missed_incident_says_why(levels: list[str], want: str) -> None:
    rows = [alert(5, rule="slow_responses"), alert(50)]
    evaluations = [alert(5 + 5 * n) | {"level": level} for n, level in enumerate(levels)]
    got = find(INCIDENT, rows, evaluations)
    assert (got.after_ms, got.missed) == (None, want)


def test_alerts_that_no_label_explains_are_listed_once_an_episode() -> None:
    rows = [
        alert(10),
        alert(10, rule="slow_responses", episode="e2"),
        alert(70, rule="slow_responses", episode="e2"),
        alert(90, episode="e3"),
        alert(120, episode="e3", status="resolved"),
    ]
    got = [(row["episode"], row["at"]) for row in others([INCIDENT], rows)]
    assert got == [("e2", alert(10)["at"]), ("e3", alert(90)["at"])]


def test_a_step_that_is_soon_done_shows_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar("reading", 10) as bar:
        bar.advance(10)
        bar.print(Console(), "an alert\n")
    got = capsys.readouterr()
    assert (got.out, got.err) == ("an alert\n", "")


def test_the_labels_name_rules_and_keys_of_the_configuration(ran: tuple[Path, str]) -> None:
    directory, _ = ran
    text = (directory / "monitor.toml").read_text()
    for line in (directory / "logs" / "incidents.csv").read_text().splitlines()[1:]:
        _, _, _, rule, key = line.split(",", 4)
        assert f'name = "{rule}"' in text
        assert list(json.loads(key.strip('"').replace('""', '"'))) == ["ClientRequestHost"]
