"""Policy: what is kept quiet and what comes of it; the state never differs from that of a run without policy."""

import json
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.alert import Alerting
from flows.inhibit import InhibitOptions
from flows.labels import Labels
from flows.matcher import parse_match
from flows.mute import MuteOptions
from flows.policy import PolicyOptions
from flows.rule import Thresholds
from flows.silence import Silence
from tests.flows.history import KEYS, LENGTH, START, Settings, histories, play, rates, result_of, results_of, rule, rules


@dataclass(frozen=True)
class Given:
    """Silences that are known from the start; what a file of control events gives is tested beside it."""

    silences: tuple[Silence, ...]

    def at(self, dataset, end):
        return [silence for silence in self.silences if silence.holds(end)]


def end_of(n):
    return START + (n + 1) * LENGTH


def silenced(first, last, **match):
    """Silence the windows from the n-th to before another."""
    matchers = parse_match(match)
    return Silence(id="s", matchers=matchers, author="me", reason="work", start=end_of(first), end=end_of(last))


def alerting_of(*chosen, silences=(), **policy):
    return Alerting(Settings(tuple(chosen or (rule(),))), PolicyOptions(**policy), Given(tuple(silences)))


def said(results, *chosen, **policy):
    """Give (window, reason, channels) of what is said."""
    alerting = alerting_of(*chosen, **policy)
    found = [(n, each) for n, result in enumerate(results) for each in alerting.evaluate(result).notifications]
    return [(n, each.reason, each.channels) for n, each in found]


def suppressors(results, **policy):
    rows = map(json.loads, play(alerting_of(**policy), results)[0])
    return [row["suppressed_by"] for row in rows if row["key"]]


PAGED, CHAT = ("chat", "pager"), ("chat", "mail")
ALL = {"rule": "high_error_rate"}


def test_a_silenced_alert_says_nothing_and_each_record_says_why():
    results = rates(0.4, 0.4, 0.4, 0.0, 0.0)
    assert said(results, silences=[silenced(0, 9, **ALL)]) == []
    assert suppressors(results, silences=[silenced(0, 9, **ALL)]) == ["silence"] * 5
    assert suppressors(rates(0.0, 0.0), silences=[silenced(0, 9)]) == [None, None]


def test_an_alert_that_still_fires_when_its_silence_ends_is_said_as_first():
    assert said(rates(*[0.4] * 5), silences=[silenced(0, 3)]) == [(3, "first", PAGED)]
    assert suppressors(rates(*[0.4] * 5), silences=[silenced(0, 3)]) == ["silence"] * 3 + [None] * 2


def test_an_alert_that_was_said_before_its_silence_is_resolved_within_it():
    results = rates(0.4, 0.4, 0.0, 0.0)
    assert said(results, silences=[silenced(1, 9)]) == [(0, "first", PAGED), (3, "resolved", PAGED)]
    assert suppressors(results, silences=[silenced(1, 9)]) == [None, "silence", "silence", None]


def test_an_alert_that_nobody_heard_of_is_not_resolved_even_when_its_silence_is_over():
    results = rates(0.4, 0.0, 0.0, 0.0)
    assert said(results, silences=[silenced(0, 2)]) == []
    assert suppressors(results, silences=[silenced(0, 2)]) == ["silence", "silence", "silence", None]


def test_an_alert_that_recovers_when_its_silence_ends_is_said_only_if_it_relapses():
    assert said(rates(0.4, 0.4, 0.0, 0.0), silences=[silenced(0, 2)]) == []
    assert said(rates(0.4, 0.4, 0.0, 0.4), silences=[silenced(0, 2)]) == [(3, "first", PAGED)]


@pytest.mark.parametrize(
    ("values", "reason", "channels"),
    [
        ([0.02, 0.02, 0.4, 0.4, 0.4], "escalated", PAGED),
        ([0.4, 0.4, 0.02, 0.02, 0.02], "de-escalated", ("chat", "mail", "pager")),
        ([0.02, 0.02, 0.4, 0.02, 0.02], "repeat", CHAT),
    ],
)
def test_what_was_withheld_is_said_by_what_was_heard_before(values, reason, channels):
    quiet = [silenced(2, 5)]
    assert said(rates(*values, values[-1]), silences=quiet)[1:] == [(5, reason, channels)]


