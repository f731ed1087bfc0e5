"""Delivery: order, retries, breaker, giving up, and the alert on itself. No test waits for a clock."""

import dataclasses
import itertools
import logging
from collections.abc import Callable, Sequence

import pytest

from sinks.delivery import GIVE_UP_S, ChannelDestination, Delivery
from sinks.failure import RULE, notification_items
from sinks.lane import Destination, Lane
from sinks.notification import DeliveryError, Notification, Pace
from sinks.spool import Spool, SpoolItem, Waiting
from tests.fakes.clock import ManualClock
from tests.fakes.notifications import notification, story

AWAY = DeliveryError("HTTP 503: away", retryable=True)
WRONG = DeliveryError("HTTP 404: channel_not_found", retryable=False)


class Radio:
    """A channel that keeps what it is told, and fails as `trouble` says."""

    def __init__(self, name: str, trouble: Callable[[Notification], Exception | None] = lambda _: None) -> None:
        self.name = name
        self.trouble = trouble
        self.heard: list[Notification] = []

    def send(self, said: Notification, memory: dict[str, str]) -> dict[str, str]:
        if error := self.trouble(said):
            raise error
        self.heard.append(said)
        return {**memory, "last": said.reason}

    @property
    def reasons(self) -> list[str]:
        return [said.reason for said in self.heard]


class Table:
    """A destination of rows: takes batches, refuses what holds `bad`."""

    name = "clickhouse"
    pace = Pace()
    give_up_s = None
    speaks = False
    limit = 64

    def __init__(self) -> None:
        self.rows: list[bytes] = []
        self.calls = 0
        self.away = False

    def take(self, items: Sequence[Waiting], memory: dict[str, str]) -> int:
        del memory
        return len(items)

    def send(self, items: Sequence[Waiting], memory: dict[str, str]) -> dict[str, str]:
        self.calls += 1
        if self.away:
            raise AWAY
        if any(each.payload == b"bad" for each in items):
            raise DeliveryError("Code: 27", retryable=False)
        self.rows += [each.payload for each in items]
        return memory


def destination(radio: Radio, *, unsaid: str = "each", pace: Pace = Pace()) -> ChannelDestination:  # noqa: B008
    return ChannelDestination(radio, unsaid=unsaid, pace=pace)


def delivery(spool: Spool, clock: ManualClock, *destinations: Destination) -> Delivery:
    return Delivery(spool, destinations, environment="production", clock=clock)


def turn(delivery: Delivery, clock: ManualClock, seconds: float = 0.0) -> None:
    """Step every lane for a while on the clock, and until none has anything to do now."""
    until = clock.at + seconds
    while True:
        wait = min(_settle(lane) for lane in delivery.lanes.values())
        if clock.at >= until:
            return
        clock.at = min(until, clock.at + max(wait, 0.01))


def _settle(lane: Lane) -> float:
    while (wait := lane.step()) == 0.0:
        pass
    return wait


def say(spool: Spool, *said: Notification, channels: tuple[str, ...] = ("slack",)) -> None:
    for each in said:
        spool.put(notification_items(dataclasses.replace(each, channels=channels)))


def test_an_episode_is_said_in_its_order(spool: Spool, clock: ManualClock) -> None:
    slack = Radio("slack")
    say(spool, *story("first", "repeat", "resolved"))
    turn(delivery(spool, clock, destination(slack)), clock)
    assert (slack.reasons, spool.queued(["slack"])) == (["first", "repeat", "resolved"], 0)


