"""The built-in inhibition of paths by their host: which rules it is between, and what it does."""

import json
from pathlib import Path

import pytest

from flows.alert import Alerting
from flows.config import ConfigErrors, loads
from flows.matcher import parse_match
from flows.rule_test_options import read_tests
from flows.rule_test_windows import windows_of

CONFIG = """
zone_quiets_paths = true
[[metric]]
name = "errors"
kind = "ratio"
dataset = "http_requests"
bad = "EdgeResponseStatus >= 500"
group_by = ["ClientRequestHost"]
[[metric]]
name = "path_errors"
kind = "ratio"
dataset = "http_requests"
bad = "EdgeResponseStatus >= 500"
group_by = ["ClientRequestPath", "ClientRequestHost"]
[[metric]]
name = "path_hits"
kind = "ratio"
dataset = "http_requests"
good = "served_from_cache"
group_by = ["ClientRequestHost", "ClientRequestPath"]
[[rule]]
name = "host"
metric = "errors"
statistic = "ratio"
above = { warning = 0.1, critical = 0.5 }
for = 1
[[rule]]
name = "path"
metric = "path_errors"
statistic = "ratio"
above = { warning = 0.1, critical = 0.5 }
for = 1
[[rule]]
name = "cold"
metric = "path_hits"
statistic = "ratio"
below = { critical = 0.5 }
[[rule]]
name = "everywhere"
metric = "errors"
statistic = "ratio"
keys = "total"
above = { critical = 0.5 }
"""
SERIES = """
[[test]]
name = "t"
[[test.series]]
metric = "errors"
key = { ClientRequestHost = "a" }
values = "0.2 0.2 0.9"
[[test.series]]
metric = "path_errors"
key = { ClientRequestHost = "a", ClientRequestPath = "/x" }
values = "0.3 0.9 0.9"
[[test.series]]
metric = "path_errors"
key = { ClientRequestHost = "b", ClientRequestPath = "/x" }
values = "0.3x3"
[[test.series]]
metric = "path_hits"
key = { ClientRequestHost = "a", ClientRequestPath = "/x" }
values = "0.1x3"
"""


def test_a_host_quiets_the_same_measure_of_its_paths_and_a_warning_no_critical_alert(tmp_path):
    config = loads(CONFIG, Path("monitor.toml"))
    (tmp_path / "tests.toml").write_text(SERIES)
    (test,) = read_tests(tmp_path / "tests.toml", config)
    alerting, kept = Alerting(config, config.policy), []
    for result in windows_of(test, config):
        rows = [json.loads(line) for each in alerting.evaluate(result).evaluations for line in each.lines().splitlines()]
        kept.append([(r["rule"], r["key"]["ClientRequestHost"]) for r in rows if r["suppressed_by"] == "inhibit"])
    assert kept == [[("path", "a")], [], [("path", "a")]]


def test_it_is_between_rules_on_metrics_that_differ_in_their_groups_alone_and_off_unless_asked_for():
    inhibits = loads(CONFIG, Path("monitor.toml")).policy.inhibits
    assert {(parse_match(each.source).equal("rule"), parse_match(each.target).equal("rule")) for each in inhibits} == {
        ("host", "path")
    }
    assert loads(CONFIG.replace("true", "false", 1), Path("monitor.toml")).policy.inhibits == ()


def test_it_is_true_or_false():
    with pytest.raises(ConfigErrors, match="zone_quiets_paths: must be true or false"):
        loads(CONFIG.replace("true", "1", 1), Path("monitor.toml"))
