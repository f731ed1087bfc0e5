"""Matchers that no alert can meet: what is refused, and what is pointed out."""

from pathlib import Path

from flows.checks import describe
from flows.config import loads

RULES = """
labels = { platform = "edge" }
[[metric]]
name = "errors"
kind = "ratio"
dataset = "http_requests"
bad = "EdgeResponseStatus >= 500"
group_by = ["ClientRequestHost"]
[[rule]]
name = "failing"
metric = "errors"
statistic = "ratio"
above = { critical = 0.05 }
labels = { team = "shop" }
"""
POLICY = """
[[mute]]
name = "all that has no owner"
match = ['owner!="me"', 'platform="edge"', 'ClientRequestHost=~".*"']
[[route]]
match = ['rule=~"fail.*"', "team=shop"]
channels = ["console"]
[[route]]
match = { rule = "pipeline_blind" }
channels = ["console"]
"""
ODD = """
[[inhibit]]
source = { rule = "failing", severity = "critical" }
target = { tier = "2" }
equal = ["host"]
[[route]]
channels = ["console"]
[[route.route]]
match = ['owner=~".+"']
"""


def described(more):
    return describe(loads(RULES + more, Path("monitor.toml")))


def test_labels_that_no_alert_has_are_pointed_out_with_where_they_are_asked_for():
    assert described(ODD)["no alert has"] == (
        "route #1.route #1.match asks for 'owner'; inhibit #1.target asks for 'tier'; inhibit #1.equal asks for 'host';"
        " so it never matches"
    )


def test_labels_of_rules_keys_and_the_configuration_and_what_matches_where_a_label_is_missing_are_not():
    assert "no alert has" not in described(POLICY)
