"""What becomes of many alerts at one barrier? From the rules through the spool to Slack, PagerDuty, email and a webhook.

Usage: python -m benchmarks.storm [--alerts N] [--rounds N]        (one JSON line)

Each round so many alerts begin at one barrier, half of them end at the next, the others at the one after. The counterparts
speak the real protocols and keep to their documented rates on a clock that is turned, not waited for; `refused` counts what
they answered with 429. `accounted` is how many alerts each was told of: by themselves, or as one of a message's number.
`rss_growth_mb` is what the process holds more at the end than behind the first round.
"""

import argparse
import json
import re
import tempfile
import time
from collections import deque
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from flows.config import Config, loads
from flows.line import RuleJudge
from flows.window import MetricRows, WindowResult
from flows.writer import SpoolWriter
from sinks.channels import destinations
from sinks.delivery import Delivery
from sinks.spool import Spool
from tests.fakes import slack
from tests.fakes.clock import ManualClock
from tests.fakes.pagerduty import ROUTING_KEY, FakePagerDuty
from tests.fakes.scripted import Answer, Seen, of_json
from tests.fakes.slack import FakeSlack
from tests.fakes.smtp import FakeSmtp, certificate
from tests.fakes.webhook import HOOK, SECRET, FakeWebhook

LENGTH_MS = 300_000
CONFIG = """
environment = "storm"

[[metric]]
name = "error_rate"
kind = "ratio"
dataset = "http_requests"
bad = "EdgeResponseStatus >= 500"
group_by = ["ClientRequestHost"]

[[rule]]
name = "high_error_rate"
metric = "error_rate"
statistic = "ratio"
above = {{ critical = 0.05 }}
clear = 1
cooldown = "0s"

[channel.slack]
webhook_url = "{slack}"

[channel.pagerduty]
routing_key = "{key}"
url = "{pagerduty}"

[channel.email]
host = "localhost"
port = {smtp}
ca_file = "{authority}"
from = "alerts@example.com"
to = ["ann@example.com"]

[channel.webhook]
url = "{webhook}"
secrets = ["{secret}"]
allow_private = true
"""


class Limited:
    """Counts calls by a clock, and those beyond what is documented: so many in any 60 s."""

    def __init__(self, clock: ManualClock, calls: int) -> None:
        self.refused = 0
        self._clock, self._calls = clock, calls
        self._made: deque[float] = deque()

    def refuses(self) -> bool:
        now = self._clock.now()
        while self._made and self._made[0] <= now - 60:
            self._made.popleft()
        self._made.append(now)
        beyond = len(self._made) > self._calls
        self.refused += beyond
        return beyond


class LimitedSlack(FakeSlack):
    """One message a second, with short bursts."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self.limit = Limited(clock, 60 + 5)

    def reply(self, seen: Seen) -> Answer:
        return Answer(429, b"rate_limited", {"Retry-After": "30"}) if self.limit.refuses() else super().reply(seen)


class LimitedPagerDuty(FakePagerDuty):
    """120 events a minute."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self.limit = Limited(clock, 120)

    def reply(self, seen: Seen) -> Answer:
        return of_json(429, {"status": "throttle exceeded"}) if self.limit.refuses() else super().reply(seen)


