"""What is said again when the spool is lost: open critical alerts that were said, by their incidents, and nothing else."""

import json
from pathlib import Path

import pytest

from flows.config import loads
from flows.controls import SilenceEvent, append
from flows.firing import FiringFile
from flows.output import Block
from flows.run_folder import RunFolder
from flows.said_again import say_again
from flows.transition import fingerprint_of
from sinks.notification import Notification
from sinks.spool import Spool, SpoolItem

AT, START = 1_764_547_800_000, 1_764_547_200_000
CONFIG = """
environment = "test"
labels = { team = "edge" }

[[metric]]
name = "errors"
kind = "ratio"
dataset = "http_requests"
bad = "EdgeResponseStatus >= 500"
group_by = ["ClientRequestHost"]

[[rule]]
name = "failing"
metric = "errors"
statistic = "ratio"
above = { warning = 0.1, critical = 0.5 }

[channel.chat]
kind = "console"
[channel.pager]
kind = "pagerduty"
routing_key = "0123456789abcdef0123456789abcdef"
"""


def alert(host, severity="critical", *, heard=("chat", "pager"), **more):
    labels = {"ClientRequestHost": host, "severity": severity, "rule": "failing", "team": "edge", "environment": "test"}
    found = {"rule": "failing", "state": "firing", "start": START, "labels": labels, "heard": list(heard)}
    return {**found, "key": json.dumps({"ClientRequestHost": host}, separators=(",", ":")), **more}


def episode(host):
    key = alert(host)["key"]
    return f"{fingerprint_of('test', key, 'failing')}:{START // 1000}"


class Home:
    """A state folder whose spool was lost."""

    def __init__(self, path):
        self.folder = RunFolder(path)
        self.config = loads(CONFIG, Path("monitor.toml"))
        self.spool = Spool(self.folder.spool)

    def left(self, *barriers):
        """Write what barriers left open."""
        for alerts in barriers:
            lines = b"".join(json.dumps(each).encode() + b"\n" for each in alerts)
            FiringFile(self.folder.firing).take([Block("firing", AT, "http_requests", lines)])

    def said(self):
        say_again(self.spool, self.folder, self.config)
        rows = self.spool._db.execute("SELECT destination, payload FROM items ORDER BY seq").fetchall()
        return [(channel, Notification.from_bytes(payload)) for channel, payload in rows]


@pytest.fixture
def home(tmp_path):
    home = Home(tmp_path)
    yield home
    home.spool.close()


def test_an_open_critical_alert_is_said_once_as_a_repeat_of_its_incident(home):
    home.left([alert("a"), alert("b", "warning"), alert("c", heard=())])
    found = home.said()
    assert [(channel, each.episode, each.reason) for channel, each in found] == [
        ("chat", episode("a"), "repeat"),
        ("pager", episode("a"), "repeat"),
    ]
    said = found[0][1]
    assert said.dedup_key == f"edgewatch/test/failing/{episode('a')}"
    assert said.labels == {"team": "edge", "ClientRequestHost": "a"}
    assert said.title == "Failing on a: critical, open since 2025-12-01 00:00 UTC"
    assert said.text.startswith("Not over after 10 min. Said again because the spool was lost")
    assert home.said() == found


def test_a_spool_that_ever_held_anything_is_not_taken_for_new(home):
    home.left([alert("a")])
    home.spool.put([SpoolItem("one", "chat", "e", b"x", AT)])
    home.spool.drop(["one"])
    home.spool._db.execute("DELETE FROM items")  # as pruning does in time
    assert home.said() == []


def test_what_a_person_silenced_is_not_said_again(home):
    event = {"id": "s", "match": ("ClientRequestHost=a",), "author": "me", "reason": "work", "start": 0, "at": 0}
    append(home.folder.controls, [SilenceEvent(**event, end=AT + 1)])
    home.left([alert("a"), alert("b")])
    assert [each.episode for _, each in home.said()] == [episode("b")] * 2


def test_a_channel_that_hears_of_alerts_together_hears_of_them_together_again(home):
    home.left([alert(host, bundles={"pager": "0123:1764547200"}) for host in "abcdef"])
    found = home.said()
    assert [channel for channel, _ in found] == ["chat"] * 6 + ["pager"]
    storm = found[-1][1]
    assert (storm.episode, storm.dedup_key) == ("0123:1764547200", "edgewatch/test/group/0123:1764547200")
    assert (storm.title, len(storm.evidence["lines"])) == ("6 critical alerts open: failing", 6)


def test_an_alert_that_was_said_as_a_warning_first_says_so(home):
    home.left([alert("a", "warning")], [alert("a"), alert("b")], [alert("a"), alert("b")])
    began = {each.episode: each.evidence["began"] for _, each in home.said()}
    assert began == {episode("a"): "warning", episode("b"): "critical"}


def test_a_pager_remembers_which_incidents_are_open_as_warnings(home):
    home.left([alert("a", "warning"), alert("b"), alert("c", "warning", heard=())])
    home.said()
    remembered = {(channel, host): home.spool.memory(channel, episode(host)) for channel in ("chat", "pager") for host in "abc"}
    assert {place: each for place, each in remembered.items() if each} == {("pager", "a"): {"severity": "warning"}}
