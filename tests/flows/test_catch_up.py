"""Catch-up: after an outage what is still open is said, the rest is one digest; through a real spool and delivery."""

import dataclasses
import itertools
import json
from pathlib import Path

import pytest

from flows.backlog import RULE
from flows.catch_up import CatchUp
from flows.engine_options import EngineOptions
from flows.output import About, Closed
from flows.writer import SpoolWriter
from sinks.channels import CHANNELS
from sinks.delivery import ChannelDestination, Delivery
from sinks.notification import Notification
from sinks.spool import Spool
from tests.fakes.clock import ManualClock
from tests.fakes.notifications import notification
from tests.fakes.pagerduty import ROUTING_KEY, FakePagerDuty

MINUTE = 60_000
ENDED = {"chat": "digest", "pager": "never", "log": "each"}
BOTH = ("chat", "pager")
OUTAGE_MS = 6 * 3_600_000


class Radio:
    """A channel that keeps what it is told."""

    def __init__(self, name):
        self.name = name
        self.heard = []

    def send(self, said, memory):
        self.heard.append(said)
        return {**memory, "last": said.reason}


class Run:
    """A live run's end: the writer, the spool and its delivery, on one clock; `now` is event time, which lags behind."""

    def __init__(self, path: Path, clock: ManualClock, channels=None, **options):
        self.clock = clock
        self.path = path
        self.radios = {name: Radio(name) for name in ENDED}
        self.channels = channels or list(self.radios.values())
        self.options = EngineOptions(**options)
        self.numbers = itertools.count()
        self.again()

    def again(self):
        """Start the process anew, as after a kill: nothing is known but what is on the disk."""
        self.spool = Spool(self.path, now=self.clock.now)
        self.catch_up = CatchUp(self.spool, ENDED, self.options, environment="production", clock=self.clock)
        self.writer = SpoolWriter(self.spool, with_rows=False, catch_up=self.catch_up)
        kinds = [ChannelDestination(each) for each in self.channels]
        self.delivery = Delivery(self.spool, kinds, environment="production", clock=self.clock)

    def window(self, minutes_ago, *said, dataset="http_requests"):
        """Close the window that ended so many minutes ago; gives what it wrote."""
        at = int(self.clock.now() * 1000) - minutes_ago * MINUTE
        items = [About(dataset), *(dataclasses.replace(each, at=at) for each in said), Closed(dataset, at)]
        self.writer.write_batch(items)
        self.deliver()
        return items

    def deliver(self):
        while min(lane.step() for lane in self.delivery.lanes.values()) == 0.0:
            pass

    def heard(self, name):
        return [(said.reason, said.episode) for said in self.radios[name].heard]


@pytest.fixture
def run(tmp_path, clock):
    made = Run(tmp_path / "spool", clock)
    yield made
    made.spool.close()


@pytest.fixture
def clock():
    return ManualClock()


def said(number, episode, reason="first", severity="critical", channels=BOTH):
    return notification(
        id=f"{episode}-{number}",
        episode=episode,
        fingerprint=episode,
        dedup_key=episode,
        reason=reason,
        severity=severity,
        status="resolved" if reason == "resolved" else "firing",
        channels=channels,
        title=f"{episode} is bad",
    )


def test_what_is_said_in_time_goes_out_at_once(run):
    run.window(3, said(0, "a"))
    assert run.heard("chat") == run.heard("pager") == [("first", "a")]


def test_in_a_backlog_nothing_is_said_until_the_run_has_caught_up(run):
    for ago in (300, 200, 100):
        run.window(ago, said(0, f"e{ago}"))
    assert run.heard("chat") == run.heard("pager") == []
    assert {row.state for row in run.spool.rows()} == {"held"}
    assert {row.error for row in run.spool.rows()} == {"waits until http_requests has caught up"}
    run.window(3)
    assert run.heard("pager") == [("first", "e300"), ("first", "e200"), ("first", "e100")]


