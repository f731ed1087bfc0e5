"""Health: when a line counts as blind and when it sees again, sign by sign, and in what words it is said."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.health import (
    BROKER,
    DEAD,
    LAG,
    LATE,
    SKEW,
    STALL,
    Expected,
    Finding,
    Health,
    HealthOptions,
    Sample,
    Signs,
)
from flows.health_words import over_text, over_title, text_of, title_of

NOW = 1_764_547_200_000
MINUTE, HOUR = 60_000, 3_600_000
OPTIONS = HealthOptions(enter=3, leave=4)
WELL = Signs(partition="t/0", dataset="d", end=100, position=100, high=NOW)


class Line:
    """A line of one dataset that is looked at every 5 s; what moves by itself is the clock and the records of a busy topic."""

    def __init__(self, options=OPTIONS, held=()):
        self.health = Health(options, {"d": Expected(15 * MINUTE, 2 * MINUTE)}, 15 * MINUTE, held)
        self.now = NOW
        self.closed = 0

    def look(self, *parts, after_ms=5000, closes=True):
        self.now += after_ms
        self.closed += closes
        return [each.cause for each in self.health.judge(Sample(self.now, parts, {"d": self.closed}))]

    def looks(self, *parts, times, **changes):
        return [self.look(*parts, **changes) for _ in range(times)]

    def behind(self, ms, **changes):
        return replace(WELL, **({"end": 500, "high": self.now + 5000 - ms} | changes))


def test_a_start_an_idle_topic_and_one_that_has_never_had_a_record_are_no_blindness():
    unheard = replace(WELL, end=0, position=0, high=None)
    assert Line().looks(unheard, times=1000, closes=False) == [[]] * 1000
    assert Line().looks(WELL, times=1000) == [[]] * 1000
    assert Line().looks(replace(WELL, high=NOW - 24 * HOUR), times=1000, closes=False) == [[]] * 1000


def test_lag_counts_after_several_looks_in_a_row_and_is_over_after_several_well_within():
    line = Line()
    assert [line.look(line.behind(13 * MINUTE)) for _ in range(4)] == [[], [], [LAG], [LAG]]
    assert [line.look(line.behind(10 * MINUTE)) for _ in range(20)] == [[LAG]] * 20
    assert [line.look(line.behind(9 * MINUTE)) for _ in range(5)] == [[LAG]] * 3 + [[], []]


def test_a_catch_up_is_lag_only_where_it_lasts():
    line = Line()
    assert [line.look(line.behind(hours * HOUR)) for hours in (5, 2, 0, 0, 0)] == [[]] * 5
    assert [line.look(line.behind(hours * HOUR)) for hours in (9, 8, 7, 6)] == [[], [], [LAG], [LAG]]


def test_records_that_come_far_behind_the_clock_are_lag_also_where_nothing_waits():
    line = Line()
    found = [line.look(line.behind(13 * MINUTE, end=100, records=n)) for n in range(5)]
    assert found == [[], [], [], [LAG], [LAG]]
    (finding,) = line.health.judge(Sample(line.now + 5000, (line.behind(13 * MINUTE, end=100, records=6),), {"d": 1}))
    assert (finding.value, finding.limit, finding.waiting) == (13 * MINUTE, 12 * MINUTE, 0)


def test_no_window_for_too_long_is_a_stall_where_records_wait_or_come():
    looks = 15 * MINUTE // 5000 + 2
    for waits in (True, False):
        line = Line()
        found = [
            line.look(replace(WELL, end=150 if waits else 100, records=0 if waits else n, high=line.now), closes=False)
            for n in range(looks)
        ]
        assert found == [[]] * (looks - 1) + [[STALL]]
        assert line.looks(WELL, times=5) == [[STALL]] * 3 + [[], []]


def test_a_machine_that_slept_is_not_stalled():
    line = Line()
    line.look(replace(WELL, end=150))
    assert line.look(replace(WELL, end=150, high=line.now + HOUR), after_ms=HOUR, closes=False) == []


def test_a_broker_that_does_not_answer_is_a_cause_after_a_while_and_hides_what_cannot_be_known():
    line = Line()
    line.look(WELL)
    away = replace(WELL, end=None, high=NOW - 30 * MINUTE, records=500, dead=500)
    found = line.looks(away, times=200, closes=False)
    assert found == [[]] * 180 + [[BROKER]] * 20
    # Back, it is no stall that no window has closed meanwhile.
    back = replace(WELL, end=200)
    assert [line.look(replace(back, high=line.now), closes=False) for _ in range(6)] == [[BROKER]] * 3 + [[]] * 3


def test_one_partition_without_an_answer_is_told_from_a_broker_that_is_gone():
    line = Line()
    other = replace(WELL, partition="t/1")
    parts = (WELL, replace(other, end=None))
    for _ in range(200):
        held = line.health.judge(Sample(line.now, parts, {}))
        line.now += 5000
    assert [(each.cause, each.partition, each.whole) for each in held] == [(BROKER, "t/1", False)]


@pytest.mark.parametrize(("cause", "name"), [(DEAD, "dead"), (LATE, "late")])
def test_a_share_of_bad_records_counts_from_enough_records_on_and_is_forgotten_after_the_span(cause, name):
    line = Line()
    bad = [line.look(replace(WELL, records=40 * n, **{name: 4 * n})) for n in range(8)]
    assert bad == [[]] * 5 + [[cause]] * 3
    well = [line.look(replace(WELL, records=280 + 1000 * n, **{name: 28})) for n in range(1, 8)]
    assert well == [[cause]] * 3 + [[]] * 4
    few = Line()
    assert few.looks(replace(WELL, records=99, **{name: 99}), times=9) == [[]] * 9


def test_a_late_share_is_of_the_records_that_could_be_decoded():
    line = Line()
    line.look(WELL)
    line.looks(replace(WELL, records=1000, dead=900, late=50), times=3)
    held = line.health.judge(Sample(line.now, (replace(WELL, records=1000, dead=900, late=50),), {"d": 1}))
    assert [(each.cause, each.value) for each in held] == [(DEAD, 0.9), (LATE, 0.5)]


def test_the_worst_partition_counts_and_is_named():
    line, other = Line(), replace(WELL, partition="t/1")
    for n in range(4):
        parts = (replace(WELL, records=5000 * n), replace(other, records=200 * n, dead=20 * n))
        held = line.health.judge(Sample(NOW, parts, {}))
    assert [(each.cause, each.partition, each.value) for each in held] == [(DEAD, "t/1", 0.1)]


def test_counts_that_go_back_with_a_restart_are_no_surge():
    line = Line()
    line.look(replace(WELL, records=1000, dead=500))
    assert line.looks(replace(WELL, records=400, dead=200), times=5) == [[]] * 5


def test_a_clock_that_is_off_counts_both_ways():
    line = Line()
    assert [line.look(replace(WELL, high=line.now + 11 * MINUTE)) for _ in range(3)] == [[], [], [SKEW]]
    line = Line()
    assert [line.look(replace(WELL, high=line.now, stamp=line.now + 11 * MINUTE)) for _ in range(3)] == [[], [], [SKEW]]
    line = Line()
    assert [line.look(replace(WELL, high=line.now, behind=6 * MINUTE)) for _ in range(3)] == [[], [], [SKEW]]
    (finding,) = line.health.judge(Sample(line.now, (replace(WELL, high=line.now, behind=6 * MINUTE),), {"d": 1}))
    assert (finding.value, finding.limit) == (-6 * MINUTE, 5 * MINUTE)


def test_what_held_before_a_restart_goes_on_until_it_is_seen_to_be_over():
    held = (Finding(LAG, "d", "t/0", 13 * MINUTE, 12 * MINUTE), Finding(LAG, "gone", "x/0", HOUR, MINUTE))
    line = Line(held=held)
    assert line.looks(replace(WELL, end=None, position=None, high=None), times=3) == [[LAG]] * 3
    assert line.looks(WELL, times=5) == [[LAG]] * 3 + [[], []]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60))
def test_a_cause_never_changes_faster_than_its_looks_allow(minutes):
    line = Line()
    found = [bool(line.look(line.behind(each * MINUTE))) for each in minutes]
    turns = [place for place in range(1, len(found)) if found[place] != found[place - 1]]
    for place, later in itertools.pairwise(turns):
        assert later - place >= (4 if found[place] else 3)
    for place in turns:
        run = 3 if found[place] else 4
        seen = minutes[place - run + 1 : place + 1]
        assert all(each > 12 for each in seen) if found[place] else all(each <= 12 * 0.8 for each in seen)


@given(st.booleans(), st.lists(st.floats(9.7, 12.0), min_size=1, max_size=60))
def test_a_sign_that_wavers_between_the_two_limits_changes_nothing(blind, minutes):
    line = Line()
    for _ in range(3):
        line.look(line.behind(20 * MINUTE if blind else 0))
    assert [bool(line.look(line.behind(int(each * MINUTE)))) for each in minutes] == [blind] * len(minutes)


@pytest.mark.parametrize(
    ("finding", "title", "text"),
    [
        (
            Finding(BROKER, "d", "t/0", 15 * MINUTE + 4321, 15 * MINUTE, whole=True),
            "the broker at k:9092 has not answered for 15 min 4 s",
            "See whether the broker runs",
        ),
        (Finding(BROKER, "d", "t/3", 15 * MINUTE, 15 * MINUTE), "has not answered for t/3 for 15 min", "by itself"),
        (
            Finding(STALL, "d", "t/0", 16 * MINUTE, 15 * MINUTE, 12_345),
            "no window of d has closed for 16 min, and 12 345 messages wait",
            "(worst: t/0, limit 15 min)",
        ),
        (Finding(STALL, "d", "t/0", 16 * MINUTE, 15 * MINUTE), "closed for 16 min, although records come", "log"),
        (
            Finding(LAG, "d", "t/0", 65 * MINUTE, 12 * MINUTE, 1),
            "d is read 1 h 5 min behind the clock, and 1 message waits",
            "limit 12 min",
        ),
        (Finding(LAG, "d", "t/0", HOUR, MINUTE), "records of d come 1 h behind the clock", "shipped so late"),
        (Finding(DEAD, "d", "t/0", 0.125, 0.05), "12.5% of the records of d on t/0 cannot be decoded", "(limit 5.0%)"),
        (Finding(LATE, "d", "t/0", 0.2, 0.05), "20.0% of the records of d on t/0 come too late", "check --online"),
        (Finding(SKEW, "d", "t/0", 400_000, 300_000), "records of d are 6 min 40 s ahead of this machine's clock", "clock"),
        (Finding(SKEW, "d", "t/0", -400_000, 300_000), "are 6 min 40 s behind this machine's clock", "producers"),
    ],
)
def test_each_cause_is_said_with_its_figures_and_what_to_do(finding, title, text):
    assert title_of([finding], "k:9092").startswith("edgewatch is blind: ")
    assert title in title_of([finding], "k:9092")
    assert text in text_of([finding], "k:9092")
    assert "Alerts on d are held; what still fires when this is over is said then." in text_of([finding], "k:9092")


def test_several_causes_make_one_title_and_a_broker_is_said_once():
    away = [Finding(BROKER, name, f"{name}/0", 15 * MINUTE, 15 * MINUTE, whole=True) for name in ("d", "e")]
    lag = Finding(LAG, "e", "e/0", HOUR, MINUTE, 5)
    assert title_of([*away, lag], "k").endswith("has not answered for 15 min (and 1 more)")
    assert text_of([*away, lag], "k").count("has not answered") == 1
    assert "Alerts on d and e are held" in text_of([*away, lag], "k")
    assert over_title(64_999) == "edgewatch sees again, after 1 min 4 s"
    assert over_text(["d", "e"], [DEAD]) == (
        "It was: decode errors. Held alerts on d and e that still fire are said when their next window closes."
    )
