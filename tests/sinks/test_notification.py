"""Notification: its line in the files, and its way through the spool."""

import orjson

from sinks.notification import Notification, evidence_lines, key_text, number, one_line, provenance_lines
from tests.fakes.notifications import PROVENANCE, notification


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


def test_a_payload_of_before_there_was_provenance_can_still_be_read() -> None:
    said = notification(provenance=PROVENANCE)
    before = orjson.dumps({name: value for name, value in orjson.loads(said.to_bytes()).items() if name != "provenance"})
    assert Notification.from_bytes(before) == notification()
    assert Notification.from_bytes(said.to_bytes()) == said


def test_machines_are_sent_the_line_with_its_provenance() -> None:
    said = notification(provenance=PROVENANCE)
    assert orjson.loads(said.document()) == {**orjson.loads(said.line()), "provenance": PROVENANCE}
    assert (notification().document() + b"\n", said.line()) == (notification().line(), notification().line())


def test_provenance_is_two_lines_and_names_few_partitions() -> None:
    many = [{"partition": f"t/{n}", "from": n, "to": 2 * n} for n in range(10)]
    shown = "t/0 0-0, t/1 1-2, t/2 2-4, t/3 3-6, t/4 4-8, t/5 5-10, t/6 6-12, t/7 7-14"
    assert list(provenance_lines({"partitions": many, "sql": "SELECT\n1"})) == [
        f"offsets: {shown}, and 2 more",
        "SQL: SELECT 1",
    ]
    assert (list(provenance_lines({})), list(provenance_lines({"partitions": "?", "sql": None}))) == ([], [])


def test_evidence_is_what_contributes_then_what_to_do_then_single_records() -> None:
    share = {"dimension": "colo", "value": "FRA\n", "share": 0.333, "count": 30, "total": 90, "of": "errors", "sample": 64}
    evidence = notification().evidence | {
        "runbook": {"link": "docs/x.md", "steps": ["Look."]},
        "dashboard": "https://e.example.com/alerts",
        "contribution": [share, {"path": "/old", "share": 0.5}, {"share": "?"}, "?"],
        "n": 12,
    }
    assert list(evidence_lines(evidence)) == [
        "colo FRA  contributes 33 % of the errors (about 30 of 90, by a sample of 64)",
        "runbook: docs/x.md",
        "1. Look.",
        "dashboard: https://e.example.com/alerts",
        "error 1 at 2025-12-01T00:01:52Z ray 8f1a2b3c4d5e6f70",
    ]


def test_numbers_are_short() -> None:
    got = [number(value) for value in (None, 0.0, 5.0, 0.073123, 1234.5678, 98765.4, 12_345_678.0, -3.0, 1e-9)]
    assert got == ["-", "0", "5", "0.073123", "1234.6", "98 765", "12 345 678", "-3", "1e-09"]


def test_keys_are_sorted_and_the_total_is_all() -> None:
    assert (key_text({"b": "2", "a": "1"}), key_text({})) == ("a=1, b=2", "all")


def test_control_characters_become_spaces() -> None:
    assert one_line("a\r\nb\x1b[31m\u202ec") == "a  b [31m c"