def test_what_is_still_open_is_said_once_by_its_last_word_and_its_own_id(run):
    run.window(300, said(0, "a", severity="warning"))
    run.window(240, said(1, "a", "repeat", "warning"))
    run.window(3)
    assert [each.id for each in run.radios["chat"].heard] == ["a-1"]
    assert run.heard("pager") == [("repeat", "a")]


def test_what_began_and_ended_within_the_backlog_is_one_digest_in_chat_and_no_page(run):
    for number in range(12):
        run.window(300 - number, said(0, f"e{number}", severity="critical" if number == 7 else "warning"))
    for number in range(12):
        run.window(200 - number, said(1, f"e{number}", "resolved"))
    run.window(3)
    (got,) = run.radios["chat"].heard
    assert (got.rule, got.reason, got.status, got.severity) == (RULE, "digest", "resolved", "critical")
    assert got.title == "12 incidents began and ended while edgewatch was behind"
    lines = got.evidence["lines"]
    assert (len(lines), lines[0][:12], lines[-1]) == (11, "e7 is bad (2", "+2 more")
    assert run.heard("pager") == []
    assert run.spool.rows() == []


def test_the_end_of_what_was_heard_of_before_is_said_as_what_it_is(run):
    run.window(3, said(0, "a"))
    run.clock.at += OUTAGE_MS / 1000
    run.window(300, said(1, "a", "repeat"))
    run.window(200, said(2, "a", "resolved"))
    run.window(3)
    assert run.heard("chat") == run.heard("pager") == [("first", "a"), ("resolved", "a")]


def test_an_escalation_that_is_still_open_pages_once(run):
    warned = said(0, "a", severity="warning", channels=("chat",))
    run.window(3, warned)
    run.clock.at += OUTAGE_MS / 1000
    run.window(300, said(1, "a", "escalated"))
    run.window(240, said(2, "a", "repeat"))
    run.window(180, said(3, "a", "repeat"))
    run.window(3)
    assert run.heard("pager") == [("repeat", "a")]
    assert run.heard("chat") == [("first", "a"), ("escalated", "a")]


def test_an_escalation_that_was_over_before_the_catch_up_pages_nobody(run):
    run.window(3, said(0, "a", severity="warning", channels=("chat",)))
    run.clock.at += OUTAGE_MS / 1000
    run.window(300, said(1, "a", "escalated"))
    run.window(240, said(2, "a", "resolved"))
    run.window(3)
    assert run.heard("pager") == []
    assert run.heard("chat") == [("first", "a"), ("resolved", "a")]


def test_what_came_down_to_a_warning_and_is_open_is_said_to_those_who_heard_nothing(run):
    run.window(300, said(0, "a"))
    run.window(240, said(1, "a", "de-escalated", "warning"))
    run.window(3)
    assert run.heard("pager") == run.heard("chat") == [("first", "a")]
    assert [each.severity for each in run.radios["pager"].heard] == ["warning"]


def test_what_a_person_silenced_meanwhile_and_nobody_was_paged_for_pages(run):
    run.window(300, said(0, "a"))
    run.window(240, said(1, "a", "acknowledged", channels=("pager",)))
    run.window(3)
    assert run.heard("pager") == run.heard("chat") == [("first", "a")]


def test_what_no_window_says_does_not_wait(run):
    run.window(300, said(0, "a"))
    run.writer.write_now([said(0, "blind")])
    run.deliver()
    assert run.heard("pager") == [("first", "blind")]


def test_an_episode_that_ends_as_the_run_catches_up_is_in_the_digest(run):
    run.window(300, said(0, "a"))
    run.window(3, said(1, "a", "resolved"))
    assert [each.reason for each in run.radios["chat"].heard] == ["digest"]
    assert run.heard("pager") == []


def test_after_the_catch_up_all_is_as_ever(run):
    run.window(300, said(0, "a"))
    run.window(3, said(0, "b"))
    run.window(3, said(1, "a", "resolved"))
    assert run.heard("pager") == [("first", "a"), ("first", "b"), ("resolved", "a")]


