"""Mute times: recurring windows of a zone's wall clock, through both changes of the clocks."""

import datetime
import zoneinfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.mute import Mute, MuteOptions


def at(text, zone="UTC"):
    """Give a time in ms; a local one that comes twice is the second where the text ends in `*`."""
    moment = datetime.datetime.fromisoformat(text.rstrip("*")).replace(tzinfo=zoneinfo.ZoneInfo(zone), fold=text.endswith("*"))
    return int(moment.timestamp() * 1000)


def holds(moment, **options):
    return Mute(MuteOptions(name="m", **options)).holds(at(moment, options.get("zone", "UTC")))


def test_a_mute_without_times_holds_the_whole_day():
    assert holds("2025-12-01T00:00")
    assert holds("2025-12-01T23:59:59", weekdays=("mon",))
    assert not holds("2025-12-02T00:00", weekdays=("mon",))


@pytest.mark.parametrize(
    ("moment", "want"),
    [("2025-12-01T11:59:59", False), ("2025-12-01T12:00", True), ("2025-12-01T13:29:59", True), ("2025-12-01T13:30", False)],
)
def test_a_span_of_times_is_half_open(moment, want):
    assert holds(moment, times=("12:00-13:30",)) is want


@pytest.mark.parametrize(
    ("moment", "want"),
    [
        ("2025-12-05T21:59", False),
        ("2025-12-05T22:00", True),  # a Friday
        ("2025-12-06T05:59", True),
        ("2025-12-06T06:00", False),
        ("2025-12-06T22:00", False),
        ("2025-12-05T05:00", False),
    ],
)
def test_a_span_beyond_midnight_belongs_to_the_day_it_begins_on(moment, want):
    assert holds(moment, times=("22:00-06:00",), weekdays=("fri",)) is want


def test_weekdays_may_be_ranges_also_over_the_end_of_the_week():
    week = [f"2025-12-0{day}T12:00" for day in range(1, 8)]
    assert [holds(day, weekdays=("mon-wed", "sun")) for day in week] == [True] * 3 + [False] * 3 + [True]
    assert [holds(day, weekdays=("sat-mon",)) for day in week] == [True, *[False] * 4, True, True]
    assert all(holds(day, weekdays=("mon-sun",)) for day in week)


def test_days_of_the_month_count_from_either_end_and_months_restrict():
    assert [holds(f"2025-02-{day:02d}T00:00", days=(1, -1)) for day in (1, 2, 27, 28)] == [True, False, False, True]
    assert holds("2024-02-29T00:00", days=(-1,))
    assert [holds(f"2025-{month:02d}-01T00:00", months=(1, 12)) for month in (1, 6, 12)] == [True, False, True]
    assert holds("2025-03-01T03:00", days=(-1,), times=("22:00-06:00",))


BERLIN = {"zone": "Europe/Berlin"}


def test_when_clocks_go_forward_local_times_hold_and_the_missing_hour_mutes_nothing():
    assert [holds(f"{day}T12:00", times=("12:00-13:00",), **BERLIN) for day in ("2025-03-29", "2025-03-30")] == [True, True]
    utc = [at(f"2025-03-30T{hour:02d}:30") for hour in (0, 1)]  # 01:30 and 03:30 in Berlin
    missing = Mute(MuteOptions(name="m", times=("02:00-03:00",), **BERLIN))
    around = Mute(MuteOptions(name="m", times=("01:00-03:00",), **BERLIN))
    assert [missing.holds(each) for each in utc] == [False, False]
    assert [around.holds(each) for each in utc] == [True, False]


def test_when_clocks_go_back_the_hour_that_comes_twice_mutes_both_times():
    mute = Mute(MuteOptions(name="m", times=("02:00-03:00",), **BERLIN))
    utc = [at(f"2025-10-26T{hour}") for hour in ("23:59", "00:00", "00:59", "01:00", "01:59", "02:00")]
    utc[0] -= 86_400_000
    assert [mute.holds(each) for each in utc] == [False, True, True, True, True, False]
    assert at("2025-10-26T02:30*", "Europe/Berlin") - at("2025-10-26T02:30", "Europe/Berlin") == 3_600_000


@given(st.integers(1_700_000_000, 1_800_000_000), st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kolkata", "UTC"]))
def test_a_mute_and_its_complement_never_hold_together_and_one_always_does(second, zone):
    night = Mute(MuteOptions(name="m", times=("21:30-05:15",), zone=zone))
    day = Mute(MuteOptions(name="m", times=("05:15-21:30",), zone=zone))
    assert night.holds(second * 1000) != day.holds(second * 1000)


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"times": ("22-6",)}, "times", "is not a span of times"),
        ({"times": ("24:30-06:00",)}, "times", "is not a span of times"),
        ({"times": ("12:00-24:01",)}, "times", "is not a span of times"),
        ({"times": ("12:00-12:00",)}, "times", "leave times out"),
        ({"weekdays": ("monday",)}, "weekdays", "mon, tue, wed"),
        ({"weekdays": ("mon-",)}, "weekdays", "range such as mon-fri"),
        ({"days": (0,)}, "days", "1 to 31"),
        ({"months": (13,)}, "months", "1 to 12"),
        ({"zone": "Europe/Berln"}, "zone", "not a time zone"),
        ({"zone": "../etc/passwd"}, "zone", "not a time zone"),
        ({"match": ("x",)}, "match", "not a matcher"),
    ],
)
def test_a_mute_that_cannot_be_meant_is_refused(changes, key, words):
    problems = list(MuteOptions(name="m", **changes).problems())
    assert [name for name, _ in problems] == [key]
    assert words in problems[0][1]
