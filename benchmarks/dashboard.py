"""How fast do the dashboard's answers come to twenty people at once, over a year of windows? One run.

Usage: python -m benchmarks.dashboard [--days N] [--people N] [--rounds N] [--no-page]      (one JSON line)

The rows of a year (windows of 5 minutes; the total and five hosts) are made in ClickHouse itself: making them is not what is
measured. Each person asks what the views of the page ask, in turn and beginning elsewhere, over ranges of a day to the whole
year. Quantiles are of single answers, as the person waits for them; `alone` are one person's first answers, when nothing is
remembered. The page is Chromium's own first contentful paint and the time until the overview stands, with an empty cache.
"""

import argparse
import dataclasses
import json
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np

from flows.config import load
from sinks.clickhouse import ClickHouse, ClickHouseOptions
from sinks.embedded import Embedded
from tests.watched import Watched, served

START = 1_735_689_600  # 2025-01-01
ROOT = Path(__file__).parents[1]
HOSTS = ", ".join(f"map('ClientRequestHost', '{each}.example.com')" for each in "abcde")
KEY = f"arrayJoin([map(), {HOSTS}]) AS key"
METRICS = {
    "requests": {"count": "n", "rate": "n / 300"},
    "error_rate": {"total": "n", "bad": "floor(n / 300)", "ratio": "0.0033"},
    "server_error_rate": {"total": "n", "bad": "floor(n / 900)", "ratio": "0.0011"},
    "response_time": {
        "count": "n",
        "mean": "80 + n % 9",
        "min": "2",
        "max": "900",
        "p50": "70",
        "p90": "150",
        "p99": "300 + n % 99",
    },
    "cache_hit_rate": {"total": "n", "good": "floor(n * 0.9)", "ratio": "0.9"},
    "db_latency": {"count": "n", "mean": "30 + n % 7", "min": "1", "max": "700", "p50": "28", "p99": "200"},
    "unique_users": {"distinct": "floor(n / 6)"},
}
ASKED: tuple[tuple[str, dict[str, str]], ...] = (
    ("meta", {}),
    ("overview", {"span": "24h"}),
    ("overview", {"span": "7d"}),
    ("series", {"lines": "requests:count,error_rate:bad", "span": "24h"}),
    ("series", {"metric": "response_time", "statistic": "p50,p99", "span": "30d"}),
    ("series", {"metric": "response_time", "statistic": "p99", "span": "365d"}),
    ("series", {"metric": "error_rate", "statistic": "ratio", "span": "365d"}),
    ("keys", {"metric": "requests", "span": "7d"}),
    ("heatmap", {"metric": "response_time", "span": "7d"}),
    ("alerts", {"span": "7d"}),
    ("pipeline", {"span": "24h"}),
    ("slos", {}),
)


def fill(client: ClickHouse, days: int) -> None:
    """Make the rows of so many days."""
    at = f"toDateTime({START} + number * 300, 'UTC') AS window_start, window_start + 300 AS window_end"
    count = "toUInt64(3000 + 2000 * sin(number / 45)) AS n"
    source = f"FROM numbers({days * 288})"
    for metric, statistics in METRICS.items():
        pairs = ", ".join(f"('{name}', toFloat64({value}))" for name, value in statistics.items())
        client.execute(
            "INSERT INTO window_metrics (window_start, window_end, metric, key, statistic, value, count, method)"
            f" SELECT window_start, window_end, '{metric}', {KEY}, pair.1, pair.2, n, 'exact' FROM ("
            f"SELECT {at}, {count}, arrayJoin([{pairs}]) AS pair {source})"
        )
    for metric in ("response_time", "db_latency"):
        client.execute(
            "INSERT INTO window_histograms (window_start, window_end, metric, key, buckets, counts)"
            f" SELECT {at}, '{metric}', {KEY}, arrayMap(i -> toInt32(131800 + i * 9), range(60)),"
            f" arrayMap(i -> toUInt64(1 + (i * 7 + number) % 90), range(60)) {source}"
        )
    events = "('records', 3000. * number), ('late', toFloat64(number % 7)), ('dead_letters', 0.), ('watermark', 130.)"
    client.execute(
        "INSERT INTO pipeline_events (at, event, dataset, topic, partition, value)"
        f" SELECT toDateTime({START} + (number + 1) * 300, 'UTC'), pair.1, 'http_requests', 'requests',"
        f" arrayJoin(['0', '1', '2', '3']), pair.2 FROM (SELECT number, arrayJoin([{events}]) AS pair {source})"
    )


def person(address: str, first: int, rounds: int) -> list[tuple[str, float]]:
    """Ask everything so many times, and give how long each answer took (s)."""
    out = []
    with httpx.Client(base_url=address, trust_env=False, timeout=120) as client:
        for number in range(first, first + rounds * len(ASKED)):
            path, words = ASKED[number % len(ASKED)]
            before = time.perf_counter()
            answer = client.get(f"/api/{path}", params=words)
            out.append((f"{path} {words.get('span', '')}".strip(), time.perf_counter() - before))
            assert answer.status_code == 200, answer.text
    return out


def page(address: str) -> dict[str, float]:
    """Give first contentful paint and the whole overview of an empty browser (ms)."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  only where the page is measured

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"))
        opened = browser.new_page()
        before = time.perf_counter()
        opened.goto(f"{address}/overview")
        opened.wait_for_selector("h1")
        whole = time.perf_counter() - before
        paint = opened.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        browser.close()
    return {"first_paint_ms": round(paint), "overview_ms": round(whole * 1000)}


def main() -> None:
    """Measure, and print one line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-page", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, Embedded(Path(name) / "clickhouse") as server:
        client = ClickHouse(ClickHouseOptions(url=server.url), total=600)
        client.migrate()
        fill(client, options.days)
        rows = client.query("SELECT toFloat64(count()) AS n FROM window_metrics")[0]["n"]
        path = Path(name) / "monitor.toml"
        pack = (ROOT / "flows" / "builtin.toml").read_text()
        head = (ROOT / "flows" / "demo.toml").read_text().split("# What users get")[0]
        path.write_text(f'{head}{pack}\n[channel.console]\n[[slo]]\nname = "a"\nmetric = "error_rate"\nobjective = 0.99\n')
        config = dataclasses.replace(load(path), clickhouse=ClickHouseOptions(url=server.url))
        with served(Watched(Path(name), config, client)) as address:
            shown = {} if options.no_page else page(address)
            alone: dict[str, int] = {}
            for each, seconds in person(address, 0, 1):
                alone[each] = max(round(seconds * 1000), alone.get(each, 0))
            with ThreadPoolExecutor(options.people) as pool:
                asked = list(pool.map(lambda first: person(address, first, options.rounds), range(options.people)))
        client.close()
    by_path = defaultdict(list)
    for name, seconds in (each for one in asked for each in one):
        by_path[name].append(seconds * 1000)
    times = np.concatenate([np.array(each) for each in by_path.values()])
    p50, p95 = np.percentile(times, [50, 95]).round().tolist()
    result = {
        "benchmark": "dashboard",
        "days": options.days,
        "rows": int(rows),
        "people": options.people,
        "answers": len(times),
    }
    result |= {"p50_ms": p50, "p95_ms": p95, "most_ms": round(float(times.max()))} | shown | {"alone_ms": alone}
    sys.stdout.write(
        json.dumps(result | {"p95_ms_by": {k: round(float(np.percentile(v, 95))) for k, v in by_path.items()}}) + "\n"
    )


if __name__ == "__main__":
    main()
