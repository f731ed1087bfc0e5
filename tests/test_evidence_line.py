"""Evidence over the whole line: replays of traffic with incidents name what is behind them, alike from any reader."""

import json
from pathlib import Path

import pytest

from connectors.traffic import Traffic, TrafficOptions, write_archive
from tests.runs import checked, outputs

RULES = """
environment = "test"

[dashboard]
url = "https://edgewatch.example.com/"

[window]
allowed_lateness = "60s"

[[metric]]
name = "error_rate"
kind = "ratio"
dataset = "http_requests"
where = "is_user_request"
bad = "EdgeResponseStatus >= 400"
group_by = ["ClientRequestHost"]

[[metric]]
name = "response_time"
kind = "distribution"
dataset = "http_requests"
where = "is_user_request"
value = "EdgeTimeToFirstByteMs"
unit = "ms"

[[metric]]
name = "cache_hit_rate"
kind = "ratio"
dataset = "http_requests"
where = "asked_cache"
good = "served_from_cache"

[[rule]]
name = "errors"
metric = "error_rate"
statistic = "ratio"
keys = "all"
above = { critical = 0.02 }

[[rule]]
name = "slow"
metric = "response_time"
statistic = "p99"
above = { warning = 1000, critical = 3000 }

[[rule]]
name = "cold"
metric = "cache_hit_rate"
statistic = "ratio"
below = { critical = 0.85 }
"""


def replayed(folder: Path, *, native: str = "1") -> list[dict]:
    config, out = folder / "monitor.toml", folder / f"out-{native}"
    config.write_text(RULES, encoding="utf-8")
    checked("replay", "-c", config, "--source", f"archive:{folder / 'logs'}", "--out", out, EDGEWATCH_NATIVE=native)
    return [json.loads(line) for line in (out / "notifications.ndjson").read_bytes().splitlines()]


def named(notification: dict) -> list[tuple[str, str]]:
    return [(each["dimension"], each["value"]) for each in notification["evidence"]["contribution"]]


@pytest.mark.slow
def test_generated_incidents_are_put_down_to_the_host_they_are_on(tmp_path: Path) -> None:
    write_archive(Traffic(TrafficOptions(seed=2, hours=2.0)), tmp_path / "logs")
    first = {each["rule"]: each for each in replayed(tmp_path) if each["key"] == {} and each["reason"] == "first"}
    assert {rule: named(each)[0] for rule, each in first.items()} == {
        "errors": ("host", "api.example.com"),
        "slow": ("host", "app.example.com"),
        "cold": ("host", "static.example.com"),
    }
    shares = [each["evidence"]["contribution"][0] for each in first.values()]
    assert [each for each in shares if each["share"] < 0.8 or not each["of"].startswith("excess ")] == []
    assert replayed(tmp_path, native="0") == replayed(tmp_path)
    assert outputs(tmp_path / "out-0") == outputs(tmp_path / "out-1")


def test_a_path_that_fails_in_one_colo_is_found_beneath_its_host(tmp_path: Path) -> None:
    folder = tmp_path / "logs" / "http_requests" / "p0"
    folder.mkdir(parents=True)
    with (folder / "20251201T000000Z_20251201T002500Z.ndjson").open("w", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(each)}\n" for each in requests())
    told = [each for each in replayed(tmp_path) if each["reason"] == "first" and each["key"]]
    (evidence,) = [each["evidence"] for each in told]
    assert [(each["dimension"], each["value"], each["of"]) for each in evidence["contribution"]] == [
        ("path", "/api/checkout/:id", "excess errors"),
        ("colo", "FRA", "excess errors"),
        ("status", "503", "excess errors"),
    ]
    assert {each["count"] for each in evidence["contribution"]} == {60}
    assert (evidence["n"], evidence["window"]["end"]) == (600, "2025-12-01T00:20:00Z")
    link = "https://edgewatch.example.com/alerts?rule=errors&key=%7B%22ClientRequestHost%22%3A%22shop%22%7D&at=2025-12-01T00%3A20%3A00Z"
    assert evidence["dashboard"] == link


def requests() -> list[dict]:
    """Give 25 minutes of a request every half second: one in a hundred fails, and from minute 15 to 20 checkout in FRA."""
    out = []
    for n in range(3000):
        path, colo = ("/api/checkout/%d" if n % 5 == 0 else "/api/pitches/%d") % n, "FRA" if n % 10 < 5 else "DUB"
        fails = 1800 <= n < 2400 and n % 10 == 0
        status = 503 if fails else 404 if n % 100 == 7 else 200
        out.append(
            {
                "EdgeEndTimestamp": (1_764_547_200_000 + 500 * n) * 1_000_000,
                "ClientRequestHost": "shop",
                "ClientRequestPath": path,
                "EdgeColoCode": colo,
                "ClientCountry": "de",
                "EdgeResponseStatus": status,
                "EdgeTimeToFirstByteMs": 20,
                "RayID": f"{n:016x}",
                "ClientRequestSource": "eyeball",
            }
        )
    return out
