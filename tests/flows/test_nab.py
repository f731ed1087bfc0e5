"""A real labelled series (data/nab, MIT): what a sweep recommends on it, and what it is honest about."""

import csv
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flows.alert import Alerting
from flows.incidents import Incident
from flows.paging import Pages
from flows.recommend import parse_budget
from flows.sweep_result import Asked, Question, plan_of, range_of, sweep, with_rules
from tests.flows.sweeps import LENGTH, START, config_of, history_of

pytestmark = pytest.mark.slow

NAB = Path(__file__).parents[1] / "data" / "nab"
SERIES = "elb_request_count_8c0756.csv"
CONFIG = """
[channel.pagerduty]
routing_key = "0123456789abcdef0123456789abcdef"

[[metric]]
name = "requests"
kind = "gauge"
dataset = "http_requests"
value = "OriginResponseDurationMs"

[[rule]]
name = "many_requests"
metric = "requests"
statistic = "last"
above = { critical = 400 }
"""


def ms(text):
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def asked(budget):
    """Sweep limit and hold over the series; the second of its two incidents is held out."""
    with (NAB / SERIES).open() as file:
        rows = list(csv.DictReader(file))
    cells = {((ms(row["timestamp"]) - START) // LENGTH, "{}"): ({"last": float(row["value"])}, 1) for row in rows}
    windows = json.loads((NAB / "combined_windows.json").read_text())[f"realAWSCloudwatch/{SERIES}"]
    incidents = [Incident(ms(low), ms(high), f"anomaly {n}") for n, (low, high) in enumerate(windows, 1)]
    config = config_of(CONFIG)
    axes = ("many_requests.above.critical=50:450:10", "many_requests.for.critical=1,2,3,6")
    wanted = Asked(axes=axes, budget=parse_budget(budget), grace_ms=0)
    history = history_of(config, {"requests": cells})
    span = range_of(history.start, history.end, LENGTH, wanted, incidents=incidents)
    return Question(config, CONFIG, plan_of(config, wanted), wanted, span, incidents), history


@pytest.fixture(scope="module")
def tight():
    question, history = asked("1 page/week")
    return question, history, sweep(question, history)


def test_one_incident_is_found_within_the_budget_and_the_one_held_out_is_said_to_be_missed(tight):
    _, _, found = tight
    advice = found.report["recommendation"]
    assert (advice["fit"]["recall"]["k"], advice["fit"]["recall"]["n"], advice["fit"]["pages"]) == (1, 1, 1)
    assert (advice["held_out"]["recall"]["k"], advice["held_out"]["missed"]) == (0, ["anomaly 2"])
    words = " ".join(advice["words"])
    assert "paged for 0 of 1 (95 % interval 0-79 %) labelled incidents, not for anomaly 2" in words
    assert "1 incident proves little" in words


def test_the_front_shows_what_the_held_out_incident_would_cost(tight):
    _, _, found = tight
    finds_both = [row for row in found.report["front"] if row["fit"]["recall"]["k"] == row["held_out"]["recall"]["k"] == 1]
    cheapest = min(finds_both, key=lambda row: row["fit"]["pages"])
    assert 1 < cheapest["fit"]["pages_a_week"]["value"] < 5


def test_the_recommended_setting_pages_as_the_evaluator_does(tight):
    question, history, found = tight
    config = with_rules(question.config, found.rules)
    alerting, counted = Alerting(config, replace(config.policy)), Pages(config.policy.pagers)
    said = [each for window in history.windows(history.start, history.end) for each in alerting.evaluate(window).notifications]
    at = [each.at for each in said if counted.is_page(each)]
    advice = found.report["recommendation"]
    parts = [sum(each <= question.span.cut for each in at), sum(each > question.span.cut for each in at)]
    assert parts == [advice["fit"]["pages"], advice["held_out"]["pages"]]


def test_a_budget_that_silence_alone_would_keep_recommends_nothing():
    question, history = asked("0 pages/week")
    report = sweep(question, history).report
    assert report["recommendation"]["values"] is None
    assert (
        "No setting that keeps the budget (0 pages/week) finds a labelled incident; the least that finds one"
        in (report["recommendation"]["words"][0])
    )
