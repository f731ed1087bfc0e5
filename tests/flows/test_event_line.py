"""Events from the batch on: which records go ahead, and that files are the same with and without them."""

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.barrier import Barrier, Scope
from flows.checks import describe
from flows.config import loads
from flows.event import Event
from flows.kinds import expanded
from flows.line import RuleJudge
from flows.metric import Fold, MetricOptions
from flows.policy import PolicyOptions
from flows.route import RouteOptions
from flows.rule import RuleOptions
from sinks.notification import Notification
from tests.flows.history import Settings
from tests.flows.logs import DATASETS, START, Rig, line, options

FAILED = MetricOptions(
    name="failed", kind="count", dataset="http_requests", where="EdgeResponseStatus >= 500", group_by=("ClientRequestHost",)
)
RULE = expanded([RuleOptions(name="failure", kind="event", metric="failed", keys="all")], [], {"failed": FAILED})[0]
A, B = '{"ClientRequestHost":"a"}', '{"ClientRequestHost":"b"}'
LENGTH = 300_000


@dataclasses.dataclass
class Config(Settings):
    """A configuration with its policy."""

    policy: PolicyOptions = PolicyOptions()  # noqa: RUF009 (frozen)


CONFIG = Config((RULE,), metrics=(FAILED,), routes=(RouteOptions(channels=("chat",)),))


class EventRig(Rig):
    """The line with the rule; `early` as a live run has it."""

    def __init__(self, partitions, *, early, **changes):
        super().__init__(partitions, options(**changes), metrics=[FAILED], scope=Scope(extras=True, early=early))
        names = frozenset(["failed"] if early else [])
        self.fold = Fold(DATASETS["http_requests"], self.metrics, shards=3, pane_ms=self.options.pane_ms, events=names)
        self.judge = RuleJudge(CONFIG)  # type: ignore[assignment]  # another Judge
        self.barrier = Barrier({"http_requests": self.layout}, 3, self.judge, self.scope)
        self.events: list[Event] = []

    def push(self, batch):
        self.events += [each for _, partial in self.fold(batch) for each in partial.events]
        super().push(batch)

    def said(self):
        return [each for each in self.blocks if isinstance(each, Notification)]


def test_the_first_record_in_time_of_each_key_and_pane_goes_ahead_once_a_batch():
    rig = EventRig([0], early=True)
    failing = [line(START + LENGTH + 1, "a", 503, ray="r2"), line(START + 5, "b", 500, ray="r3")]
    rig.feed(0, [line(START + 3, "a", 200), line(START + 9, "a", 500, ray="r1"), line(START + 2, "a", 502), *failing])
    first, second = START + LENGTH, START + 2 * LENGTH
    found = sorted((each.key, each.end, each.record.ray_id, each.record.offset) for each in rig.events)
    assert found == [
        (A, first, "r1", 1),
        (A, second, "r2", 3),
        (B, first, "r3", 4),
        ("{}", first, "r1", 1),
        ("{}", second, "r2", 3),
    ]
    assert {each.metric for each in rig.events} == {"failed"}


def test_a_late_record_does_not_go_ahead():
    rig = EventRig([0], early=True)
    rig.feed(0, [line(START + 3 * LENGTH, "a"), line(START + 9, "a", 500)])
    assert rig.progress[0].late == 1
    assert rig.events == []


def test_a_batch_without_such_a_record_sends_nothing():
    rig = EventRig([0], early=True)
    rig.feed(0, [line(START + 3, "a"), line(START + 4, "b")])
    assert rig.events == []


def test_a_flood_of_one_key_hides_no_other():
    rig = EventRig([0], early=True)
    rig.feed(0, [*(line(START + n, "a", 500) for n in range(3000)), line(START + 4000, "b", 500)])
    assert {each.key for each in rig.events} == {"{}", A, B}


def test_an_event_is_said_while_its_window_is_open_and_not_again_when_it_closes():
    rig = EventRig([0, 1], early=True)
    rig.feed(0, [line(START + 9, "a", 500, ray="r1")])
    (whole, one) = sorted(rig.said(), key=lambda each: len(each.key))
    assert (whole.key, one.key, one.at) == ({}, {"ClientRequestHost": "a"}, START + 9)
    assert rig.output("notifications") == b""
    rig.feed(1, [line(START + 10, "a", 500)])
    assert len(rig.said()) == 2
    rig.finish()
    ids = {json.loads(each)["id"] for each in rig.output("notifications").splitlines()}
    assert ids == {whole.id, one.id}
    assert {each.id for each in rig.said()} == ids


def test_an_event_of_hopping_windows_has_the_identity_of_the_first_with_it():
    rig = EventRig([0, 1], early=True, hop_ms=60_000)
    rig.feed(0, [line(START + 90_000, "a", 500)])
    early = rig.said()
    assert {(each.evidence["window"]["start"], each.evidence["window"]["end"]) for each in early} == {
        ("2025-11-30T23:57:00Z", "2025-12-01T00:02:00Z")
    }
    rig.finish()
    first = [each for each in map(json.loads, rig.output("notifications").splitlines()) if each["reason"] == "first"]
    assert {each["id"] for each in first} == {each.id for each in early}
    assert {each["at"] for each in first} == {"2025-12-01T00:02:00Z"}


RECORDS = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 2 * LENGTH), st.sampled_from("ab"), st.sampled_from([200, 500])), max_size=40
)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(RECORDS, st.lists(st.integers(1, 5), min_size=1), st.randoms(use_true_random=False))
def test_files_are_the_same_with_and_without_early_messages_in_any_interleaving(records, sizes, random):
    parts = [[line(START + ms, host, status) for p, ms, host, status in records if p == part] for part in (0, 1)]
    live, replay = EventRig([0, 1], early=True), EventRig([0, 1], early=False)
    for part, lines in enumerate(parts):
        replay.feed(part, lines)
    chunks = [(part, chunk) for part, lines in enumerate(parts) for chunk in _cut(lines, sizes)]
    order = [part for part, _ in chunks]
    random.shuffle(order)
    queues = [[chunk for p, chunk in chunks if p == part] for part in (0, 1)]
    for part in order:
        live.feed(part, queues[part].pop(0))
        if random.random() < 0.2:
            live.restart()
    live.finish()
    replay.finish()
    for kind in ("windows", "evaluations", "transitions", "notifications", "provenance"):
        assert live.output(kind) == replay.output(kind)
    said = {each.id for each in replay.said()}
    over = {each.episode for each in live.said() if each.id not in said and each.status == "resolved"}
    assert {each.episode for each in live.said() if each.id not in said} == over


def _cut(lines, sizes):
    out: list[list[bytes]] = []
    place = 0
    while place < len(lines):
        size = sizes[len(out) % len(sizes)]
        out.append(lines[place : place + size])
        place += size
    return out


EVENTS = """
[[metric]]
name = "crashes"
kind = "count"
dataset = "errors"

[[rule]]
name = "crash"
kind = "event"
metric = "crashes"

[[rule]]
name = "crashes"
kind = "event"
metric = "crashes"
above = { warning = 0, critical = 5 }
"""


def test_check_says_which_events_are_said_at_once():
    shown = describe(loads(EVENTS, Path("monitor.toml")))["rules"].split("; ")
    assert shown == [
        "crash (crashes, critical above 0, at once)",
        "crashes (crashes, warning above 0, critical above 5, when their window closes)",
    ]
