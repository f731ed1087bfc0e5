"""How fast do the dashboard's answers come to twenty people at once, over a year of windows? One run.

Usage: python -m benchmarks.dashboard [--days N] [--people N] [--seconds N] [--no-page]      (one JSON line)

The rows of a year (windows of 5 minutes; the total and five hosts) are made in ClickHouse itself: making them is not what is
measured. The people, in a process apart, ask what the views of the page ask, each time of another key and range (a day to the
whole year), half a second after the answer before, and have the stream of news open. They begin once the dashboard, started
with nothing remembered, says at /readyz that it is ready (`ready_s`). A window closes every 30 seconds: ten times as often as
such windows do. Quantiles are of single answers, as the person waits for them: of all, of the first 30 seconds and of those
after; `alone` are the first answers to one person at a dashboard that has looked at nothing. The page is Chromium's own first
contentful paint and the time until the overview stands, with an empty cache.
"""

import argparse
import contextlib
import dataclasses
import http.client
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np

from benchmarks.cpu_time import used_s
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
SPANS = ("24h", "7d", "30d", "90d", "365d")
ASKED: tuple[tuple[str, dict[str, str]], ...] = (
    ("meta", {}),
    *(("overview", {"span": each}) for each in SPANS),
    ("series", {"lines": "requests:count,error_rate:bad", "span": "24h"}),
    *(("series", {"metric": "response_time", "statistic": "p50,p99", "span": each}) for each in SPANS),
    ("series", {"metric": "error_rate", "statistic": "ratio", "span": "365d"}),
    ("keys", {"metric": "requests", "span": "7d"}),
    ("heatmap", {"metric": "response_time", "span": "7d"}),
    ("alerts", {"span": "7d"}),
    ("pipeline", {"span": "24h"}),
    ("slos", {}),
)
Waited = tuple[str, float, float]  # what was asked, when (s) and how long its answer took (s)
CLOSES_S, PAUSE_S, FIRST_S, LIMIT_MS = 30.0, 0.5, 30.0, 300


