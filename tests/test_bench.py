"""All benchmarks as one command: the figures of the run before stand beside the new ones, of the same case alone."""

import json
import subprocess
import sys

import pytest

from benchmarks.__main__ import ALL, beside, last
from tests.runs import ROOT


def test_a_line_has_beside_it_what_was_another_number_in_the_same_case():
    now = {"benchmark": "line", "contender": "edgewatch", "runs": 5, "records_per_second": 500_000}
    assert beside(now, now | {"records_per_second": 480_000}) == now | {"before": {"records_per_second": 480_000}}
    assert beside(now, now) == now | {"before": {}}
    assert beside(now, now | {"contender": "naive"}) == now
    assert beside(now, {"benchmark": "line"}) == now
    assert beside(now, None) == now


def test_figures_with_other_options_are_not_compared(tmp_path):
    path = tmp_path / "line.json"
    assert last(path, []) == []
    path.write_text(json.dumps({"options": ["--runs", "1"], "lines": [{"benchmark": "line"}]}))
    assert last(path, ["--runs", "1"]) == [{"benchmark": "line"}]
    assert last(path, ["--runs", "2"]) == []


def test_every_benchmark_that_it_runs_is_there():
    assert [name for name in ALL if not (ROOT / "benchmarks" / f"{name}.py").is_file()] == []


@pytest.mark.slow
def test_the_second_run_says_what_the_first_one_measured(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "--kept", str(tmp_path), "storm", "--alerts", "100", "--rounds", "1"]
    first, second = (
        json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout) for _ in "12"
    )
    assert "before" not in first
    assert second["before"] == {key: first[key] for key in first if first[key] != second[key]}


def test_a_benchmark_that_is_not_there_is_refused_by_its_name(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "--kept", str(tmp_path), "speed"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "speed is none of backtest" in done.stderr
