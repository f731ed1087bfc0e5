"""A dashboard for tests: two hours of traffic in an embedded ClickHouse, served over real HTTP on this machine."""

import contextlib
import dataclasses
import gzip
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import uvicorn

from connectors.traffic import Traffic, TrafficOptions, write_archive
from flows.config import Config, load
from flows.dashboard_options import DashboardOptions
from flows.dashboard_server import Dashboard, made
from flows.monitor import run_archive
from sinks.clickhouse import ClickHouse, ClickHouseOptions
from sinks.embedded import Embedded

ROOT = Path(__file__).parent.parent
START, MINUTE, HOUR = 1_764_576_000_000, 60_000, 3_600_000  # 2025-12-01T08:00:00Z
END = START + 2 * HOUR
SLO = """
[[slo]]
name = "availability"
metric = "error_rate"
objective = 0.99

[[metric]]
name = "path_time"
kind = "distribution"
dataset = "http_requests"
where = "is_user_request"
value = "EdgeTimeToFirstByteMs"
unit = "ms"
group_by = ["ClientRequestPath"]

[[rule]]
name = "budgets"
kind = "budget"
metric = "path_time"
statistic = "p99"
budgets = { "/api/search" = 600, "*" = 500 }
"""
OBSERVE = '\n[observe]\ntrace_url = "https://traces.example.com/{trace_id}"\n'
TOPICS = '"app.performance" = "performance", "app.health" = "health", "app.business" = "business"'
EVENTS = ("pitch_created", "nda_signed", "investment_made")


@dataclass(frozen=True, slots=True)
class Watched:
    """What is watched: the folder with logs and configuration, and a client of the tables."""

    folder: Path
    config: Config
    client: ClickHouse

    @property
    def state(self) -> Path:
        """Give the state folder."""
        return self.folder / "out" / ".state"


@contextlib.contextmanager
def watched(folder: Path) -> Iterator[Watched]:
    """Write traffic, watch it, and keep its tables open."""
    write_archive(Traffic(TrafficOptions(seed=5, hours=2, records_per_second=5)), folder / "logs")
    pack = (ROOT / "flows" / "builtin.toml").read_text()
    _write(folder / "logs", "health", [_health(minute) for minute in range(120)])
    _write(folder / "logs", "business", [_event(minute) for minute in range(120)])
    head = (ROOT / "flows" / "demo.toml").read_text().split("# What users get")[0]
    head = head.replace('"app.performance" = "performance"', TOPICS)
    tail = '\n[[route]]\nchannels = ["console"]\n\n[channel.console]\n' + SLO + OBSERVE
    with Embedded(folder / "clickhouse") as server:
        (folder / "monitor.toml").write_text(f'{head}{pack}{tail}\n[clickhouse]\nurl = "{server.url}"\n')
        config = load(folder / "monitor.toml")
        summary = run_archive(config, folder / "logs", folder / "out", on_notification=lambda _: None, report=lambda *_: None)
        assert summary["delivered"]
        client = ClickHouse(ClickHouseOptions(url=server.url))
        yield Watched(folder, config, client)
        client.close()


def _health(minute: int) -> dict[str, object]:
    """Give a health check: the database is slow and degraded in the last quarter of an hour."""
    slow = minute >= 105
    database = {"status": "degraded" if slow else "healthy", "latencyMs": 900 if slow else 20 + minute % 7}
    return {
        "timestamp": START + minute * MINUTE,
        "probe": "api",
        "location": "FRA",
        "ok": True,
        "http_status": 200,
        "overall": "degraded" if slow else "healthy",
        "checks": {"database": database, "worker": {"status": "healthy"}},
    }


def _event(minute: int) -> dict[str, object]:
    kind = EVENTS[minute % len(EVENTS)]
    blobs = [kind, f"user-{minute}", "creator" if minute % 2 else "investor"]
    paid = 1000.0 + minute if kind == "investment_made" else 0.0
    return {"timestamp": START + minute * MINUTE, "blobs": blobs, "doubles": [paid, 1], "indexes": ["", "production"]}


def _write(logs: Path, dataset: str, records: list[dict[str, object]]) -> None:
    """Write a dataset as one file of an archive."""
    (logs / dataset / "p0").mkdir(parents=True)
    name = "20251201T080000Z_20251201T100000Z_0123456789abcdef.ndjson.gz"
    (logs / dataset / "p0" / name).write_bytes(gzip.compress(b"".join(orjson.dumps(each) + b"\n" for each in records)))


@contextlib.contextmanager
def served(place: Watched, options: DashboardOptions | None = None, state: Path | None = None) -> Iterator[str]:
    """Serve the dashboard on a free port; gives its address."""
    config = dataclasses.replace(place.config, dashboard=options or DashboardOptions())
    dashboard: Dashboard = made(config, place.client, state or place.state)
    server = uvicorn.Server(
        uvicorn.Config(dashboard.application, port=0, lifespan="off", log_level="error", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        dashboard.stopping = True
        server.should_exit = True
        thread.join()