def fill(client: ClickHouse, first: int, count: int) -> None:
    """Make the rows of so many windows, from a number on."""
    at = f"toDateTime({START} + number * 300, 'UTC') AS window_start, window_start + 300 AS window_end"
    records = "toUInt64(3000 + 2000 * sin(number / 45)) AS n"
    source = f"FROM numbers({first}, {count})"
    for metric, statistics in METRICS.items():
        pairs = ", ".join(f"('{name}', toFloat64({value}))" for name, value in statistics.items())
        client.execute(
            "INSERT INTO window_metrics (window_start, window_end, metric, key, statistic, value, count, method)"
            f" SELECT window_start, window_end, '{metric}', {KEY}, pair.1, pair.2, n, 'exact' FROM ("
            f"SELECT {at}, {records}, arrayJoin([{pairs}]) AS pair {source})"
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


def person(port: int, number: int, until: float) -> list[Waited]:
    """Ask one thing after the other until a time."""
    chosen = random.Random(number)
    out, began = [], time.time()
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    while time.time() < until:
        time.sleep(chosen.uniform(0, 2 * PAUSE_S))
        path, words = chosen.choice(ASKED)
        if path in ("series", "heatmap") and (host := chosen.choice(["", "", *"abcde"])):
            words = words | {"key": json.dumps({"ClientRequestHost": f"{host}.example.com"})}
        at = time.time() - began
        out.append((name_of(path, words), at, asked(client, path, words)))
    return out


def asked(client: http.client.HTTPConnection, path: str, words: dict[str, str]) -> float:
    """Ask, and give how long the answer took (s)."""
    before = time.perf_counter()
    client.request("GET", f"/api/{path}?{urlencode(words)}")
    answer = client.getresponse()
    body = answer.read()
    took = time.perf_counter() - before
    if answer.status != http.client.OK:
        raise RuntimeError(body.decode())
    return took


def name_of(path: str, words: dict[str, str]) -> str:
    """Name a question by its view and range."""
    return f"{path} {words.get('span', '')}".strip()


def listen(port: int, until: float) -> int:
    """Keep the stream of news open, and give how often something came."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    client.request("GET", "/api/events")
    answer, heard = client.getresponse(), 0
    while time.time() < until:
        heard += answer.readline().startswith(b"data:")
    client.close()
    return heard


def crowd(port: int, people: int, seconds: float) -> tuple[list[Waited], int]:
    """Give what all people waited for, and how often the first heard news."""
    until = time.time() + seconds
    with ThreadPoolExecutor(2 * people) as pool:
        news = [pool.submit(listen, port, until) for _ in range(people)]
        found = [pool.submit(person, port, number, until) for number in range(people)]
        return [each for one in found for each in one.result()], news[0].result()


@contextlib.contextmanager
def closing(client: ClickHouse, first: int) -> Iterator[None]:
    """Close a window after the other meanwhile."""
    stop = threading.Event()

    def work() -> None:
        number = first
        while not stop.wait(CLOSES_S):
            fill(client, number, 1)
            number += 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def until_ready(port: int) -> float:
    """Wait until the dashboard says that it is ready, and give how long that took (s)."""
    began = time.perf_counter()
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    while True:
        client.request("GET", "/readyz")
        answer = client.getresponse()
        answer.read()
        if answer.status == http.client.OK:
            return time.perf_counter() - began
        time.sleep(0.05)


def processor_s(server: int) -> list[float]:
    """Give the processor time (s) that a process and this one, which serves the dashboard and closes windows, have used."""
    return [used_s(server), time.process_time()]


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
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--no-page", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, Embedded(Path(name) / "clickhouse") as server:
        client = ClickHouse(ClickHouseOptions(url=server.url), total=600)
        client.migrate()
        fill(client, 0, options.days * 288)
        rows = client.query("SELECT toFloat64(count()) AS n FROM window_metrics")[0]["n"]
        path = Path(name) / "monitor.toml"
        pack = (ROOT / "flows" / "builtin.toml").read_text()
        head = (ROOT / "flows" / "demo.toml").read_text().split("# What users get")[0]
        path.write_text(f'{head}{pack}\n[channel.console]\n[[slo]]\nname = "a"\nmetric = "error_rate"\nobjective = 0.99\n')
        config = dataclasses.replace(load(path), clickhouse=ClickHouseOptions(url=server.url))
        watched = Watched(Path(name), config, client)
        with served(watched) as address:
            shown = {} if options.no_page else page(address)
        with served(watched) as address:
            one = http.client.HTTPConnection(address.removeprefix("http://"), timeout=120)
            alone = {name_of(*each): round(asked(one, *each) * 1000) for each in ASKED}
        apart = multiprocessing.get_context("spawn").Pool(1)
        with served(watched, warm=True) as address, closing(client, options.days * 288), apart:
            port = int(address.rpartition(":")[2])
            ready = until_ready(port)
            spent = processor_s(server.pid)
            waited, heard = apart.apply(crowd, (port, options.people, options.seconds))
            spent = [after - before for before, after in zip(spent, processor_s(server.pid), strict=True)]
        client.close()
    result = {
        "benchmark": "dashboard",
        "days": options.days,
        "rows": int(rows),
        "people": options.people,
        "heard": heard,
        "ready_s": round(ready, 1),
        "processor_s": {"clickhouse": round(spent[0], 1), "dashboard": round(spent[1], 1)},
        "load": round(os.getloadavg()[0], 1),
        "all": quantiles(waited),
        "first": quantiles([each for each in waited if each[1] < FIRST_S]),
        "after": quantiles([each for each in waited if each[1] >= FIRST_S]),
    }
    sys.stdout.write(json.dumps(result | shown | {"alone_ms": alone}) + "\n")


def quantiles(waited: list[Waited]) -> dict[str, Any]:
    """Give how long answers took (ms), and which share came late."""
    by_name = defaultdict(list)
    for name, _, seconds in waited:
        by_name[name].append(seconds * 1000)
    times = np.array([1000 * seconds for _, _, seconds in waited])
    p50, p95, p99 = np.percentile(times, [50, 95, 99]).round().tolist()
    late = round(100 * float(np.mean(times > LIMIT_MS)), 2)
    return {
        "answers": len(times),
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "most_ms": round(float(times.max())),
        "over_300_ms_percent": late,
        "p95_ms_by": {name: round(float(np.percentile(each, 95))) for name, each in by_name.items()},
    }


if __name__ == "__main__":
    main()