def test_a_silence_in_which_nothing_would_be_said_changes_nothing():
    results = rates(*[0.4] * 15, 0.0, 0.0)
    assert said(results, silences=[silenced(1, 9)]) == said(results)


def test_after_a_silence_the_next_repeat_waits_from_what_was_said():
    told = said(rates(*[0.4] * 30), silences=[silenced(0, 10)])
    assert [(n, reason) for n, reason, _ in told] == [(10, "first"), (22, "repeat")]


def test_a_forgotten_alert_is_resolved_where_it_was_heard_of():
    results = rates(0.4, None, None, None)
    quick = rule(forget_after_ms=600_000)
    assert said(results, quick, silences=[silenced(0, 9)]) == []
    assert said(results, quick, silences=[silenced(1, 9)]) == [(0, "first", PAGED), (3, "forgotten", PAGED)]


def test_the_numbers_of_what_is_said_never_repeat():
    alerting = alerting_of(silences=[silenced(0, 3), silenced(4, 8)])
    values = [0.4] * 4 + [0.02] * 6 + [0.4] * 3 + [0.0] * 2
    told = [each for result in rates(*values) for each in alerting.evaluate(result).notifications]
    assert len({each.id for each in told}) == len(told) == 4
    assert [each.reason for each in told] == ["first", "de-escalated", "escalated", "resolved"]


def test_a_mute_keeps_quiet_and_may_leave_critical_alerts_alone():
    mute = MuteOptions(name="m", times=("00:00-00:20",), match=ALL)
    loud = MuteOptions(name="m", times=("00:00-00:20",), match=ALL, except_critical=True)
    assert said(rates(*[0.4] * 5), mutes=(mute,)) == [(3, "first", PAGED)]
    assert suppressors(rates(*[0.4] * 5), mutes=(mute,)) == ["mute"] * 3 + [None] * 2
    assert said(rates(*[0.4] * 5), mutes=(loud,)) == [(0, "first", PAGED)]
    assert said(rates(*[0.02] * 5), mutes=(loud,)) == [(3, "first", CHAT)]


def test_a_silence_is_named_before_a_mute_and_a_mute_before_an_inhibition():
    mute = MuteOptions(name="m", times=("00:00-00:20",))
    cause = rule(name="cause", above=Thresholds(critical=0.001), keys="all")
    inhibit = InhibitOptions(source={"rule": "cause"}, target={"rule": "high_error_rate"}, equal=("host",))
    policy = {"silences": [silenced(0, 2)], "mutes": (mute,), "inhibits": (inhibit,)}
    rows = map(json.loads, play(alerting_of(rule(), cause, **policy), rates(*[0.4] * 5))[0])
    got = [row["suppressed_by"] for row in rows if row["rule"] == "high_error_rate"]
    assert got == ["silence", "silence", "mute", "inhibit", "inhibit"]


CAUSE = {"name": "cause", "above": Thresholds(critical=0.2)}
EFFECT = {"name": "effect", "above": Thresholds(critical=0.01)}


def inhibited(results, *chosen, silences=(), **inhibit):
    options = InhibitOptions(**({"source": {"rule": "cause"}, "target": {"rule": "effect"}} | inhibit))
    alerting = alerting_of(*(chosen or (rule(**CAUSE), rule(**EFFECT))), inhibits=(options,), silences=silences)
    found = [(n, each) for n, result in enumerate(results) for each in alerting.evaluate(result).notifications]
    return [(n, each.rule, each.reason) for n, each in found]


def two(a, b):
    rows = {("error_rate", f'{{"host":"{host}"}}'): (rate, 1000) for host, rate in (("a", a), ("b", b))}
    return result_of(0, rows | {("error_rate", "{}"): (0.9, 1000)})


