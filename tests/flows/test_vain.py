"""What can never come and is pointed out: routes behind others, and alerts that are over at more than 100 %."""

from pathlib import Path

import pytest

from flows.checks import describe
from flows.config import loads

RULES = """
[[metric]]
name = "free"
kind = "gauge"
dataset = "http_requests"
value = "EdgeTimeToFirstByteMs"
unit = "%"
[[rule]]
name = "full"
metric = "free"
statistic = "min"
"""


def described(text):
    return describe(loads(RULES + text, Path("monitor.toml")))


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ("below = { warning = 90 }", "full is over at 112.5 % (a quarter above its limit, where recover is not given): "),
        ("below = { warning = 90 }\nrecover = 101", "full is over at 101 %: "),
        ("below = { warning = 80 }", None),
        ("below = { warning = 90 }\nrecover = 95", None),
        ("above = { warning = 90 }", None),
    ],
)
def test_an_alert_on_a_percentage_that_can_never_end_is_pointed_out(limits, words):
    found = described(limits).get("never over")
    assert (found and found.removesuffix("give recover, 100 or less")) == words


def routes(*tables):
    return "below = { warning = 1 }\n" + "".join(f'[[route]]\nchannels = ["console"]\n{table}\n' for table in tables)


BEHIND = "route #2: route #1 takes all of it and does not continue"


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        (("", 'match = { rule = "full" }'), BEHIND),
        (('match = { rule = "full" }', 'match = ["rule=full", "environment=~p.*"]\nseverity = ["critical"]'), BEHIND),
        (('severity = ["critical"]', 'severity = ["warning"]', ""), "route #3: route #2 takes all of it and does not continue"),
        (("continue = true", ""), None),
        (('severity = ["critical"]', ""), None),
        (('match = { rule = "full" }', ""), None),
    ],
)
def test_a_route_that_no_alert_gets_to_is_pointed_out(tables, words):
    assert described(routes(*tables)).get("no alert gets to") == words


def test_a_route_inside_of_another_is_looked_at_among_those_beside_it():
    inner = '[[route.route]]\n[[route.route]]\nmatch = { rule = "full" }'
    words = "route #1.route #2: route #1.route #1 takes all of it and does not continue"
    assert described(routes(inner)).get("no alert gets to") == words