@pytest.mark.slow
def test_a_failing_episode_waits_in_order_while_others_go_on(spool: Spool, clock: ManualClock) -> None:
    slack = Radio("slack", lambda said: AWAY if said.episode == "stuck" and clock.at < start + 600 else None)
    start = clock.at
    stuck = [notification(id="1", episode="stuck"), notification(id="2", episode="stuck", reason="escalated")]
    fine = [notification(id=str(n), episode=str(n)) for n in range(3, 8)]
    say(spool, stuck[0], *fine[:3], stuck[1], *fine[3:])
    running = delivery(spool, clock, destination(slack))
    turn(running, clock, 300)
    before = [said.id for said in slack.heard]
    turn(running, clock, 3600)
    assert before == ["3", "4", "5", "6", "7"]
    assert [said.id for said in slack.heard] == [*before, "1", "2"]


def test_other_channels_go_on_while_one_is_down(spool: Spool, clock: ManualClock) -> None:
    slack, pager, table = Radio("slack", lambda _: AWAY), Radio("pager"), Table()
    table.away = True
    say(spool, *story("first", "resolved"), channels=("pager", "slack"))
    spool.put([SpoolItem("r", "clickhouse", "", b"row", 0)])
    turn(delivery(spool, clock, destination(slack), destination(pager), table), clock, 60)
    assert (pager.reasons, slack.reasons, table.rows) == (["first", "resolved"], [], [])
    assert spool.queued(["slack", "clickhouse"]) == 3


@pytest.mark.slow
def test_rows_keep_one_order_and_are_never_given_up(spool: Spool, clock: ManualClock) -> None:
    table = Table()
    table.away = True
    spool.put([SpoolItem(str(n), "clickhouse", "", str(n).encode(), 0) for n in range(5)])
    running = delivery(spool, clock, table)
    turn(running, clock, 2 * 86_400)
    table.away = False
    spool.put([SpoolItem("5", "clickhouse", "", b"5", 0)])
    turn(running, clock, 600)
    assert table.rows == [b"0", b"1", b"2", b"3", b"4", b"5"]


def test_rows_that_are_refused_are_set_aside_alone_and_alerted(spool: Spool, clock: ManualClock) -> None:
    table, slack = Table(), Radio("slack")
    spool.put([SpoolItem(str(n), "clickhouse", "", b"bad" if n == 2 else b"%d" % n, 0) for n in range(5)])
    turn(delivery(spool, clock, table, destination(slack)), clock, 5)
    dead = [row.id for row in spool.rows(states=["dead"])]
    assert (table.rows, dead) == ([b"0", b"1", b"3", b"4"], ["2"])
    assert [(said.rule, said.status) for said in slack.heard] == [(RULE, "firing"), (RULE, "resolved")]


def test_back_off_grows_with_full_jitter_up_to_a_limit(spool: Spool, clock: ManualClock) -> None:
    tries: list[float] = []

    def trouble(_: Notification) -> Exception:
        tries.append(clock.at)
        return AWAY

    say(spool, notification())
    turn(delivery(spool, clock, destination(Radio("slack", trouble))), clock, 3600)
    gaps = [b - a for a, b in itertools.pairwise(tries)]
    assert len(tries) > 10
    assert max(gaps) <= 300 + 60
    assert gaps[0] <= 1.1


def test_retry_after_wins_and_holds_the_whole_destination(spool: Spool, clock: ManualClock) -> None:
    tries: list[float] = []
    start = clock.at

    def trouble(_: Notification) -> Exception | None:
        tries.append(clock.at - start)
        return DeliveryError("HTTP 429", retryable=True, retry_after=120.0) if len(tries) == 1 else None

    say(spool, *(notification(id=str(n), episode=str(n)) for n in range(3)))
    turn(delivery(spool, clock, destination(Radio("slack", trouble))), clock, 300)
    assert tries[0] == 0.0
    assert [round(each) for each in tries[1:]] == [120, 120, 120]


