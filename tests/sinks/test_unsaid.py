"""What fired and was over while it waited, and what is given up, for each kind of channel at its real protocol."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sinks.channels import CHANNELS, destinations
from sinks.delivery import Delivery
from sinks.failure import RULE, notification_items
from sinks.lane import Lane
from sinks.notification import Notification
from sinks.spool import Spool
from tests.fakes.clock import ManualClock
from tests.fakes.counterparts import OVER_A_WIRE, Counterpart
from tests.fakes.notifications import notification, story
from tests.fakes.pagerduty import ROUTING_KEY, FakePagerDuty
from tests.fakes.slack import FakeSlack, shown

# How many messages an episode makes that fired, escalated and was over while the channel was away. Machines hear each.
MESSAGES = {
    "alertmanager": 3,
    "discord": 1,
    "email": 1,
    "pagerduty": 0,
    "sentry": 3,
    "slack": 1,
    "slack bot": 1,
    "statuspage": 0,
    "teams": 1,
    "webhook": 3,
}
STORY = story("first", "escalated", "resolved", severities=("warning", "critical", "critical"))


def test_every_kind_that_can_be_away_is_tried() -> None:
    assert MESSAGES.keys() == OVER_A_WIRE.keys()
    assert {case.partition(" ")[0] for case in MESSAGES} | {"console", "kafka"} == CHANNELS.keys()


class Desk:
    """A delivery to one channel, stepped by hand."""

    def __init__(self, there: Counterpart, spool: Spool, clock: ManualClock) -> None:
        given = {name: tuple(value) if isinstance(value, list) else value for name, value in there.options.items()}
        (made,) = destinations({"there": CHANNELS[there.kind].options(**given)})
        self.spool, self.clock = spool, clock
        self.lane: Lane = Delivery(spool, [made], clock=clock).lanes["there"]

    def say(self, *said: Notification) -> None:
        for each in said:
            self.spool.put([item for item in notification_items(each) if item.destination == "there"])

    def until_done(self) -> None:
        while self.spool.queued(["there"]):
            self.clock.at += self.lane.step() + 0.01


def of(said: list[Notification], **changes: object) -> list[Notification]:
    return [notification(**{**{name: getattr(each, name) for name in each.__slots__}, **changes}) for each in said]


@pytest.fixture(params=OVER_A_WIRE)
def desk(
    request: pytest.FixtureRequest, tmp_path: Path, spool: Spool, clock: ManualClock
) -> Iterator[tuple[str, Counterpart, Desk]]:
    """Give each kind of channel over a wire."""
    with OVER_A_WIRE[request.param](tmp_path) as there:
        yield request.param, there, Desk(there, spool, clock)


def mentions(there: Counterpart, word: str) -> list[str]:
    return [text for text in there.arrived() if word in text]


def test_what_fired_and_was_over_while_it_waited_is_one_message_in_chat_and_none_to_a_pager(
    desk: tuple[str, Counterpart, Desk],
) -> None:
    case, there, at = desk
    there.wire.away = True
    at.say(notification(id="f" * 32, episode="other:1", fingerprint="other", dedup_key="other", channels=("there",)))
    at.lane.step()
    there.wire.away = False
    at.say(*of(STORY, title="waitingone", channels=("there",)))
    at.clock.at += 60
    at.until_done()
    assert len(mentions(there, "waitingone")) == MESSAGES[case]


def test_of_what_was_said_before_only_the_end_is_said_after_an_outage(desk: tuple[str, Counterpart, Desk]) -> None:
    case, there, at = desk
    at.say(*of(STORY[:1], title="waitingone", severity="critical", channels=("there",)))
    at.until_done()
    before = len(there.arrived())
    there.wire.away = True
    there.wire.cut()
    at.say(*of(STORY[1:], title="waitingone", channels=("there",)))
    at.lane.step()
    there.wire.away = False
    at.until_done()
    told = there.arrived()[before:]
    assert len(told) == {"statuspage": 0}.get(case, 2 if MESSAGES[case] == 3 else 1)
    if case == "pagerduty":
        assert '"resolve"' in told[0]


def test_what_one_channel_gives_up_is_set_aside_and_said_by_the_others(
    spool: Spool, clock: ManualClock, slack: FakeSlack, pagerduty: FakePagerDuty
) -> None:
    made = {
        "pager": CHANNELS["pagerduty"].options(routing_key="f" * 32, url=pagerduty.enqueue_url),
        "chat": CHANNELS["slack"].options(webhook_url=slack.webhook_url),
    }
    running = Delivery(spool, destinations(made), environment="production", clock=clock)
    spool.put(notification_items(notification(channels=("chat", "pager"))))
    for _ in range(20):
        clock.at += max(0.01, min(lane.step() for lane in running.lanes.values()))
    (dead,) = spool.rows(states=["dead"])
    assert (dead.destination, "Invalid routing key" in dead.error) == ("pager", True)
    words = [shown(each) for each in slack.posted]
    assert ["pager did not take 1 item" in text and RULE in text for text in words] == [False, True]


def test_a_repeat_that_is_over_while_it_waits_ends_what_a_pager_may_have_open(
    spool: Spool, clock: ManualClock, pagerduty: FakePagerDuty
) -> None:
    options = CHANNELS["pagerduty"].options(routing_key=ROUTING_KEY, url=pagerduty.enqueue_url)
    lane = Delivery(spool, destinations({"pager": options}), clock=clock).lanes["pager"]
    for said in of(story("repeat", "resolved"), channels=("pager",)):
        spool.put(notification_items(said))
    clock.at += 60
    lane.step()
    assert [seen.json["event_action"] for seen in pagerduty.seen] == ["resolve"]
