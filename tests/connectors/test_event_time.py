"""Event times against the definition, value by value."""

import datetime

from hypothesis import given
from hypothesis import strategies as st

from connectors.event_time import INVALID, event_times
from tests.acceptance.oracle import event_ms

ODD = [
    *(0, -5, 5, 86_400, 10**30, 2**63, 2**63 - 1, 1_764_547_200, 1_764_547_200_123, 1_764_547_200_123_456),
    *(1_764_547_200_123_456_789, 99_999_999_999, 100_000_000_000, None, "", "yesterday", "0", "1764547200"),
    *("9223372036854775807", "9999999999999999999", "17645472001234567", "2025-13-01T00:00:00Z"),
    *("2025-12-01T25:00:00Z", "2025-12-01T24:00:00Z", "2025-12-01T00:00:60Z", "2025-02-29T00:00:00Z"),
    *("2024-02-29T00:00:00Z", "2000-02-29T00:00:00Z", "1900-02-29T00:00:00Z", "0000-01-01T00:00:00Z"),
    *("2025-12-01T00:00:00.1Z", "2025-12-01T00:00:00.123456789Z", "2025-12-01T00:00:00.Z", "2025-12-01t00:00:00Z"),
    *("2025-12-01T00:00:00+05:30", "2025-12-01T00:00:00.55-01:00", "2025-12-01 00:00:00", "2025-12-01T00:00:00"),
    *("2025-12-01 00:00:00Z", "\uff12\uff1025-12-01T00:00:00Z", "1970-01-01T00:00:07Z", "2200-01-01T00:00:00Z"),
    *(" 2025-12-01T00:00:00Z", "2025-12-01T00:00:00Z ", "+1764547200", "1_764_547_200", "17645472e2"),
]


def _same(values):
    got = event_times(values).tolist()
    want = [INVALID if ms is None else ms for ms in map(event_ms, values)]
    assert got == want


def test_each_published_form_and_each_odd_one_alone():
    for value in ODD:
        _same([value])


def test_forms_interleaved_in_one_column():
    _same(ODD * 3)


@given(st.lists(st.one_of(st.integers(-10, 2**64), st.none(), st.text(max_size=24), st.sampled_from(ODD))))
def test_any_values_equal_the_definition(values):
    _same(values)


@given(
    st.datetimes(datetime.datetime(1971, 1, 1), datetime.datetime(2250, 1, 1)),  # noqa: DTZ001 (the strategy wants them naive)
    st.integers(0, 9),
    st.sampled_from(["Z", "+00:00", "-09:30", "+14:00"]),
)
def test_any_date_with_any_fraction_and_offset(moment, digits, zone):
    fraction = f".{moment.microsecond:06d}000"[: digits + 1] if digits else ""
    _same([f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}{zone}", f"{moment:%Y-%m-%d %H:%M:%S}"])


@given(st.integers(1, 2**63 - 1))
def test_nanoseconds_never_pass_through_a_float(value):
    _same([value, str(value)])
