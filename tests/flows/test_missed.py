"""Why an incident was missed: for each reason there is, a history that has it, judged by the evaluator."""

import pytest

from flows.incidents import Incident
from flows.matcher import parse_match
from flows.missed import explain_missed
from flows.silence import Silence
from tests.flows.sweeps import CONFIG, DAY, LENGTH, START, config_of, history_of, host

HOUR = 3_600_000
FIRST = DAY  # the incident begins a day after the history
INCIDENT = Incident(START + FIRST * LENGTH, START + FIRST * LENGTH + HOUR, "checkout is slow", "slow")


def cells(*values, count=500, key="a"):
    """Make a calm day of host a, then these p99s (None: no row), then an hour of calm."""
    calm = [300.0] * FIRST
    found = [*calm, *values, *[300.0] * 12]
    latency = {(n, host(key)): ({"p99": v}, count if n >= FIRST else 500) for n, v in enumerate(found) if v is not None}
    return {"latency": latency, "errors": {(n, "{}"): ({"ratio": 0.0}, 100) for n in range(len(found))}}


def words(history, text=CONFIG, incident=INCIDENT):
    config = config_of(text)
    return [
        (each.rule, each.words) for each in explain_missed(history_of(config, history), config, [incident], 600_000)[incident]
    ]


NIGHT = """
[[mute]]
name = "all day"
match = { rule = "slow" }
"""
ALONE = CONFIG.replace("above = { warning = 1000, critical = 3000 }", "above = { critical = 3000 }")
HELD = ALONE.replace("min_count = 10", "min_count = 10\nfor = 2")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("history", "text", "wanted"),
    [
        (
            cells(900.0, 980.0),
            CONFIG,
            "latency p99 was 980 ms at most, threshold warning above 1 000 ms and critical above 3 000 ms",
        ),
        (cells(2840.0, 2100.0), ALONE, "latency p99 was 2 840 ms at most, threshold critical above 3 000 ms"),
        (
            cells(4120.0, 200.0, 4000.0),
            HELD,
            "breached in 1 window in a row, for.critical = 2 (latency p99 was 4 120 ms at most, critical above 3 000 ms)",
        ),
        (
            cells(1500.0, 300.0),
            CONFIG,
            "breached in 1 window in a row, for.warning = 2 (latency p99 was 1 500 ms at most, warning above 1 000 ms)",
        ),
        (cells(4120.0, 4000.0, *[300.0] * 14, count=8), CONFIG, "under min_count: 8 of 10 records at most"),
        (
            cells(4120.0, 4000.0),
            CONFIG + NIGHT,
            "it fired and was kept quiet by mute 'all day' (UTC) (latency p99 was 4 120 ms at most)",
        ),
    ],
)
def test_the_reason_is_what_the_records_show(history, text, wanted):
    assert words(history, text) == [("slow", wanted)]


class Deployment:
    """One silence, in force all the time."""

    def at(self, dataset, end):
        given = {"author": "ann", "reason": "deployment", "start": 0, "end": START + 10**10}
        return [Silence(id="s1", matchers=parse_match({"rule": "slow"}), **given)]

    known = at


def test_a_silence_is_named_with_its_author():
    config = config_of()
    found = explain_missed(history_of(config, cells(4120.0, 4000.0)), config, [INCIDENT], 600_000, Deployment())
    assert found[INCIDENT][0].words.startswith("it fired and was kept quiet by silence s1 of ann (deployment), until 2026-")


def test_without_a_row_that_is_the_reason():
    history = cells(*[None] * 14)
    del history["latency"][FIRST + 14, host("a")]
    wanted = "no rows: latency has none of " + host("b") + " from 2025-12-02T00:00:00Z to 2025-12-02T01:10:00Z"
    named = Incident(INCIDENT.start, INCIDENT.end, "b is slow", "slow", host("b"))
    assert words(history, incident=named) == [("slow", wanted)]


def test_what_was_firing_already_said_nothing_new():
    history = cells(*[4000.0] * 12)
    for number in range(FIRST - 6, FIRST):
        history["latency"][number, host("a")] = ({"p99": 4200.0}, 500)
    (found,) = words(history, CONFIG.replace("min_count = 10", 'min_count = 10\nrepeat = "1d"'))
    assert found == ("slow", "it was firing already when this began, and said nothing new (latency p99 was 4 000 ms at most)")


def test_of_an_incident_that_names_no_rule_the_nearest_comes_first():
    history = cells(980.0)
    free = Incident(INCIDENT.start, INCIDENT.end, "something")
    assert [rule for rule, _ in words(history, incident=free)] == ["slow", "failing"]


def test_incidents_far_apart_are_judged_apart_and_each_has_its_reason():
    config = config_of()
    history = cells(*[300.0] * (3 * DAY))
    history["latency"][FIRST + 2, host("a")] = ({"p99": 990.0}, 500)
    history["latency"][3 * DAY + 2, host("a")] = ({"p99": 950.0}, 500)
    later = Incident(START + 3 * DAY * LENGTH, START + 3 * DAY * LENGTH + HOUR, "again", "slow")
    found = explain_missed(history_of(config, history), config, [INCIDENT, later], 600_000)
    assert [found[each][0].words.split(" at most")[0] for each in (INCIDENT, later)] == [
        "latency p99 was 990 ms",
        "latency p99 was 950 ms",
    ]
