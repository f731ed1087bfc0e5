"""Console: what a person reads."""

import io

from sinks.console import Console, ConsoleOptions, render
from tests.fakes.notifications import CONTRIBUTED, notification


def test_an_alert_is_two_lines() -> None:
    what = "high_error_rate [ClientRequestHost=api.example.com]  0.0731 (threshold 0.05)"
    assert render(notification()).splitlines() == [
        f"2025-12-01 00:05:00Z  FIRING   critical  {what}",
        f"    error_rate ratio 0.0731 is above 0.05 (12345 records) | {CONTRIBUTED}",
    ]


def test_a_resolve_says_so_and_names_its_channel() -> None:
    said = notification(status="resolved", reason="resolved", key={}, text="", title="", evidence={})
    got = render(said, name="pager")
    what = "high_error_rate [all]  0.0731 (threshold 0.05)"
    assert got == f"2025-12-01 00:05:00Z  RESOLVED critical  {what}  -> pager\n"


def test_colour_is_for_terminals_only() -> None:
    out = io.StringIO()
    Console("console", ConsoleOptions(), out).send(notification(), {})
    forced = io.StringIO()
    Console("console", ConsoleOptions(colour="always"), forced).send(notification(), {})
    assert ("\033" in out.getvalue(), "\033[1;31mFIRING" in forced.getvalue()) == (False, True)


def test_a_wrong_colour_is_named() -> None:
    assert [key for key, _ in ConsoleOptions(colour="red").problems()] == ["colour"]


def test_what_no_value_says_is_said_by_its_title_and_a_list_keeps_its_lines() -> None:
    said = notification(
        value=None,
        threshold=None,
        key={},
        title="2 alerts: high error rate",
        text="one\ntwo",
        evidence={"lines": ["one", "two"]},
    )
    assert render(said).splitlines() == [
        "2025-12-01 00:05:00Z  FIRING   critical  high_error_rate [all]",
        "    2 alerts: high error rate",
        "    one",
        "    two",
    ]
