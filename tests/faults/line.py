"""The line under test: `edgewatch run` as real processes, with what stands at its ends, and how far it has come."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import httpx
import msgspec

from connectors.advances import read_advances
from flows.firing import closed_of
from flows.self_report import SelfReport
from tests.fakes.scripted import Answer, ScriptedServer, Seen
from tests.fakes.webhook import FakeWebhook
from tests.faults.load import LATENESS_MS, WINDOW_MS
from tests.ports import free_port
from tests.runs import ROOT, wait_until

DATASET = "http_requests"
_LIVE_MS = 2 * WINDOW_MS + LATENESS_MS + 500  # as far as the last closed window may be behind the clock
_LAG = 1000  # messages of a partition that may wait
HANG_AFTER = "10s"  # on a busy machine a run that lives may seem to hang for half of that
CONFIG = """
environment = "faults"

[input.kafka]
brokers = ["{brokers}"]
start = "earliest"
topics = {{ "{topic}" = "http_requests" }}
{client}

[window]
length = "2s"
allowed_lateness = "1s"
idle_after = "{idle_after}"
stall_after = "30s"

[engine]
directory = "{directory}"
snapshot_interval = "500ms"
hang_after = "{hang_after}"
token = "{token}"

[health]
every = "500ms"
max_late_ratio = 1.0
max_dead_ratio = 1.0

[observe]
listen = "127.0.0.1:{port}"

[[metric]]
name = "error_rate"
kind = "ratio"
dataset = "http_requests"
bad = "EdgeResponseStatus >= 500"
group_by = ["ClientRequestHost"]

[[metric]]
name = "took"
kind = "distribution"
dataset = "http_requests"
value = "EdgeTimeToFirstByteMs"
unit = "ms"
group_by = ["ClientRequestHost"]

[[rule]]
name = "failing"
metric = "error_rate"
statistic = "ratio"
keys = "all"
above = {{ warning = 0.2, critical = 0.5 }}
clear = 1
cooldown = "0s"

[channel.hook]
kind = "webhook"
url = "{hook}"
allow_private = true

[clickhouse]
url = "{clickhouse}"
"""


class Hook(FakeWebhook):
    """The channel's other end: how often it took each notification, by id."""

    def __init__(self) -> None:
        super().__init__()
        self.secret = ""
        self.taken: Counter[str] = Counter()

    def reply(self, seen: Seen) -> Answer:
        answer = super().reply(seen)
        self.taken[seen.headers.get("webhook-id", "")] += answer.status == 200
        return answer


class Door(ScriptedServer):
    """Stands before an HTTP server: hands on, late (`delay_s`) or not at all (`refusal` answers what `refuses` says)."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._to, self._client = url, httpx.Client(timeout=60)
        self.delay_s = 0.0
        self.refusal: Answer | None = None
        self.refused = 0

    def __exit__(self, *stop: object) -> None:
        super().__exit__(*stop)  # type: ignore[arg-type]
        self._client.close()

    def reply(self, seen: Seen) -> Answer:
        inserts = "INSERT" in seen.path
        if self.refusal is not None and inserts:
            self.refused += 1
            return self.refusal
        if inserts:
            time.sleep(self.delay_s)
        passed = {name: value for name, value in seen.headers.items() if name not in ("host", "content-length", "connection")}
        try:
            got = self._client.request(seen.method, self._to + seen.path, content=seen.body, headers=passed)
        except httpx.TransportError:
            return Answer(fault="reset")
        kept = {name: value for name, value in got.headers.items() if name.startswith("x-clickhouse")}
        return Answer(got.status_code, got.content, kept)


class Line:
    """A run that is started, hurt and asked. Files are in `folder`; `config` may be changed before a start."""

    def __init__(self, folder: Path, **words: object) -> None:
        self.folder, self.state, self.config, self.log = folder, folder / "state", folder / "monitor.toml", folder / "log"
        self._port = free_port()
        known = {
            "client": "",
            "token": "",
            "idle_after": "60s",
            "hang_after": HANG_AFTER,
            "directory": self.state,
            "port": self._port,
        }
        self.config.write_text(CONFIG.format(**{**known, **words}))
        self.processes = 2
        self.process: subprocess.Popen[bytes] | None = None
        self.environment: dict[str, str] = {}

    def start(self) -> None:
        command = [sys.executable, "-m", "flows.cli", "run", "-c", str(self.config), "--processes", str(self.processes)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=os.environ | self.environment, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def children(self) -> list[int]:
        """Give the processes of the run, in order; those that are gone are not among them."""
        try:
            return [int(each) for each in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        except FileNotFoundError:
            return []

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0, self.said()

    def kill(self) -> None:
        """End all of it at once."""
        if self.process is not None:
            for each in [self.pid, *self.children()]:
                _send(each, signal.SIGKILL)
            self.process.wait()

    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def report(self) -> SelfReport | None:
        try:
            answer = httpx.get(f"http://127.0.0.1:{self._port}/status", timeout=5)
            return msgspec.json.decode(answer.content, type=SelfReport)
        except (httpx.TransportError, msgspec.DecodeError):
            return None

    def closed(self) -> int:
        """Give up to where windows are closed (ms), 0 where none is."""
        return closed_of(self.state / "firing.json").get(DATASET, 0)

    def begins(self) -> dict[int, int]:
        """Give how far (ms) partitions were taken to be before their first record: those that came after others were judged."""
        found = read_advances(sorted((self.state / "advances").glob("*.ndjson")))
        return {int(each.partition.rpartition("/")[2]): each.high for each in found if each.offset == 0 and each.high}

    def is_live(self) -> bool:
        """Tell whether it answers, nothing much waits to be read, and its windows close as time goes on."""
        if time.time() * 1000 - self.closed() >= _LIVE_MS:
            return False
        report = self.report()
        return report is not None and all(each.lag is not None and each.lag <= _LAG for each in report.partitions)

    def until_live(self, *, seconds: float = 120) -> float:
        """Wait until what is closed is near the clock again; give how long (s) it took."""
        before = time.monotonic()
        try:
            wait_until(self.is_live, seconds=seconds, what="the line")
        except AssertionError as error:
            error.add_note(f"{self.said()[-3000:]}\n{self.report()}")
            raise
        return time.monotonic() - before


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