def test_a_dataset_that_is_behind_holds_back_no_other(run):
    run.window(300, said(0, "a"))
    run.window(3, said(0, "b"), dataset="performance")
    assert run.heard("pager") == [("first", "b")]


def test_a_log_for_machines_is_told_everything_at_once(run):
    run.window(300, said(0, "a", channels=("chat", "log")))
    run.window(240, said(1, "a", "resolved", channels=("chat", "log")))
    assert run.heard("log") == [("first", "a"), ("resolved", "a")]
    assert run.heard("chat") == []


def test_where_a_run_never_catches_up_what_is_open_goes_out_after_its_time(run):
    run.window(300, said(0, "a"), said(0, "b"))
    run.window(299, said(1, "b", "resolved"))
    run.clock.at += 599
    run.catch_up.overdue()
    run.deliver()
    assert run.heard("pager") == []
    run.clock.at += 2
    run.catch_up.overdue()
    run.deliver()
    assert run.heard("pager") == [("first", "a")]
    assert sorted(each.reason for each in run.radios["chat"].heard) == ["digest", "first"]


def test_a_kill_at_any_point_of_a_catch_up_loses_and_repeats_nothing(run):
    story = [(300, [said(0, "open")]), (250, [said(0, "over")]), (200, [said(1, "over", "resolved")]), (3, [])]
    written = []
    for ago, each in story:
        written.append(run.window(ago, *each))
        run.spool.close()
        run.again()
        for items in written:  # a resume says again all that came behind its snapshot
            run.writer.write_batch(items)
        run.deliver()
    assert run.heard("pager") == [("first", "open")]
    assert [each.reason for each in run.radios["chat"].heard] == ["first", "digest"]


def test_what_was_delivered_before_a_kill_is_not_held_when_it_is_said_again_late(run):
    items = run.window(3, said(0, "a"))
    run.spool.close()
    run.clock.at += OUTAGE_MS / 1000
    run.again()
    run.writer.write_batch(items)
    run.window(3, said(1, "a", "resolved"))
    assert run.heard("pager") == [("first", "a"), ("resolved", "a")]


def test_with_0s_nothing_waits_and_what_waited_goes_out(run):
    run.window(300, said(0, "a"))
    run.spool.close()
    run.options = EngineOptions(stale_after_ms=0)
    run.again()
    run.window(290)
    run.window(280, said(0, "b"))
    assert run.heard("pager") == [("first", "a"), ("first", "b")]


def test_a_real_pager_is_triggered_once_for_what_is_open_and_for_nothing_else(tmp_path, clock):
    kind = CHANNELS["pagerduty"]
    with FakePagerDuty() as server:
        pager = kind.build("pager", kind.options(routing_key=ROUTING_KEY, url=server.enqueue_url))
        run = Run(tmp_path / "spool", clock, [pager])
        run.window(3, said(0, "known", channels=("pager",)))
        clock.at += OUTAGE_MS / 1000
        for ago, number in ((300, 1), (240, 2), (180, 3)):
            run.window(ago, said(number, "known", "repeat", channels=("pager",)))
        run.window(170, said(0, "open", channels=("pager",)), said(0, "gone", channels=("pager",)))
        run.window(
            160, said(1, "open", "de-escalated", "warning", ("pager",)), said(1, "gone", "resolved", channels=("pager",))
        )
        run.window(150, said(4, "known", "resolved", channels=("pager",)))
        run.window(3)
        run.spool.close()
        assert ([key for _, key in server.pages], [key for _, key in server.open], server.dropped) == (
            ["known", "open"],
            ["open"],
            [],
        )


def test_a_digest_is_a_notification_like_any_other(run):
    run.window(300, said(0, "a"))
    run.window(299, said(1, "a", "resolved"))
    run.window(3)
    (got,) = run.radios["chat"].heard
    assert Notification.from_bytes(got.to_bytes()) == got
    line = json.loads(got.line())
    assert (line["channels"], line["text"]) == (["chat"], "a is bad (2025-11-30 19:00 to 2025-11-30 19:01 UTC)")
