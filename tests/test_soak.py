"""The soak, a quarter of a minute of it: random faults one after the other, and at the end everything is accounted for."""

import json
import subprocess
import sys

import pytest

from tests.runs import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.kafka]


def test_a_short_soak_accounts_for_every_record_and_alert(tmp_path):
    options = ["--seconds", "15", "--rate", "200", "--seed", "3", "--out", str(tmp_path)]
    command = [sys.executable, "-m", "benchmarks.soak", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    got = json.loads(done.stdout)
    assert got["records_in"] == sum(got[each] for each in ("windows", "open", "late", "dead")) > 0
    assert got["alerts_expected"] == got["alerts_delivered"] > 0
    assert sum(got["faults"].values()) >= 1
    assert "Resident set of the largest process" in (tmp_path / "soak.html").read_text()