def test_a_destination_that_is_down_is_said_once_and_so_is_its_return(
    spool: Spool, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    slack = Radio("slack", lambda _: AWAY)
    running = delivery(spool, clock, destination(slack))
    say(spool, *(notification(id=str(n), episode=str(n)) for n in range(20)))
    with caplog.at_level(logging.INFO, "edgewatch.delivery"):
        turn(running, clock, 3600)
        slack.trouble = lambda _: None
        turn(running, clock, 3600)
    said = [record.getMessage().split(",")[0].split(" after")[0] for record in caplog.records]
    assert said == ["slack is down", "slack is back"]
    assert len(slack.heard) == 20


def test_an_open_breaker_lets_single_probes_through(spool: Spool, clock: ManualClock) -> None:
    tries: list[float] = []

    def trouble(_: Notification) -> Exception:
        tries.append(clock.at)
        return AWAY

    say(spool, *(notification(id=str(n), episode=str(n)) for n in range(1000)))
    turn(delivery(spool, clock, destination(Radio("slack", trouble))), clock, 600)
    assert len(tries) < 25


def test_a_permanent_error_is_dead_at_once_and_said_through_the_others(spool: Spool, clock: ManualClock) -> None:
    slack, pager = Radio("slack", lambda _: WRONG), Radio("pager")
    say(spool, notification())
    turn(delivery(spool, clock, destination(slack), destination(pager)), clock, 5)
    dead = [(row.destination, row.attempts, row.error) for row in spool.rows(states=["dead"])]
    assert dead == [("slack", 1, "HTTP 404: channel_not_found")]
    said = pager.heard[0]
    assert (said.rule, said.severity, said.channels, said.status) == (RULE, "critical", ("pager",), "firing")
    assert "channel_not_found" in said.text
    assert "high_error_rate on api.example.com" in said.text


def test_a_lost_alert_about_a_loss_makes_no_other(spool: Spool, clock: ManualClock) -> None:
    both = [destination(Radio(name, lambda _: WRONG)) for name in ("slack", "pager")]
    say(spool, notification(), channels=("pager", "slack"))
    turn(delivery(spool, clock, *both), clock, 3 * 3600)
    rules = sorted(Notification.from_bytes(_payload(spool, row.id)).rule for row in spool.rows(states=["dead"]))
    assert rules == [RULE, RULE, "high_error_rate", "high_error_rate"]


def _payload(spool: Spool, identity: str) -> bytes:
    payload: bytes = spool._db.execute("SELECT payload FROM items WHERE id = ?", (identity,)).fetchone()[0]
    return payload


@pytest.mark.slow
def test_notifications_are_given_up_after_their_time_with_one_alert(spool: Spool, clock: ManualClock) -> None:
    slack, pager = Radio("slack", lambda _: AWAY), Radio("pager")
    say(spool, *(notification(id=str(n), episode=str(n)) for n in range(50)))
    running = delivery(spool, clock, destination(slack), destination(pager))
    turn(running, clock, GIVE_UP_S - 120)
    before = spool.counts()
    turn(running, clock, 600)
    assert before == {("slack", "queued"): 50}
    assert spool.counts()[("slack", "dead")] == 50
    assert [said.title for said in pager.heard] == ["slack did not take 50 items"]


def test_time_in_the_spool_before_a_start_does_not_count_as_failing(spool: Spool, clock: ManualClock) -> None:
    slack = Radio("slack", lambda _: AWAY)
    say(spool, notification())
    clock.at += 7 * 86_400
    running = delivery(spool, clock, destination(slack))
    turn(running, clock, 60)
    slack.trouble = lambda _: None
    turn(running, clock, 600)
    assert slack.reasons == ["first"]


def test_a_bug_in_one_channel_is_loud_and_stops_no_other(
    spool: Spool, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    slack, pager = Radio("slack", lambda _: KeyError("xoxb-1-secret")), Radio("pager")
    say(spool, notification(), channels=("pager", "slack"))
    turn(delivery(spool, clock, destination(slack), destination(pager)), clock, 5)
    assert pager.reasons == ["first", "first"]
    assert "this is a bug" in caplog.text
    assert "secret" not in caplog.text + "".join(row.error for row in spool.rows())


def test_an_episode_that_ended_while_the_channel_was_away_is_one_message(spool: Spool, clock: ManualClock) -> None:
    slack, pager = Radio("slack", lambda _: AWAY), Radio("pager", lambda _: AWAY)
    running = delivery(spool, clock, destination(slack, unsaid="once"), destination(pager, unsaid="never"))
    say(spool, notification(id="other", episode="other"), channels=("pager", "slack"))
    turn(running, clock, 5)
    say(spool, *story("first", "repeat", "resolved"), channels=("pager", "slack"))
    turn(running, clock, 300)
    slack.trouble = pager.trouble = lambda _: None
    turn(running, clock, 600)
    ours = [said.reason for said in slack.heard if said.episode != "other"]
    paged = [said.reason for said in pager.heard if said.episode != "other"]
    assert ours == ["fired and resolved"]
    assert paged in ([], ["resolved"])  # a try whose answer was lost may have arrived: then it is resolved
    assert spool.queued(["slack", "pager"]) == 0


def test_an_episode_that_never_met_trouble_is_said_in_full(spool: Spool, clock: ManualClock) -> None:
    slack = Radio("slack")
    say(spool, *story("first", "resolved"))
    turn(delivery(spool, clock, destination(slack, unsaid="once")), clock, 60)
    assert slack.reasons == ["first", "resolved"]


def test_the_pace_holds_over_a_burst(spool: Spool, clock: ManualClock) -> None:
    slack = Radio("slack")
    say(spool, *(notification(id=str(n), episode=str(n)) for n in range(40)))
    running = delivery(spool, clock, destination(slack, pace=Pace(per_second=1.0, burst=5)))
    turn(running, clock)
    burst = len(slack.heard)
    turn(running, clock, 10)
    assert burst == 5
    assert 14 <= len(slack.heard) <= 15


def test_progress_of_a_failed_attempt_is_remembered(spool: Spool, clock: ManualClock) -> None:
    class Halting:
        name = "slack"

        def __init__(self) -> None:
            self.seen: list[dict[str, str]] = []

        def send(self, said: Notification, memory: dict[str, str]) -> dict[str, str]:
            del said
            self.seen.append(dict(memory))
            memory["ts"] = "1"
            if len(self.seen) == 1:
                raise AWAY
            return memory

    halting = Halting()
    say(spool, notification())
    turn(delivery(spool, clock, ChannelDestination(halting)), clock, 60)
    assert halting.seen == [{}, {"ts": "1"}]


def test_a_delivery_that_cannot_be_recorded_is_not_sent_twice(spool: Spool, clock: ManualClock) -> None:
    class Wordy(Radio):
        def send(self, said: Notification, memory: dict[str, str]) -> dict[str, str]:
            return {**super().send(said, memory), "much": "x" * 500_000}

    slack = Wordy("slack")
    say(spool, *story("first", "repeat"))
    running = delivery(spool, clock, destination(slack))
    _limit(spool, more=0)
    waits = [running.lanes["slack"].step() for _ in range(5)]
    heard = list(slack.reasons)
    _limit(spool, more=1000)
    turn(running, clock, 10)
    assert (max(waits) > 0, heard, slack.reasons) == (True, ["first"], ["first", "repeat"])


def _limit(spool: Spool, *, more: int) -> None:
    with spool._lock:
        pages = spool._db.execute("PRAGMA page_count").fetchone()[0]
        spool._db.execute(f"PRAGMA max_page_count={pages + more}")


def test_threads_deliver_and_stop(spool: Spool) -> None:
    slack, pager = Radio("slack"), Radio("pager")
    running = Delivery(spool, [destination(slack), destination(pager)])
    running.start()
    say(spool, *story("first", "repeat", "resolved"), channels=("pager", "slack"))
    drained, stopped = running.drain(30.0), running.stop(30.0)
    assert (drained, stopped, slack.reasons, pager.reasons) == (
        True,
        True,
        *[["first", "repeat", "resolved"]] * 2,
    )


def test_draining_ends_at_its_time_where_a_destination_is_away(spool: Spool, clock: ManualClock) -> None:
    say(spool, notification())
    assert delivery(spool, clock, destination(Radio("slack"))).drain(5.0) is False


def test_a_second_process_on_the_same_spool_is_refused(spool: Spool) -> None:
    first, second = Delivery(spool, []), Delivery(spool, [])
    first.start()
    with pytest.raises(OSError, match=f"another process delivers from {spool.path}"):
        second.start()
    first.stop()
    second.start()
    second.stop()


def test_items_of_a_channel_that_is_gone_are_named_at_start(spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    say(spool, notification(), channels=("old",))
    running = Delivery(spool, [])
    running.start()
    running.stop()
    assert "items wait for old, which is not configured" in caplog.text


def test_the_status_tells_attempts_and_the_last_error(spool: Spool, clock: ManualClock) -> None:
    running = delivery(spool, clock, destination(Radio("slack", lambda _: WRONG)))
    say(spool, notification())
    turn(running, clock)
    got = running.status()[0]
    assert (got.destination, got.attempts, got.dead, got.last_error) == ("slack", 1, 1, str(WRONG))


def test_a_payload_that_cannot_be_read_takes_no_other_along(
    spool: Spool, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Strict(Table):
        def send(self, items: Sequence[Waiting], memory: dict[str, str]) -> dict[str, str]:
            if any(each.payload == b"broken" for each in items):
                raise ValueError("broken")
            return super().send(items, memory)

    table = Strict()
    payloads = [b"0", b"broken", b"2"]
    spool.put([SpoolItem(str(n), "clickhouse", "", each, 0) for n, each in enumerate(payloads)])
    turn(delivery(spool, clock, table), clock, 5)
    assert (table.rows, [row.id for row in spool.rows(states=["dead"])]) == ([b"0", b"2"], ["1"])
    assert "this is a bug" in caplog.text


def test_the_only_channel_says_itself_what_it_did_not_take_and_until_then_nobody_is_heard(
    spool: Spool, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    slack = Radio("slack", lambda _: WRONG)
    running = delivery(spool, clock, destination(slack), Table())
    heard_at_first = not running.unheard()
    say(spool, notification())
    turn(running, clock, 5)
    after_a_restart = delivery(spool, clock, destination(slack), Table())
    assert (heard_at_first, running.unheard(), after_a_restart.unheard()) == (True, True, True)
    assert "slack is the only channel: nobody can be told" in caplog.text
    slack.trouble = lambda _: None
    say(spool, notification(id="b", episode="b"))
    turn(running, clock, 5)
    assert [(said.rule, said.status) for said in slack.heard] == [("high_error_rate", "firing"), (RULE, "resolved")]
    assert slack.heard[1].text == "What it did not take stays set aside: edgewatch spool retry"
    assert running.unheard() is False


def test_somebody_is_heard_while_one_channel_that_reaches_people_works(spool: Spool, clock: ManualClock) -> None:
    slack, pager = Radio("slack", lambda _: AWAY), Radio("pager")
    paper = ChannelDestination(Radio("paper"), reaches=False)
    running = delivery(spool, clock, destination(slack), destination(pager), paper)
    say(spool, *(notification(id=str(n), episode=str(n)) for n in range(9)), channels=("pager", "paper", "slack"))
    turn(running, clock, 120)
    one_down = running.unheard()
    pager.trouble = lambda _: AWAY
    say(spool, *(notification(id=f"x{n}", episode=f"x{n}") for n in range(9)), channels=("pager", "paper"))
    turn(running, clock, 120)
    assert (one_down, running.unheard()) == (False, True)
    slack.trouble = lambda _: None
    turn(running, clock, 600)
    assert running.unheard() is False
