"""What every channel does alike on its way from the rule: order within an episode, and who hears of its end.

The whole way: rules and routes, the spool on the disk, the lane of the destination, the channel, its counterpart. A
restart reads the spool again and takes the rules' snapshot, as the product does.
"""

import dataclasses
import random
from itertools import groupby
from pathlib import Path

import pytest

from flows.alert import Alerting
from flows.policy import PolicyOptions
from flows.route import RouteOptions
from flows.window import WindowResult
from flows.writer import SpoolWriter
from sinks.channels import CHANNELS
from sinks.delivery import ChannelDestination, Delivery
from sinks.failure import notification_items
from sinks.lane import Lane
from sinks.notification import Channel, Notification
from sinks.spool import Spool
from tests.fakes.clock import ManualClock
from tests.fakes.notifications import story
from tests.fakes.webhook import SECRET, FakeWebhook
from tests.flows.history import Settings, rates, rule
from tests.sinks.conformance.entry import Entry, NotMeant, There
from tests.sinks.conformance.registry import every

OTHER = "fedcba9876543210"


def destination(entry: Entry, channel: Channel) -> ChannelDestination:
    return ChannelDestination(channel, pace=entry.registered.pace, unsaid=entry.registered.unsaid)


def run(lanes: list[Lane], clock: ManualClock) -> None:
    """Step until nothing waits."""
    for _ in range(1000):
        waits = [lane.step() for lane in lanes if lane.status().queued]
        if not waits:
            return
        clock.at += min(waits)
    raise AssertionError("something waits for ever")


def episode_of_another_rule(*reasons: str) -> list[Notification]:
    start = f"{OTHER}:1764547200"
    return [
        dataclasses.replace(
            said,
            id=f"{place:016x}{OTHER}",
            rule="slow_database",
            fingerprint=OTHER,
            episode=start,
            dedup_key=f"edgewatch/production/slow_database/{start}",
        )
        for place, said in enumerate(story(*reasons))
    ]


@pytest.mark.slow
@pytest.mark.parametrize("entry", every())
def test_order_is_kept_within_an_episode_and_a_failure_holds_back_no_other(
    entry: Entry, there: There, spool: Spool, clock: ManualClock
) -> None:
    made = destination(entry, entry.channel(there.options))
    (lane,) = Delivery(spool, [made], clock=clock, jitter=random.Random(1)).lanes.values()
    put = lambda said: spool.put(notification_items(dataclasses.replace(said, channels=("pager",))))  # noqa: E731
    first, *rest = story("first", "repeat", "resolved", "reopened", "resolved")
    put(first)
    run([lane], clock)
    put(rest[0])
    if not isinstance(entry.passing, NotMeant):
        there.meet(entry.passing)
        lane.step()
        there.mend()
    for said in (*rest[1:], *episode_of_another_rule("first", "resolved")):
        put(said)
    run([lane], clock)
    told = [(each.rule, each.status) for each in there.told()]
    turns = {name: [status for status, _ in groupby(s for r, s in told if r == name)] for name, _ in told}
    assert turns == {"high_error_rate": ["firing", "resolved"] * 2, "slow_database": ["firing", "resolved"]}
    if not isinstance(entry.passing, NotMeant):
        assert told.index(("slow_database", "firing")) < told.index(("high_error_rate", "resolved"))
    assert (lane.status().dead, there.wrong()) == (0, [])


class Life:
    """One life of the process: a configuration, the rules as they were left, and the spool that was left."""

    def __init__(self, path: Path, settings: Settings, channels: list[ChannelDestination], modes: dict[str, str]) -> None:
        self._clock = ManualClock()
        self._spool = Spool(path, now=self._clock.now)
        self._alerting = Alerting(settings, PolicyOptions(modes=modes))
        self._delivery = Delivery(self._spool, channels, clock=self._clock, jitter=random.Random(1))

    def live(self, windows: list[WindowResult], state: bytes | None = None) -> bytes:
        """Judge windows and deliver what is said of them; gives the rules' state."""
        if state is not None:
            self._alerting.restore(state)
        writer = SpoolWriter(self._spool, with_rows=False)
        for window in windows:
            writer.write_batch(list(self._alerting.evaluate(window).messages))
            run(list(self._delivery.lanes.values()), self._clock)
        assert [lane.dead for lane in self._delivery.status()] == [0] * len(self._delivery.lanes)
        self._spool.close()
        return self._alerting.snapshot()


@pytest.mark.slow
@pytest.mark.parametrize("change", ["routes, labels and options", "the rule is gone"])
@pytest.mark.parametrize("entry", every())
def test_those_that_heard_of_an_alert_hear_of_its_end_whatever_the_configuration_says_by_then(
    entry: Entry, there: There, tmp_path: Path, change: str
) -> None:
    modes = {"pager": entry.registered.many, "elsewhere": CHANNELS["webhook"].many}
    before = Settings((rule(),), routes=(RouteOptions(channels=("pager",)),))
    after = Settings(
        (rule(),) if change != "the rule is gone" else (),
        routes=(RouteOptions(channels=("elsewhere",)),),
        labels={"team": "another"},
    )
    options = there.options if isinstance(entry.moved, NotMeant) else entry.moved(there.options)
    windows = rates(0.4, 0.4, 0.4, 0.0, 0.0, 0.0)
    with FakeWebhook() as server:
        hook = CHANNELS["webhook"]
        made = hook.build("elsewhere", hook.options(url=server.hook_url, secrets=(SECRET,), allow_private=True))
        elsewhere = ChannelDestination(made)
        here = destination(entry, entry.channel(there.options))
        state = Life(tmp_path / "spool", before, [here, elsewhere], modes).live(windows[:2])
        heard = there.told()
        here = destination(entry, entry.channel(options))
        Life(tmp_path / "spool", after, [here, elsewhere], modes).live(windows[2:], state)
    assert [each[:2] for each in heard] == [("high_error_rate", "firing")]
    assert there.told() == [*heard, heard[0]._replace(status="resolved")]
    assert (list(server.received.values()), there.wrong()) == ([], [])
