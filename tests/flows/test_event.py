"""Events: decided with their window as every alert, and said before it closes where that is certain."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.alert import Alerting
from flows.event import Event
from flows.exemplar import Exemplar
from flows.inhibit import InhibitOptions
from flows.kinds import expanded
from flows.matcher import parse_match
from flows.metric import MetricOptions
from flows.policy import PolicyOptions
from flows.route import RouteOptions
from flows.rule import LEVELS, RuleOptions, Thresholds
from flows.silence import Silence
from flows.transition import fingerprint_of
from flows.window import MetricRows, WindowResult
from sinks.notification import Notification
from tests.flows.history import START, Settings

STEP = 300_000
METRIC = MetricOptions(name="critical_logs", kind="count", dataset="d", where='level == "critical"', group_by=("service",))
A, B = '{"service":"a"}', '{"service":"b"}'
ROUTES = (RouteOptions(severity=("critical",), channels=("chat", "pager")), RouteOptions(channels=("chat",)))


def rule(**changes):
    options = RuleOptions(**({"name": "critical_log", "kind": "event", "metric": "critical_logs"} | changes))
    return expanded([options], [], {METRIC.name: METRIC})[0]


class Held:
    """Silences that a test sets."""

    def __init__(self):
        self.found = []

    def at(self, dataset, end):
        return self.found

    known = at

    def set(self, **match):
        silence = Silence(id="s", matchers=parse_match(match), author="me", reason="x", start=0, end=2**62)
        self.found.append(silence)


def alerting(silences=None, policy=PolicyOptions(), routes=ROUTES, **changes):  # noqa: B008 (frozen)
    config = Settings((rule(**changes),), metrics=(METRIC,), routes=routes)
    return Alerting(config, policy, silences or Held())


def window(number, counts):
    """Make the n-th window; `counts` says how many events each key had (0: other records only)."""
    keys = sorted(counts)
    column = np.array([counts[k] for k in keys], np.float64)
    rows = MetricRows(
        "critical_logs", keys, column.astype(np.int64) + 1, {"count": column, "rate": column}, np.zeros(len(keys), np.bool_)
    )
    start = START + number * STEP
    return WindowResult("d", start, start + STEP, {"critical_logs": rows} if keys else {}, {})


def event(number, key=A, after=1000):
    start = START + number * STEP
    return Event("critical_logs", key, start, start + STEP, Exemplar("event", None, start + after, "ray1", "t/0", 7, 0))


def test_an_event_is_said_at_once_with_the_identity_that_its_window_gives_it():
    judge = alerting()
    (early,) = judge.early(event(0))
    assert (early.reason, early.severity, early.channels, early.at) == ("first", "critical", ("chat", "pager"), START + 1000)
    assert early.title == "Critical log on a: happened just now"
    assert early.text == (
        "Said at once, by one record of critical_logs at 2025-12-01 00:00:01 UTC (ray ray1, t/0 offset 7)."
        " Its window is open until 00:05 UTC, so how many there are is not known yet."
    )
    assert early.evidence["early"] == {
        "event_time": "2025-12-01T00:00:01Z",
        "window_end": "2025-12-01T00:05:00Z",
        "ray_id": "ray1",
        "partition": "t/0",
        "offset": 7,
        "index": 0,
    }
    assert judge.early(event(0, after=2000)) == []
    (said,) = judge.evaluate(window(0, {A: 3})).messages
    assert (said.id, said.episode, said.dedup_key) == (early.id, early.episode, early.dedup_key)
    assert judge.evaluate(window(1, {A: 0})).messages == []


def test_an_event_is_over_when_records_come_and_none_is_of_its_kind():
    judge = alerting()
    said = [judge.evaluate(window(n, counts)).messages for n, counts in enumerate([{A: 1}, {B: 0}, {A: 0}, {}])]
    assert [[each.reason for each in messages] for messages in said] == [["first"], [], ["resolved"], []]


def test_an_event_is_held_while_the_whole_dataset_is_silent_until_its_key_is_forgotten():
    judge = alerting(forget_after_ms=4 * STEP)
    decided = [judge.evaluate(window(n, counts)) for n, counts in enumerate([{A: 1}, {}, {}, {}, {}, {}])]
    levels = [[LEVELS[code] for each in one.evaluations for code in each.level] for one in decided]
    assert levels == [["critical"], *[["no_data"]] * 4, []]
    assert [[each.reason for each in one.messages] for one in decided] == [["first"], [], [], [], [], ["forgotten"]]


@pytest.mark.parametrize(
    ("before", "changes", "match", "number"),
    [
        ([{A: 1}], {}, {}, 1),  # it fires already
        ([{A: 1}, {A: 0}, {A: 0}], {}, {}, 4),  # within the cooldown the episode goes on without a word
        ([], {}, {"service": "a"}, 0),  # silenced
        ([], {"above": Thresholds(critical=1)}, {}, 0),  # one record is not enough
        ([], {"above": Thresholds(warning=0, critical=5)}, {}, 0),  # the window may say worse of it
        ([], {"for_": 2}, {}, 0),
        ([], {"notify": False}, {}, 0),
        ([], {"keys": "total"}, {}, 0),
    ],
)
def test_what_is_not_certain_waits_for_its_window(before, changes, match, number):
    held = Held()
    judge = alerting(held, **changes)
    for n, counts in enumerate(before):
        judge.evaluate(window(n, counts))
    if match:
        held.set(**match)
    assert judge.early(event(number)) == []


def test_who_heard_early_hears_the_end_where_a_silence_was_set_meanwhile():
    held = Held()
    judge = alerting(held)
    (early,) = judge.early(event(0))
    held.set(service="a")
    (over,) = judge.evaluate(window(0, {A: 1})).messages
    assert (over.status, over.episode, over.channels) == ("resolved", early.episode, early.channels)
    assert over.title == "Critical log on a: kept quiet"
    assert over.text.endswith(
        "Its window closed, and a silence keeps it quiet. If it still fires after that, it is said again."
    )
    assert over.id != early.id
    held.found.clear()
    (said,) = judge.evaluate(window(1, {A: 1})).messages
    assert (said.reason, said.episode, said.status) == ("first", early.episode, "firing")
    assert said.id not in {early.id, over.id}


def test_an_event_of_a_window_that_closes_later_gives_way_to_the_one_before_it():
    judge = alerting()
    (early,) = judge.early(event(1))
    assert judge.early(event(0)) == []  # one word a key is enough
    (first,) = judge.evaluate(window(0, {A: 1})).messages
    assert (first.reason, first.status) == ("first", "firing")
    (over,) = judge.evaluate(window(1, {A: 1})).messages
    assert (over.status, over.episode) == ("resolved", early.episode)
    assert over.title == "Critical log on a: goes on as the episode of 2025-12-01T00:05:00Z"
    assert over.text.endswith(f"it goes on as episode {first.episode}.")


def test_who_heard_early_and_not_with_the_window_hears_the_end():
    judge = alerting()
    (early,) = judge.early(event(0))
    other = alerting(routes=(RouteOptions(channels=("chat", "mail")),))
    other.restore(judge.snapshot())
    said, over = other.evaluate(window(0, {A: 1})).messages
    assert (said.id, said.channels) == (early.id, ("chat", "mail"))
    assert (over.episode, over.status, over.channels) == (early.episode, "resolved", ("pager",))


def test_an_event_of_a_rule_that_is_gone_ends_with_the_next_window():
    judge = alerting()
    (early,) = judge.early(event(0))
    other = Alerting(Settings((), metrics=(METRIC,), routes=ROUTES), PolicyOptions(), Held())
    other.restore(judge.snapshot())
    (over,) = other.evaluate(window(0, {A: 1})).messages
    assert (over.episode, over.status) == (early.episode, "resolved")
    assert over.title == "Critical log on a: not watched any more"


def test_an_event_of_a_key_that_its_window_has_no_row_of_is_not_confirmed():
    judge = alerting()
    (early,) = judge.early(event(0))
    (over,) = judge.evaluate(window(0, {B: 0})).messages
    assert (over.episode, over.title) == (early.episode, "Critical log on a: not confirmed")


def test_an_event_that_another_of_its_window_inhibits_is_over_with_it():
    inhibit = InhibitOptions(source={"rule": "first"}, target={"rule": "second"}, equal=("service",))
    options = [RuleOptions(name=name, kind="event", metric="critical_logs") for name in ("first", "second")]
    rules = tuple(expanded(options, [], {METRIC.name: METRIC}))
    judge = Alerting(Settings(rules, metrics=(METRIC,), routes=ROUTES), PolicyOptions(inhibits=(inhibit,)), Held())
    assert {each.rule for each in judge.early(event(0))} == {"first", "second"}  # neither fires yet
    (over,) = [each for each in judge.evaluate(window(0, {A: 1})).messages if each.status == "resolved"]
    assert over.rule == "second"
    assert "another alert inhibits it" in over.text


def test_an_inhibition_that_is_known_before_keeps_an_event_from_going_ahead():
    inhibit = InhibitOptions(source={"rule": "outage"}, target={"rule": "critical_log"})
    outage = RuleOptions(name="outage", metric="critical_logs", statistic="rate", keys="total", above=Thresholds(critical=0.0))
    settings_ = Settings((rule(), outage), metrics=(METRIC,), routes=ROUTES)
    judge = Alerting(settings_, PolicyOptions(inhibits=(inhibit,)), Held())
    assert len(judge.early(event(0, B))) == 1
    judge.evaluate(window(0, {"{}": 1}))
    assert judge.early(event(1)) == []
    assert [each.rule for each in judge.evaluate(window(1, {A: 1, "{}": 0})).messages] == []


def test_what_was_said_early_alone_is_not_said_again_in_a_bundle():
    policy = PolicyOptions(modes={"chat": "digest", "pager": "storm"})
    routes = (RouteOptions(channels=("chat", "pager"), group_by=("rule",)),)
    judge, plain = alerting(policy=policy, routes=routes), alerting(policy=policy, routes=routes)
    (early,) = judge.early(event(0))
    keys = {json.dumps({"service": f"s{n}"}, separators=(",", ":")): 1 for n in range(8)}
    decided = judge.evaluate(window(0, {A: 1, **keys}))
    messages = decided.messages
    assert [each.line() for each in decided.notifications] == [
        each.line() for each in plain.evaluate(window(0, {A: 1, **keys})).notifications
    ]
    assert [each.id for each in messages if each.fingerprint == early.fingerprint] == [early.id]
    assert sum(each.title.startswith("8 alerts") for each in messages) == 2


def test_a_flood_of_keys_says_twenty_early_and_the_rest_with_the_window():
    judge = alerting()
    keys = [json.dumps({"service": f"s{n:02}"}, separators=(",", ":")) for n in range(30)]
    said = [each for key in keys for each in judge.early(event(0, key))]
    assert len(said) == 20
    messages = judge.evaluate(window(0, dict.fromkeys(keys, 1))).messages
    assert len({each.id for each in [*said, *messages]}) == 30


HISTORY = st.lists(st.dictionaries(st.sampled_from([A, B, "{}"]), st.integers(0, 2)), min_size=1, max_size=12)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(
    HISTORY, st.lists(st.tuples(st.integers(0, 12), st.integers(0, 14), st.sampled_from([A, B])), max_size=12), st.booleans()
)
def test_early_words_change_no_decision_and_every_one_of_them_is_confirmed_or_over(history, early, restart):
    judge, plain = alerting(), alerting()
    channels: dict[str, list[Notification]] = {}
    seen: set[str] = set()

    def deliver(messages):
        for each in messages:
            if each.id not in seen:
                seen.add(each.id)
                channels.setdefault(each.episode, []).append(each)

    for number, counts in enumerate(history):
        for at, of, key in early:
            if at == number and of >= number and of < len(history) and history[of].get(key):
                deliver(judge.early(event(of, key)))
        if restart:
            state, judge = judge.snapshot(), alerting()
            judge.restore(state)
        got, want = judge.evaluate(window(number, counts)), plain.evaluate(window(number, counts))
        assert [each.line() for each in got.notifications] == [each.line() for each in want.notifications]
        assert [each.line() for each in got.transitions] == [each.line() for each in want.transitions]
        deliver(got.messages)
    still_open = {said[-1].episode for said in channels.values() if said[-1].status == "firing"}
    assert still_open <= open_episodes(plain)


def open_episodes(judge):
    out = set()
    for alert in judge.firing("d"):
        key = json.dumps({"service": alert["labels"]["service"]}, separators=(",", ":"))
        out.add(f"{fingerprint_of('test', key, 'critical_log')}:{alert['start'] // 1000}")
    return out
