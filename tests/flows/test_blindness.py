"""Blindness: one page however many causes, said once over restarts and crashes, and alerts that are held and made good."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.alert import Alerting
from flows.blindness import Blindness, channels_of
from flows.config import loads
from flows.controls import BlindEvent, Controls, append
from flows.health import BROKER, DEAD, LAG, Finding
from flows.labels import Labels
from flows.policy import NO_POLICY
from flows.rule import CRITICAL, compile_rule
from flows.suppressor import Surroundings, suppressors
from flows.writer import SpoolWriter
from sinks.notification import Notification
from sinks.rows import Rows
from sinks.spool import Spool, SpoolFull
from tests.flows.history import LENGTH, METRICS, START, Settings, play, rates, rule
from tests.runs import checked

CONFIG = """
environment = "test"
labels = { team = "edge" }
[channel.chat]
kind = "console"
[channel.pager]
kind = "console"
[channel.other]
kind = "console"
[[route]]
match = { rule = "pipeline_blind", severity = "critical", team = "edge", environment = "test" }
channels = ["chat", "pager"]
[[route]]
channels = ["other"]
"""
LAGS = Finding(LAG, "d", "t/0", 13 * 60_000, 720_000, 7)
ALSO = Finding(LAG, "e", "e/0", 13 * 60_000, 720_000, 7)
DIRTY = Finding(DEAD, "d", "t/0", 0.5, 0.05)
AWAY = (Finding(BROKER, "d", "t/0", 900_000, 900_000, whole=True), Finding(BROKER, "e", "e/0", 900_000, 900_000, whole=True))


def config_of(text=CONFIG):
    return loads(text, Path("monitor.toml"))


class Home:
    """A state folder with a spool; `full` makes the disk full."""

    def __init__(self, folder, text=CONFIG):
        self.folder, self.text, self.full = folder, text, False
        self.spool = Spool(folder / "spool.db")
        self.writer = SpoolWriter(self.spool, with_rows=True, version="v")
        self.start()

    def start(self):
        """Begin as a process does."""
        self.blindness = Blindness(
            config_of(self.text), self.folder / "blindness.json", self.folder / "controls.ndjson", self._put, "k:9092"
        )

    def _put(self, items):
        if self.full:
            raise SpoolFull(28, "full", "spool")
        self.writer.write_batch(items)

    def take(self, *findings, at):
        self.blindness.take(findings, START + at * 1000)

    def said(self, channel="chat"):
        """Give what is in the spool for a channel, in order."""
        rows = self.spool._db.execute("SELECT payload FROM items WHERE destination = ? ORDER BY seq", (channel,))
        return [Notification.from_bytes(payload) for (payload,) in rows]

    def blind(self):
        return sorted(Controls(self.folder / "controls.ndjson").blinded())

    def events(self):
        path = self.folder / "controls.ndjson"
        return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


def test_a_line_that_sees_says_nothing_and_writes_nothing(home):
    home.take(at=0)
    assert (home.said(), home.events(), (home.folder / "blindness.json").exists()) == ([], [], False)


def test_blindness_is_said_once_to_its_route_and_resolved_to_those_who_heard(home):
    for at in range(0, 50, 5):
        home.take(*AWAY, at=at)
    (first,) = home.said()
    assert (first.rule, first.status, first.severity, first.reason, first.key) == (
        "pipeline_blind",
        "firing",
        "critical",
        "first",
        {},
    )
    assert first.title == "edgewatch is blind: the broker at k:9092 has not answered for 15 min"
    assert first.text == (
        "The broker at k:9092 has not answered for 15 min. Alerts on d and e are held; what still fires when this is over is "
        "said then. See whether the broker runs and whether this machine reaches it; reading goes on by itself."
    )
    assert (first.channels, first.labels, first.environment) == (("chat", "pager"), {"team": "edge"}, "test")
    assert home.said("other") == []
    home.text = CONFIG.replace('channels = ["chat", "pager"]', 'channels = ["other"]')
    home.start()
    home.take(at=60)
    home.take(at=65)
    second = home.said("pager")[1]
    assert (second.status, second.reason, second.channels) == ("resolved", "resolved", ("chat", "pager"))
    assert (second.episode, second.dedup_key) == (first.episode, first.dedup_key)
    assert second.title == "edgewatch sees again, after 1 min"
    assert (len(home.said()), home.said("other")) == (2, [])


def test_what_is_said_is_a_row_too(home):
    home.take(LAGS, at=0)
    rows = home.spool._db.execute("SELECT payload FROM items WHERE destination = 'clickhouse'").fetchall()
    (line,) = [json.loads(Rows.from_bytes(payload).data) for (payload,) in rows]
    assert (line["rule"], line["config_version"], line["at"]) == ("pipeline_blind", "v", "2025-12-01T00:00:00Z")


def test_a_further_cause_is_told_in_the_same_episode_and_one_that_comes_again_is_not(home):
    home.take(LAGS, at=0)
    home.take(LAGS, DIRTY, at=5)
    home.take(DIRTY, at=10)
    home.take(LAGS, DIRTY, at=15)
    assert [(each.reason, each.title) for each in home.said()] == [
        ("first", "edgewatch is blind: d is read 13 min behind the clock, and 7 messages wait"),
        ("repeat", "edgewatch is blind: d is read 13 min behind the clock, and 7 messages wait (and 1 more)"),
    ]
    assert len({each.dedup_key for each in home.said()}) == 1


def test_it_is_said_again_after_an_hour(home):
    for at in range(0, 2 * 3600 + 1, 600):
        home.take(LAGS, at=at)
    assert [each.reason for each in home.said()] == ["first", "repeat", "repeat"]


def test_each_dataset_is_blind_as_long_as_it_has_a_cause(home):
    home.take(LAGS, at=0)
    assert home.blind() == ["d"]
    home.take(LAGS, ALSO, at=5)
    assert home.blind() == ["d", "e"]
    home.take(ALSO, at=10)
    assert home.blind() == ["e"]
    home.take(at=15)
    assert home.blind() == []
    assert [(each["on"], each["datasets"], each["causes"]) for each in home.events()] == [
        (True, ["d"], ["lag"]),
        (True, ["e"], ["lag"]),
        (False, ["d"], []),
        (False, ["e"], []),
    ]


def test_events_that_a_lost_state_left_on_are_taken_back(home):
    home.take(LAGS, at=0)
    (home.folder / "blindness.json").unlink()
    home.start()
    home.take(at=5)
    assert home.blind() == []


def test_a_full_disk_under_the_spool_delays_what_is_said_and_loses_nothing(home):
    home.full = True
    for at in (0, 5):
        with pytest.raises(SpoolFull):
            home.take(LAGS, at=at)
    home.start()
    home.full = False
    home.take(LAGS, at=10)
    assert [each.reason for each in home.said()] == ["first"]


@pytest.mark.slow
@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.sets(st.sampled_from([LAGS, ALSO, DIRTY, *AWAY])), st.sampled_from(["go", "restart", "crash", "full"])),
        min_size=1,
        max_size=25,
    )
)
def test_no_two_pages_are_open_and_none_is_lost_or_repeated_whatever_breaks(tmp_path_factory, looks):
    home = Home(tmp_path_factory.mktemp("state"))
    for n, (findings, fate) in enumerate(looks):
        if fate == "restart":
            home.start()
        home.full = fate in ("crash", "full")
        try:
            home.take(*findings, at=5 * n)
        except SpoolFull:
            assert home.full
        if fate == "crash":  # before the spool had it
            home.start()
    home.full = False
    home.take(*looks[-1][0], at=5 * len(looks))
    said = [(each.status, each.episode) for each in home.said()]
    opened = None
    for status, episode in said:
        assert opened in (None, episode)
        assert opened is not None or status == "firing"
        opened = episode if status == "firing" else None
    assert (opened is not None) == bool(looks[-1][0])
    assert len({each.id for each in home.said()}) == len(said)
    assert home.blind() == sorted({each.dataset for each in looks[-1][0]})
    assert home.said("pager") == home.said()


def test_where_no_route_takes_it_all_hear_of_it_that_hear_of_critical_alerts():
    assert channels_of(config_of()) == {"chat", "pager"}
    assert channels_of(config_of(CONFIG.replace('channels = ["other"]', 'channels = ["other"]\nmatch = { team = "x" }'))) == {
        "chat",
        "pager",
    }
    elsewhere = CONFIG.replace('rule = "pipeline_blind"', 'rule = "high_error_rate"')
    assert channels_of(config_of(elsewhere)) == {"other"}
    unheard = elsewhere.replace('channels = ["other"]', 'severity = ["warning"]\nchannels = ["other"]')
    assert channels_of(config_of(unheard)) == {"chat", "pager"}


def end_of(n):
    return START + (n + 1) * LENGTH


def blind(name, *, on, datasets=("d",)):
    return BlindEvent(id=name, on=on, datasets=datasets, causes=("lag",), text="blind", at=0)


def alerting(path, *, live):
    return Alerting(Settings((rule(),)), NO_POLICY, Controls(path, live=live))


def test_alerts_of_a_blind_dataset_are_inhibited_and_made_good_and_a_replay_decides_the_same(tmp_path):
    path = tmp_path / "controls.ndjson"
    results = rates(0.4, 0.4, 0.4, 0.4, 0.0, 0.0, 0.4, 0.4, 0.4)
    events = {1: blind("a", on=True), 5: blind("b", on=False), 6: blind("c", on=True), 8: blind("d", on=False)}
    live = alerting(path, live=True)
    before: tuple[list, list, list] = ([], [], [])
    for n, result in enumerate(results):
        if n in events:
            append(path, [events[n]])
        for lines, more in zip(before, play(live, [result]), strict=True):
            lines.extend(more)
    rows = [json.loads(line) for line in before[0]]
    kept = [row["suppressed_by"] for row in rows if row["key"]]
    assert kept == [None, *["inhibit"] * 4, None, "inhibit", "inhibit", None]
    said = [json.loads(line) for line in before[2]]
    # Who had heard hears of the end; what nobody had heard of is said when it is over, because it still fires.
    assert [each["reason"] for each in said] == ["first", "resolved", "first"]
    assert [each["at"] for each in said] == ["2025-12-01T00:05:00Z", "2025-12-01T00:30:00Z", "2025-12-01T00:45:00Z"]
    assert play(alerting(path, live=False), results) == before
    assert play(alerting(path, live=True), results) == before


def test_what_never_took_effect_takes_none_in_a_replay(tmp_path):
    path = tmp_path / "controls.ndjson"
    append(path, [blind("a", on=True)])
    said = play(alerting(path, live=False), rates(0.4, 0.4))[2]
    assert [json.loads(line)["reason"] for line in said] == ["first"]
    assert len(path.read_bytes().splitlines()) == 1


def test_another_dataset_is_not_blind_and_the_last_event_of_a_window_counts(tmp_path):
    path = tmp_path / "controls.ndjson"
    append(path, [blind("a", on=True, datasets=("e",)), blind("b", on=True), blind("c", on=False)])
    controls = Controls(path, live=True)
    assert controls.at("d", end_of(0)) == []
    assert [each.blind for each in controls.at("e", end_of(0))] == [True]
    append(path, [blind("d", on=True)])
    assert [each.reason for each in controls.at("d", end_of(1))] == ["blind"]
    assert [Controls(path).at("d", end_of(n)) == [] for n in range(3)] == [True, False, False]


def test_what_is_said_before_its_window_closes_is_held_too(tmp_path):
    path = tmp_path / "controls.ndjson"
    append(path, [blind("a", on=True)])
    live, replayed = Controls(path, live=True), Controls(path)
    assert [each.blind for each in live.known("d", end_of(0))] == [True]
    assert [*live.known("e", end_of(0)), *replayed.known("d", end_of(0))] == []
    append(path, [blind("b", on=False)])
    assert live.known("d", end_of(0)) == []


def test_silences_are_listed_as_before(tmp_path):
    append(tmp_path / "controls.ndjson", [blind("a", on=True)])
    (tmp_path / "monitor.toml").write_text("")
    listed = checked("silence", "list", "--all", "-c", tmp_path / "monitor.toml", "--state", tmp_path)
    assert listed.stdout == "0 in force, 0 to come\n"


def test_who_asks_afterwards_why_an_alert_was_held_is_told_of_the_blindness_and_not_of_a_silence(tmp_path):
    path = tmp_path / "controls.ndjson"
    append(path, [blind("a", on=True)])
    Controls(path, live=True).at("d", end_of(0))
    given = Surroundings(silences=Controls(path))
    rules = {"high_error_rate": compile_rule(rule(), METRICS[0])}

    def told(why):
        record = {"rule": "high_error_rate", "key": "{}", "at": end_of(0), "suppressed_by": why}
        return suppressors(record, CRITICAL, (), (config_of(), rules, Labels("test", {})), given)

    assert told("inhibit") == ["blind; so all alerts on d were held"]
    assert told("silence") == ["silence; nothing that is configured now explains it"]