def test_a_cause_keeps_its_effects_quiet_from_the_barrier_at_which_it_fires_until_it_is_over():
    results = rates(0.4, 0.4, 0.02, 0.02, 0.02)
    assert inhibited(results) == [(0, "cause", "first"), (3, "cause", "resolved"), (3, "effect", "first")]


def test_an_inhibition_needs_the_same_value_of_the_labels_named():
    firsts = inhibited([two(0.4, 0.05)], equal=("host",))
    assert firsts == [(0, "cause", "first"), (0, "effect", "first")]
    assert inhibited([two(0.4, 0.05)]) == [(0, "cause", "first")]


def test_a_label_that_both_miss_is_not_shared():
    total = (rule(**CAUSE, keys="total"), rule(**EFFECT, keys="total"))
    assert inhibited([two(0.0, 0.0)], *total, equal=("host",)) == [(0, "cause", "first"), (0, "effect", "first")]
    assert inhibited([two(0.0, 0.0)], *total, equal=("team",)) == [(0, "cause", "first")]


def test_a_pending_cause_keeps_nothing_quiet():
    slow = rule(**CAUSE, for_=2)
    assert inhibited(rates(0.4, 0.4), slow, rule(**EFFECT)) == [(0, "effect", "first"), (1, "cause", "first")]


def test_a_silenced_cause_still_keeps_its_effects_quiet():
    assert inhibited(rates(0.4, 0.4), silences=[silenced(0, 9, rule="cause")]) == []


def test_alerts_that_match_both_sides_do_not_keep_each_other_quiet():
    both = {"source": {"rule": "=~cause|effect"}, "target": {"rule": "=~cause|effect"}}
    assert inhibited([two(0.4, 0.4)], **both) == [(0, name, "first") for name in ("cause", "cause", "effect", "effect")]
    third = rule(name="third", above=Thresholds(critical=0.01), keys="total")
    wide = {"source": {"rule": "!=effect"}, "target": {"rule": "!=third"}}
    assert inhibited([two(0.4, 0.0)], rule(**CAUSE), rule(**EFFECT), third, **wide) == [(0, "third", "first")]


def test_severity_is_a_label_at_the_barrier():
    by_severity = {"source": {"severity": "critical"}, "target": {"severity": "warning"}, "equal": ("host",)}
    mild = rule(name="mild", above=Thresholds(warning=0.01), for_=1)
    results = rates(0.02, 0.4, 0.4)
    assert inhibited(results, rule(**CAUSE), mild, **by_severity) == [(0, "mild", "first"), (1, "cause", "first")]


@pytest.mark.parametrize("key", ["source", "target"])
def test_an_inhibition_that_means_every_alert_is_refused(key):
    options = InhibitOptions(**({"source": {"a": "b"}, "target": {"a": "b"}} | {key: {}}))
    assert [name for name, _ in options.problems()] == [key]


def test_labels_are_the_configurations_the_rules_the_keys_and_what_decides():
    alerting = alerting_of(rule(labels={"team": "db", "tier": "1"}))
    made = alerting._books[0].rule
    got = Labels("test", {"team": "edge", "zone": "z"}).of(made, '{"host":"a","zone":"k"}', 2)
    assert got == {
        "team": "db",
        "tier": "1",
        "zone": "k",
        "host": "a",
        "rule": "high_error_rate",
        "environment": "test",
        "severity": "critical",
    }


MATCHES = st.sampled_from(
    [{}, {"rule": "r1"}, {"severity": "critical"}, {"severity": "warning"}, {"host": "a"}, {"host": ""}, {"rule": "!=r2"}]
)
SILENCE = st.builds(
    lambda match, first, length: silenced(first, first + length, **match), MATCHES, st.integers(0, 25), st.integers(1, 12)
)
MUTE = st.builds(
    MuteOptions,
    name=st.just("m"),
    match=MATCHES,
    times=st.lists(st.sampled_from(["00:00-00:30", "00:20-00:45", "01:00-00:10"]), max_size=2).map(tuple),
    except_critical=st.booleans(),
)
INHIBIT = st.builds(
    InhibitOptions,
    source=MATCHES,
    target=MATCHES,
    equal=st.lists(st.sampled_from(["host", "rule", "team", "no"]), max_size=2).map(tuple),
)


