"""A thousand alerts at one barrier: what the channels are told, how fast, and what it costs in memory."""

import json
import subprocess
import sys

import pytest

from tests.runs import ROOT

pytestmark = pytest.mark.slow


def test_a_thousand_alerts_are_grouped_within_the_channels_rates_and_leave_memory_flat():
    command = [sys.executable, "-m", "benchmarks.storm", "--alerts", "1000", "--rounds", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=600)
    got = json.loads(done.stdout)
    everywhere = dict.fromkeys(("email", "pagerduty", "slack", "webhook"), 1000)
    assert got["accounted"] == everywhere
    assert got["ended"] == everywhere | {"pagerduty": 1}  # one storm, which ends with its last alert
    assert got["messages"] == {"slack": 103, "email": 103, "pagerduty": 2, "webhook": 2000}
    assert (got["refused"], got["open"], got["out_of_order"]) == ({"slack": 0, "pagerduty": 0}, 0, 0)
    assert got["rss_growth_mb"] < 40
