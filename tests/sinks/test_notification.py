"""Notification: its line in the files, and its way through the spool."""

import orjson

from sinks.notification import Notification, key_text, number, one_line
from tests.fakes.notifications import notification


def test_the_line_has_exactly_the_fields_of_the_file_in_canonical_form() -> None:
    line = notification(title="é<").line()
    record = orjson.loads(line)
    want = "at channels dedup_key episode evidence fingerprint group id key labels reason rule"
    assert " ".join(record) == f"{want} severity status text threshold title value"
    assert (record["at"], record["channels"]) == ("2025-12-01T00:05:00Z", ["console", "pagerduty", "slack"])
    assert line == orjson.dumps(record, option=orjson.OPT_SORT_KEYS) + b"\n"


def test_the_spools_payload_gives_the_same_notification_back() -> None:
    said = notification(value=None, group="g", evidence={"a": [1, 2.5, None, {"b": "é"}]})
    assert Notification.from_bytes(said.to_bytes()) == said


def test_numbers_are_short() -> None:
    got = [number(value) for value in (None, 0.0, 5.0, 0.073123, 1234.5678, 98765.4, 12_345_678.0, -3.0, 1e-9)]
    assert got == ["-", "0", "5", "0.073123", "1234.6", "98 765", "12 345 678", "-3", "1e-09"]


def test_keys_are_sorted_and_the_total_is_all() -> None:
    assert (key_text({"b": "2", "a": "1"}), key_text({})) == ("a=1, b=2", "all")


def test_control_characters_become_spaces() -> None:
    assert one_line("a\r\nb\x1b[31m\u202ec") == "a  b [31m c"