@st.composite
def policies(draw):
    silences = draw(st.lists(SILENCE, max_size=2))
    named = tuple(
        Silence(id=f"s{n}", **{k: getattr(s, k) for k in ("matchers", "author", "reason", "start", "end")})
        for n, s in enumerate(silences)
    )
    mutes, inhibits = (draw(st.lists(each, max_size=1).map(tuple)) for each in (MUTE, INHIBIT))
    return {"silences": named, "mutes": mutes, "inhibits": inhibits}


THREE = st.tuples(rules("r1"), rules("r2"), rules("r3"))


def bare(lines):
    return [{**json.loads(line), "suppressed_by": None} for line in lines]


@settings(max_examples=100, deadline=None)
@given(THREE, histories(), policies())
@pytest.mark.slow
def test_the_state_is_that_of_a_run_without_policy_and_what_is_kept_quiet_says_nothing(chosen, history, policy):
    results = results_of(history)
    quiet, loud = play(alerting_of(*chosen, **policy), results), play(alerting_of(*chosen), results)
    assert bare(quiet[0]) == bare(loud[0])
    assert quiet[1] == loud[1]
    kept = {(r["window_end"], r["rule"], json.dumps(r["key"])) for r in map(json.loads, quiet[0]) if r["suppressed_by"]}
    told = {(r["at"], r["rule"], json.dumps(r["key"])) for r in map(json.loads, quiet[2])}
    assert kept & told == set()


@settings(max_examples=100, deadline=None)
@given(THREE, histories(), policies(), st.sets(st.integers(0, 29)))
@pytest.mark.slow
def test_a_restart_anywhere_changes_no_byte_with_policy(chosen, history, policy, restarts):
    results = results_of(history)
    whole = play(alerting_of(*chosen, **policy), results)
    alerting = alerting_of(*chosen, **policy)
    got: tuple[list, list, list] = ([], [], [])
    for n, result in enumerate(results):
        if n in restarts:
            state = alerting.snapshot()
            alerting = alerting_of(*chosen, **policy)
            alerting.restore(state)
        for lines, more in zip(got, play(alerting, [result]), strict=True):
            lines.extend(more)
    assert got == whole


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(THREE, histories(), policies(), st.permutations([0, 1, 2]), st.permutations(KEYS))
def test_the_order_of_rules_and_rows_changes_nothing(chosen, history, policy, order, keys):
    shuffled = [{place: window[place] for place in sorted(window, key=lambda p: keys.index(p[1]))} for window in history]
    one = play(alerting_of(*chosen, **policy), results_of(history))
    other = play(alerting_of(*(chosen[n] for n in order), **policy), results_of(shuffled))
    assert one == other


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(THREE, histories(), policies())
def test_no_channel_hears_of_an_end_without_a_beginning_and_one_episode_is_open_at_a_time(chosen, history, policy):
    alerting = alerting_of(*chosen, **policy)
    heard: dict[str, set[str]] = {}
    episodes: dict[str, str] = {}
    for result in results_of(history):
        for told in alerting.evaluate(result).told:
            each = told.notification
            if each.status == "resolved":
                assert set(each.channels) == heard.pop(each.fingerprint)
                assert episodes.pop(each.fingerprint) == each.episode
                continue
            assert each.reason != "first" or each.fingerprint not in episodes
            assert episodes.setdefault(each.fingerprint, each.episode) == each.episode
            fresh = each.reason in ("first", "reopened")
            heard[each.fingerprint] = set(each.channels) | (set() if fresh else heard[each.fingerprint])
    assert {name for book in alerting._books for name in book.told()} == set(heard)
