"""The Alertmanager channel against a real Alertmanager: what it shows, when alerts end there, what its receivers hear.

And the body of our own webhook against the one that it posts.
"""

import contextlib
import dataclasses
import datetime as dt
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import orjson
import pytest

from flows.alert import Alerting
from flows.policy import PolicyOptions
from flows.route import RouteOptions
from flows.writer import SpoolWriter
from sinks.alertmanager import AlertmanagerOptions
from sinks.channels import CHANNELS, destinations
from sinks.delivery import Delivery
from sinks.notification import Notification, rfc3339
from sinks.spool import Spool
from sinks.webhook import body
from tests import services
from tests.fakes.clock import ManualClock
from tests.fakes.notifications import story
from tests.fakes.scripted import ScriptedServer
from tests.flows.history import LENGTH, START, Settings, result_of, rule
from tests.ports import free_port

PROGRAMS = ("prometheus-alertmanager", "alertmanager")
HOUR = 3_600_000
_CONFIG = """
route: {{receiver: hook, group_by: [alertname], group_wait: 50ms, group_interval: 200ms, repeat_interval: 1h}}
receivers: [{{name: hook, webhook_configs: [{{url: "{url}/hook", send_resolved: true}}]}}]
"""
# What holds labels or annotations by name; which names is ours to choose.
TABLES: dict[str, Any] = {"groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}}
T = TypeVar("T")


def until(found: Callable[[], T | None]) -> T:
    """Ask again until there is something; the other process has a minute."""
    end = time.monotonic() + 60
    while (got := found()) is None:
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)
    return got


