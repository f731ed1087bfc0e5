"""Acknowledgements: a pager that was told of an alert hears once that a person silenced it, and nobody else does."""

import random
from pathlib import Path

import pytest

from flows.alert import Alerting
from flows.matcher import parse_match
from flows.policy import PolicyOptions
from flows.silence import Silence
from sinks.channels import CHANNELS
from sinks.delivery import ChannelDestination, Delivery
from sinks.failure import notification_items
from sinks.pagerduty import PagerDuty, PagerDutyOptions
from sinks.spool import Spool
from tests.fakes.pagerduty import ROUTING_KEY, FakePagerDuty
from tests.fakes.scripted import Answer
from tests.flows.history import LENGTH, START, Settings, rates, result_of, rule

PAGER = {"pagers": frozenset({"pager"})}


class Silenced:
    """Silences by the windows in which they are in force."""

    def __init__(self, *silences):
        self._silences = [
            (range(first, last), Silence(id=f"s{n}", matchers=parse_match(match), author="", reason="", start=0, end=0))
            for n, (first, last, match) in enumerate(silences)
        ]

    def at(self, dataset, end):
        return [silence for windows, silence in self._silences if (end - START) // LENGTH - 1 in windows]


def messages(results, silences, *, restart_at=None, **policy):
    """Give, by window, what goes out, after a restart before one of them."""
    options = PolicyOptions(**(PAGER | policy))
    alerting = Alerting(Settings((rule(),)), options, silences)
    out = []
    for n, result in enumerate(results):
        if n == restart_at:
            state = alerting.snapshot()
            alerting = Alerting(Settings((rule(),)), options, silences)
            alerting.restore(state)
        out.append(alerting.evaluate(result).messages)
    return out


def reasons(sent):
    return [[(each.reason, each.channels) for each in window] for window in sent]


FIRST, ACKNOWLEDGED = ("first", ("chat", "pager")), ("acknowledged", ("pager",))
OVER = ("resolved", ("chat", "pager"))


def test_an_alert_that_the_pager_has_is_acknowledged_once_and_then_resolved():
    sent = messages(rates(0.4, 0.4, 0.4, 0.0, 0.0), Silenced((1, 9, {"host": "a"})))
    assert reasons(sent) == [[FIRST], [ACKNOWLEDGED], [], [], [OVER]]
    assert len({(each.episode, each.dedup_key, each.fingerprint) for window in sent for each in window}) == 1
    assert len({each.id for window in sent for each in window}) == 3


def test_another_silence_acknowledges_again_and_one_beside_it_does_not():
    sent = messages(rates(*[0.4] * 6), Silenced((1, 3, {}), (2, 3, {}), (4, 5, {})))
    assert reasons(sent) == [[FIRST], [ACKNOWLEDGED], [], [], [ACKNOWLEDGED], []]


@pytest.mark.parametrize(
    "silences",
    [
        [(0, 9, {})],  # nobody was told
        [(1, 9, {"host": "b"})],
        [(1, 9, {"severity": "warning"})],
        [],
    ],
)
def test_what_nobody_silenced_or_was_told_of_is_not_acknowledged(silences):
    sent = messages(rates(0.4, 0.4, 0.4), Silenced(*silences))
    assert "acknowledged" not in [each.reason for window in sent for each in window]


def test_an_alert_that_went_to_no_pager_is_not_acknowledged():
    sent = messages(rates(0.02, 0.02, 0.02, 0.02), Silenced((2, 9, {})))
    assert reasons(sent) == [[], [("first", ("chat", "mail"))], [], []]
    assert reasons(messages(rates(0.4, 0.4), Silenced((1, 9, {})), pagers=frozenset())) == [[FIRST], []]


@pytest.mark.parametrize("restart_at", range(7))
def test_a_restart_acknowledges_neither_twice_nor_never(restart_at):
    results, silences = rates(0.4, 0.4, 0.4, 0.4, 0.4, 0.0, 0.0), Silenced((1, 3, {}), (4, 9, {}))
    assert messages(results, silences, restart_at=restart_at) == messages(results, silences)


def test_what_is_written_down_does_not_change():
    results, silences = rates(0.4, 0.4, 0.4, 0.0, 0.0), Silenced((1, 9, {}))
    lines = [
        [each.line() for result in results for each in alerting.evaluate(result).notifications]
        for alerting in (Alerting(Settings((rule(),)), PolicyOptions(**policy), silences) for policy in (PAGER, {}))
    ]
    assert lines[0] == lines[1]


def storm(n, value):
    return result_of(n, {("error_rate", f'{{"host":"h{host}"}}'): (value if host < 6 else 0.0, 1000) for host in range(7)})


def test_a_storm_is_acknowledged_once_all_that_is_open_of_it_is_silenced():
    results = [storm(n, 0.4) for n in range(4)]
    silences = Silenced((1, 9, ['host=~"h[0-3]"']), (2, 9, {"host": "h4"}), (3, 9, {"host": "h5"}))
    for restart_at in (None, 2, 3):
        sent = messages(results, silences, restart_at=restart_at, modes={"pager": "storm"})
        told = [[each for each in window if each.channels == ("pager",)] for window in sent]
        assert [[each.reason for each in window] for window in told] == [["first"], [], [], ["acknowledged"]]
        (opened,), (taken,) = told[0], told[3]
        same = ("episode", "dedup_key", "fingerprint", "group", "severity")
        assert [getattr(opened, name) for name in same] == [getattr(taken, name) for name in same]


def test_only_pagerduty_takes_acknowledgements():
    assert {name for name, kind in CHANNELS.items() if kind.acknowledges} == {"pagerduty"}


@pytest.fixture
def pagerduty():
    with FakePagerDuty() as server:
        yield server


def delivered(folder, pagerduty, sent, *, script=()):
    """Deliver messages to PagerDuty, all waiting when it begins; `script` is how it answers at first."""
    spool = Spool(folder / "spool.db")
    channel = PagerDuty("pager", PagerDutyOptions(routing_key=ROUTING_KEY, url=pagerduty.enqueue_url))
    delivery = Delivery(spool, [ChannelDestination(channel, unsaid="never")], jitter=random.Random(1))
    pagerduty.script = list(script)
    for each in sent:
        spool.put(item for item in notification_items(each) if item.destination == "pager")
    delivery.start()
    assert delivery.drain(60)
    delivery.stop()
    spool.close()
    return [seen.json["event_action"] for seen in pagerduty.seen if seen.path == "/v2/enqueue"]


def episode(last=5):
    sent = messages(rates(0.4, 0.4, 0.4, 0.0, 0.0), Silenced((1, 9, {})))
    return [each for window in sent[:last] for each in window]


def test_the_incident_is_acknowledged_between_trigger_and_resolve(pagerduty, tmp_path: Path):
    first, acknowledged, resolved = episode()
    key = (ROUTING_KEY, first.dedup_key)
    assert delivered(tmp_path, pagerduty, [first, acknowledged]) == ["trigger", "acknowledge"]
    assert (list(pagerduty.open), pagerduty.acknowledged) == ([key], {key})
    assert delivered(tmp_path, pagerduty, [resolved, acknowledged]) == ["trigger", "acknowledge", "resolve"]
    assert (pagerduty.open, pagerduty.dropped, len(pagerduty.pages)) == ({}, [], 1)


def test_an_acknowledgement_waits_for_its_trigger_while_pagerduty_is_away(pagerduty, tmp_path: Path):
    first, acknowledged, _ = episode()
    actions = delivered(tmp_path, pagerduty, [first, acknowledged], script=[Answer(503)])
    assert (actions, len(pagerduty.acknowledged)) == (["trigger", "trigger", "acknowledge"], 1)


def test_an_acknowledgement_opens_no_incident(pagerduty, tmp_path: Path):
    first, acknowledged, resolved = episode()
    assert delivered(tmp_path, pagerduty, [first, resolved]) == ["trigger", "resolve"]
    assert delivered(tmp_path, pagerduty, [acknowledged]) == ["trigger", "resolve"]
    assert (pagerduty.open, pagerduty.dropped) == ({}, [])


def test_all_incidents_of_an_episode_are_acknowledged_by_the_key_that_opened_them(pagerduty, tmp_path: Path):
    first, acknowledged, _ = episode()
    channel = PagerDuty("pager", PagerDutyOptions(routing_key="f" * 32, url=pagerduty.enqueue_url))
    memory = {first.dedup_key: ROUTING_KEY, f"{first.dedup_key}:crit": ROUTING_KEY, "severity": "warning"}
    pagerduty.open = {(ROUTING_KEY, key): [] for key in list(memory)[:2]}
    assert channel.send(acknowledged, memory) == memory
    assert pagerduty.acknowledged == set(pagerduty.open)