class World:
    """The line from the rules on, and its four counterparts."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.clock = ManualClock()
        self.slack = stack.enter_context(LimitedSlack(self.clock))
        self.pagerduty = stack.enter_context(LimitedPagerDuty(self.clock))
        self.webhook = stack.enter_context(FakeWebhook())
        authority = certificate(folder, "localhost")
        self.smtp = stack.enter_context(FakeSmtp(authority))
        config = self._config(authority.file)
        self._judge = RuleJudge(config)
        self._spool = Spool(folder / "spool", now=self.clock.now)
        self._writer = SpoolWriter(self._spool, with_rows=False)
        self._delivery = Delivery(self._spool, destinations(config.channels), environment="storm", clock=self.clock)
        self._end = int(self.clock.now()) * 1000

    def _config(self, authority: Path) -> Config:
        names = {"key": ROUTING_KEY, "secret": SECRET, "authority": authority, "smtp": self.smtp.port}
        urls = {
            "slack": self.slack.webhook_url,
            "pagerduty": self.pagerduty.enqueue_url,
            "webhook": f"{self.webhook.url}{HOOK}",
        }
        return loads(CONFIG.format(**names, **urls), Path("monitor.toml"))

    def barrier(self, bad: int, size: int) -> None:
        """Judge a window in which the first `bad` of `size` hosts fail, and deliver all that it says."""
        self._end += LENGTH_MS
        self.clock.at = max(self.clock.at, self._end / 1000 + 150)
        keys = [f'{{"ClientRequestHost":"host-{n:05d}.example.com"}}' for n in range(size)]
        rates = np.where(np.arange(size) < bad, 0.4, 0.0)
        rows = MetricRows("error_rate", keys, np.full(size, 1000), {"ratio": rates}, np.zeros(size, np.bool_))
        self._writer.write_batch(
            self._judge(WindowResult("http_requests", self._end - LENGTH_MS, self._end, {"error_rate": rows}, {}), [])
        )
        lanes = list(self._delivery.lanes.values())
        while self._spool.queued(self._delivery.lanes):
            wait = min(lane.step() for lane in lanes)
            self.clock.at += max(wait, 0.01) if wait else 0.0

    def told(self) -> dict[str, list[tuple[str, str]]]:
        """Give, by channel, the status and the title or host of each message, in order, and forget them."""
        events = [seen.json for seen in self.pagerduty.seen]
        out = {
            "slack": [_chat(slack.shown(body)) for body in self.slack.posted],
            "email": [_mail(each.part("plain")) for each in self.smtp.received],
            "pagerduty": [(e["event_action"], e.get("payload", {}).get("summary", e["dedup_key"])) for e in events],
            "webhook": [_hooked(seen.json) for seen in self.webhook.seen],
        }
        for kept in (self.slack.posted, self.slack.seen, self.smtp.received, self.pagerduty.seen, self.webhook.seen):
            kept.clear()  # type: ignore[attr-defined]
        self.webhook.received.clear()
        self.smtp.heard.clear()
        self.pagerduty.pages.clear()
        return out


def _chat(text: str) -> tuple[str, str]:
    head = text.splitlines()[0]
    return ("resolved" if "resolved: " in head else "firing"), head.partition(": ")[2]


def _mail(text: str) -> tuple[str, str]:
    return ("resolved" if re.search(r"resolved|over", text.splitlines()[0], re.IGNORECASE) else "firing"), text


def _hooked(body: dict[str, Any]) -> tuple[str, str]:
    return body["status"], body["alerts"][0]["labels"]["ClientRequestHost"]


def accounted(said: list[tuple[str, str]], status: str) -> int:
    """Count the alerts that messages of a status tell of: a message of many says how many."""
    found = 0
    for state, text in said:
        if state == status:
            many = re.search(r"(\d+) alerts", text)
            found += int(many[1]) if many else 1
    return found


def rss_mb() -> float:
    """Give the process's resident memory."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096 / 1e6


def measure(alerts: int, rounds: int) -> dict[str, Any]:
    """Run the rounds, and give what is printed."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        world = World(Path(folder), stack)
        began, memory, messages, found, ends, crossed = time.perf_counter(), [], {}, {}, {}, 0
        for _ in range(rounds):
            world.barrier(alerts, alerts)
            first = world.told()
            world.barrier(alerts // 2, alerts)
            world.barrier(0, alerts)
            rest = world.told()
            found = {name: accounted(said, "trigger" if name == "pagerduty" else "firing") for name, said in first.items()}
            ends = {name: accounted(said, "resolve" if name == "pagerduty" else "resolved") for name, said in rest.items()}
            messages = {name: len(first[name]) + len(rest[name]) for name in first}
            crossed += sum(status != "firing" for status, _ in first["webhook"])
            crossed += sum(status != "resolved" for status, _ in rest["webhook"])
            memory.append(rss_mb())
        return {
            "alerts": alerts,
            "rounds": rounds,
            "accounted": found,
            "ended": ends,
            "messages": messages,
            "refused": {"slack": world.slack.limit.refused, "pagerduty": world.pagerduty.limit.refused},
            "open": len(world.pagerduty.open),
            "out_of_order": crossed,
            "rss_growth_mb": round(memory[-1] - memory[0], 1),
            "rss_mb": round(memory[-1]),
            "round_s": round((time.perf_counter() - began) / rounds, 1),
        }


def main() -> None:
    """Measure it, and print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alerts", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    print(json.dumps({"benchmark": "storm", **measure(chosen.alerts, chosen.rounds)}))


if __name__ == "__main__":
    main()