@dataclasses.dataclass
class Running:
    """An Alertmanager on this machine, and who listens to it."""

    url: str
    listener: ScriptedServer

    def alerts(self) -> list[dict[str, Any]]:
        """Give what fires, as its page shows it."""
        found: list[dict[str, Any]] = httpx.get(f"{self.url}/api/v2/alerts").raise_for_status().json()
        return found

    def heard(self) -> list[tuple[str, str]]:
        """Give what the receiver heard of each alert: severity and status, repeats left out."""
        found = [(each["labels"]["severity"], each["status"]) for seen in self.listener.seen for each in seen.json["alerts"]]
        return list(dict.fromkeys(found))

    def hears(self, *wanted: tuple[str, str]) -> None:
        """Wait until the receiver heard just this."""
        until(lambda: True if self.heard() == list(wanted) else None)

    def channel(self, **changes: Any) -> Any:
        options = AlertmanagerOptions(**{"urls": (self.url,), **changes})
        assert list(options.problems()) == []
        return CHANNELS["alertmanager"].build("am", options)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    """Give a running one; it goes by the clock of this machine."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        services.missing("alertmanager")
    port = free_port()
    with ScriptedServer() as listener:
        (tmp_path / "config.yml").write_text(_CONFIG.format(url=listener.url))
        command = [program, f"--config.file={tmp_path / 'config.yml'}", f"--storage.path={tmp_path / 'data'}"]
        command += [f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="]
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
        running = Running(f"http://127.0.0.1:{port}", listener)
        try:
            until(lambda: _ready(process, running.url, tmp_path / "log"))
            yield running
        finally:
            process.kill()
            process.wait()


def _ready(process: subprocess.Popen[bytes], url: str, log: Path) -> bool | None:
    assert process.poll() is None, log.read_text()
    with contextlib.suppress(httpx.TransportError):
        return True if httpx.get(f"{url}/-/ready").is_success else None
    return None


def told(*reasons: str, severities: tuple[str, ...] = ()) -> list[Notification]:
    """Give an episode of these last minutes whose last word was said just now: Alertmanager goes by the clock."""
    said = story(*reasons, severities=severities)
    back = int(time.time()) * 1000 - said[-1].at
    start = said[0].at + back - LENGTH
    return [dataclasses.replace(each, at=each.at + back, episode=f"{each.fingerprint}:{start // 1000}") for each in said]


def time_of(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def test_an_alert_shows_with_all_that_was_said_of_it(server: Running) -> None:
    (said,) = told("first")
    server.channel().send(said, {})
    (alert,) = server.alerts()
    assert alert["labels"] == {
        "alertname": "high_error_rate",
        "severity": "critical",
        "environment": "production",
        "ClientRequestHost": "api.example.com",
        "team": "edge",
    }
    assert alert["annotations"] == {
        "summary": "high_error_rate on api.example.com",
        "description": "error_rate ratio 0.0731 is above 0.05 (12345 records)",
        "value": "0.0731",
        "threshold": "0.05",
        "reason": "first",
        "episode": said.episode,
    }
    times = (time_of(alert["startsAt"]), time_of(alert["endsAt"]))
    assert times == (time_of(rfc3339(said.at - LENGTH)), time_of(rfc3339(said.at + 24 * HOUR)))
    until(lambda: True if server.alerts()[0]["status"]["state"] == "active" else None)


def test_its_receiver_hears_that_an_alert_fires_and_that_it_is_over(server: Running) -> None:
    channel = server.channel()
    first, resolved = told("first", "resolved")
    memory = channel.send(first, {})
    server.hears(("critical", "firing"))
    channel.send(resolved, memory)
    server.hears(("critical", "firing"), ("critical", "resolved"))
    ended = server.listener.seen[-1].json["alerts"][0]
    assert (server.alerts(), time_of(ended["endsAt"])) == ([], time_of(rfc3339(resolved.at)))


def test_a_repeat_keeps_it_alive(server: Running) -> None:
    channel = server.channel(expires_after_ms=HOUR)
    first, repeat = told("first", "repeat")
    memory = channel.send(first, {})
    ends = [time_of(server.alerts()[0]["endsAt"])]
    channel.send(repeat, memory)
    (alert,) = server.alerts()
    ends.append(time_of(alert["endsAt"]))
    assert ends == [time_of(rfc3339(said.at + HOUR)) for said in (first, repeat)]
    assert (time_of(alert["startsAt"]), alert["annotations"]["reason"]) == (time_of(rfc3339(first.at - LENGTH)), "repeat")


@pytest.mark.slow
def test_an_alert_that_is_not_said_again_ends_by_itself(server: Running) -> None:
    server.channel(expires_after_ms=5000).send(told("first")[0], {})
    server.hears(("critical", "firing"), ("critical", "resolved"))
    assert server.alerts() == []


def test_an_escalation_ends_the_warning_and_the_resolve_ends_both(server: Running) -> None:
    channel = server.channel()
    severities = ("warning", "critical", "critical")
    warning, worse, resolved = told("first", "escalated", "resolved", severities=severities)
    memory = channel.send(warning, {})
    server.hears(("warning", "firing"))
    memory = channel.send(worse, memory)
    until(lambda: True if len(server.heard()) == 3 else None)
    assert set(server.heard()[1:]) == {("critical", "firing"), ("warning", "resolved")}
    assert [alert["labels"]["severity"] for alert in server.alerts()] == ["critical"]
    channel.send(resolved, memory)
    until(lambda: True if ("critical", "resolved") in server.heard() else None)
    assert server.alerts() == []


def test_a_lost_answer_makes_no_second_alert(server: Running) -> None:
    (said,) = told("first")
    for _ in range(2):
        server.channel().send(said, {})
    assert len(server.alerts()) == 1


def test_names_and_values_of_any_letters_are_taken(server: Running) -> None:
    nasty = 'a-b{severity="none"}\r\n\x1b[31m "\\ \U0001f600'
    (said,) = told("first")
    server.channel().send(
        dataclasses.replace(said, key={nasty: nasty, "path": "x" * 100_000}, labels={"é": nasty, "": "x"}), {}
    )
    (alert,) = server.alerts()
    assert sorted(alert["labels"].values()) == sorted(
        ["high_error_rate", "critical", "production", nasty, nasty, "x" * 100_000, "x"]
    )


def test_many_alerts_of_one_barrier_come_one_by_one_and_are_grouped_there(server: Running, tmp_path: Path) -> None:
    """Alertmanager makes groups itself, so that its silences and inhibitions see each alert."""
    hosts = [f"h{n:02d}" for n in range(30)]
    routes = (RouteOptions(channels=("am",), group_by=("rule",), limit=5),)
    alerting = Alerting(Settings((rule(),), routes=routes), PolicyOptions(modes={"am": CHANNELS["alertmanager"].many}))
    clock = ManualClock()
    spool = Spool(tmp_path / "spool", now=clock.now)
    channels = destinations({"am": AlertmanagerOptions(urls=(server.url,))})
    (lane,) = Delivery(spool, channels, clock=clock, jitter=random.Random(1)).lanes.values()
    writer = SpoolWriter(spool, with_rows=False)
    begin = int(time.time()) * 1000 - 3 * LENGTH

    def window(n: int, rate: float) -> None:
        rows = {("error_rate", f'{{"host":"{host}"}}'): (rate, 1000) for host in hosts}
        result = result_of(n, rows | {("error_rate", "{}"): (0.0, 1000)})
        shifted = dataclasses.replace(result, start=result.start - START + begin, end=result.end - START + begin)
        writer.write_batch(list(alerting.evaluate(shifted).messages))
        while spool.queued(["am"]):
            clock.at += lane.step()

    window(0, 0.4)
    assert sorted(alert["labels"]["host"] for alert in server.alerts()) == hosts
    until(lambda: True if _statuses(server) == dict.fromkeys(hosts, "firing") else None)
    assert max(len(seen.json["alerts"]) for seen in server.listener.seen) > 1
    window(1, 0.0)
    window(2, 0.0)
    until(lambda: True if _statuses(server) == dict.fromkeys(hosts, "resolved") else None)
    assert (server.alerts(), lane.status().dead) == ([], 0)
    spool.close()


def _statuses(server: Running) -> dict[str, str]:
    """Give by host what the receiver heard last."""
    return {each["labels"]["host"]: each["status"] for seen in server.listener.seen for each in seen.json["alerts"]}


def shape(value: Any) -> Any:
    """Give the type of each field of a body, and of what its lists and tables hold."""
    if isinstance(value, list):
        return [shape(each) for each in value]
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    return type(value).__name__


@pytest.mark.parametrize("status", ["firing", "resolved"])
def test_the_body_of_our_webhook_is_the_one_that_a_real_alertmanager_posts(server: Running, status: str) -> None:
    channel = server.channel()
    first, resolved = told("first", "resolved")
    memory = channel.send(first, {})
    server.hears(("critical", "firing"))
    if status == "resolved":
        channel.send(resolved, memory)
        server.hears(("critical", "firing"), ("critical", "resolved"))
    theirs = server.listener.seen[-1].json
    ours = orjson.loads(body(resolved if status == "resolved" else first, "hook"))
    del ours["x_edgewatch"]
    assert set(ours) == set(theirs)
    assert shape({**ours, **TABLES}) == shape({**theirs, **TABLES})
    for name in TABLES:
        assert {type(value) for value in ours[name].values()} == {type(value) for value in theirs[name].values()} == {str}
    same = ("version", "status", "receiver", "truncatedAlerts", "commonLabels", "commonAnnotations")
    assert [ours[name] for name in same] == [theirs[name] for name in same]
    assert [group_key_of(each) for each in (ours, theirs)] == [each["groupKey"] for each in (ours, theirs)]
    (our,), (their,) = ours["alerts"], theirs["alerts"]
    for name in ("status", "labels", "annotations"):
        assert our[name] == their[name]
    for name in ("startsAt", "endsAt"):
        assert time_of(our[name]) == time_of(their[name])
    assert [len(each["fingerprint"]) for each in (our, their)] == [16, 16]


def group_key_of(posted: dict[str, Any]) -> str:
    """Write the key of a group whose route has no matchers."""
    pairs = ", ".join(f'{name}="{value}"' for name, value in sorted(posted["groupLabels"].items()))
    return "{}:{" + pairs + "}"
